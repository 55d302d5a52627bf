//! base32, base85 and hexadecimal without separators.

use crate::scan::{
    decode::{
        class,
        lanes::{self, Lane},
    },
    known::{ASCII85, RFC1924, Z85},
};

pub(in crate::scan) const MIN_HEX: u32 = 24;
pub(in crate::scan) const MIN_BASE32: u32 = 28;
/// The digits of four groups, three of which must be text.
pub(in crate::scan) const MIN_BASE85: u32 = 24;

/// Bytes of pairs of digits, from the first or the second digit on.
pub(in crate::scan) fn hex(digits: &[u8], skip: usize) -> Vec<u8> {
    let (pairs, _) = digits.get(skip..).unwrap_or_default().as_chunks::<2>();
    pairs.iter().map(|[high, low]| nibble(*high) << 4 | nibble(*low)).collect()
}

pub(in crate::scan) fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0,
    }
}

/// Bytes of base32 (RFC 4648) in either case, from the digit `skip` on.
pub(in crate::scan) fn base32(digits: &[u8], skip: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(digits.len() * 5 / 8);
    out.extend(Base32::of(digits, skip));
    out
}

/// The same where it is text, which nearly all is not.
pub(in crate::scan) fn base32_text(digits: &[u8], skip: usize) -> Option<Vec<u8>> {
    let length = digits.len().saturating_sub(skip) * 5 / 8;
    let mut high = 0;
    for group in digits.get(skip..).unwrap_or_default().as_chunks::<8>().0 {
        high += high_bits(group);
        if high * 10 > length {
            return None;
        }
    }
    let (mut out, mut other) = (Vec::with_capacity(length), 0);
    for byte in Base32::of(digits, skip) {
        other += usize::from(!is_printable(byte));
        if other * 10 > length {
            return None;
        }
        out.push(byte);
    }
    Some(out)
}

/// How many of the five bytes that eight digits stand for are no ASCII.
fn high_bits(&[a, b, _, c, d, _, e, _]: &[u8; 8]) -> usize {
    let set = |digit: u8, bit: u8| usize::from(base32_digit(digit).unwrap_or_default() & bit != 0);
    set(a, 16) + set(b, 2) + set(c, 8) + set(d, 1) + set(e, 4)
}

fn base32_digit(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a'),
        b'2'..=b'7' => Some(digit - b'2' + 26),
        _ => None,
    }
}

struct Base32<'d> {
    digits: std::slice::Iter<'d, u8>,
    bits: u32,
    count: u32,
}

impl Base32<'_> {
    fn of(digits: &[u8], skip: usize) -> Base32<'_> {
        Base32 { digits: digits.get(skip..).unwrap_or_default().iter(), bits: 0, count: 0 }
    }
}

impl Iterator for Base32<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        while self.count < 8 {
            let Some(value) = base32_digit(*self.digits.next()?) else { continue };
            self.bits = self.bits << 5 | u32::from(value);
            self.count += 5;
        }
        self.count -= 8;
        u8::try_from(self.bits >> self.count & 0xff).ok()
    }
}

fn is_printable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t')
}

/// Whether most of it is printable: what a wrong alignment does not give.
pub(in crate::scan) fn is_text(bytes: &[u8]) -> bool {
    let mut left = bytes.len() / 10;
    bytes.iter().all(|it| {
        let other = usize::from(!is_printable(*it));
        let enough = left >= other;
        left = left.saturating_sub(other);
        enough
    })
}

/// 255 for what is no digit.
static VALUES: [[u8; 256]; 3] = [values(ASCII85), values(RFC1924), values(Z85)];

/// In which alphabets those are digits that belong to the first three groups in any of five alignments.
#[inline]
fn alphabets_at(run: &[u8]) -> u8 {
    let mut all = 0b111;
    for byte in run.get(4..15).unwrap_or_default() {
        all &= class::of(&ALPHABETS, *byte);
        if all == 0 {
            break;
        }
    }
    all
}

/// Of which of the three a byte is a digit, a bit for each.
static ALPHABETS: [u8; 256] = alphabets();

#[expect(clippy::indexing_slicing, reason = "evaluated when this is compiled")]
const fn alphabets() -> [u8; 256] {
    let values = [values(ASCII85), values(RFC1924), values(Z85)];
    let mut table = [0; 256];
    let mut index = 0;
    while index < 768 {
        if values[index / 256][index % 256] != 255 {
            table[index % 256] |= 1 << (index / 256);
        }
        index += 1;
    }
    table
}

#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "evaluated when this is compiled")]
const fn values(alphabet: &[u8]) -> [u8; 256] {
    let mut table = [255; 256];
    let mut index = 0;
    while index < alphabet.len() {
        table[alphabet[index] as usize] = index as u8;
        index += 1;
    }
    table
}

/// So many places [`base85_beginnings`] is about: those of a block whose first groups lie in the block.
pub(in crate::scan) const BASE85_BEGINNINGS: usize = lanes::BLOCK - 16;

/// After which of the bytes from `at` on base85 may begin by [`alignments`]: quotation marks, `~` and `=`, where what is near
/// does not tell at once that none does.
#[inline]
pub(in crate::scan) fn base85_beginnings(text: &[u8], at: usize) -> u64 {
    let quote = |lane: Lane| lane.is(b'"').or(lane.is(b'\''));
    let signs = lanes::mask(text, at, |lane| quote(lane).or(lane.is(b'~')).or(lane.is(b'=')));
    let signs = signs & u64::MAX >> (lanes::BLOCK - BASE85_BEGINNINGS);
    if signs == 0 {
        return 0;
    }
    let low = lanes::mask(text, at, |lane| lane.within(b'!', b'I'));
    let three = low & low >> 5 & low >> 10;
    let two = three | three >> 1;
    let aligned = two | two >> 2 | three >> 4;
    // What two of the alphabets lack, in any of the eleven places from the fifth on.
    let lacking = lanes::mask(text, at, |lane| quote(lane).or(lane.is(b',')));
    let two = lacking | lacking >> 1;
    let four = two | two >> 2;
    let lacks = (four | four >> 4 | four >> 7) >> 4;
    signs & (aligned | !lacks) >> 1
}

/// At which of five alignments base85 of each of the alphabets may begin at `at`: where its digits are and none of the first
/// three groups begins with a higher digit than 40, which would stand for a byte that is no ASCII.
#[inline]
pub(in crate::scan) fn alignments(text: &[u8], at: usize, end: usize) -> [u16; 3] {
    /// Places that belong to the first three groups in any alignment.
    const WITHIN: u16 = 0x7ff0;
    let head = lanes::head(text, at);
    let three = |lane: Lane| {
        let low = lane.bits();
        low & low >> 5 & low >> 10 & 0x1f
    };
    let mut skips = [three(head.within(b'!', b'I')), 0, 0];
    // Text that is quoted is full of what two of the alphabets lack.
    if head.is(b'"').or(head.is(b'\'')).or(head.is(b',')).bits() & WITHIN == 0 {
        let small = head.within(b'0', b'9').or(head.within(b'a', b'e'));
        let upper = head.within(b'A', b'Z');
        skips = [
            three(head.within(b'!', b'I')),
            three(small.or(upper)),
            three(small.or(head.within(b'f', b'z')).or(head.within(b'A', b'E'))),
        ];
    }
    if skips != [0; 3] {
        let alphabets = alphabets_at(text.get(at..end).unwrap_or_default());
        for (bit, skips) in skips.iter_mut().enumerate() {
            *skips = if alphabets >> bit & 1 == 0 { 0 } else { *skips };
        }
    }
    skips
}

/// Gives what the printable characters of `text` from `at` to `end` stand for in base85, where at one of the alignments they
/// stand for text, and how many of them do.
pub(in crate::scan) fn base85(
    text: &[u8],
    at: usize,
    end: usize,
    alignments: [u16; 3],
    mut give: impl FnMut(Vec<u8>, usize),
) {
    let run = text.get(at..end).unwrap_or_default();
    for (values, skips) in VALUES.iter().zip(alignments) {
        let mut skips = skips;
        while skips != 0 {
            let skip = skips.trailing_zeros() as usize;
            skips &= skips - 1;
            if let Some((bytes, length)) = base85_at(run.get(skip..).unwrap_or_default(), values) {
                give(bytes, skip + length);
            }
        }
    }
}

fn base85_at(run: &[u8], values: &[u8; 256]) -> Option<(Vec<u8>, usize)> {
    let groups = run.as_chunks::<5>().0;
    // Text is told by its first groups: a wrong alphabet or alignment gives ASCII for one group in sixteen.
    let text = |it: &[u8; 5]| group(it, values).is_some_and(|number| number & 0x8080_8080 == 0);
    if groups.len() < 3 || !groups.iter().take(3).all(text) {
        return None;
    }
    let mut out = Vec::with_capacity(groups.len().min(64) * 4 + 3);
    let numbers = groups.iter().map_while(|it| group(it, values));
    let count = numbers.map(|number| out.extend_from_slice(&number.to_be_bytes())).count();
    let rest = run.get(count * 5..).unwrap_or_default();
    let rest = rest.get(..rest.len().min(4)).unwrap_or_default();
    let digits = rest.iter().take_while(|it| class::of(values, **it) != 255).count();
    if digits > 1 {
        let mut padded = [0u8; 5];
        let top = values.iter().position(|it| *it == 84).and_then(|it| u8::try_from(it).ok()).unwrap_or_default();
        padded.fill(top);
        padded.iter_mut().zip(rest.iter().take(digits)).for_each(|(slot, it)| *slot = *it);
        let bytes = group(&padded, values).unwrap_or_default().to_be_bytes();
        out.extend_from_slice(bytes.get(..digits - 1).unwrap_or_default());
    }
    Some((out, count * 5 + digits))
}

fn group(digits: &[u8; 5], values: &[u8; 256]) -> Option<u32> {
    digits.iter().try_fold(0u32, |number, digit| {
        let value = class::of(values, *digit);
        if value == 255 { None } else { number.checked_mul(85)?.checked_add(u32::from(value)) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn digits_are_bytes() {
        assert_eq!(hex(b"6768705F", 0), b"ghp_");
        assert_eq!(hex(b"x6768705f", 1), b"ghp_");
        assert_eq!(base32(b"M5UHAXZQGEZDGNBVGY3TQOJQ", 0), b"ghp_01234567890");
        assert_eq!(base32(b"m5uhaxzqgezdgnbvgy3tqojq", 0), b"ghp_01234567890");
        // Python's `b85encode` and `a85encode`, and Z85, with something before them.
        for text in [&b"xyXJ~L=FflSSG&MFiI5}ZrV`OD!"[..], b"<~B4u6k0JP==1c70M3&tDV@q9._~>"] {
            let mut seen = Vec::new();
            base85(text, 0, text.len(), alignments(text, 0, text.len()), |it, _| {
                seen.push(String::from_utf8_lossy(&it).into_owned())
            });
            assert!(seen.iter().any(|it| it.contains("0123456789abcdef") || it.contains("3456789abcdef")), "{seen:?}");
        }
    }

    proptest! {
        #[test]
        fn base85_is_tried_wherever_it_may_begin(text in r#"([!-~]{1,9}|["'=~]|[!-I]{1,6}|[a-z:/]{1,30}){0,30}"#) {
            let text = text.as_bytes();
            for block in (0..text.len()).step_by(BASE85_BEGINNINGS) {
                let places = base85_beginnings(text, block);
                for offset in 0..BASE85_BEGINNINGS.min(text.len() - block) {
                    let at = block + offset;
                    let sign = b"\"'=~".contains(&text[at]);
                    let begins = sign && alignments(text, at + 1, text.len()) != [0; 3];
                    prop_assert!(!begins || places >> offset & 1 == 1, "{at}");
                    prop_assert!(sign || places >> offset & 1 == 0, "{at}");
                }
            }
        }

        #[test]
        fn what_is_no_base32_of_text_is_told_before(digits in "[a-z2-7]{28,80}", text in "[ -~]{18,40}") {
            for digits in [digits, encoded(text.as_bytes())] {
                for skip in 0..8 {
                    let bytes = base32(digits.as_bytes(), skip);
                    let other = bytes.iter().filter(|it| !is_printable(**it)).count();
                    let expected = (other * 10 <= bytes.len()).then_some(bytes);
                    prop_assert_eq!(base32_text(digits.as_bytes(), skip), expected);
                }
            }
        }
    }

    fn encoded(text: &[u8]) -> String {
        let bits: String = text.iter().map(|it| format!("{it:08b}")).collect();
        let digit = |bits: &[u8]| {
            let five = usize::from_str_radix(&format!("{:0<5}", str::from_utf8(bits).unwrap()), 2).unwrap();
            char::from(b"abcdefghijklmnopqrstuvwxyz234567"[five])
        };
        bits.as_bytes().chunks(5).map(digit).collect()
    }
}
