//! Which four bytes announce a keyword, and the tables that answer in one look-up whether any does.
//!
//! Only every second place of a text is asked. So each keyword is announced by two blocks of four bytes for either
//! direction of reading, one for each parity of the place it stands at: those that text has least. One of three or four
//! bytes has no two: the other block takes a byte of what may stand beside it, and is told by the other three.

use std::collections::BTreeSet;

/// Of the places of the second map, one bit each, and of the buckets of entries; as in `scan/`. The first map has 65,536
/// places of eight bits: a block is at its hash the bit that its second byte says.
pub(crate) const SECOND_BITS: u32 = 17;
pub(crate) const BUCKET_BITS: u32 = 13;
/// Capitals are as small letters, and bytes beyond ASCII as those within: that leaves 64 for what may stand beside.
fn fold(block: u32) -> u32 {
    (block | 0x2020_2020) & 0x7f7f_7f7f
}

const FACTORS: [i16; 2] = [0x2c9b, -0x4d35];

/// A place in the first map: from the middle of what `pmaddwd` makes of two halves.
pub(crate) fn place(block: u32) -> usize {
    (halves(block) >> 4) as usize & 0xffff
}

/// The bit of a block at its place in the first map: by the low bits of its second byte.
pub(crate) fn mark(block: u32) -> u8 {
    1 << (block >> 8 & 7)
}

/// For the second map and the buckets, which are asked seldom: by its highest bits.
pub(crate) fn hash(block: u32) -> u32 {
    block.wrapping_mul(0x9e37_79b1)
}

fn halves(block: u32) -> u32 {
    let half = |it: u32| i32::from((it & 0xffff) as u16 as i16);
    let [low, high] = [half(block), half(block >> 16)];
    low.wrapping_mul(i32::from(FACTORS[0])).wrapping_add(high.wrapping_mul(i32::from(FACTORS[1]))) as u32
}

/// Which of a block's bytes are the keyword's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Known {
    All,
    First,
    Last,
}

impl Known {
    pub(crate) fn of(self, block: u32) -> u32 {
        match self {
            Known::All => block,
            Known::First => block & 0x00ff_ffff,
            Known::Last => block & 0xffff_ff00,
        }
    }
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) bucket: u32,
    /// Folded, without what is not known.
    pub(crate) block: u32,
    pub(crate) keyword: u16,
    /// Of the block within the keyword as it lies in the text; may be -1.
    pub(crate) offset: i8,
    pub(crate) reversed: bool,
}

/// The entries of keywords, and all blocks that may stand where one is.
#[derive(Default)]
pub(crate) struct Filter {
    pub(crate) entries: BTreeSet<Entry>,
    pub(crate) blocks: BTreeSet<u32>,
}

/// What may stand before and after a keyword as it is read, of all 256.
pub(crate) struct Beside {
    pub(crate) before: BTreeSet<u8>,
    pub(crate) after: BTreeSet<u8>,
}

impl Filter {
    pub(crate) fn add(&mut self, keyword: u16, text: &str, beside: &Beside) {
        let forwards = text.as_bytes().to_ascii_lowercase();
        let backwards: Vec<u8> = forwards.iter().rev().copied().collect();
        self.lying(keyword, &forwards, false, &beside.before, &beside.after);
        self.lying(keyword, &backwards, true, &beside.after, &beside.before);
    }

    /// One keyword as it lies in a text.
    fn lying(&mut self, keyword: u16, text: &[u8], reversed: bool, before: &BTreeSet<u8>, after: &BTreeSet<u8>) {
        for parity in 0..2 {
            let cost = |at: &usize| {
                text[*at..*at + 4].iter().map(|it| commonness(*it)).sum::<u32>() + repeats(&text[*at..*at + 4])
            };
            let whole = (0..(text.len() + 1).saturating_sub(4)).filter(|at| at % 2 == parity).min_by_key(cost);
            if let Some(at) = whole {
                let block = [text[at], text[at + 1], text[at + 2], text[at + 3]];
                self.entry(keyword, Known::All, at, reversed, &[block]);
                continue;
            }
            let last = text.len() - 3;
            let behind = |it: &u8| [text[last], text[last + 1], text[last + 2], *it];
            let ahead = |it: &u8| [*it, text[0], text[1], text[2]];
            if last % 2 == parity && (after.len() <= before.len() || text.len() == 3) {
                self.entry(keyword, Known::First, last, reversed, &after.iter().map(behind).collect::<Vec<_>>());
            } else {
                self.entry(keyword, Known::Last, usize::MAX, reversed, &before.iter().map(ahead).collect::<Vec<_>>());
            }
        }
    }

    fn entry(&mut self, keyword: u16, known: Known, at: usize, reversed: bool, blocks: &[[u8; 4]]) {
        let offset = i8::try_from(at).unwrap_or(-1);
        for block in blocks.iter().map(|it| fold(u32::from_le_bytes(*it))) {
            self.blocks.insert(block);
            let block = known.of(block);
            let bucket = hash(block) >> (32 - BUCKET_BITS);
            self.entries.insert(Entry { bucket, block, keyword, offset, reversed });
        }
    }
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
