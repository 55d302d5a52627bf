//! Secrets that no word announces: card numbers, bank accounts, private keys in base58.
//!
//! Invariant: whether one stands at a place is decided by the bytes around it alone, and asking costs little where
//! there are no long numbers or words.

use crate::scan::{
    checksum::{Check, digits, luhn, mod97},
    decode::class,
    published,
};
use std::ops::Range;

/// How far before a place that is mostly digits a number may begin.
const REACH: usize = 48;
/// How far before a card number the word that says so may stand.
const CONTEXT: usize = 48;
const CARD_WORDS: &[&[u8]] = &[
    b"card", b"visa", b"amex", b"credit", b"debit", b"maestro", b"payment", b"\"pan\"", b" pan ", b"ccnum", b"cc_num",
    b"cc:",
];

/// The numbers that begin at `start`, each with what it is.
pub(super) fn number_at(text: &[u8], start: usize) -> Option<(Check, Range<usize>)> {
    let check = match text.get(start..start + 4)? {
        [b'2'..=b'6', ..] => Check::Card,
        [a, b, c, d]
            if c.is_ascii_digit() && d.is_ascii_digit() && a.is_ascii_alphabetic() && b.is_ascii_alphabetic() =>
        {
            Check::Iban
        }
        _ => return None,
    };
    let before = start.checked_sub(1).and_then(|at| text.get(at));
    if before.is_some_and(|it| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'_' | b'-' | b'+' | b'#')) {
        return None;
    }
    let end = if check == Check::Card { card(text, start) } else { iban(text, start) };
    end.map(|end| (check, start..end))
}

/// Where a number may begin that has many digits at `at`.
pub(super) fn starts(at: usize) -> Range<usize> {
    at.saturating_sub(REACH)..at + 8
}

/// The end of a card number: an issuer's range, its length, Luhn, and written in the groups of the card or after a word
/// that says what it is. Numbers of other things pass one in ten times by chance, grouped or named ones do not occur.
fn card(text: &[u8], start: usize) -> Option<usize> {
    let rest = text.get(start..)?;
    let lead = rest.first_chunk::<4>()?;
    lead.iter().all(u8::is_ascii_digit).then_some(())?;
    let [a, b, c, d] = lead.map(|it| it - b'0');
    let (two, four) = (a * 10 + b, u16::from(a) * 1000 + u16::from(b) * 100 + u16::from(c) * 10 + u16::from(d));
    let groups: &[usize] = match (a, two) {
        (_, 34 | 37) => &[4, 6, 5],
        (_, 36 | 38) => &[4, 6, 4],
        (4, _) | (_, 35 | 51..=55 | 65) => &[4, 4, 4, 4],
        _ if (2221..=2720).contains(&four) || four == 6011 => &[4, 4, 4, 4],
        _ => return None,
    };
    let count: usize = groups.iter().sum();
    let grouped = group_end(rest, groups);
    let end = grouped.or_else(|| rest.get(..count)?.iter().all(u8::is_ascii_digit).then_some(count))?;
    let after = |offset: usize| rest.get(end + offset).copied().unwrap_or(b' ');
    let goes_on =
        after(0).is_ascii_alphanumeric() || matches!(after(0), b'-' | b'.' | b'_') && after(1).is_ascii_alphanumeric();
    let number = rest.get(..end)?;
    let proven = luhn(&digits(number)) && varied(number) && !published::card(number);
    (!goes_on && proven && (grouped.is_some() || named(text, start))).then_some(start + end)
}

/// The end of digits in `groups` with one and the same separator between them.
fn group_end(rest: &[u8], groups: &[usize]) -> Option<usize> {
    let separator = *rest.get(*groups.first()?)?;
    let mut end = 0;
    for (index, group) in groups.iter().enumerate() {
        if index > 0 {
            (rest.get(end) == Some(&separator) && matches!(separator, b' ' | b'-')).then_some(())?;
            end += 1;
        }
        rest.get(end..end + group)?.iter().all(u8::is_ascii_digit).then_some(())?;
        end += group;
    }
    Some(end)
}

/// More than two different digits: not 4444 4444 4444 4448 nor a row of zeros.
fn varied(number: &[u8]) -> bool {
    let mut seen = [false; 10];
    for digit in digits(number) {
        if let Some(place) = seen.get_mut(usize::from(digit)) {
            *place = true;
        }
    }
    seen.iter().filter(|it| **it).count() > 2
}

fn named(text: &[u8], start: usize) -> bool {
    let context = text.get(start.saturating_sub(CONTEXT)..start).unwrap_or_default().to_ascii_lowercase();
    CARD_WORDS.iter().any(|word| context.windows(word.len()).any(|it| it == *word))
}

/// The end of an account number of ISO 13616: the country's length and the remainder by 97; in one piece or in fours.
fn iban(text: &[u8], start: usize) -> Option<usize> {
    const LONGEST: usize = 42;
    let rest = text.get(start..(start + LONGEST + 1).min(text.len()))?;
    let (country, check) = (rest.get(..2)?, rest.get(2..4)?);
    if !country.iter().all(u8::is_ascii_alphabetic) || !check.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length = country_length(&country.to_ascii_uppercase())?;
    let grouped = rest.get(4) == Some(&b' ');
    let end = if grouped { length + (length - 1) / 4 } else { length };
    let number = rest.get(..end)?;
    let in_place = number
        .iter()
        .enumerate()
        .all(|(at, it)| if grouped && at % 5 == 4 { *it == b' ' } else { it.is_ascii_alphanumeric() });
    let goes_on = rest.get(end).is_some_and(|it| it.is_ascii_alphanumeric() || *it == b'_');
    let one_case = !number.iter().any(u8::is_ascii_lowercase) || !number.iter().any(u8::is_ascii_uppercase);
    let digits = number.iter().filter(|it| it.is_ascii_digit()).count();
    // ISO 7064: a remainder of 97 gives no others.
    let is_given = !matches!(check, b"00" | b"01" | b"99");
    let proven = is_given && mod97(number) && !published::account(number);
    (in_place && !goes_on && one_case && digits >= 8 && proven).then_some(start + end)
}

/// Of the registry of SWIFT.
fn country_length(country: &[u8]) -> Option<usize> {
    const LENGTHS: &[(usize, &str)] = &[
        (15, "NO"),
        (16, "BE"),
        (18, "DK FO FI GL NL FK SD"),
        (19, "MK SI"),
        (20, "AT BA EE KZ XK LT LU MN"),
        (21, "HR LV LI CH"),
        (22, "BG BH CR GE DE IE ME RS GB VA"),
        (23, "TL GI IQ IL OM AE SO"),
        (24, "AD CZ MD PK RO SA SK ES SE TN VG"),
        (25, "LY PT ST"),
        (26, "IS TR"),
        (27, "BI DJ FR GR IT MR MC SM"),
        (28, "AL AZ BY CY DO SV GT HU LB NI PL"),
        (29, "BR EG PS QA UA"),
        (30, "JO KW MU"),
        (31, "MT SC"),
        (32, "LC"),
        (33, "RU"),
    ];
    LENGTHS
        .iter()
        .find(|(_, countries)| countries.split(' ').any(|it| it.as_bytes() == country))
        .map(|(length, _)| *length)
}

/// Every so many bytes one word of eight is looked at: a key of 51 covers one of them, wherever it begins.
const STRIDE: usize = 40;

/// The runs of base58 that are as long as a private key in wallet import format and prove to be one.
pub(super) fn wallet_keys(text: &[u8], mut found: impl FnMut(Range<usize>)) {
    let mut at = 0;
    while let Some(word) = text.get(at..at + 8).and_then(|it| <[u8; 8]>::try_from(it).ok()) {
        if word.iter().rev().all(base58) {
            found_around(text, at, &mut found);
        }
        at += STRIDE;
    }
}

fn found_around(text: &[u8], at: usize, found: &mut impl FnMut(Range<usize>)) {
    const LONGEST: usize = 53;
    let start = at - text.get(..at).unwrap_or_default().iter().rev().take(LONGEST).take_while(|it| base58(it)).count();
    let length = text.get(start..).unwrap_or_default().iter().take(LONGEST).take_while(|it| base58(it)).count();
    let beginning = text.get(start).copied().unwrap_or_default();
    let beside = [start.checked_sub(1), Some(start + length)].map(|it| it.and_then(|it| text.get(it)));
    let alone = beside.iter().all(|it| it.is_none_or(|it| !it.is_ascii_alphanumeric()));
    let plausible = matches!((length, beginning), (51, b'5' | b'9') | (52, b'K' | b'L' | b'c'));
    let Some(key) = text.get(start..start + length) else { return };
    if plausible && alone && Check::Wif.holds(key, key) {
        found(start..start + length);
    }
}

fn base58(byte: &u8) -> bool {
    class::of(&BASE58, *byte) != 0
}

static BASE58: [u8; 256] = base58_digits();

#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "evaluated when this is compiled")]
const fn base58_digits() -> [u8; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let digit = (index as u8).is_ascii_alphanumeric() && !matches!(index as u8, b'0' | b'O' | b'I' | b'l');
        table[index] = digit as u8;
        index += 1;
    }
    table
}
