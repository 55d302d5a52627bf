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

/// The sixteen bytes from `at` on, with noughts for what there is not.
#[inline(always)]
pub(in crate::scan) fn head(text: &[u8], at: usize) -> Lane {
    if let Some(lane) = text.get(at..).and_then(|it| it.first_chunk()) {
        return Lane::of(lane);
    }
    let (rest, mut lane) = (text.get(at..).unwrap_or_default(), [0; 16]);
    lane.iter_mut().zip(rest).for_each(|(slot, it)| *slot = *it);
    Lane::of(&lane)
}

/// Which of 128 bytes are of a class.
#[inline(always)]
pub(in crate::scan) fn two(text: &[u8; 2 * BLOCK], class: impl Fn(Lane) -> Lane + Copy) -> u128 {
    u128::from(mask(text, 0, class)) | u128::from(mask(text, BLOCK, class)) << BLOCK
}

/// Which of the first 127 bytes of a text are with the next of a class of pairs.
#[inline(always)]
pub(in crate::scan) fn two_pairs(text: &[u8], class: impl Fn(Lane, Lane) -> Lane) -> u128 {
    let mut padded = [0; 2 * BLOCK + 16];
    let length = text.len().min(2 * BLOCK);
    padded.iter_mut().zip(text).take(length).for_each(|(slot, it)| *slot = *it);
    let lane = |at: usize| padded.get(at..).and_then(|it| it.first_chunk()).map_or(Lane::none(), Lane::of);
    let pairs = (0..length).step_by(16).fold(0, |all, at| all | u128::from(class(lane(at), lane(at + 1)).bits()) << at);
    pairs & 1u128.unbounded_shl(u32::try_from(length.saturating_sub(1)).unwrap_or(0)).wrapping_sub(1)
}

/// Whether any byte of a part of a text is of a class.
pub(in crate::scan) fn any(text: &[u8], part: std::ops::Range<usize>, class: impl Fn(Lane) -> Lane) -> bool {
    let within = |at: usize| u64::MAX >> (BLOCK - (part.end - at).min(BLOCK));
    (part.start..part.end).step_by(BLOCK).any(|at| mask(text, at, &class) & within(at) != 0)
}

/// Which of these, one for every second place of `text`, have the bit that is numbered by the low bits of the byte after
/// that place.
#[inline(always)]
pub(in crate::scan) fn marked(text: &[u8; SEEN], places: &[u8; BLOCK / 2]) -> u32 {
    let (lanes, _) = text.as_chunks::<16>();
    let pairs = lanes.as_chunks::<2>().0.iter().zip(places.as_chunks::<16>().0).rev();
    pairs.fold(0, |all, ([first, second], places)| {
        let marks = Lane::of(first).seconds(Lane::of(second)).marks();
        all << 16 | u32::from(!Lane::of(places).and(marks).is(0).bits())
    })
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

/// What looks for encodings asks of sixty-four bytes, all at once: each class apart would load and compare them anew.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::scan) struct Classes {
    pub(in crate::scan) alphanumeric: u64,
    pub(in crate::scan) base64: u64,
    pub(in crate::scan) graphic: u64,
    /// Odd bytes, and those with which an escape may begin.
    pub(in crate::scan) strange: u64,
}

impl Classes {
    /// Of the bytes from `at` on.
    #[inline(always)]
    pub(in crate::scan) fn of(text: &[u8], at: usize) -> Classes {
        if let Some(block) = text.get(at..at + BLOCK).and_then(|it| it.first_chunk()) {
            return Classes::of_block(block);
        }
        let rest = text.get(at..).unwrap_or_default();
        let mut block = [0; BLOCK];
        if let Some(head) = block.get_mut(..rest.len()) {
            head.copy_from_slice(rest);
        }
        let all = Classes::of_block(&block);
        let there = 1u64.unbounded_shl(u32::try_from(rest.len()).unwrap_or(64)).wrapping_sub(1);
        Classes { strange: all.strange & there, ..all }
    }

    #[inline(always)]
    fn of_block(block: &[u8; BLOCK]) -> Classes {
        let mut all = Classes::default();
        for lane in block.as_chunks::<16>().0.iter().rev() {
            let lane = Lane::of(lane);
            let alphanumeric = alphanumeric(lane);
            let base64 = alphanumeric.or(signs(lane));
            let graphic = graphic(lane);
            let blank = lane.is(b' ').or(lane.is(b'\n')).or(lane.is(b'\t')).or(lane.is(b'\r'));
            let strange = graphic.or(blank).not().or(escape(lane));
            all.alphanumeric = all.alphanumeric << 16 | u64::from(alphanumeric.bits());
            all.base64 = all.base64 << 16 | u64::from(base64.bits());
            all.graphic = all.graphic << 16 | u64::from(graphic.bits());
            all.strange = all.strange << 16 | u64::from(strange.bits());
        }
        all
    }
}

/// A block with the bytes that the hashes of its last places need.
pub(in crate::scan) const SEEN: usize = BLOCK + 2;
/// Bytes that [`hashes`] is about, with those that the last place needs.
pub(in crate::scan) const HASHED: usize = 16 + 2;
/// As in `build/filter.rs`.
const FACTORS: [i16; 2] = [0x2c9b, -0x4d35];

/// A hash of the four bytes, case folded, at every second place of sixteen: of 0, 4, 8 and 12, then of 2, 6, 10 and 14.
#[inline(always)]
pub(in crate::scan) fn hashes(bytes: &[u8; HASHED]) -> [[u16; 4]; 2] {
    let lane = |from: usize| bytes.get(from..).and_then(|it| it.first_chunk()).map_or(Lane::none(), Lane::of);
    [0, 2].map(|from| lane(from).folded().ascii().hashed(FACTORS))
}

#[inline(always)]
pub(in crate::scan) fn alphanumeric(lane: Lane) -> Lane {
    lane.folded().within(b'a', b'z').or(digit(lane))
}

/// Digits of base64, of either alphabet.
#[cfg(test)]
pub(in crate::scan) fn base64(lane: Lane) -> Lane {
    alphanumeric(lane).or(signs(lane))
}

/// The digits of base64 that are neither letter nor digit.
#[inline(always)]
fn signs(lane: Lane) -> Lane {
    lane.is(b'+').or(lane.is(b'-')).or(lane.is(b'/')).or(lane.is(b'_'))
}

/// The signs that may stand for letters, as `class::FOLD_SIGNS` has them.
#[inline(always)]
pub(in crate::scan) fn sign_for_letter(lane: Lane) -> Lane {
    lane.is(b'@').or(lane.is(b'$')).or(lane.is(b'!')).or(lane.is(b'|')).or(lane.is(b'+'))
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
pub(in crate::scan) fn capital(lane: Lane) -> Lane {
    lane.within(b'A', b'Z')
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
        bitand_m128i, bitandnot_m128i, bitor_m128i, bitxor_m128i, cmp_eq_mask_i8_m128i, load_unaligned_m128i, m128i,
        min_u8_m128i, move_mask_i8_m128i, mul_i16_horizontal_add_m128i, pack_i16_to_u8_m128i, set_splat_i8_m128i,
        shr_imm_u16_m128i, shr_imm_u32_m128i, sub_i8_m128i,
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
        pub(in crate::scan) fn bits(self) -> u16 {
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

        /// Those that have this one bit.
        #[inline(always)]
        pub(in crate::scan) fn has(self, bit: u8) -> Lane {
            Lane(cmp_eq_mask_i8_m128i(bitand_m128i(self.0, all(bit)), all(bit)))
        }

        /// Capitals as small letters.
        #[inline(always)]
        pub(in crate::scan) fn folded(self) -> Lane {
            Lane(bitor_m128i(self.0, all(0x20)))
        }

        /// Without the highest bits.
        #[inline(always)]
        pub(super) fn ascii(self) -> Lane {
            Lane(bitand_m128i(self.0, all(0x7f)))
        }

        #[inline(always)]
        pub(in crate::scan) fn or(self, other: Lane) -> Lane {
            Lane(bitor_m128i(self.0, other.0))
        }

        #[inline(always)]
        pub(in crate::scan) fn and(self, other: Lane) -> Lane {
            Lane(bitand_m128i(self.0, other.0))
        }

        #[inline(always)]
        pub(in crate::scan) fn not(self) -> Lane {
            Lane(bitandnot_m128i(self.0, all(0xff)))
        }

        /// The bytes at odd places of this and of the next.
        #[inline(always)]
        pub(super) fn seconds(self, next: Lane) -> Lane {
            Lane(pack_i16_to_u8_m128i(shr_imm_u16_m128i::<8>(self.0), shr_imm_u16_m128i::<8>(next.0)))
        }

        /// Of each byte the bit that its three low bits number.
        #[inline(always)]
        pub(super) fn marks(self) -> Lane {
            let choose = |bit: u8, unset: u8| {
                bitxor_m128i(cmp_eq_mask_i8_m128i(bitand_m128i(self.0, all(bit)), all(bit)), all(unset))
            };
            Lane(bitand_m128i(bitand_m128i(choose(1, 0x55), choose(2, 0x33)), choose(4, 0x0f)))
        }

        /// Each two pairs of bytes as numbers, each times its factor, and the middle of the sum.
        #[inline(always)]
        pub(super) fn hashed(self, [first, second]: [i16; 2]) -> [u16; 4] {
            let factors = [first, second, first, second, first, second, first, second];
            let sums = mul_i16_horizontal_add_m128i(self.0, m128i::from(factors));
            let [a, _, b, _, c, _, d, _]: [u16; 8] = shr_imm_u32_m128i::<4>(sums).into();
            [a, b, c, d]
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
        pub(in crate::scan) fn bits(self) -> u16 {
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

        /// Those that have this one bit.
        #[inline(always)]
        pub(in crate::scan) fn has(self, bit: u8) -> Lane {
            self.and(Lane::all(bit)).is(bit)
        }

        /// Capitals as small letters.
        #[inline(always)]
        pub(in crate::scan) fn folded(self) -> Lane {
            self.each(self, |it, _| it | 0x20)
        }

        /// Without the highest bits.
        #[inline(always)]
        pub(super) fn ascii(self) -> Lane {
            self.each(self, |it, _| it & 0x7f)
        }

        #[inline(always)]
        pub(in crate::scan) fn or(self, other: Lane) -> Lane {
            self.each(other, |a, b| a | b)
        }

        #[inline(always)]
        pub(in crate::scan) fn and(self, other: Lane) -> Lane {
            self.each(other, |a, b| a & b)
        }

        #[inline(always)]
        pub(in crate::scan) fn not(self) -> Lane {
            self.each(self, |it, _| !it)
        }

        /// The bytes at odd places of this and of the next.
        #[inline(always)]
        pub(super) fn seconds(self, next: Lane) -> Lane {
            let (first, second) = (self.0.as_chunks::<2>().0, next.0.as_chunks::<2>().0);
            let mut lane = [0; 16];
            lane.iter_mut().zip(first.iter().chain(second)).for_each(|(slot, [_, it])| *slot = *it);
            Lane(lane)
        }

        /// Of each byte the bit that its three low bits number.
        #[inline(always)]
        pub(super) fn marks(self) -> Lane {
            self.each(self, |it, _| 1 << (it & 7))
        }

        /// Each two pairs of bytes as numbers, each times its factor, and the middle of the sum.
        #[inline(always)]
        pub(super) fn hashed(self, [first, second]: [i16; 2]) -> [u16; 4] {
            let mut sums = [0; 4];
            for (to, [a, b, c, d]) in sums.iter_mut().zip(self.0.as_chunks::<4>().0) {
                let [low, high] = [[*a, *b], [*c, *d]].map(|it| i32::from(i16::from_le_bytes(it)));
                let sum = low.wrapping_mul(i32::from(first)).wrapping_add(high.wrapping_mul(i32::from(second)));
                *to = (sum.cast_unsigned() >> 4 & 0xffff) as u16;
            }
            sums
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
    fn all_classes_at_once_are_those_apart() {
        let text: Vec<u8> = (0..=255).chain(0..=255).chain(0..77).collect();
        for at in 0..text.len() + 2 {
            let all = Classes::of(&text, at);
            assert_eq!(all.alphanumeric, mask(&text, at, alphanumeric), "{at}");
            assert_eq!(all.base64, mask(&text, at, base64), "{at}");
            assert_eq!(all.graphic, mask(&text, at, graphic), "{at}");
            assert_eq!(all.strange, mask(&text, at, |lane| odd(lane).or(escape(lane))), "{at}");
        }
    }

    #[test]
    fn a_mark_is_that_of_the_byte_after_the_place() {
        let text: [u8; SEEN] = std::array::from_fn(|at| u8::try_from(at * 37 % 251).unwrap());
        for bit in 0..8 {
            let marked = marked(&text, &[1 << bit; BLOCK / 2]);
            for place in 0..BLOCK / 2 {
                assert_eq!(marked >> place & 1 == 1, text[place * 2 + 1] & 7 == bit, "{place}, {bit}");
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
