//! base32, base85 and hexadecimal without separators.

use crate::scan::{
    decode::class,
    known::{ASCII85, RFC1924, Z85},
};

pub(in crate::scan) const MIN_HEX: usize = 24;
pub(in crate::scan) const MIN_BASE32: usize = 28;
/// The digits of four groups, three of which must be text.
pub(in crate::scan) const MIN_BASE85: usize = 24;

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
    let (mut bits, mut count) = (0u32, 0);
    for digit in digits.iter().skip(skip) {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a',
            b'2'..=b'7' => digit - b'2' + 26,
            _ => continue,
        };
        bits = bits << 5 | u32::from(value);
        count += 5;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from(bits >> count & 0xff).unwrap_or_default());
        }
    }
    out
}

/// Whether most of it is printable: what a wrong alignment does not give.
pub(in crate::scan) fn is_text(bytes: &[u8]) -> bool {
    let printable = bytes.iter().filter(|it| matches!(it, b' '..=b'~' | b'\n' | b'\r' | b'\t')).count();
    printable * 10 >= bytes.len() * 9
}

/// 255 for what is no digit.
static VALUES: [[u8; 256]; 3] = [values(ASCII85), values(RFC1924), values(Z85)];

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

/// Gives what a run of printable characters stands for in base85, where at some alignment it stands for text, and how
/// many of them do.
pub(in crate::scan) fn base85(run: &[u8], mut give: impl FnMut(Vec<u8>, usize)) {
    for values in &VALUES {
        for skip in 0..5 {
            let groups = run.get(skip..).unwrap_or_default().as_chunks::<5>().0;
            // Text is told by its first groups: a wrong alphabet or alignment gives ASCII for one group in sixteen.
            let mut head = groups.iter().take(4).filter_map(|it| group(it, values));
            let is_text = |number: u32| number & 0x8080_8080 == 0;
            if !(head.next().is_some_and(is_text)
                && head.next().is_some_and(is_text)
                && head.next().is_some_and(is_text))
            {
                continue;
            }
            let mut out = Vec::with_capacity(groups.len() * 4 + 3);
            let numbers = groups.iter().map_while(|it| group(it, values));
            let count = numbers.map(|number| out.extend_from_slice(&number.to_be_bytes())).count();
            let rest = run.get(skip + count * 5..).unwrap_or_default();
            let rest = rest.get(..rest.len().min(4)).unwrap_or_default();
            let digits = rest.iter().take_while(|it| class::of(values, **it) != 255).count();
            if digits > 1 {
                let mut padded = [0u8; 5];
                let top =
                    values.iter().position(|it| *it == 84).and_then(|it| u8::try_from(it).ok()).unwrap_or_default();
                padded.fill(top);
                padded.iter_mut().zip(rest.iter().take(digits)).for_each(|(slot, it)| *slot = *it);
                let bytes = group(&padded, values).unwrap_or_default().to_be_bytes();
                out.extend_from_slice(bytes.get(..digits - 1).unwrap_or_default());
            }
            give(out, skip + count * 5 + digits);
        }
    }
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

    #[test]
    fn digits_are_bytes() {
        assert_eq!(hex(b"6768705F", 0), b"ghp_");
        assert_eq!(hex(b"x6768705f", 1), b"ghp_");
        assert_eq!(base32(b"M5UHAXZQGEZDGNBVGY3TQOJQ", 0), b"ghp_01234567890");
        assert_eq!(base32(b"m5uhaxzqgezdgnbvgy3tqojq", 0), b"ghp_01234567890");
        // Python's `b85encode` and `a85encode`, and Z85, with something before them.
        for text in [&b"xyXJ~L=FflSSG&MFiI5}ZrV`OD!"[..], b"<~B4u6k0JP==1c70M3&tDV@q9._~>"] {
            let mut seen = Vec::new();
            base85(text, |it, _| seen.push(String::from_utf8_lossy(&it).into_owned()));
            assert!(seen.iter().any(|it| it.contains("0123456789abcdef") || it.contains("3456789abcdef")), "{seen:?}");
        }
    }
}
