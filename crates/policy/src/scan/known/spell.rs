//! The ways in which a known value is spelled beforehand.
//!
//! An encoding of a part of a text is the same wherever the part stands, but for its borders: base64 has three, base32
//! five, base85 four ways to spell the middle of a value, by where it stands in the groups.

use super::lines;
use crate::scan::{Step, Steps, decode::class};
use zeroize::Zeroizing;

/// Shorter values are not searched at all: they would be found everywhere.
pub const MIN_KNOWN: usize = 4;
/// Values of fewer letters and digits are searched as they are, reversed and in the encodings, but not loosely.
pub const MIN_LOOSE: usize = 10;
/// Of fewer different letters and digits too.
const MIN_DISTINCT: usize = 6;
/// Shorter values are not searched in any other spelling than their own.
const MIN_ENCODED: usize = 8;
/// Of longer values, parts of this length are searched: any of them is a finding.
const PART: usize = 128;
/// Of how many parts: of a value longer than 4 KiB, the first 4 KiB.
const PARTS: usize = 32;
/// A key of 8192 bits has a hundred lines; whoever sends it sends the first.
const PARTS_OF_LINES: usize = 64;

type Give<'a> = dyn FnMut(Zeroizing<Vec<u8>>, Steps) + 'a;

/// A text of several lines has words in it that every text of its kind has, a key's first line or the addresses in a service
/// account: of one in which something looks random, that is searched, and the whole where it is short.
fn parts(value: &[u8]) -> Vec<&[u8]> {
    let long = value.len() > 2 * PART;
    if value.contains(&b'\n') {
        let mut random: Vec<&[u8]> = lines::random(value).take(PARTS_OF_LINES).collect();
        if !random.is_empty() {
            random.extend((!long).then_some(value));
            return random;
        }
    }
    let size = if long { PART } else { value.len().max(1) };
    value.chunks(size).filter(move |part| !long || part.len() == PART).take(PARTS).collect()
}

/// What is searched in a text as it is.
pub(super) fn exact(value: &[u8], give: &mut Give<'_>) {
    let none = Steps::default();
    for part in parts(value) {
        give(Zeroizing::new(part.to_vec()), none);
        if part.len() < MIN_ENCODED {
            continue;
        }
        let mut reversed = Zeroizing::new(part.to_vec());
        reversed.reverse();
        give(reversed, none.then(Step::Reversed));
        in_strings(part, &mut |bytes| give(bytes, none.then(Step::Escapes)));
        for alphabet in [STANDARD, URL_SAFE] {
            grouped(part, 3, 4, 6, alphabet, &mut |bytes| give(bytes, none.then(Step::Base64)));
        }
        for alphabet in [BASE32_UPPER, BASE32_LOWER] {
            grouped(part, 5, 8, 5, alphabet, &mut |bytes| give(bytes, none.then(Step::Base32)));
        }
        for alphabet in [ASCII85, RFC1924, Z85] {
            base85(part, alphabet, &mut |bytes| give(bytes, none.then(Step::Base85)));
        }
    }
}

/// What is searched in a text's letters and digits, folded.
pub(super) fn loose(value: &[u8], give: &mut Give<'_>) {
    let none = Steps::default().then(Step::Loose);
    for part in parts(value) {
        if part.len() < MIN_ENCODED {
            continue;
        }
        let hex = none.then(Step::Hex);
        for before in ["", "x", "0x", "u00"] {
            give(fold(&spelled(part, before)), hex);
        }
        for alphabet in [STANDARD, URL_SAFE] {
            grouped(part, 3, 4, 6, alphabet, &mut |bytes| give_long(&bytes, none.then(Step::Base64), give));
        }
        give_long(part, none, give);
        let mut reversed = Zeroizing::new(part.to_vec());
        reversed.reverse();
        give_long(&reversed, none.then(Step::Reversed), give);
    }
}

/// As strings of JSON and of programs have it (RFC 8259, 7), where they write it otherwise: a text's own escapes of this
/// kind are not undone, as it is full of them. Within a string within a string, too, and with the line ends of Windows.
fn in_strings(part: &[u8], give: &mut dyn FnMut(Zeroizing<Vec<u8>>)) {
    let once = in_string(part, b"\\n");
    if once.as_slice() == part {
        return;
    }
    give(in_string(&once, b"\\n"));
    give(once);
    if part.contains(&b'\n') && !part.contains(&b'\r') {
        give(in_string(part, b"\\r\\n"));
    }
}

fn in_string(bytes: &[u8], line_end: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(bytes.len() * 4));
    for byte in bytes {
        match byte {
            b'\n' => out.extend_from_slice(line_end),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            _ => out.push(*byte),
        }
    }
    out
}

fn give_long(bytes: &[u8], steps: Steps, give: &mut Give<'_>) {
    let folded = fold(bytes);
    let distinct = (0..=u8::MAX).filter(|byte| folded.contains(byte)).count();
    if folded.len() >= MIN_LOOSE && distinct >= MIN_DISTINCT {
        give(folded, steps);
    }
}

fn fold(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(bytes.iter().map(|byte| class::of(&class::FOLD, *byte)).filter(|it| *it != 0).collect())
}

/// In hexadecimal, with something before each byte.
fn spelled(bytes: &[u8], before: &str) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(bytes.len() * (2 + before.len())));
    for byte in bytes {
        out.extend_from_slice(before.as_bytes());
        out.extend([byte >> 4, byte & 15].map(|it| HEX.get(usize::from(it)).copied().unwrap_or_default()));
    }
    out
}

const HEX: &[u8; 16] = b"0123456789abcdef";
const STANDARD: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const BASE32_UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE32_LOWER: &[u8] = b"abcdefghijklmnopqrstuvwxyz234567";
pub(in crate::scan) const ASCII85: &[u8] =
    b"!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstu";
pub(in crate::scan) const RFC1924: &[u8] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";
pub(in crate::scan) const Z85: &[u8] =
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// For every place in a group of `bytes_per_group`: the digits that depend on `value` alone.
fn grouped(
    value: &[u8],
    bytes_per_group: usize,
    digits_per_group: usize,
    bits: usize,
    alphabet: &[u8],
    give: &mut dyn FnMut(Zeroizing<Vec<u8>>),
) {
    for before in 0..bytes_per_group {
        let all = (before + value.len()) * 8;
        let mut digits = Zeroizing::new(Vec::with_capacity(all / bits + digits_per_group));
        let mut position = before * 8;
        position = position.next_multiple_of(bits);
        while position + bits <= all {
            let digit = (0..bits).fold(0, |digit, bit| digit << 1 | bit_of(value, position + bit - before * 8));
            digits.push(alphabet.get(digit).copied().unwrap_or_default());
            position += bits;
        }
        if digits.len() >= MIN_ENCODED {
            give(digits);
        }
    }
}

fn bit_of(value: &[u8], bit: usize) -> usize {
    value.get(bit / 8).map_or(0, |byte| usize::from(byte >> (7 - bit % 8) & 1))
}

/// For every place in a group of four bytes: the digits of the groups that lie in `value` as a whole.
fn base85(value: &[u8], alphabet: &[u8], give: &mut dyn FnMut(Zeroizing<Vec<u8>>)) {
    for skip in 0..4 {
        let mut digits = Zeroizing::new(Vec::new());
        for group in value.get(skip..).unwrap_or_default().chunks_exact(4) {
            let mut number = group.first_chunk::<4>().map_or(0, |it| u32::from_be_bytes(*it));
            let mut five = [0u8; 5];
            for digit in five.iter_mut().rev() {
                *digit = alphabet.get((number % 85) as usize).copied().unwrap_or_default();
                number /= 85;
            }
            digits.extend_from_slice(&five);
        }
        if digits.len() >= MIN_LOOSE {
            give(digits);
        }
    }
}
