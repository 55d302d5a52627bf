//! Numbers that prove themselves and are nobody's: cards and accounts that were published so that others can try theirs.

/// What payment networks and their processors tell everybody to test with.
const CARDS: &[&str] = &[
    "2223003122003222",
    "30569309025904",
    "3530111333300000",
    "3566002020360505",
    "36227206271667",
    "371449635398431",
    "378282246310005",
    "378734493671000",
    "38520000023237",
    "4000056655665556",
    "4012888888881881",
    "4111111111111111",
    "4222222222222",
    "4242424242424242",
    "5105105105105100",
    "5200828282828210",
    "5555555555554444",
    "6011000990139424",
    "6011111111111117",
    "6011981111111113",
    "6200000000000005",
];

/// The examples of the registry of IBAN (ISO 13616, kept by SWIFT), and the one of its encyclopaedia articles.
const ACCOUNTS: &[&str] = &[
    "AD1200012030200359100100",
    "AE070331234567890123456",
    "AL47212110090000000235698741",
    "AT611904300234573201",
    "AZ21NABZ00000000137010001944",
    "BA391290079401028494",
    "BE68539007547034",
    "BG80BNBG96611020345678",
    "BH67BMAG00001299123456",
    "BR1800360305000010009795493C1",
    "CH9300762011623852957",
    "CR05015202001026284066",
    "CY17002001280000001200527600",
    "CZ6508000000192000145399",
    "DE89370400440532013000",
    "DK5000400440116243",
    "DO28BAGR00000001212453611324",
    "EE382200221020145685",
    "ES9121000418450200051332",
    "FI2112345600000785",
    "FR1420041010050500013M02606",
    "GB29NWBK60161331926819",
    "GB82WEST12345698765432",
    "GE29NB0000000101904917",
    "GI75NWBK000000007099453",
    "GR1601101250000000012300695",
    "HR1210010051863000160",
    "HU42117730161111101800000000",
    "IE29AIBK93115212345678",
    "IL620108000000099999999",
    "IS140159260076545510730339",
    "IT60X0542811101000000123456",
    "KW81CBKU0000000000001234560101",
    "KZ86125KZT5004100100",
    "LB62099900000001001901229114",
    "LI21088100002324013AA",
    "LT121000011101001000",
    "LU280019400644750000",
    "LV80BANK0000435195001",
    "MC5811222000010123456789030",
    "ME25505000012345678951",
    "MK07250120000058984",
    "MT84MALT011000012345MTLCAST001S",
    "NL91ABNA0417164300",
    "NO9386011117947",
    "PL61109010140000071219812874",
    "PT50000201231234567890154",
    "RO49AAAA1B31007593840000",
    "RS35260005601001611379",
    "SA0380000000608010167519",
    "SE4550000000058398257466",
    "SI56263300012039086",
    "SK3112000000198742637541",
    "SM86U0322509800000000270100",
    "TN5910006035183598478831",
    "TR330006100519786457841326",
];

pub(super) fn card(number: &[u8]) -> bool {
    among(CARDS, number)
}

pub(super) fn account(number: &[u8]) -> bool {
    among(ACCOUNTS, number)
}

/// Whatever stands between the letters and digits.
fn among(published: &[&str], number: &[u8]) -> bool {
    let plain = || number.iter().filter(|it| it.is_ascii_alphanumeric()).map(u8::to_ascii_uppercase);
    published.iter().any(|it| plain().eq(it.bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::checksum::{digits, luhn, mod97};

    #[test]
    fn each_proves_itself_or_would_not_be_listed() {
        for number in CARDS {
            assert!(luhn(&digits(number.as_bytes())), "{number}");
        }
        for number in ACCOUNTS {
            assert!(mod97(number.as_bytes()), "{number}");
        }
        assert!(card(b"4111-1111 1111 1111") && !card(b"4539148803436467"));
        assert!(account(b"gb82 west 1234 5698 7654 32") && !account(b"GB87BARC20714583608391"));
    }
}
