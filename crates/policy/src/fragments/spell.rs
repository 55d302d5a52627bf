//! The spellings of a value, folded so that case and the two alphabets of base64 make no difference, and where in them
//! any few bytes stand.

use zeroize::Zeroizing;

const HEX: &[u8] = b"0123456789abcdef";
const BASE32: &[u8] = b"abcdefghijklmnopqrstuvwxyz234567";
const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The bytes looked up at once.
pub(super) const GRAM: usize = 6;
/// Every so many bytes of a spelling begin a gram: a piece of `GRAM + STRIDE - 1` bytes holds one wherever it begins.
const STRIDE: usize = 3;
/// Bits of the filter before the search.
const BITS: usize = 1 << 16;

/// Folds case, base64's alphabets, and one layer of percent-encoding.
pub(super) fn fold(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let decoded = percent_encoding::percent_decode(text);
    let folded = decoded.map(|byte| match byte {
        b'-' => b'+',
        b'_' => b'/',
        byte => byte.to_ascii_lowercase(),
    });
    Zeroizing::new(folded.collect())
}

pub(super) fn spellings(value: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let reversed = Zeroizing::new(value.iter().rev().copied().collect::<Vec<_>>());
    let packed = |alphabet: &[u8]| fold(&pack(value, alphabet));
    vec![fold(value), fold(&reversed), packed(HEX), packed(BASE32), packed(BASE64)]
}

/// What a text stands for if it is hex, base32 or base64, folded.
pub(super) fn unspelled(text: &[u8]) -> Vec<Vec<u8>> {
    let folded = fold(text);
    let standard: Vec<u8> = percent_encoding::percent_decode(text)
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            byte => byte,
        })
        .collect();
    let hex = if folded.len().is_multiple_of(2) { unpack(&folded, HEX) } else { None };
    let all = [hex, unpack(&folded, BASE32), unpack(&standard, BASE64)];
    all.into_iter().flatten().map(|decoded| fold(&decoded).to_vec()).collect()
}

/// Each of so many bits by its letter, without padding.
fn pack(value: &[u8], alphabet: &[u8]) -> Zeroizing<Vec<u8>> {
    let bits = alphabet.len().ilog2();
    let (mut held, mut count, mut out) = (0u32, 0, Zeroizing::new(Vec::new()));
    for byte in value {
        held = (held << 8 | u32::from(*byte)) & 0xffff;
        count += 8;
        while count >= bits {
            count -= bits;
            out.extend(letter(held >> count, alphabet));
        }
    }
    if count > 0 {
        out.extend(letter(held << (bits - count), alphabet));
    }
    out
}

fn letter(code: u32, alphabet: &[u8]) -> Option<u8> {
    alphabet.get(usize::try_from(code).ok()? % alphabet.len()).copied()
}

fn unpack(text: &[u8], alphabet: &[u8]) -> Option<Vec<u8>> {
    let bits = alphabet.len().ilog2();
    let (mut held, mut count, mut out) = (0u32, 0, Vec::new());
    for byte in text.iter().filter(|byte| **byte != b'=') {
        let code = alphabet.iter().position(|letter| letter == byte)?;
        held = (held << bits | u32::try_from(code).ok()?) & 0xffff;
        count += bits;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from((held >> count) & 0xff).ok()?);
        }
    }
    (!out.is_empty()).then_some(out)
}

/// The first [`GRAM`] bytes as one number.
pub(super) fn gram(bytes: &[u8]) -> Option<u64> {
    let bytes = bytes.get(..GRAM)?;
    Some(bytes.iter().fold(0, |code, byte| code << 8 | u64::from(*byte)))
}

/// Where grams stand in the spellings.
pub(super) struct Grams {
    /// A bit for each gram's hash.
    filter: Vec<u64>,
    /// In order, each with its spelling and place.
    codes: Zeroizing<Vec<u64>>,
    places: Vec<(usize, usize)>,
}

impl Grams {
    pub(super) fn new<'s>(spellings: impl Iterator<Item = &'s [u8]>) -> Grams {
        let mut all = Vec::new();
        for (index, spelling) in spellings.enumerate() {
            let grams = spelling.windows(GRAM).enumerate().step_by(STRIDE);
            all.extend(grams.filter_map(|(at, window)| Some((gram(window)?, (index, at)))));
        }
        all.sort_unstable();
        let mut filter = if all.is_empty() { Vec::new() } else { vec![0; BITS / 64] };
        for (code, _) in &all {
            let bit = hash(*code);
            if let Some(word) = filter.get_mut(bit / 64) {
                *word |= 1 << (bit % 64);
            }
        }
        let (codes, places): (Vec<_>, Vec<_>) = all.iter().copied().unzip();
        all.iter_mut().for_each(|entry| entry.0 = 0);
        Grams { filter, codes: Zeroizing::new(codes), places }
    }

    pub(super) fn may_hold(&self, code: u64) -> bool {
        let bit = hash(code);
        self.filter.get(bit / 64).is_some_and(|word| word & 1 << (bit % 64) != 0)
    }

    pub(super) fn places(&self, code: u64) -> Vec<(usize, usize)> {
        let start = self.codes.partition_point(|other| *other < code);
        let count = self.codes.get(start..).unwrap_or_default().iter().take_while(|other| **other == code).count();
        self.places.get(start..start + count).unwrap_or_default().to_vec()
    }
}

/// Fibonacci hashing to a bit of the filter.
fn hash(code: u64) -> usize {
    usize::try_from(code.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48).unwrap_or_default() % BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_is_what_others_know_by_these_names() {
        use base64::Engine;
        for value in [&b"f"[..], b"fo", b"foo", b"foob", b"fooba", b"foobar", b"\xff\xfe\x00correct-horse"] {
            assert_eq!(
                pack(value, BASE64).as_slice(),
                base64::engine::general_purpose::STANDARD_NO_PAD.encode(value).as_bytes()
            );
            assert_eq!(unpack(&pack(value, BASE32), BASE32).unwrap(), value);
            assert_eq!(unpack(&pack(value, HEX), HEX).unwrap(), value);
        }
        assert_eq!(pack(b"foobar", BASE32).as_slice(), b"mzxw6ytboi");
        assert_eq!(unpack(b"not hex", HEX), None);
    }
}
