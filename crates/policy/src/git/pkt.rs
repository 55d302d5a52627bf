//! pkt-lines (gitprotocol-common): four hexadecimal digits of length, themselves included, and the bytes.
//!
//! Invariant: a length is read from exactly four hexadecimal digits, and none above [`MAX`] is taken.

/// The longest pkt-line, its length included.
pub const MAX: usize = 65_520;
pub const FLUSH: &[u8] = b"0000";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// `0000`, `0001` and `0002`: flush, delimiter, end of response.
    Special(u8),
    /// So many bytes follow.
    Data(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a pkt-line")]
pub struct PktError;

pub fn length(header: [u8; 4]) -> Result<Length, PktError> {
    let mut length = 0_usize;
    for byte in header {
        let digit = char::from(byte).to_digit(16).ok_or(PktError)?;
        length = length * 16 + usize::try_from(digit).map_err(|_| PktError)?;
    }
    match length {
        0 => Ok(Length::Special(0)),
        1 => Ok(Length::Special(1)),
        2 => Ok(Length::Special(2)),
        3 => Err(PktError),
        4..=MAX => Ok(Length::Data(length - 4)),
        _ => Err(PktError),
    }
}

/// One pkt-line; what does not fit is cut off.
#[must_use]
pub fn line(bytes: &[u8]) -> Vec<u8> {
    let bytes = bytes.get(..MAX - 4).unwrap_or(bytes);
    let mut line = format!("{:04x}", bytes.len() + 4).into_bytes();
    line.extend_from_slice(bytes);
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths() {
        assert_eq!(length(*b"0000"), Ok(Length::Special(0)));
        assert_eq!(length(*b"0004"), Ok(Length::Data(0)));
        assert_eq!(length(*b"FFf0"), Ok(Length::Data(MAX - 4)));
        for header in [b"0003", b"fff1", b"ffff", b"+004", b" 004", b"00g0", b"-001"] {
            assert_eq!(length(*header), Err(PktError), "{header:?}");
        }
        assert_eq!(line(&vec![b'x'; MAX]).len(), MAX);
    }

    proptest! {
        #[test]
        fn a_line_is_read_back(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let line = line(&bytes);
            prop_assert_eq!(length(*line.first_chunk().unwrap()), Ok(Length::Data(bytes.len())));
            prop_assert_eq!(&line[4..], &bytes);
        }

        #[test]
        fn no_header_panics(header in any::<[u8; 4]>()) {
            if let Ok(Length::Data(length)) = length(header) {
                prop_assert!(length <= MAX - 4);
            }
        }
    }
}
