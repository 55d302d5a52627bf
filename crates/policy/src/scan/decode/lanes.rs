//! Classes of sixty-four bytes at a time, one bit for each: what looks for candidates looks at every byte, and one by one
//! that would be what a scan costs.
//!
//! Invariant: bit `n` of a mask is about the byte at `at + n`; there is none beyond the text.

/// Bytes that a mask is about.
pub(in crate::scan) const BLOCK: usize = 64;

/// Which of the bytes from `at` on are of a class.
#[inline(always)]
pub(in crate::scan) fn mask(text: &[u8], at: usize, class: impl Fn(Lane) -> Lane) -> u64 {
    if let Some(block) = text.get(at..at + BLOCK).and_then(|it| it.first_chunk()) {
        return bits(block, class);
    }
    let rest = text.get(at..).unwrap_or_default();
    let mut block = [0; BLOCK];
    if let Some(head) = block.get_mut(..rest.len()) {
        head.copy_from_slice(rest);
    }
    bits(&block, class) & 1u64.unbounded_shl(u32::try_from(rest.len()).unwrap_or(64)).wrapping_sub(1)
}

#[inline(always)]
fn bits(block: &[u8; BLOCK], class: impl Fn(Lane) -> Lane) -> u64 {
    let (lanes, _) = block.as_chunks::<16>();
    lanes.iter().rev().fold(0, |all, lane| all << 16 | u64::from(class(Lane::of(lane)).bits()))
}

/// Which of the bytes from `at` on are the same as the ones `distance` further on.
#[inline(always)]
pub(in crate::scan) fn repeated(text: &[u8], at: usize, distance: usize) -> u64 {
    let first = text.get(at..at + BLOCK).and_then(|it| it.first_chunk::<BLOCK>());
    let second = text.get(at + distance..at + distance + BLOCK).and_then(|it| it.first_chunk::<BLOCK>());
    if let (Some(first), Some(second)) = (first, second) {
        let pairs = first.as_chunks::<16>().0.iter().zip(second.as_chunks::<16>().0).rev();
        return pairs.fold(0, |all, (a, b)| all << 16 | u64::from(Lane::of(a).same(Lane::of(b)).bits()));
    }
    let rest = text.get(at..).unwrap_or_default().iter().zip(text.get(at + distance..).unwrap_or_default());
    rest.take(BLOCK).enumerate().fold(0, |all, (bit, (a, b))| all | u64::from(a == b) << bit)
}

/// Bytes that [`hashes`] is about, with those that the last positions need.
pub(in crate::scan) const HASHED: usize = 16 + 3;
/// As in `build/filter.rs`.
const FACTORS: [u16; 2] = [0x9e37, 0x85eb];

/// A hash of the four bytes, case folded, from each of sixteen positions on: of the even ones, and of the odd ones.
#[inline(always)]
pub(in crate::scan) fn hashes(bytes: &[u8; HASHED]) -> [[u16; 8]; 2] {
    let lane = |from: usize| bytes.get(from..).and_then(|it| it.first_chunk()).map_or(Lane::none(), Lane::of).folded();
    let [first, second] = FACTORS;
    [0, 1].map(|from| lane(from).times(first).plus(lane(from + 2).times(second)).pairs())
}

/// The hash of one block of four.
pub(in crate::scan) fn hash(block: u32) -> u16 {
    let ([first, second], half) = (FACTORS, |it: u32| (it & 0xffff) as u16);
    half(block).wrapping_mul(first).wrapping_add(half(block >> 16).wrapping_mul(second))
}

#[inline(always)]
pub(in crate::scan) fn alphanumeric(lane: Lane) -> Lane {
    lane.folded().within(b'a', b'z').or(digit(lane))
}

/// Digits of base64, of either alphabet.
#[inline(always)]
pub(in crate::scan) fn base64(lane: Lane) -> Lane {
    let signs = lane.is(b'+').or(lane.is(b'-')).or(lane.is(b'/')).or(lane.is(b'_'));
    alphanumeric(lane).or(signs)
}

#[inline(always)]
pub(in crate::scan) fn hex(lane: Lane) -> Lane {
    lane.folded().within(b'a', b'f').or(digit(lane))
}

#[inline(always)]
pub(in crate::scan) fn base32_upper(lane: Lane) -> Lane {
    lane.within(b'A', b'Z').or(lane.within(b'2', b'7'))
}

#[inline(always)]
pub(in crate::scan) fn base32_lower(lane: Lane) -> Lane {
    lane.within(b'a', b'z').or(lane.within(b'2', b'7'))
}

#[inline(always)]
pub(in crate::scan) fn digit(lane: Lane) -> Lane {
    lane.within(b'0', b'9')
}

#[inline(always)]
pub(in crate::scan) fn graphic(lane: Lane) -> Lane {
    lane.within(b'!', b'~')
}

/// What is neither printable ASCII nor tab, line feed or carriage return.
#[inline(always)]
pub(in crate::scan) fn odd(lane: Lane) -> Lane {
    let blank = lane.is(b'\n').or(lane.is(b'\t')).or(lane.is(b'\r'));
    lane.within(b' ', b'~').or(blank).not()
}

/// Where an escape may begin.
#[inline(always)]
pub(in crate::scan) fn escape(lane: Lane) -> Lane {
    lane.is(b'%').or(lane.is(b'\\')).or(lane.is(b'&'))
}

pub(in crate::scan) use lane::Lane;

#[cfg(target_arch = "x86_64")]
mod lane {
    use safe_arch::{
        add_i16_m128i, bitandnot_m128i, bitor_m128i, cmp_eq_mask_i8_m128i, load_unaligned_m128i, m128i, min_u8_m128i,
        move_mask_i8_m128i, mul_i16_keep_low_m128i, set_splat_i8_m128i, set_splat_i16_m128i, sub_i8_m128i,
    };

    /// Sixteen bytes; of a class, all bits set where one is of it. SSE2, which every x86-64 has.
    #[derive(Debug, Clone, Copy)]
    pub(in crate::scan) struct Lane(m128i);

    #[inline(always)]
    fn all(byte: u8) -> m128i {
        set_splat_i8_m128i(byte.cast_signed())
    }

    impl Lane {
        /// A class that no byte is of.
        #[inline(always)]
        pub(in crate::scan) fn none() -> Lane {
            Lane(all(0))
        }

        #[inline(always)]
        pub(super) fn of(bytes: &[u8; 16]) -> Lane {
            Lane(load_unaligned_m128i(bytes))
        }

        #[inline(always)]
        pub(super) fn bits(self) -> u16 {
            (move_mask_i8_m128i(self.0) & 0xffff) as u16
        }

        /// The same byte sixteen times.
        #[inline(always)]
        pub(in crate::scan) fn all(byte: u8) -> Lane {
            Lane(all(byte))
        }

        #[inline(always)]
        pub(in crate::scan) fn is(self, byte: u8) -> Lane {
            self.same(Lane(all(byte)))
        }

        #[inline(always)]
        pub(in crate::scan) fn same(self, other: Lane) -> Lane {
            Lane(cmp_eq_mask_i8_m128i(self.0, other.0))
        }

        #[inline(always)]
        pub(in crate::scan) fn within(self, first: u8, last: u8) -> Lane {
            let above = sub_i8_m128i(self.0, all(first));
            Lane(cmp_eq_mask_i8_m128i(min_u8_m128i(above, all(last - first)), above))
        }

        /// Capitals as small letters.
        #[inline(always)]
        pub(in crate::scan) fn folded(self) -> Lane {
            Lane(bitor_m128i(self.0, all(0x20)))
        }

        #[inline(always)]
        pub(in crate::scan) fn or(self, other: Lane) -> Lane {
            Lane(bitor_m128i(self.0, other.0))
        }

        #[inline(always)]
        pub(in crate::scan) fn not(self) -> Lane {
            Lane(bitandnot_m128i(self.0, all(0xff)))
        }

        /// Each pair of bytes as a number, the first the lower, times the same.
        #[inline(always)]
        pub(super) fn times(self, factor: u16) -> Lane {
            Lane(mul_i16_keep_low_m128i(self.0, set_splat_i16_m128i(factor.cast_signed())))
        }

        #[inline(always)]
        pub(super) fn plus(self, other: Lane) -> Lane {
            Lane(add_i16_m128i(self.0, other.0))
        }

        #[inline(always)]
        pub(super) fn pairs(self) -> [u16; 8] {
            self.0.into()
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod lane {
    /// Sixteen bytes; of a class, all bits set where one is of it.
    #[derive(Debug, Clone, Copy)]
    pub(in crate::scan) struct Lane([u8; 16]);

    impl Lane {
        /// A class that no byte is of.
        #[inline(always)]
        pub(in crate::scan) fn none() -> Lane {
            Lane([0; 16])
        }

        #[inline(always)]
        pub(super) fn of(bytes: &[u8; 16]) -> Lane {
            Lane(*bytes)
        }

        #[inline(always)]
        pub(super) fn bits(self) -> u16 {
            self.0.iter().rev().fold(0, |all, byte| all << 1 | u16::from(byte >> 7))
        }

        #[inline(always)]
        fn each(self, other: Lane, of: impl Fn(u8, u8) -> u8) -> Lane {
            let mut lane = self.0;
            lane.iter_mut().zip(other.0).for_each(|(slot, it)| *slot = of(*slot, it));
            Lane(lane)
        }

        /// The same byte sixteen times.
        #[inline(always)]
        pub(in crate::scan) fn all(byte: u8) -> Lane {
            Lane([byte; 16])
        }

        #[inline(always)]
        pub(in crate::scan) fn is(self, byte: u8) -> Lane {
            self.same(Lane::all(byte))
        }

        #[inline(always)]
        pub(in crate::scan) fn same(self, other: Lane) -> Lane {
            self.each(other, |a, b| u8::from(a == b).wrapping_neg())
        }

        #[inline(always)]
        pub(in crate::scan) fn within(self, first: u8, last: u8) -> Lane {
            self.each(self, |it, _| u8::from(it.wrapping_sub(first) <= last - first).wrapping_neg())
        }

        /// Capitals as small letters.
        #[inline(always)]
        pub(in crate::scan) fn folded(self) -> Lane {
            self.each(self, |it, _| it | 0x20)
        }

        #[inline(always)]
        pub(in crate::scan) fn or(self, other: Lane) -> Lane {
            self.each(other, |a, b| a | b)
        }

        #[inline(always)]
        pub(in crate::scan) fn not(self) -> Lane {
            self.each(self, |it, _| !it)
        }

        /// Each pair of bytes as a number, the first the lower, times the same.
        #[inline(always)]
        pub(super) fn times(self, factor: u16) -> Lane {
            let mut lane = self.0;
            for pair in lane.as_chunks_mut::<2>().0 {
                *pair = u16::from_le_bytes(*pair).wrapping_mul(factor).to_le_bytes();
            }
            Lane(lane)
        }

        #[inline(always)]
        pub(super) fn plus(self, other: Lane) -> Lane {
            let mut lane = self.0;
            for (pair, other) in lane.as_chunks_mut::<2>().0.iter_mut().zip(other.pairs()) {
                *pair = u16::from_le_bytes(*pair).wrapping_add(other).to_le_bytes();
            }
            Lane(lane)
        }

        #[inline(always)]
        pub(super) fn pairs(self) -> [u16; 8] {
            let mut pairs = [0; 8];
            for (to, from) in pairs.iter_mut().zip(self.0.as_chunks::<2>().0) {
                *to = u16::from_le_bytes(*from);
            }
            pairs
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::decode::class;

    #[test]
    fn lanes_and_tables_agree_on_every_byte() {
        let text: Vec<u8> = (0..=255).chain(0..=255).chain(0..77).collect();
        type Class = fn(Lane) -> Lane;
        let table: [(u8, Class); 8] = [
            (class::BASE64, base64),
            (class::HEX, hex),
            (class::BASE32_UPPER, base32_upper),
            (class::BASE32_LOWER, base32_lower),
            (class::GRAPHIC, graphic),
            (class::ODD, odd),
            (class::ALPHANUMERIC, alphanumeric),
            (class::ESCAPE, escape),
        ];
        for (bit, lanes) in table {
            for at in 0..text.len() + 2 {
                let mask = mask(&text, at, lanes);
                for offset in 0..BLOCK {
                    let expected = text.get(at + offset).is_some_and(|it| class::is(*it, bit));
                    assert_eq!(mask >> offset & 1 == 1, expected, "class {bit}, {at} + {offset}");
                }
            }
        }
    }

    #[test]
    fn what_comes_again_is_seen_to_the_end() {
        let text = b"ab.cd.ef".repeat(20);
        for at in 0..text.len() {
            for distance in 1..7 {
                let mask = repeated(&text, at, distance);
                for offset in 0..BLOCK {
                    let expected =
                        text.get(at + offset).zip(text.get(at + offset + distance)).is_some_and(|(a, b)| a == b);
                    assert_eq!(mask >> offset & 1 == 1, expected, "{at} + {offset}, {distance}");
                }
            }
        }
    }
}
