//! gzip, zlib and bare deflate within other bytes; ZIP entries.
//!
//! Invariant: what comes out is given piece by piece and bounded by the caller; a name, size or checksum that the
//! data claims is never used for more than skipping within them.

use flate2::{Decompress, FlushDecompress, Status};
use std::ops::ControlFlow;

/// How compressed data begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::scan) enum Start {
    Zlib,
    /// Bare deflate; of gzip and ZIP what follows the header.
    Deflate,
}

/// Gives the offsets in `text` at which compressed data begin, after their headers.
pub(in crate::scan) fn starts(text: &[u8], mut give: impl FnMut(usize, Start) -> usize) {
    let mut at = 0;
    while let Some(step) = text.get(at..).and_then(|rest| memchr::memchr3(0x1f, b'x', b'P', rest)) {
        at += step;
        let rest = text.get(at..).unwrap_or_default();
        let start = match rest {
            [0x1f, 0x8b, 8, ..] => gzip_header(rest).map(|it| (it, Start::Deflate)),
            [b'P', b'K', 3, 4, ..] => zip_header(rest).map(|it| (it, Start::Deflate)),
            // RFC 1950: a multiple of 31, and no dictionary.
            [0x78, flags, ..] if (0x7800 + u16::from(*flags)) % 31 == 0 && flags & 0x20 == 0 => Some((0, Start::Zlib)),
            _ => None,
        };
        let taken = start.map_or(0, |(header, start)| give(at + header, start));
        at += taken.max(1);
    }
}

/// RFC 1952.
fn gzip_header(rest: &[u8]) -> Option<usize> {
    let flags = *rest.get(3)?;
    let mut at = 10;
    if flags & 4 != 0 {
        at += 2 + usize::from(u16::from_le_bytes(*rest.get(at..)?.first_chunk()?));
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            at += memchr::memchr(0, rest.get(at..)?)? + 1;
        }
    }
    at += if flags & 2 != 0 { 2 } else { 0 };
    (at < rest.len()).then_some(at)
}

/// A local file header with a deflated entry (APPNOTE 4.3.7). Stored ones stand there plainly.
fn zip_header(rest: &[u8]) -> Option<usize> {
    let method = u16::from_le_bytes(*rest.get(8..)?.first_chunk()?);
    let name = usize::from(u16::from_le_bytes(*rest.get(26..)?.first_chunk()?));
    let extra = usize::from(u16::from_le_bytes(*rest.get(28..)?.first_chunk()?));
    let at = 30 + name + extra;
    (method == 8 && at < rest.len()).then_some(at)
}

/// How a run of the inflater ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::scan) enum End {
    /// The data's own.
    Complete,
    /// More input is wanted.
    Hungry,
    /// Not what it looked like, or damaged from here on.
    Broken,
    /// The caller had enough.
    Stopped,
}

/// An inflater that takes its input as it comes.
pub(in crate::scan) struct Inflater {
    state: Decompress,
}

/// Bytes given at a time.
const PIECE: usize = 8 * 1024;

impl Inflater {
    /// What one takes, with its window; miniz's state and dictionary.
    pub(in crate::scan) const SIZE: usize = 44 * 1024;

    pub(in crate::scan) fn new(start: Start) -> Inflater {
        Inflater { state: Decompress::new(start == Start::Zlib) }
    }

    /// Inflates `input`; `give` gets at most 8 KiB at a time. Says how far it came in the input, too.
    pub(in crate::scan) fn run(
        &mut self,
        input: &[u8],
        mut give: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> (usize, End) {
        let mut piece = Vec::with_capacity(PIECE);
        let mut taken = 0;
        loop {
            let rest = input.get(taken..).unwrap_or_default();
            let before = self.state.total_in();
            let status = self.state.decompress_vec(rest, &mut piece, FlushDecompress::None);
            let step = usize::try_from(self.state.total_in() - before).unwrap_or(rest.len());
            taken += step;
            let given = piece.len();
            if given > 0 && give(&piece).is_break() {
                return (taken, End::Stopped);
            }
            piece.clear();
            match status {
                Ok(Status::StreamEnd) => return (taken, End::Complete),
                Ok(_) if taken == input.len() && given < PIECE => return (taken, End::Hungry),
                Ok(_) if step == 0 && given == 0 => return (taken, End::Hungry),
                Ok(_) => {}
                Err(_) => return (taken, End::Broken),
            }
        }
    }
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inflater")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write};
    use std::io::Write as _;

    #[test]
    fn compressed_data_are_found_among_others() {
        let text = b"ghp_ some text that is compressed, compressed, compressed".repeat(400);
        let mut gzip = write::GzEncoder::new(b"before \x1f\x8b".to_vec(), Compression::default());
        gzip.write_all(&text).unwrap();
        let mut zlib = write::ZlibEncoder::new(b"x\x9cx before ".to_vec(), Compression::default());
        zlib.write_all(&text).unwrap();
        for mut data in [gzip.finish().unwrap(), zlib.finish().unwrap()] {
            data.extend_from_slice(b"after");
            let mut complete = Vec::new();
            starts(&data, |at, start| {
                let mut out = Vec::new();
                let (taken, end) = Inflater::new(start).run(&data[at..], |piece| {
                    out.extend_from_slice(piece);
                    ControlFlow::Continue(())
                });
                if end == End::Complete {
                    complete.push(out);
                    return taken;
                }
                0
            });
            assert!(complete == [text.clone()], "{}", complete.len());
        }
    }
}
