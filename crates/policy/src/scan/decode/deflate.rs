//! Whether bytes may be deflated (RFC 1951), told by how they begin: what random bytes, and the bytes that words decode
//! to, nearly never do. An inflater of its own for each of those would be most of what a scan costs.
//!
//! Invariant: what an inflater takes passes; what ends too early passes, for more may come.

/// Symbols that are followed: each refers back beyond the beginning one time in five where it is chance.
const FOLLOWED: usize = 64;
const LENGTH_EXTRA: [u8; 29] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const LENGTHS: [u16; 29] =
    [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258];

pub(in crate::scan) fn plausible(data: &[u8]) -> bool {
    let mut bits = Bits { data, at: 0 };
    match bits.take(3).map(|head| head >> 1) {
        None => true,
        Some(0) => match data {
            [_, a, b, c, d, ..] => a ^ c == 0xff && b ^ d == 0xff,
            _ => true,
        },
        Some(1) => fixed(bits).unwrap_or(true),
        Some(2) => dynamic(bits).unwrap_or(true),
        Some(_) => false,
    }
}

struct Bits<'d> {
    data: &'d [u8],
    at: usize,
}

impl Bits<'_> {
    /// A number of so many bits, the least first.
    fn take(&mut self, count: usize) -> Option<u32> {
        let number = (0..count).try_fold(0, |number, bit| Some(number | self.bit()? << bit))?;
        Some(number)
    }

    /// A part of a code, its first bit first.
    fn code(&mut self, count: usize) -> Option<u32> {
        (0..count).try_fold(0, |code, _| Some(code << 1 | self.bit()?))
    }

    fn bit(&mut self) -> Option<u32> {
        let byte = self.data.get(self.at / 8)?;
        let bit = byte >> (self.at % 8) & 1;
        self.at += 1;
        Some(u32::from(bit))
    }
}

/// Follows a block of fixed codes; `None` where it ends too early.
fn fixed(mut bits: Bits<'_>) -> Option<bool> {
    let mut given = 0;
    for _ in 0..FOLLOWED {
        let short = bits.code(7)?;
        let length = if short < 24 {
            short
        } else {
            let code = short << 1 | bits.code(1)?;
            match code {
                0x30..=0xbf => {
                    given += 1;
                    continue;
                }
                0xc0..=0xc7 => code - 0xc0 + 24,
                _ => {
                    bits.code(1)?;
                    given += 1;
                    continue;
                }
            }
        };
        let Some(index) = length.checked_sub(1) else { return Some(true) };
        let Some((length, extra)) = LENGTHS.get(index as usize).zip(LENGTH_EXTRA.get(index as usize)) else {
            return Some(false);
        };
        let length = u32::from(*length) + bits.take(usize::from(*extra))?;
        let code = bits.code(5)?;
        if code > 29 {
            return Some(false);
        }
        let more = (code / 2).saturating_sub(1);
        let base = if code < 4 { code + 1 } else { ((2 + code % 2) << more) + 1 };
        if base + bits.take(more as usize)? > given {
            return Some(false);
        }
        given += length;
    }
    Some(true)
}

/// Whether the codes for the lengths of a dynamic block's codes are complete.
fn dynamic(mut bits: Bits<'_>) -> Option<bool> {
    let (literals, distances) = (bits.take(5)?, bits.take(5)?);
    if literals > 29 || distances > 29 {
        return Some(false);
    }
    let (mut sum, mut used) = (0, 0);
    for _ in 0..bits.take(4)? + 4 {
        let length = bits.take(3)?;
        if length > 0 {
            sum += 128 >> length;
            used += 1;
        }
    }
    Some(sum == 128 || used <= 1)
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
            text in prop_oneof!["[ -~]{0,60}", "(abc|[a-z ]){0,900}"], level in 0u32..10, cut in 0usize..2000,
        ) {
            let data = deflated(text.as_bytes(), level);
            prop_assert!(plausible(&data));
            prop_assert!(plausible(&data[..cut.min(data.len())]));
        }
    }

    #[test]
    fn of_noise_next_to_nothing_passes() {
        let mut seed = 7u64;
        let mut step = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 56) as u8
        };
        let passed = (0..10_000).filter(|_| plausible(&(0..80).map(|_| step()).collect::<Vec<u8>>())).count();
        assert!(passed < 200, "{passed}");
    }
}
