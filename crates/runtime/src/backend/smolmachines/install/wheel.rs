//! The members of a wheel, which is a ZIP archive: as much of the format as such files use, with every length checked.

use super::InstallError;
use flate2::read::DeflateDecoder;
use std::io::{self, Read};

const END: &[u8] = b"PK\x05\x06";
const ENTRY: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";
const END_LENGTH: usize = 22;
const ENTRY_LENGTH: usize = 46;
const LOCAL_LENGTH: usize = 30;
const LONGEST_COMMENT: usize = 0xffff;
const STORED: usize = 0;
const DEFLATED: usize = 8;

/// Goes through the directory at the archive's end.
pub(super) struct Members<'a> {
    archive: &'a [u8],
    entries: &'a [u8],
    left: usize,
}

/// A member's name, and what it unpacks to.
type Member<'a> = (&'a str, Box<dyn Read + 'a>);

fn broken(what: &'static str) -> InstallError {
    InstallError::Wheel(what)
}

/// A number of `length` bytes, the lowest first.
fn number(bytes: &[u8], at: usize, length: usize) -> Result<usize, InstallError> {
    let bytes = at.checked_add(length).and_then(|end| bytes.get(at..end)).ok_or(broken("it ends too soon"))?;
    Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

fn part(bytes: &[u8], from: usize, length: usize) -> Result<&[u8], InstallError> {
    from.checked_add(length).and_then(|end| bytes.get(from..end)).ok_or(broken("it ends too soon"))
}

impl<'a> Members<'a> {
    pub(super) fn of(archive: &'a [u8]) -> Result<Members<'a>, InstallError> {
        let last = archive.len().checked_sub(END_LENGTH).ok_or(broken("it is no ZIP archive"))?;
        let first = last.saturating_sub(LONGEST_COMMENT);
        let end = (first..=last).rev().find(|at| archive.get(*at..).is_some_and(|rest| rest.starts_with(END)));
        let end = archive.get(end.ok_or(broken("it is no ZIP archive"))?..).unwrap_or_default();
        let (left, length, from) = (number(end, 10, 2)?, number(end, 12, 4)?, number(end, 16, 4)?);
        Ok(Members { archive, entries: part(archive, from, length)?, left })
    }

    fn member(&mut self) -> Result<Member<'a>, InstallError> {
        let entry = self.entries;
        if !entry.starts_with(ENTRY) {
            return Err(broken("its directory is broken"));
        }
        let method = number(entry, 10, 2)?;
        let (packed, unpacked) = (number(entry, 20, 4)?, number(entry, 24, 4)?);
        let lengths = [number(entry, 28, 2)?, number(entry, 30, 2)?, number(entry, 32, 2)?];
        let local = number(entry, 42, 4)?;
        let name = std::str::from_utf8(part(entry, ENTRY_LENGTH, lengths[0])?).map_err(|_| broken("a name in it"))?;
        self.entries = entry.get(ENTRY_LENGTH + lengths.iter().sum::<usize>()..).ok_or(broken("it ends too soon"))?;
        let head = part(self.archive, local, LOCAL_LENGTH)?;
        if !head.starts_with(LOCAL) {
            return Err(broken("a member is not where its directory says"));
        }
        let before = LOCAL_LENGTH + number(head, 26, 2)? + number(head, 28, 2)?;
        let content = part(self.archive, local + before, packed)?;
        let unpacked = unpacked as u64;
        let content: Box<dyn Read + 'a> = match method {
            STORED => Box::new(Exactly { from: content, left: unpacked }),
            DEFLATED => Box::new(Exactly { from: DeflateDecoder::new(content), left: unpacked }),
            _ => return Err(broken("a member is packed in a way that wheels do not use")),
        };
        Ok((name, content))
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<Member<'a>, InstallError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let member = self.member();
        if member.is_err() {
            self.left = 0;
        }
        Some(member)
    }
}

/// As many bytes as were announced, and an error where there are fewer.
struct Exactly<R> {
    from: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (&mut self.from).take(self.left).read(buffer)?;
        if count == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use flate2::{Compression, write::DeflateEncoder};
    use std::io::Write as _;

    fn short(number: usize) -> [u8; 2] {
        u16::try_from(number).unwrap().to_le_bytes()
    }

    fn long(number: usize) -> [u8; 4] {
        u32::try_from(number).unwrap().to_le_bytes()
    }

    /// The first member is stored, the others are deflated.
    pub(in super::super) fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
        let (mut archive, mut directory) = (Vec::new(), Vec::new());
        for (index, (name, content)) in members.iter().enumerate() {
            let (method, packed) = if index == 0 {
                (STORED, content.to_vec())
            } else {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(content).unwrap();
                (DEFLATED, encoder.finish().unwrap())
            };
            let local = long(archive.len());
            let mut fields = vec![20, 0, 0, 0];
            fields.extend(short(method));
            fields.extend([0; 8]);
            fields.extend(long(packed.len()));
            fields.extend(long(content.len()));
            fields.extend(short(name.len()));
            fields.extend([0, 0]);
            archive.extend_from_slice(LOCAL);
            archive.extend(&fields);
            archive.extend_from_slice(name.as_bytes());
            archive.extend(packed);
            directory.extend_from_slice(ENTRY);
            // Which version made it, and no comment, no attributes.
            directory.extend([20, 0]);
            directory.extend(&fields);
            directory.extend([0; 10]);
            directory.extend(local);
            directory.extend_from_slice(name.as_bytes());
        }
        let from = long(archive.len());
        archive.extend(&directory);
        archive.extend_from_slice(END);
        archive.extend([0; 4]);
        archive.extend(short(members.len()));
        archive.extend(short(members.len()));
        archive.extend(long(directory.len()));
        archive.extend(from);
        archive.extend([0, 0]);
        archive
    }

    fn all(archive: &[u8]) -> Result<Vec<(String, Vec<u8>)>, InstallError> {
        let members = Members::of(archive)?;
        let read = |member: Result<Member<'_>, InstallError>| {
            let (name, mut content) = member?;
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).map_err(|_| broken("a member's content"))?;
            Ok((name.to_owned(), bytes))
        };
        members.map(read).collect()
    }

    #[test]
    fn members_are_read_whichever_way_they_are_packed() {
        let long = b"again and ".repeat(1000);
        let archive = zip(&[("first", b"as it is"), ("second", &long), ("third", b"")]);
        let found = all(&archive).unwrap();
        let expected = [("first", &b"as it is"[..]), ("second", &long), ("third", b"")];
        assert_eq!(found, expected.map(|(name, bytes)| (name.to_owned(), bytes.to_vec())));
    }

    #[test]
    fn no_cut_and_no_changed_byte_does_more_than_fail() {
        let archive = zip(&[("first", b"as it is"), ("second", &[7; 300])]);
        for length in 0..archive.len() {
            assert!(all(&archive[..length]).is_err(), "{length}");
        }
        for at in 0..archive.len() {
            let mut changed = archive.clone();
            changed[at] ^= 0xff;
            let _ = all(&changed);
        }
    }
}
