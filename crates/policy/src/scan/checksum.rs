//! What a pattern cannot say of a secret: its checksum, its structure, or that it is made up.
//!
//! Invariant: pure, and the work is linear in the secret. A check may only refuse what cannot be real.

use crate::scan::{
    decode::lanes::{self, Lane},
    entropy, identity,
};
use sha2::{Digest as _, Sha256};

/// What a match must pass; in the rules by its name in kebab case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    None,
    /// The last six are the CRC-32 of what is between prefix and them, in base 62.
    Github,
    Aba,
    Base58check,
    /// Header and payload are JSON, and the header names an algorithm.
    Jwt,
    /// The first of its parts is a number in base64.
    Discord,
    /// A value that was generated, not written.
    Secret,
    /// Like `Secret`, for values that people make up.
    Password,
    /// Like `Password`, where only a name says that it is one.
    StrongPassword,
    /// A user and a password in base64.
    Basic,
    /// So many words that they are the seed of a wallet, and no sentence.
    Phrase,
    /// Both letters and digits: no word, no number.
    Mixed,
    /// No names of a program, as the symbols of a library are.
    Wordless,
    /// Scanners of their own, whose finds have been checked.
    Card,
    Iban,
    Wif,
    /// Numbers of people and companies.
    Identity(identity::Kind),
}

impl Check {
    /// Whether `token` may be real; `body` is what is random of it.
    pub(super) fn holds(self, token: &[u8], body: &[u8]) -> bool {
        match self {
            Check::Github => github(body),
            Check::Iban => mod97(token),
            Check::Aba => aba(&digits(token)),
            Check::Base58check | Check::Wif => base58check(token),
            Check::Jwt => jwt(token),
            Check::Discord => discord(token),
            Check::Secret => mixed(body) && generated(body),
            Check::Password => password(body),
            Check::StrongPassword => strong_password(body),
            Check::Basic => basic(token),
            Check::Phrase => phrase(token),
            Check::Mixed => mixed(body),
            Check::Wordless => mixed(body) && !Tally::of(body).worded(body),
            Check::Identity(kind) => identity::holds(kind, token),
            Check::None | Check::Card => true,
        }
    }

    /// Whether a token in another case can pass no more, so that there is nothing to ask.
    pub(super) fn by_case(self) -> bool {
        matches!(self, Check::Github | Check::Base58check | Check::Jwt | Check::Discord)
    }

    /// Whether only a sign that gives a value will do, as arguments of a call look like secrets often enough.
    pub(super) fn strict(self) -> bool {
        matches!(self, Check::Secret | Check::StrongPassword)
    }

    /// Whether it proves more than looks do, so that a text that reads like an example is none.
    pub(super) fn proves(self) -> bool {
        use Check::{Mixed, None, Password, Secret, StrongPassword, Wordless};
        !matches!(self, None | Secret | Password | StrongPassword | Mixed | Wordless)
    }
}

/// What documentation writes where a secret goes, near its beginning.
pub(super) fn placeholder(secret: &[u8]) -> bool {
    const JUDGED: usize = 80;
    const REPEATS: usize = 6;
    let judged = secret.get(..secret.len().min(JUDGED)).unwrap_or_default();
    let again = lanes::two_pairs(judged, |first, second| first.same(second));
    let thrice = again & again >> 1 & again >> 2;
    if thrice & thrice >> (REPEATS - 4) != 0 {
        return true;
    }
    let mut places = lanes::two_pairs(judged, begins_word);
    while places != 0 {
        let at = places.trailing_zeros() as usize;
        places &= places - 1;
        let here = |word: &&[u8]| judged.get(at..at + word.len()).is_some_and(|it| it.eq_ignore_ascii_case(word));
        if SHOWN.iter().any(here) {
            return true;
        }
    }
    false
}

/// Words of documentation.
const SHOWN: &[&[u8]] = &[
    b"abcdefgh",
    b"changeme",
    b"dummy",
    b"deadbeef",
    b"example",
    b"placeholder",
    b"redacted",
    b"secretsecret",
    b"xxxxx",
    b"your_",
    b"your-",
    b"yourtoken",
    b"yourkey",
    b"0123456789",
    b"12345678",
    b"987654321",
];

/// Where two bytes begin one of [`SHOWN`].
#[inline(always)]
fn begins_word(first: Lane, second: Lane) -> Lane {
    let (first, second) = (first.folded(), second.folded());
    let two = |pair: &[u8; 2]| first.is(pair[0]).and(second.is(pair[1]));
    two(b"ab")
        .or(two(b"ch"))
        .or(two(b"du"))
        .or(first.is(b'd').or(first.is(b'r')).or(first.is(b's')).and(second.is(b'e')))
        .or(two(b"ex"))
        .or(two(b"pl"))
        .or(two(b"xx"))
        .or(two(b"yo"))
        .or(two(b"01"))
        .or(two(b"12"))
        .or(two(b"98"))
}

/// One case throughout, as text is that was put into capitals or small letters whole.
pub(super) fn of_one_case(token: &[u8]) -> bool {
    token.iter().all(|it| !it.is_ascii_lowercase()) || token.iter().all(|it| !it.is_ascii_uppercase())
}

fn mixed(body: &[u8]) -> bool {
    body.iter().any(u8::is_ascii_digit) && body.iter().any(u8::is_ascii_alphabetic)
}

/// The digits of an escape are none: `a%20secret` is made of words.
fn password(body: &[u8]) -> bool {
    if !body.contains(&b'%') {
        return mixed(body);
    }
    mixed(&percent_encoding::percent_decode(body).collect::<Vec<u8>>())
}

/// Words of a language, of a path or of a program change less often between letters, capitals and digits.
fn generated(body: &[u8]) -> bool {
    let tally = Tally::of(body);
    let plenty = tally.changes() * 5 >= body.len() && count(tally.digits) * 14 >= body.len();
    plenty && tally.numbers() >= 3 && !tally.worded(body) && !uuid(body) && entropy::hundredths(body) >= 330
}

/// What a value is made of. Those of the rules that ask are no longer than 128 bytes, a bit for each.
struct Tally {
    digits: u128,
    small: u128,
    capitals: u128,
}

impl Tally {
    fn of(body: &[u8]) -> Tally {
        let mut padded = [0; 2 * lanes::BLOCK];
        padded.iter_mut().zip(body).for_each(|(slot, it)| *slot = *it);
        Tally {
            digits: lanes::two(&padded, lanes::digit),
            small: lanes::two(&padded, |it| it.within(b'a', b'z')),
            capitals: lanes::two(&padded, lanes::capital),
        }
    }

    /// How often letters, capitals or digits are followed by others of them.
    fn changes(&self) -> usize {
        let Tally { digits, small, capitals } = self;
        let after = |one: &u128, other: u128| count(one << 1 & other);
        after(digits, small | capitals) + after(small, digits | capitals) + after(capitals, digits | small)
    }

    /// In how many places there are digits: names in programs have them in one or two.
    fn numbers(&self) -> usize {
        count(self.digits & !(self.digits << 1))
    }

    /// Words in one piece, as names of programs are: of what is generated with capitals, one byte in six stands among three
    /// or more small letters.
    fn worded(&self, body: &[u8]) -> bool {
        self.capitals != 0 && count(self.words()) * 100 >= body.len() * 45
    }

    /// What stands among three or more small letters.
    fn words(&self) -> u128 {
        let third = self.small & self.small << 1 & self.small << 2;
        third | third >> 1 | third >> 2
    }
}

fn count(bits: u128) -> usize {
    bits.count_ones() as usize
}

/// An identifier of RFC 9562 at its end, which requests and responses are full of.
fn uuid(body: &[u8]) -> bool {
    let hexadecimal = |it: &&[u8]| it.iter().all(u8::is_ascii_hexdigit);
    let parts = body.rsplit(|it| *it == b'-').take(5).take_while(hexadecimal);
    parts.map(<[u8]>::len).eq([12, 4, 4, 4, 8])
}

/// A number as programs write it: `0x8009002F_u32`.
fn is_number(body: &[u8]) -> bool {
    let digits = body.strip_prefix(b"0x").or_else(|| body.strip_prefix(b"0X"));
    digits
        .is_some_and(|it| it.iter().all(|it| it.is_ascii_hexdigit() || matches!(it, b'_' | b'u' | b'i' | b'U' | b'L')))
}

/// Letters of both cases with digits or signs between them, as no word of a program or of a language has them.
fn strong_password(body: &[u8]) -> bool {
    if is_number(body) {
        return false;
    }
    let tally = Tally::of(body);
    if tally.small == 0 || tally.capitals == 0 || tally.digits == 0 {
        return false;
    }
    let signs = body.iter().filter(|it| b"!@#%^*+~".contains(it)).count();
    (tally.numbers() >= 2 || signs > 0) && signs * 4 <= body.len()
}

/// RFC 7617.
fn basic(text: &[u8]) -> bool {
    let plain = base64(text);
    let Some(colon) = plain.iter().position(|it| *it == b':') else { return false };
    let password = plain.len() - colon - 1;
    plain.iter().all(|it| (0x20..0x7f).contains(it)) && colon > 0 && password >= 4
}

/// BIP 39: 12, 15, 18, 21 or 24 words; those that every sentence has are not in its list.
fn phrase(text: &[u8]) -> bool {
    const SENTENCE: &[&[u8]] = &[b"the", b"and", b"for", b"are", b"not", b"was", b"has", b"with", b"from"];
    let words: Vec<&[u8]> = text.split(|it| *it == b' ').collect();
    matches!(words.len(), 12 | 15 | 18 | 21 | 24) && !words.iter().any(|it| SENTENCE.contains(it))
}

pub(super) fn digits(text: &[u8]) -> Vec<u8> {
    text.iter().filter(|it| it.is_ascii_digit()).map(|it| it - b'0').collect()
}

/// ISO/IEC 7812: every second digit from the right is doubled.
pub(super) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = (digits.iter().rev().enumerate())
        .map(|(at, digit)| match u32::from(*digit) {
            digit if at % 2 == 0 => digit,
            digit if digit > 4 => digit * 2 - 9,
            digit => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10) && digits.iter().any(|it| *it != 0)
}

/// ISO 13616: the first four moved to the end, letters as 10 to 35, the remainder by 97 is 1.
pub(super) fn mod97(text: &[u8]) -> bool {
    let compact: Vec<u8> = text.iter().filter(|it| it.is_ascii_alphanumeric()).map(u8::to_ascii_uppercase).collect();
    let Some((head, tail)) = compact.split_at_checked(4) else { return false };
    let rest = tail.iter().chain(head).fold(0u32, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
    });
    rest == 1
}

/// A routing number of the American Bankers Association: weights 3, 7, 1, and a first pair that is in use.
fn aba(digits: &[u8]) -> bool {
    let &[a, b, ..] = digits else { return false };
    let sum: u32 =
        digits.iter().zip([3, 7, 1].into_iter().cycle()).map(|(digit, weight)| u32::from(*digit) * weight).sum();
    digits.len() == 9 && sum.is_multiple_of(10) && matches!(a * 10 + b, 1..=12 | 21..=32 | 61..=72 | 80)
}

/// <https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/>
fn github(body: &[u8]) -> bool {
    let Some((random, sum)) = body.len().checked_sub(6).and_then(|at| body.split_at_checked(at)) else { return false };
    base62(crc32(random)) == sum
}

fn base62(mut number: u32) -> [u8; 6] {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = [b'0'; 6];
    for place in text.iter_mut().rev() {
        *place = DIGITS.get((number % 62) as usize).copied().unwrap_or(b'0');
        number /= 62;
    }
    text
}

/// The CRC-32 of IEEE 802.3, bit by bit: the texts are short.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

/// The last four bytes are the beginning of the double SHA-256 of the others.
fn base58check(text: &[u8]) -> bool {
    let Some(bytes) = base58(text) else { return false };
    let Some((payload, sum)) = bytes.len().checked_sub(4).and_then(|at| bytes.split_at_checked(at)) else {
        return false;
    };
    !payload.is_empty() && Sha256::digest(Sha256::digest(payload)).starts_with(sum)
}

fn base58(text: &[u8]) -> Option<Vec<u8>> {
    const DIGITS: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    const LONGEST: usize = 128;
    if text.len() > LONGEST {
        return None;
    }
    let mut bytes: Vec<u8> = Vec::new();
    for byte in text {
        let mut carry = u32::try_from(DIGITS.iter().position(|it| it == byte)?).ok()?;
        for place in &mut bytes {
            carry += u32::from(*place) * 58;
            *place = (carry & 0xff) as u8;
            carry >>= 8;
        }
        if carry > 0 {
            bytes.push((carry & 0xff) as u8);
        }
    }
    bytes.extend(text.iter().take_while(|it| **it == b'1').map(|_| 0));
    bytes.reverse();
    Some(bytes)
}

fn jwt(token: &[u8]) -> bool {
    let mut parts = token.split(|it| *it == b'.').map(base64);
    let header = parts.next().unwrap_or_default();
    let payload = parts.next().unwrap_or_default();
    let named =
        [&b"\"alg\""[..], b"\"enc\"", b"\"typ\""].iter().any(|name| header.windows(name.len()).any(|it| it == *name));
    named && header.starts_with(b"{") && payload.starts_with(b"{") && payload.contains(&b':')
}

fn discord(token: &[u8]) -> bool {
    let id = base64(token.split(|it| *it == b'.').next().unwrap_or_default());
    (16..=20).contains(&id.len()) && id.iter().all(u8::is_ascii_digit)
}

/// Of either alphabet, up to the first byte that is of none.
fn base64(text: &[u8]) -> Vec<u8> {
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0u32, 0);
    for byte in text {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => break,
        };
        held = held << 6 | u32::from(six);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits & 0xff) as u8);
        }
    }
    bytes
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What makes `random` a token of GitHub.
    pub(in crate::scan) fn github_sum(random: &str) -> String {
        String::from_utf8(base62(crc32(random.as_bytes())).to_vec()).unwrap()
    }

    /// A private key in wallet import format, compressed.
    pub(in crate::scan) fn wallet_key(seed: usize) -> String {
        let mut key: Vec<u8> = (0..32).map(|at: usize| u8::try_from((at * 37 + seed) % 251).unwrap()).collect();
        key.insert(0, 0x80);
        key.push(1);
        key.extend_from_slice(&Sha256::digest(Sha256::digest(&key))[..4]);
        base58_of(&key)
    }

    fn base58_of(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
        let mut places: Vec<u32> = Vec::new();
        for byte in bytes {
            let mut carry = u32::from(*byte);
            for place in &mut places {
                carry += *place << 8;
                *place = carry % 58;
                carry /= 58;
            }
            while carry > 0 {
                places.push(carry % 58);
                carry /= 58;
            }
        }
        places.iter().rev().map(|it| char::from(DIGITS[*it as usize])).collect()
    }

    #[test]
    fn checksums_of_published_examples() {
        assert!(luhn(&digits(b"4111 1111 1111 1111")) && !luhn(&digits(b"4111 1111 1111 1112")));
        assert!(mod97(b"GB82 WEST 1234 5698 7654 32") && !mod97(b"GB82 WEST 1234 5698 7654 33"));
        assert!(aba(&digits(b"021000021")) && !aba(&digits(b"021000022")) && !aba(&digits(b"991000021")));
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926, "the check value of the catalogue");
        assert!(github(b"zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq17"), "of a post about the format");
        assert!(
            base58check(b"1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2") && !base58check(b"1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN3")
        );
    }

    #[test]
    fn nothing_is_too_short_for_a_check() {
        use Check::{Aba, Base58check, Discord, Github, Iban, Jwt, Secret};
        for check in [Github, Iban, Aba, Base58check, Jwt, Discord, Secret] {
            for text in [&b""[..], b"1", b"."] {
                assert!(!check.holds(text, text), "{check:?}");
            }
        }
    }

    /// Byte by byte, as they are meant.
    mod slowly {
        use super::SHOWN;

        pub(super) fn placeholder(secret: &[u8]) -> bool {
            let judged = &secret[..secret.len().min(80)];
            let repeats = judged.windows(6).any(|it| it.iter().all(|byte| *byte == it[0]));
            let shown = |word: &&[u8]| judged.windows(word.len()).any(|it| it.eq_ignore_ascii_case(word));
            repeats || SHOWN.iter().any(shown)
        }

        /// Changes, digits, places of digits, and bytes in words.
        pub(super) fn tally(body: &[u8]) -> [usize; 4] {
            let kind = |it: u8| match it {
                b'0'..=b'9' => 0,
                b'a'..=b'z' => 1,
                b'A'..=b'Z' => 2,
                _ => 3,
            };
            let changes =
                body.windows(2).filter(|two| kind(two[0]) != kind(two[1]) && kind(two[0]) < 3 && kind(two[1]) < 3);
            let numbers = body.split(|it| !it.is_ascii_digit()).filter(|it| !it.is_empty());
            let words = body.split(|it| !it.is_ascii_lowercase()).map(<[u8]>::len).filter(|it| *it >= 3);
            [changes.count(), body.iter().filter(|it| it.is_ascii_digit()).count(), numbers.count(), words.sum()]
        }
    }

    proptest! {
        #[test]
        fn values_are_judged_as_byte_by_byte(
            body in "([a-zA-Z0-9]{0,9}|[a-z]{1,4}|[A-Z]{1,3}|[0-9]{1,3}|[-_./]|x{4,7}|q{4,7}|eXample|your|-key|deadbeef|01234|56789){0,20}",
        ) {
            let body = &body.as_bytes()[..body.len().min(128)];
            prop_assert_eq!(placeholder(body), slowly::placeholder(body));
            let tally = Tally::of(body);
            let words = tally.words().count_ones() as usize;
            prop_assert_eq!([tally.changes(), count(tally.digits), tally.numbers(), words], slowly::tally(body));
        }
    }
}
