//! What is secret in a text of several lines: a private key, a service account, a file of credentials.
//!
//! Its words are in every text of its kind. So of each run of the digits of base64 and hexadecimal is asked whether it
//! looks random: then it stands nowhere else. Lines that a key begins with whoever it belongs to do not count.

use crate::scan::entropy::hundredths;

/// A shorter run is a name, maybe.
const LEAST: usize = 24;
/// A random line of 64 has more than 5 bits for each digit, a name or a path has fewer than 4.
const RANDOM: u16 = 400;
/// What is written in hexadecimal has 4 bits at the most, and this many digits.
const HEX: usize = 32;
/// `openssh-key-v1` and what comes after it in a key without a passphrase.
const PUBLIC: [&[u8]; 1] = [b"b3BlbnNzaC1rZXktdjE"];

/// The runs that look random, in order.
pub(super) fn random(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(byte);
    let mut escaped = false;
    text.split_inclusive(move |byte| !is_digit(byte)).filter_map(move |piece| {
        let run = piece.split_last().filter(|(last, _)| !is_digit(last)).map_or(piece, |(_, run)| run);
        // A line end in a string of JSON or of a program: its letter is not of what comes after it.
        let run = run.get(usize::from(escaped)..).unwrap_or_default();
        escaped = piece.ends_with(b"\\");
        looks_random(run).then_some(run)
    })
}

fn looks_random(run: &[u8]) -> bool {
    let has = |kind: fn(&u8) -> bool| run.iter().any(kind);
    let (upper, lower, digit) = (has(u8::is_ascii_uppercase), has(u8::is_ascii_lowercase), has(u8::is_ascii_digit));
    let hex = run.len() >= HEX && run.iter().all(u8::is_ascii_hexdigit) && digit && (upper != lower);
    let mixed = run.len() >= LEAST && upper && lower && digit && hundredths(run) >= RANDOM;
    (hex || mixed) && !PUBLIC.iter().any(|known| run.starts_with(known))
}
