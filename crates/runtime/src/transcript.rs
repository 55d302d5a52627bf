//! The lines of an agent's transcripts: files beneath its home that its provider's patterns name, as they grow.
//!
//! Invariants: the files are a hostile agent's, so they are found and opened through [`Tree`] (no link, no way out, no
//! pipe that is waited for); of files, entries and lines no more is looked at than the limits here; nothing is parsed.

use crate::tree::Tree;
use rustix::fs::FileType;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// The files that were written to last.
const FILES: usize = 64;
/// Of one directory.
const ENTRIES: usize = 4096;
/// A longer line is left out.
pub const LINE_MAX: usize = 1 << 20;
const CHUNK: usize = 64 << 10;

/// What is told of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// Without its line break.
    Whole(&'a [u8]),
    /// One of more than [`LINE_MAX`] bytes.
    LeftOut,
}

#[derive(Debug)]
pub struct Transcripts {
    home: Tree,
    patterns: Vec<PathBuf>,
    files: BTreeMap<PathBuf, Reading>,
}

/// How far a file was read.
#[derive(Debug, Default)]
struct Reading {
    inode: u64,
    offset: u64,
    /// The beginning of a line whose end has not come yet.
    held: Vec<u8>,
    /// That line is too long already.
    left_out: bool,
}

impl Transcripts {
    /// `patterns` are paths beneath `home`; `*` in a component is any part of a name.
    pub fn open(home: &Path, patterns: &[String]) -> io::Result<Transcripts> {
        let patterns = patterns.iter().map(PathBuf::from).collect();
        Ok(Transcripts { home: Tree::open(home)?, patterns, files: BTreeMap::new() })
    }

    /// Whether there is a file.
    pub fn any(&self) -> bool {
        !self.find().is_empty()
    }

    /// Gives every line that has come since the last time, file by file in the order of their last change. A file that
    /// was made anew or cut is read from its beginning. With `last`, what is left at the end of a file is a line, too.
    /// What cannot be read is passed over.
    pub fn lines<E>(&mut self, last: bool, each: &mut dyn FnMut(&Path, Line<'_>) -> Result<(), E>) -> Result<(), E> {
        let found = self.find();
        self.files.retain(|path, _| found.contains(path));
        for path in found {
            let Ok(Some((file, stat))) = self.home.file(&path) else { continue };
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            let reading = self.files.entry(path.clone()).or_default();
            if reading.inode != stat.st_ino || size < reading.offset {
                *reading = Reading { inode: stat.st_ino, ..Reading::default() };
            }
            reading.go_on(file, size, &mut |line| each(&path, line))?;
            if last {
                reading.end(&mut |line| each(&path, line))?;
            }
        }
        Ok(())
    }

    /// Regular files that a pattern names, the one that was changed last at the end.
    fn find(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for pattern in &self.patterns {
            let mut so_far = vec![PathBuf::new()];
            for part in pattern.components() {
                let part = part.as_os_str().as_bytes();
                so_far = so_far.iter().flat_map(|directory| self.fitting(directory, part)).take(ENTRIES).collect();
            }
            found.append(&mut so_far);
        }
        let changed = |path: PathBuf| {
            let stat = self.home.stat(&path).ok().flatten()?;
            let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            regular.then_some((stat.st_mtime, stat.st_mtime_nsec, path))
        };
        let mut found: Vec<_> = found.into_iter().filter_map(changed).collect();
        found.sort();
        found.dedup();
        let surplus = found.len().saturating_sub(FILES);
        found.into_iter().skip(surplus).map(|(_, _, path)| path).collect()
    }

    fn fitting(&self, directory: &Path, pattern: &[u8]) -> Vec<PathBuf> {
        if !pattern.contains(&b'*') {
            return vec![directory.join(std::ffi::OsStr::from_bytes(pattern))];
        }
        let entries = self.home.entries(directory, ENTRIES).ok().flatten().unwrap_or_default();
        let fitting = entries.into_iter().filter(|entry| fits(pattern, entry.name.as_bytes()));
        fitting.map(|entry| directory.join(entry.name)).collect()
    }
}

impl Reading {
    /// Up to `size`: a file that grows as fast as it is read has an end, too.
    fn go_on<E>(
        &mut self,
        mut file: File,
        size: u64,
        each: &mut dyn FnMut(Line<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if file.seek(SeekFrom::Start(self.offset)).is_err() {
            return Ok(());
        }
        let mut file = file.take(size.saturating_sub(self.offset));
        let mut bytes = vec![0; CHUNK];
        while let Ok(count @ 1..) = file.read(&mut bytes) {
            self.offset = self.offset.saturating_add(count as u64);
            for part in bytes.get(..count).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
                let whole = part.strip_suffix(b"\n");
                let part = whole.unwrap_or(part);
                self.left_out |= self.held.len() + part.len() > LINE_MAX;
                if self.left_out {
                    self.held = Vec::new();
                } else {
                    self.held.extend_from_slice(part);
                }
                if whole.is_some() {
                    self.line(each)?;
                }
            }
        }
        Ok(())
    }

    fn line<E>(&mut self, each: &mut dyn FnMut(Line<'_>) -> Result<(), E>) -> Result<(), E> {
        let line = if self.left_out { Line::LeftOut } else { Line::Whole(&self.held) };
        each(line)?;
        self.left_out = false;
        self.held.clear();
        Ok(())
    }

    fn end<E>(&mut self, each: &mut dyn FnMut(Line<'_>) -> Result<(), E>) -> Result<(), E> {
        if self.held.is_empty() && !self.left_out { Ok(()) } else { self.line(each) }
    }
}

/// Whether a name fits a pattern, in which `*` is any bytes. Time is bounded by the product of the lengths.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut rest, mut left) = (pattern, name);
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        match (rest.split_first(), left.split_first()) {
            (Some((b'*', after)), _) => {
                star = Some((after, left));
                rest = after;
            }
            (Some((wanted, after)), Some((byte, others))) if wanted == byte => (rest, left) = (after, others),
            (None, None) => return true,
            // The last star takes one byte more.
            _ => match star {
                Some((after, [_, taken @ ..])) => {
                    star = Some((after, taken));
                    (rest, left) = (after, taken);
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::{self, OpenOptions},
        io::Write as _,
        os::unix::fs::symlink,
    };

    fn told(transcripts: &mut Transcripts, last: bool) -> Vec<String> {
        let mut told = Vec::new();
        let mut each = |path: &Path, line: Line<'_>| {
            let text = match line {
                Line::Whole(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                Line::LeftOut => "(left out)".to_owned(),
            };
            told.push(format!("{}: {text}", path.file_name().unwrap().display()));
            Ok::<(), ()>(())
        };
        transcripts.lines(last, &mut each).unwrap();
        told
    }

    #[test]
    fn names_fit_patterns() {
        for (pattern, name, expected) in [
            ("*.jsonl", "a.jsonl", true),
            ("*.jsonl", ".jsonl", true),
            ("*.jsonl", "a.json", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("*", "", true),
            ("", "a", false),
            ("a", "a", true),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn lines_come_as_they_are_written_and_files_as_they_appear() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("home");
        fs::create_dir_all(home.join("p/one")).unwrap();
        let mut transcripts = Transcripts::open(&home, &["p/*/*.jsonl".to_owned()]).unwrap();
        assert!(!transcripts.any());
        fs::write(home.join("p/one/a.jsonl"), "1\n2").unwrap();
        fs::write(home.join("p/one/other.txt"), "no\n").unwrap();
        assert_eq!(told(&mut transcripts, false), ["a.jsonl: 1"]);
        let mut file = OpenOptions::new().append(true).open(home.join("p/one/a.jsonl")).unwrap();
        file.write_all(b"2\n3").unwrap();
        fs::create_dir(home.join("p/two")).unwrap();
        fs::write(home.join("p/two/b.jsonl"), "new\n").unwrap();
        let mut lines = told(&mut transcripts, false);
        lines.sort();
        assert_eq!(lines, ["a.jsonl: 22", "b.jsonl: new"]);
        assert_eq!(told(&mut transcripts, true), ["a.jsonl: 3"]);
        assert_eq!(told(&mut transcripts, true), Vec::<String>::new());
        fs::write(home.join("p/two/b.jsonl"), "cut\n").unwrap();
        assert_eq!(told(&mut transcripts, true), Vec::<String>::new(), "as long as before: nothing tells");
        fs::write(home.join("p/two/b.jsonl"), "x\n").unwrap();
        assert_eq!(told(&mut transcripts, true), ["b.jsonl: x"]);
    }

    #[test]
    fn a_hostile_home_leads_nowhere_and_holds_nothing_up() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("home");
        fs::create_dir_all(home.join("p")).unwrap();
        fs::create_dir_all(root.path().join("outside")).unwrap();
        fs::write(root.path().join("outside/secret.jsonl"), "secret\n").unwrap();
        symlink(root.path().join("outside"), home.join("p/link")).unwrap();
        fs::create_dir(home.join("p/real")).unwrap();
        symlink("../../../outside/secret.jsonl", home.join("p/real/s.jsonl")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, home.join("p/real/f.jsonl"), FileType::Fifo, rustix::fs::Mode::RUSR, 0)
            .unwrap();
        fs::create_dir(home.join("p/real/d.jsonl")).unwrap();
        let long = [vec![b'x'; LINE_MAX + 1], b"\nnext\n".to_vec()].concat();
        fs::write(home.join("p/real/long.jsonl"), long).unwrap();
        let mut transcripts = Transcripts::open(&home, &["p/*/*.jsonl".to_owned()]).unwrap();
        assert_eq!(told(&mut transcripts, true), ["long.jsonl: (left out)", "long.jsonl: next"]);
        for number in 0..FILES + 9 {
            fs::write(home.join(format!("p/real/{number}.jsonl")), "x\n").unwrap();
        }
        assert_eq!(transcripts.find().len(), FILES);
    }
}
