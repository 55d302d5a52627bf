//! Whether bytes may be deflated (RFC 1951), told by how they begin: what random bytes, and the bytes that words decode
//! to, nearly never do. An inflater of its own for each of those would be most of what a scan costs.
//!
//! Invariant: what an inflater makes something of passes; what ends too early passes where more may come, and where it
//! was right for long enough.

/// Symbols that are followed: each refers back beyond the beginning one time in five where it is chance.
const FOLLOWED: usize = 64;
/// So many that were right are no chance where the data end.
const ENOUGH: usize = 24;
/// What gives fewer bytes holds no token.
const LEAST: u32 = 12;
const LENGTH_EXTRA: [u8; 29] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const LENGTHS: [u16; 29] =
    [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258];

/// `open` says that more may follow.
pub(in crate::scan) fn plausible(data: &[u8], open: bool) -> bool {
    let (mut bits, mut given) = (Bits { data, at: 0 }, 0);
    // Any number of empty blocks may stand before what matters; so many are followed.
    for _ in 0..FOLLOWED {
        let Some(head) = bits.take(3) else { return open };
        let verdict = match head >> 1 {
            0 => Some(stored(bits.data.get(bits.at.div_ceil(8)..).unwrap_or_default(), open)),
            1 => fixed(&mut bits, &mut given, open),
            2 => Some(dynamic(&mut bits).unwrap_or(open)),
            _ => Some(false),
        };
        match verdict {
            Some(verdict) => return verdict,
            None if head & 1 == 1 => return given >= LEAST,
            None => {}
        }
    }
    true
}

/// Its length is there twice.
fn stored(data: &[u8], open: bool) -> bool {
    match data {
        [a, b, c, d, ..] => a ^ c == 0xff && b ^ d == 0xff,
        _ => open,
    }
}

struct Bits<'d> {
    data: &'d [u8],
    at: usize,
}

impl Bits<'_> {
    /// A number of so many bits, at most 32, the least first.
    #[inline]
    fn take(&mut self, count: usize) -> Option<u32> {
        let at = self.at / 8;
        let word = match self.data.get(at..).and_then(|it| it.first_chunk()) {
            Some(word) => u64::from_le_bytes(*word),
            None => {
                let rest = self.data.get(at..).unwrap_or_default();
                if self.at + count > self.data.len() * 8 {
                    return None;
                }
                rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
            }
        };
        let number = word >> (self.at % 8) & ((1 << count) - 1);
        self.at += count;
        u32::try_from(number).ok()
    }

    /// A part of a code, its first bit first.
    fn code(&mut self, count: usize) -> Option<u32> {
        self.take(count).map(|it| (it.reverse_bits()).unbounded_shr(u32::try_from(32 - count).unwrap_or(32)))
    }

    fn bit(&mut self) -> Option<u32> {
        self.take(1)
    }
}

/// Follows a block of fixed codes; `None` where it ends and nothing was wrong.
fn fixed(bits: &mut Bits<'_>, given: &mut u32, open: bool) -> Option<bool> {
    for followed in 0..FOLLOWED {
        match symbol_of_fixed(bits, *given) {
            Some(Ok(0)) => return None,
            Some(Ok(more)) => *given += more,
            Some(Err(())) => return Some(false),
            None => return Some(open || followed >= ENOUGH),
        }
    }
    Some(true)
}

/// How many bytes the next symbol stands for, none where it is the block's end; an error where it refers to what was not
/// `given`, and `None` where it ends too early.
fn symbol_of_fixed(bits: &mut Bits<'_>, given: u32) -> Option<Result<u32, ()>> {
    let short = bits.code(7)?;
    let length = if short < 24 {
        short
    } else {
        let code = short << 1 | bits.code(1)?;
        match code {
            0x30..=0xbf => return Some(Ok(1)),
            0xc0..=0xc7 => code - 0xc0 + 24,
            _ => return bits.code(1).map(|_| Ok(1)),
        }
    };
    let Some(index) = length.checked_sub(1) else { return Some(Ok(0)) };
    let Some((length, extra)) = LENGTHS.get(index as usize).zip(LENGTH_EXTRA.get(index as usize)) else {
        return Some(Err(()));
    };
    let length = u32::from(*length) + bits.take(usize::from(*extra))?;
    let code = bits.code(5)?;
    if code > 29 {
        return Some(Err(()));
    }
    let more = (code / 2).saturating_sub(1);
    let base = if code < 4 { code + 1 } else { ((2 + code % 2) << more) + 1 };
    Some(if base + bits.take(more as usize)? > given { Err(()) } else { Ok(length) })
}

/// Whether the codes of a dynamic block are complete: those for the codes' lengths, and those for literals.
fn dynamic(bits: &mut Bits<'_>) -> Option<bool> {
    const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
    let (literals, distances) = (bits.take(5)? as usize + 257, bits.take(5)?);
    if literals > 286 || distances > 29 {
        return Some(false);
    }
    let mut lengths = [0u32; 19];
    for place in ORDER.iter().take(bits.take(4)? as usize + 4) {
        let length = bits.take(3)?;
        if let Some(slot) = lengths.get_mut(*place) {
            *slot = length;
        }
    }
    let sum: u32 = lengths.iter().filter(|it| **it > 0).map(|it| 128 >> it).sum();
    if sum != 128 {
        return Some(lengths.iter().filter(|it| **it > 0).count() <= 1);
    }
    let (mut given, mut last, mut filled, mut end) = (0, 0, 0u32, 0);
    while given < literals {
        let (length, times) = match symbol(bits, &lengths)? {
            16 => (last, bits.take(2)? as usize + 3),
            17 => (0, bits.take(3)? as usize + 3),
            18 => (0, bits.take(7)? as usize + 11),
            length => (length, 1),
        };
        // Those that run over belong to the distances.
        let times = times.min(literals - given);
        if (given..given + times).contains(&256) {
            end = length;
        }
        filled += if length > 0 { (1 << 15 >> length) * u32::try_from(times).unwrap_or_default() } else { 0 };
        (given, last) = (given + times, length);
    }
    Some(end > 0 && (filled == 1 << 15 || filled == 1 << 14))
}

/// The next symbol of a canonical code by its lengths, which are complete.
fn symbol(bits: &mut Bits<'_>, lengths: &[u32; 19]) -> Option<u32> {
    let (mut code, mut first) = (0, 0);
    for length in 1..8 {
        code = code << 1 | bits.bit()?;
        first <<= 1;
        let mut of_length = (0u32..).zip(lengths).filter(|(_, it)| **it == length);
        let count = u32::try_from(of_length.clone().count()).unwrap_or_default();
        if code < first + count {
            return of_length.nth((code - first) as usize).map(|(symbol, _)| symbol);
        }
        first += count;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::DeflateEncoder};
    use proptest::prelude::*;
    use std::io::Write as _;

    fn deflated(text: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    proptest! {
        #[test]
        fn what_is_deflated_passes(
            text in prop_oneof!["[ -~]{12,60}", "(abc|[a-z ]){12,900}"], level in 0u32..10, cut in 0usize..2000,
        ) {
            let data = deflated(text.as_bytes(), level);
            prop_assert!(plausible(&data, false));
            prop_assert!(plausible(&data[..cut.min(data.len())], true));
        }
    }

    #[test]
    fn empty_blocks_before_it_do_not_hide_it() {
        // Ten bits each: not the last, of fixed codes, and the end.
        let empty = (0..4).fold(0u64, |bits, block| bits | 2 << (10 * block));
        let mut data = empty.to_le_bytes()[..5].to_vec();
        assert!(!plausible(&data, false));
        data.extend(deflated(b"a text that is long enough", 6));
        assert!(plausible(&data, false));
        let mut out = Vec::new();
        flate2::write::DeflateDecoder::new(&mut out).write_all(&data).unwrap();
        assert_eq!(out, b"a text that is long enough");
    }

    #[test]
    fn of_noise_next_to_nothing_passes() {
        let mut seed = 7u64;
        let mut step = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 56) as u8
        };
        let passed = (0..10_000).filter(|_| plausible(&(0..80).map(|_| step()).collect::<Vec<u8>>(), false)).count();
        assert!(passed < 60, "{passed}");
    }
}
