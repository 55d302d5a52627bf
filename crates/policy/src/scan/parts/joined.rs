//! Pieces put together, with where each begins.

use crate::scan::{MAX_MATCH, parts::Judge};

/// A longer piece is joined with its neighbours by its first and its last word only.
const WHOLE: usize = 128;
/// Bytes that are kept before they are looked at.
const FULL: usize = 4 * MAX_MATCH;
/// Pieces that are told apart at a time.
const PIECES: usize = 1024;

#[derive(Debug, Default, Clone)]
pub(in crate::scan) struct Joined {
    text: Vec<u8>,
    /// Where pieces begin, in order.
    begins: Vec<u16>,
    judged: usize,
}

impl Joined {
    pub(in crate::scan) fn text(&self) -> &[u8] {
        &self.text
    }

    /// What ends before this was looked at before.
    pub(in crate::scan) fn judged(&self) -> usize {
        self.judged
    }

    /// The pieces that the bytes at `span` lie in; one where no piece begins within.
    pub(in crate::scan) fn pieces(&self, span: std::ops::Range<usize>) -> Vec<&[u8]> {
        let begins = || self.begins.iter().map(|at| usize::from(*at));
        let start = begins().rev().find(|at| *at <= span.start).unwrap_or_default();
        let mut borders: Vec<usize> = begins().filter(|at| *at > span.start && *at < span.end).collect();
        borders.push(begins().find(|at| *at >= span.end.max(1)).unwrap_or(self.text.len()));
        let mut from = start;
        let piece = |to: &usize| self.text.get(std::mem::replace(&mut from, *to)..*to).unwrap_or_default();
        borders.iter().map(piece).collect()
    }

    pub(in crate::scan) fn push(&mut self, piece: &[u8], judge: Judge<'_>) {
        if piece.len() <= WHOLE {
            self.append(piece, true, judge);
            return;
        }
        let blank = |it: &u8| it.is_ascii_whitespace();
        let head = piece.iter().position(blank).unwrap_or(piece.len());
        let tail = piece.iter().rposition(blank).map_or(0, |it| it + 1);
        if head == piece.len() && head <= 2 * MAX_MATCH {
            self.append(piece.get(..head.min(MAX_MATCH)).unwrap_or_default(), true, judge);
            self.append(piece.get(head.min(MAX_MATCH)..).unwrap_or_default(), false, judge);
            return;
        }
        self.append(piece.get(..head.min(MAX_MATCH)).unwrap_or_default(), true, judge);
        self.append(b"\n", true, judge);
        let tail = tail.max(piece.len().saturating_sub(MAX_MATCH));
        self.append(piece.get(tail..).unwrap_or_default(), true, judge);
    }

    fn append(&mut self, bytes: &[u8], begins: bool, judge: Judge<'_>) {
        if self.text.len() - self.judged + bytes.len() > FULL || self.begins.len() > PIECES {
            self.judge(judge);
        }
        let before = self.text.len();
        self.text.extend_from_slice(bytes);
        if begins && !bytes.is_empty() {
            self.begins.push(u16::try_from(before).unwrap_or(u16::MAX));
        }
    }

    /// Has it looked at if there is anything new, and forgets what no match can reach back to.
    pub(in crate::scan) fn judge(&mut self, judge: Judge<'_>) {
        if self.judged == self.text.len() {
            return;
        }
        judge(self);
        let surplus = self.text.len().saturating_sub(MAX_MATCH);
        self.text.drain(..surplus);
        let shift = u16::try_from(surplus).unwrap_or(u16::MAX);
        self.begins.retain_mut(|at| at.checked_sub(shift).map(|it| *at = it).is_some());
        let spare = self.begins.len().saturating_sub(PIECES / 2);
        self.begins.drain(..spare);
        self.judged = self.text.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_told_apart() {
        let mut joined = Joined::default();
        for piece in [&b"ab"[..], b"", b"cde", b"f"] {
            joined.push(piece, &mut |_| {});
        }
        assert_eq!(joined.text(), b"abcdef");
        assert_eq!(joined.pieces(0..2), [b"ab"]);
        assert_eq!(joined.pieces(1..3), [&b"ab"[..], b"cde"]);
        assert_eq!(joined.pieces(3..6), [&b"cde"[..], b"f"]);
        let mut long = Joined::default();
        long.push(format!("first {} last", "x ".repeat(400)).as_bytes(), &mut |_| {});
        assert_eq!(long.text(), b"first\nlast");
    }

    #[test]
    fn memory_is_bounded_and_every_byte_is_looked_at() {
        let (mut joined, mut seen) = (Joined::default(), 0);
        for _ in 0..10_000 {
            joined.push(&[b'x'; 100], &mut |it| seen += it.text().len() - it.judged());
            assert!(joined.text().len() <= 2 * MAX_MATCH + FULL);
        }
        joined.judge(&mut |it| seen += it.text().len() - it.judged());
        assert_eq!(seen, 1_000_000);
    }
}
