//! Ways to hide a value that somebody at the other end can undo.

use base64::{Engine as _, engine::general_purpose};
use flate2::{Compression, write};
use std::io::Write as _;

pub(crate) fn base64(text: &[u8]) -> String {
    general_purpose::STANDARD.encode(text)
}

pub(crate) fn hex(text: &[u8], before: &str, between: &str) -> String {
    text.iter().map(|it| format!("{before}{it:02x}")).collect::<Vec<_>>().join(between)
}

pub(crate) fn base32(text: &[u8]) -> String {
    let bits: String = text.iter().map(|it| format!("{it:08b}")).collect();
    let digit = |bits: &[u8]| {
        let bits = format!("{:0<5}", str::from_utf8(bits).unwrap());
        char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[usize::from_str_radix(&bits, 2).unwrap()])
    };
    bits.as_bytes().chunks(5).map(digit).collect()
}

pub(crate) fn base85(text: &[u8], alphabet: &[u8]) -> String {
    let mut out = String::new();
    for group in text.chunks(4) {
        let mut padded = [0; 4];
        padded[..group.len()].copy_from_slice(group);
        let number = u32::from_be_bytes(padded) as usize;
        let digits = [85usize.pow(4), 85usize.pow(3), 85 * 85, 85, 1].map(|it| alphabet[number / it % 85]);
        out.extend(digits[..=group.len()].iter().map(|it| char::from(*it)));
    }
    out
}

pub(crate) fn percent(text: &str, layers: usize) -> String {
    let first = text.bytes().map(|it| format!("%{it:02X}")).collect::<String>();
    (1..layers).fold(first, |text, _| text.replace('%', "%25"))
}

pub(crate) fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = write::GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zlib(text: &[u8]) -> Vec<u8> {
    let mut encoder = write::ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn deflate(text: &[u8]) -> Vec<u8> {
    let mut encoder = write::DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// One entry of a ZIP file, as far as its local header goes.
pub(crate) fn zip(text: &[u8]) -> Vec<u8> {
    let mut out = b"PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0a.txt".to_vec();
    out.extend_from_slice(&deflate(text));
    out
}

/// Something after every character.
pub(crate) fn strewn(text: &str, between: &str) -> String {
    text.chars().flat_map(|it| [it.to_string(), between.to_owned()]).collect()
}

/// Letters of other scripts for those that look like them.
pub(crate) fn homoglyphs(text: &str, from: &str, to: &str) -> String {
    text.chars()
        .map(|it| from.chars().position(|from| from == it).map_or(it, |at| to.chars().nth(at).unwrap()))
        .collect()
}

/// Letters and digits of a block of mathematical or full-width ones.
pub(crate) fn styled(text: &str, upper: u32, lower: u32, digit: u32) -> String {
    text.chars()
        .map(|it| {
            let shift = |base: u32, from: char| char::from_u32(base + u32::from(it) - u32::from(from)).unwrap();
            match it {
                'A'..='Z' => shift(upper, 'A'),
                'a'..='z' => shift(lower, 'a'),
                '0'..='9' => shift(digit, '0'),
                _ => it,
            }
        })
        .collect()
}

pub(crate) fn tags(text: &str) -> String {
    text.chars().map(|it| char::from_u32(0xe0000 + u32::from(it)).unwrap()).collect()
}

pub(crate) fn selectors(text: &str) -> String {
    text.bytes().map(|it| char::from_u32(0xe0100 + u32::from(it) - 16).unwrap()).collect()
}

/// `=XX` for every second character, and a soft line break every twenty.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::new();
    for (index, byte) in text.bytes().enumerate() {
        if index % 20 == 19 {
            out.push_str("=\r\n");
        }
        out.push_str(&if index % 2 == 0 { format!("={byte:02X}") } else { char::from(byte).to_string() });
    }
    out
}
