//! What is secret in a text of several lines: a private key, a service account, a file of credentials.
//!
//! Its words are in every text of its kind. So of each run of the digits of base64 and hexadecimal is asked whether it
//! looks random: then it stands nowhere else. Lines that a key begins with whoever it belongs to do not count, nor do
//! certificates and public keys that lie beside it (RFC 7468).

use crate::scan::entropy::hundredths;
use memchr::memmem;

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
    secret(text).into_iter().flat_map(runs)
}

/// All but the blocks whose label says that everybody may have them.
fn secret(text: &[u8]) -> Vec<&[u8]> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    const END: &[u8] = b"-----END ";
    let (mut kept, mut rest) = (Vec::new(), text);
    while let Some((before, block)) = memmem::find(rest, BEGIN).and_then(|at| rest.split_at_checked(at + BEGIN.len())) {
        kept.push(before);
        let label = memmem::find(block, b"-----").and_then(|at| block.get(..at)).unwrap_or_default();
        let is_public = label.ends_with(b"CERTIFICATE") || label.ends_with(b"PUBLIC KEY");
        let end = memmem::find(block, END).filter(|_| is_public).unwrap_or_default();
        rest = block.get(end..).unwrap_or_default();
    }
    kept.push(rest);
    kept
}

fn runs(text: &[u8]) -> impl Iterator<Item = &[u8]> {
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
