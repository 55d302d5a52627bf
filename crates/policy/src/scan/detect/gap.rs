//! What may stand between a name and the value that is given to it: the rest of the name, what separates, opening quotes.
//!
//! Invariant: no more than [`GAP_MAX`] bytes and [`VALUES_MAX`] values are looked at.

/// Between a name's keyword and the value, all in all.
const GAP_MAX: usize = 48;
/// Values tried after one keyword.
const VALUES_MAX: usize = 4;
/// Words before a separator that a name still is.
const SPACES_MAX: usize = 3;

/// The value after the bytes between it and a keyword: where it begins among them, and its length.
#[inline(always)]
pub(super) fn value_after(
    bytes: impl Iterator<Item = u8>,
    strict: bool,
    spaced: bool,
    mut value: impl FnMut(usize) -> Option<usize>,
) -> Option<(usize, usize)> {
    let (mut separated, mut tried, mut spaces) = (false, 0, 0);
    for (offset, byte) in bytes.take(GAP_MAX).enumerate() {
        let gap = Gap::of(byte);
        if gap == Gap::Name && !separated {
            continue;
        }
        spaces += usize::from(byte == b' ' && !separated);
        match gap {
            // A sentence in which the word stands.
            Gap::Space if strict && spaces > SPACES_MAX => return None,
            Gap::Separates if strict && !matches!(byte, b'=' | b':' | b'>') => return None,
            Gap::Separates => separated = true,
            Gap::Space if spaced => separated = true,
            Gap::Space | Gap::Opens => {}
            Gap::Name => {
                if let Some(length) = value(offset) {
                    return Some((offset, length));
                }
                tried += 1;
                if tried == VALUES_MAX {
                    return None;
                }
                separated = false;
            }
            Gap::Ends => return None,
        }
    }
    None
}

/// What may follow a name of three bytes: in words they are too frequent.
pub(super) fn ends_name(byte: u8) -> bool {
    !byte.is_ascii_alphanumeric() && !b"$#!@*".contains(&byte) && !matches!(Gap::of(byte), Gap::Ends)
}

/// What a byte between a keyword and a value is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gap {
    Separates,
    Space,
    Opens,
    Name,
    Ends,
}

impl Gap {
    #[inline(always)]
    #[expect(clippy::indexing_slicing, reason = "a table of 256 has a place for every byte")]
    fn of(byte: u8) -> Gap {
        static GAPS: [Gap; 256] = gaps();
        GAPS[usize::from(byte)]
    }

    const fn is(byte: u8) -> Gap {
        match byte {
            b'=' | b':' | b'>' | b',' | b'(' | b'|' | b'?' | b'&' => Gap::Separates,
            b' ' | b'\t' => Gap::Space,
            b'"' | b'\'' | b'`' | b'[' | b']' | b'{' | b'<' | b'\\' | b'\r' | b'\n' | b')' | b'}' => Gap::Opens,
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'_'
            | b'-'
            | b'.'
            | b'/'
            | b'+'
            | b'$'
            | b'%'
            | b'#'
            | b'!'
            | b'@'
            | b'*' => Gap::Name,
            _ => Gap::Ends,
        }
    }
}

#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "evaluated when this is compiled")]
const fn gaps() -> [Gap; 256] {
    let mut table = [Gap::Ends; 256];
    let mut index = 0;
    while index < 256 {
        table[index] = Gap::is(index as u8);
        index += 1;
    }
    table
}
