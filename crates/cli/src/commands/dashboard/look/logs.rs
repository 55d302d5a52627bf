//! The end of what an agent's terminal showed, as lines for a pane that is no terminal of the agent's.
//!
//! Invariant: escape sequences are left out, all else that is no plain text is spelled out. What is read, kept and
//! shown is bounded, whatever the agent writes.

use bottle_runtime::store::BottleDir;
use bottle_spec::escape::Escaped;
use bottle_tui::event;
use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

/// Bytes of the end that are read.
const END: u64 = 32 << 10;
const LINES: usize = 400;
/// Characters of one line.
const WIDTH: usize = 500;

#[derive(Debug, Default)]
pub(super) struct Logs {
    /// What was shown last: which file, and how long it was.
    shown: Option<(PathBuf, u64)>,
}

impl Logs {
    /// `None` where nothing was written since it was read last.
    pub(super) fn news(&mut self, bottle: &BottleDir) -> Option<event::Logs> {
        let path = bottle.output();
        let length = path.metadata().map_or(0, |metadata| metadata.len());
        let shown = Some((path, length));
        if self.shown == shown {
            return None;
        }
        self.shown = shown;
        let lines = end(&bottle.output()).map_or_else(
            |_| vec!["(its agent has no terminal; what a program with pipes writes goes to who started it)".to_owned()],
            |bytes| lines(&bytes),
        );
        Some(event::Logs { bottle: bottle.slug.to_string(), lines })
    }
}

fn end(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(END)))?;
    let mut bytes = Vec::new();
    file.take(END).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let plain = without_sequences(&text);
    let mut lines: Vec<String> = plain.lines().rev().take(LINES).map(line).collect();
    lines.reverse();
    lines
}

/// What a line looks like in the end: what stands before a carriage return was written over.
fn line(line: &str) -> String {
    let last = line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default();
    let cut: String = last.replace('\t', "    ").chars().take(WIDTH).collect();
    Escaped(&cut).to_string()
}

/// ECMA-48: CSI to its final byte, strings (OSC, DCS, PM, APC, SOS) to their end, other escapes with the character
/// behind them. A sequence that does not end within its line ends there.
fn without_sequences(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '\u{1b}' {
            plain.push(c);
            continue;
        }
        match rest.next() {
            Some('[') => while rest.next_if(|c| *c != '\n').is_some_and(|c| !('\u{40}'..='\u{7e}').contains(&c)) {},
            Some(']' | 'P' | '^' | '_' | 'X') => {
                while let Some(c) = rest.next_if(|c| *c != '\n') {
                    if c == '\u{7}' || c == '\u{1b}' && rest.next_if_eq(&'\\').is_some() {
                        break;
                    }
                }
            }
            Some('(' | ')' | '#' | '%') => drop(rest.next_if(|c| *c != '\n')),
            Some('\n') => plain.push('\n'),
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_go_and_the_rest_is_plain() {
        for (given, shown) in [
            (&b"\x1b[1;31mred\x1b[0m and \x1b]0;title\x07plain\r\n"[..], &["red and plain"][..]),
            (b"10%\r50%\r100%\nnext", &["100%", "next"]),
            (b"\x1b]52;c;ZXZpbA==\x1b\\x\x1b(By", &["xy"]),
            (b"\x1b]never ended\nnext \x07", &["", "next \\u{7}"]),
            (b"\x1b[", &[]),
            ("a\u{202e}b\tc".as_bytes(), &["a\\u{202e}b    c"]),
        ] {
            assert_eq!(lines(given), shown, "{given:?}");
        }
        assert_eq!(lines(&b"x\n".repeat(10_000)).len(), LINES);
        assert_eq!(lines(&b"x".repeat(10_000))[0].len(), WIDTH);
    }
}
