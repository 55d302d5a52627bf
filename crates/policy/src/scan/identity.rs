//! Numbers that states give to people and companies, each with the digits that prove it.

use crate::scan::checksum::{digits, luhn};

/// Which number; in the rules by its name in kebab case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    UsSsn,
    CaSin,
    UkNhs,
    UkNino,
    DeTaxId,
    FrInsee,
    EsDni,
    ItCodice,
    NlBsn,
    PlPesel,
    SePersonnummer,
    BrCpf,
    BrCnpj,
    InAadhaar,
    CnResident,
    AuTfn,
    FiHetu,
    BeNational,
    ZaId,
    TrKimlik,
}

pub(super) fn holds(kind: Kind, text: &[u8]) -> bool {
    let all = digits(text);
    let differ = all.windows(2).any(|two| matches!(two, [a, b] if a != b));
    differ
        && match kind {
            Kind::UsSsn => us_ssn(&all),
            Kind::CaSin => all.len() == 9 && !matches!(all.first(), Some(0 | 8)) && luhn(&all),
            Kind::UkNhs => {
                all.len() == 10 && check_digit(&all, &[10, 9, 8, 7, 6, 5, 4, 3, 2], |sum| (11 - sum % 11) % 11)
            }
            Kind::UkNino => uk_nino(text),
            Kind::DeTaxId => de_tax_id(&all),
            Kind::FrInsee => all.len() == 15 && number(&all, 0, 13) % 97 + number(&all, 13, 15) == 97,
            Kind::EsDni => es_dni(text),
            Kind::ItCodice => it_codice(text),
            Kind::NlBsn => all.len() == 9 && weighted(&all, &[9, 8, 7, 6, 5, 4, 3, 2, -1]) % 11 == 0,
            Kind::PlPesel => {
                all.len() == 11 && check_digit(&all, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3], |sum| (10 - sum % 10) % 10)
            }
            Kind::SePersonnummer => all.get(all.len().saturating_sub(10)..).is_some_and(luhn),
            Kind::BrCpf => all.len() == 11 && br_pair(&all, &[11, 10, 9, 8, 7, 6, 5, 4, 3, 2]),
            Kind::BrCnpj => all.len() == 14 && br_pair(&all, &[6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2]),
            Kind::InAadhaar => all.len() == 12 && all.first() > Some(&1) && verhoeff(&all),
            Kind::CnResident => cn_resident(text),
            Kind::AuTfn => all.len() == 9 && weighted(&all, &[1, 4, 3, 7, 5, 8, 6, 9, 10]) % 11 == 0,
            Kind::FiHetu => fi_hetu(text, &all),
            Kind::BeNational => {
                let (body, sum) = (number(&all, 0, 9), number(&all, 9, 11));
                all.len() == 11 && (97 - body % 97 == sum || 97 - (2_000_000_000 + body) % 97 == sum)
            }
            Kind::ZaId => all.len() == 13 && (1..=12).contains(&number(&all, 2, 4)) && luhn(&all),
            Kind::TrKimlik => tr_kimlik(&all),
        }
}

fn number(digits: &[u8], from: usize, to: usize) -> u64 {
    digits.get(from..to).unwrap_or_default().iter().fold(0, |sum, digit| sum * 10 + u64::from(*digit))
}

fn weighted(digits: &[u8], weights: &[i64]) -> i64 {
    digits.iter().zip(weights).map(|(digit, weight)| i64::from(*digit) * weight).sum()
}

/// Whether the digit after those that are weighted is what `of` makes of their sum.
fn check_digit(digits: &[u8], weights: &[i64], of: impl Fn(i64) -> i64) -> bool {
    digits.get(weights.len()).is_some_and(|digit| i64::from(*digit) == of(weighted(digits, weights)))
}

fn us_ssn(digits: &[u8]) -> bool {
    let (area, group, serial) = (number(digits, 0, 3), number(digits, 3, 5), number(digits, 5, 9));
    // What examples are made of: 111-22-3333, 123-45-6789.
    let of_one =
        |from, to| digits.get(from..to).is_some_and(|part: &[u8]| part.iter().all(|it| Some(it) == part.first()));
    let made_up = of_one(0, 3) && of_one(3, 5) && of_one(5, 9) || digits == [1, 2, 3, 4, 5, 6, 7, 8, 9];
    digits.len() == 9 && area != 0 && area != 666 && area < 900 && group != 0 && serial != 0 && !made_up
}

fn uk_nino(text: &[u8]) -> bool {
    let upper: Vec<u8> = text.iter().filter(|it| it.is_ascii_alphanumeric()).map(u8::to_ascii_uppercase).collect();
    let unused = [b"BG", b"GB", b"NK", b"KN", b"TN", b"NT", b"ZZ"];
    matches!(upper[..], [a, b, ..] if !b"DFIQUV".contains(&a) && !b"DFIQUVO".contains(&b))
        && !unused.iter().any(|it| upper.starts_with(&it[..]))
}

/// ISO 7064 MOD 11,10.
fn de_tax_id(digits: &[u8]) -> bool {
    let Some((last, body)) = digits.split_last() else { return false };
    let product = body.iter().fold(10, |product, digit| {
        let sum = (u32::from(*digit) + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    digits.len() == 11 && digits.first() != Some(&0) && (11 - product) % 10 == u32::from(*last)
}

fn es_dni(text: &[u8]) -> bool {
    const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let upper: Vec<u8> = text.iter().filter(|it| it.is_ascii_alphanumeric()).map(u8::to_ascii_uppercase).collect();
    let Some((letter, body)) = upper.split_last() else { return false };
    let number = body.iter().fold(0usize, |sum, byte| {
        let digit = if (b'X'..=b'Z').contains(byte) { byte - b'X' } else { byte.saturating_sub(b'0') };
        sum * 10 + usize::from(digit)
    });
    upper.len() == 9 && LETTERS.get(number % 23) == Some(letter)
}

/// The odd places have values of their own (decree of 23 December 1976).
fn it_codice(text: &[u8]) -> bool {
    const ODD: &[u32; 26] =
        &[1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let upper = text.to_ascii_uppercase();
    let Some((letter, body)) = upper.split_last() else { return false };
    let sum: u32 = (body.iter().enumerate())
        .map(|(at, byte)| {
            let value = if byte.is_ascii_digit() { byte - b'0' } else { byte.saturating_sub(b'A') };
            if at % 2 == 0 { ODD.get(usize::from(value)).copied().unwrap_or_default() } else { u32::from(value) }
        })
        .sum();
    upper.len() == 16 && u32::from(letter.saturating_sub(b'A')) == sum % 26
}

fn br_pair(digits: &[u8], weights: &[i64]) -> bool {
    let of = |sum: i64| if sum % 11 < 2 { 0 } else { 11 - sum % 11 };
    check_digit(digits, weights.get(1..).unwrap_or_default(), of) && check_digit(digits, weights, of)
}

fn verhoeff(digits: &[u8]) -> bool {
    const TURN: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let turned = |digit: u8, times: usize| {
        (0..times).fold(digit, |it, _| TURN.get(usize::from(it)).copied().unwrap_or_default())
    };
    // The dihedral group of the pentagon: 0 to 4 turn, 5 to 9 turn and mirror.
    let product = |a: u8, b: u8| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => 5 + (a + b - 5) % 5,
        (false, true) => 5 + (a - 5 + 5 - b) % 5,
        (false, false) => (a - 5 + 5 - (b - 5)) % 5,
    };
    digits.iter().rev().enumerate().fold(0, |sum, (at, digit)| product(sum, turned(*digit, at % 8))) == 0
}

fn cn_resident(text: &[u8]) -> bool {
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let Some((last, body)) = text.split_last() else { return false };
    let sum: u32 = body.iter().zip(WEIGHTS).map(|(byte, weight)| u32::from(byte.saturating_sub(b'0')) * weight).sum();
    text.len() == 18 && b"10X98765432".get((sum % 11) as usize) == Some(&last.to_ascii_uppercase())
}

fn fi_hetu(text: &[u8], digits: &[u8]) -> bool {
    const SIGNS: &[u8; 31] = b"0123456789ABCDEFHJKLMNPRSTUVWXY";
    let sign = usize::try_from(number(digits, 0, 9) % 31).ok().and_then(|at| SIGNS.get(at));
    text.len() == 11 && sign == text.last().map(u8::to_ascii_uppercase).as_ref()
}

fn tr_kimlik(digits: &[u8]) -> bool {
    let &[a, b, c, d, e, f, g, h, i, tenth, last] = digits else { return false };
    let (odd, even) = (i32::from(a + c + e + g + i), i32::from(b + d + f + h));
    let tenth = i32::from(tenth);
    a != 0 && (odd * 7 - even).rem_euclid(10) == tenth && (odd + even + tenth) % 10 == i32::from(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_examples_hold_and_their_neighbours_do_not() {
        for (kind, right, wrong) in [
            (Kind::UsSsn, "078-05-1120", "666-05-1120"),
            (Kind::CaSin, "130 692 544", "130 692 545"),
            (Kind::UkNhs, "943 476 5919", "943 476 5918"),
            (Kind::UkNino, "AB123456C", "GB123456C"),
            (Kind::DeTaxId, "86095742719", "86095742718"),
            (Kind::FrInsee, "255081416802538", "255081416802539"),
            (Kind::EsDni, "12345678Z", "12345678A"),
            (Kind::EsDni, "X1234567L", "X1234567M"),
            (Kind::ItCodice, "RSSMRA85T10A562S", "RSSMRA85T10A562T"),
            (Kind::NlBsn, "111222333", "111222334"),
            (Kind::PlPesel, "44051401359", "44051401358"),
            (Kind::SePersonnummer, "811218-9876", "811218-9875"),
            (Kind::BrCpf, "111.444.777-35", "111.444.777-36"),
            (Kind::BrCnpj, "11.222.333/0001-81", "11.222.333/0001-82"),
            (Kind::InAadhaar, "2341 2341 2346", "2341 2341 2347"),
            (Kind::CnResident, "11010519491231002X", "110105194912310021"),
            (Kind::AuTfn, "123 456 782", "123 456 783"),
            (Kind::FiHetu, "131052-308T", "131052-308U"),
            (Kind::BeNational, "85073003328", "85073003329"),
            (Kind::ZaId, "8001015009087", "8001015009088"),
            (Kind::TrKimlik, "10000000146", "10000000147"),
        ] {
            assert!(holds(kind, right.as_bytes()), "{kind:?} {right}");
            assert!(!holds(kind, wrong.as_bytes()), "{kind:?} {wrong}");
            assert!(!holds(kind, b"") && !holds(kind, b"1") && !holds(kind, b"00000000000"), "{kind:?}");
        }
    }
}
