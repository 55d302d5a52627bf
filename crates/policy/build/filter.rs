//! Which four bytes announce a keyword, and the tables that answer in one look-up whether any does.
//!
//! Each keyword is announced by four bytes of it, in either direction of reading: those that text has least. A keyword
//! of three takes a byte of what may stand beside it, one entry for each.

use std::collections::BTreeSet;

/// Of a hash, and of the part of it that says in which bucket its entries are; as in `scan/`.
pub(crate) const BITS: u32 = 16;
pub(crate) const BUCKET_BITS: u32 = 12;
const FOLD: u32 = 0x2020_2020;
const FACTORS: [u16; 2] = [0x9e37, 0x85eb];

/// In two halves, for sixteen positions are hashed at a time.
pub(crate) fn hash(block: u32) -> u16 {
    let [low, high] = [block | FOLD, (block | FOLD) >> 16].map(|it| (it & 0xffff) as u16);
    low.wrapping_mul(FACTORS[0]).wrapping_add(high.wrapping_mul(FACTORS[1]))
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) bucket: u32,
    pub(crate) block: u32,
    pub(crate) keyword: u16,
    /// Of the block within the keyword as it lies in the text; may be -1.
    pub(crate) offset: i8,
    pub(crate) reversed: bool,
}

/// The entries of one keyword; `beside` are the bytes that may follow it.
pub(crate) fn entries(keyword: u16, text: &str, beside: &BTreeSet<u8>) -> BTreeSet<Entry> {
    let bytes = text.as_bytes().to_ascii_lowercase();
    let backwards: Vec<u8> = bytes.iter().rev().copied().collect();
    let mut all = BTreeSet::new();
    let mut add = |block: [u8; 4], offset: usize, reversed: bool| {
        let block = u32::from_le_bytes(block) | FOLD;
        let bucket = u32::from(hash(block) >> (BITS - BUCKET_BITS));
        let offset = if reversed && bytes.len() == 3 { -1 } else { i8::try_from(offset).unwrap_or_default() };
        all.insert(Entry { bucket, block, keyword, offset, reversed });
    };
    if let [a, b, c] = bytes[..] {
        for other in beside {
            add([a, b, c, *other], 0, false);
            add([*other, c, b, a], 0, true);
        }
        return all;
    }
    for (text, reversed) in [(&bytes, false), (&backwards, true)] {
        let cost =
            |at: &usize| text[*at..at + 4].iter().map(|it| commonness(*it)).sum::<u32>() + repeats(&text[*at..at + 4]);
        let at = (0..=text.len() - 4).min_by_key(cost).unwrap_or_default();
        add([text[at], text[at + 1], text[at + 2], text[at + 3]], at, reversed);
    }
    all
}

/// How often text and source code have a byte, roughly.
fn commonness(byte: u8) -> u32 {
    match byte {
        b' ' | b'e' => 12,
        b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' => 8,
        b'l' | b'd' | b'c' | b'u' | b'm' | b'p' | b'h' | b'f' => 5,
        b'g' | b'y' | b'b' | b'w' | b'v' | b'.' | b'/' | b':' | b'-' | b'_' => 3,
        b'0'..=b'9' | b'k' => 2,
        _ => 1,
    }
}

fn repeats(block: &[u8]) -> u32 {
    if block.windows(2).all(|pair| pair[0] == pair[1]) { 100 } else { 0 }
}
