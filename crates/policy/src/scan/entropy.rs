//! How random a secret looks: Shannon's entropy of its bytes, without floating point.

/// So many bytes say enough; more would let a text that is all keywords cost too much.
const JUDGED: usize = 64;

/// n·log2(n) in units of 1/65536 bit.
const TERMS: [u64; JUDGED + 1] = terms();

/// In hundredths of a bit for each byte, over the first 64 bytes; 0 for nothing.
#[must_use]
pub(super) fn hundredths(bytes: &[u8]) -> u16 {
    let judged = bytes.get(..bytes.len().min(JUDGED)).unwrap_or_default();
    let mut counts = [0u8; 256];
    for byte in judged {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    // Each byte once, as the counts are cleared on the way.
    let mut repeated = 0;
    for byte in judged {
        let count = counts.get_mut(usize::from(*byte)).map(std::mem::take).unwrap_or_default();
        repeated += term(usize::from(count));
    }
    let length = judged.len() as u64;
    let bits = term(judged.len()) - repeated;
    u16::try_from(bits * 100 / (length.max(1) << 16)).unwrap_or(u16::MAX)
}

fn term(count: usize) -> u64 {
    TERMS.get(count).copied().unwrap_or_default()
}

#[expect(clippy::indexing_slicing, reason = "within a constant: out of bounds does not compile")]
const fn terms() -> [u64; JUDGED + 1] {
    let mut terms = [0; JUDGED + 1];
    let mut n = 2;
    while n <= JUDGED {
        terms[n] = n as u64 * log2(n as u64);
        n += 1;
    }
    terms
}

/// In units of 1/65536, by squaring.
const fn log2(n: u64) -> u64 {
    let whole = n.ilog2() as u64;
    let mut fraction = (n << 30) >> whole;
    let mut result = whole << 16;
    let mut bit = 1 << 15;
    while bit > 0 {
        fraction = (fraction * fraction) >> 30;
        if fraction >= 2 << 30 {
            fraction >>= 1;
            result |= bit;
        }
        bit >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entropy_of_known_texts() {
        for (text, expected) in
            [("", 0), ("aaaa", 0), ("abab", 100), ("abcd", 200), ("0123456789abcdef", 400), ("aab", 91)]
        {
            assert_eq!(hundredths(text.as_bytes()), expected, "{text}");
        }
        let all: Vec<u8> = (0..64).collect();
        assert_eq!(hundredths(&all), 600);
        assert_eq!(hundredths(&[all.clone(), all].concat()), 600, "the first 64 bytes are judged");
    }
}
