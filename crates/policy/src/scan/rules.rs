//! The rules as static tables, as `build/` makes them of `rules/*.yaml`; docs/rules.md says how one is written.
//!
//! Invariant: everything here lies in the program's read-only data. Nothing is built when it runs, and gates share it.

use crate::scan::{checksum::Check, identity};
use std::fmt;

/// How bad it is when this leaves, most severe last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    Low,
    Medium,
    High,
    Critical,
}

/// One detector.
#[non_exhaustive]
pub struct Rule {
    /// Kebab case, stable: what `exempt:` names.
    pub id: &'static str,
    /// For people, in a finding.
    pub title: &'static str,
    /// The file it is written in: `cloud`, `vcs`, …
    pub family: &'static str,
    pub severity: Severity,
    pub(super) shape: Shape,
    /// No letter or digit stands before it.
    pub(super) starts_word: bool,
    /// Its keyword may stand within what it matches, so that it may have to be asked again and again.
    pub(super) crowds: bool,
    pub(super) ends: Ends,
    /// The least entropy of the secret, in hundredths of a bit for each byte.
    pub(super) entropy: u16,
    pub(super) check: Check,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rule").field(&self.id).finish()
    }
}

/// How a keyword leads to the secret.
pub(super) enum Shape {
    /// The keyword is the token's own beginning, but for a run of `behind` before it. `folded` takes any case.
    Token { exact: Automaton, folded: Automaton, behind: Option<Automaton> },
    /// The keyword names what a value is given to.
    Assigned { value: Automaton, spaced: bool },
    /// The keyword begins a lead, after which the secret stands.
    Led { lead: Automaton, value: Automaton },
    /// Found without a keyword, by its check's own scanner.
    Own,
}

pub(super) enum Ends {
    Anywhere,
    /// No letter, digit or `_` follows.
    Word,
    /// This byte follows.
    Before(u8),
}

/// A word that announces rules, found in any case and in either direction.
pub(super) struct Keyword {
    pub(super) text: &'static [u8],
    pub(super) rules: &'static [Announced],
}

/// A rule that a keyword announces.
pub(super) struct Announced {
    /// Index into [`RULES`].
    pub(super) rule: u16,
    /// Where the keyword begins the pattern (or the lead, in any case alone): the state after it, exactly or in any case.
    pub(super) exact: u16,
    pub(super) folded: u16,
}

/// Four bytes, case folded, that announce a keyword; nought where one is not its own.
pub(super) struct Entry {
    pub(super) block: u32,
    pub(super) keyword: u16,
    /// Of the block in the keyword as it lies in the text.
    pub(super) offset: i8,
    pub(super) reversed: bool,
}

/// An anchored deterministic automaton over bytes: a place in the common tables.
pub(super) struct Automaton {
    /// Of its first state in [`STATES`].
    states: usize,
    /// Of its first edge in [`EDGES`].
    edges: usize,
}

/// As in `build/filter.rs`.
const BUCKET_BITS: u32 = 13;
const SECOND_BITS: u32 = 17;
const ACCEPT: u16 = 1 << 15;
const START: u16 = 1;
/// The states of all automata, as [`State`] reads them.
static STATES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/states.bin"));
/// A set of bytes, and the state they lead to with the mark where the pattern may end there.
static EDGES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/edges.bin"));

/// By the hash of four bytes: a bit for each of the second bytes with which they may announce a keyword.
static FIRST: &[u8; 1 << 16] = include_bytes!(concat!(env!("OUT_DIR"), "/first.bin"));

impl Automaton {
    /// The length of the longest match at the beginning of `bytes`. Reads no further than the pattern can reach.
    #[inline]
    pub(super) fn longest<'t>(&self, bytes: impl Iterator<Item = &'t u8>) -> Option<usize> {
        self.longest_after(START, 0, bytes)
    }

    /// The same where `begun` bytes before `bytes` led to `state`, with the mark where the pattern may end there.
    #[inline]
    pub(super) fn longest_after<'t>(
        &self,
        state: u16,
        begun: usize,
        bytes: impl Iterator<Item = &'t u8>,
    ) -> Option<usize> {
        let (mut best, mut index) = ((state & ACCEPT != 0).then_some(begun), begun);
        let mut state = state & !ACCEPT;
        let mut bytes = bytes;
        while let Some(at) = self.state(state) {
            if at.count == 0 {
                let Some(next) = bytes.next().and_then(|byte| self.step(at, *byte)) else { return best };
                (state, index) = (next & !ACCEPT, index + 1);
                if next & ACCEPT != 0 {
                    best = Some(index);
                }
                continue;
            }
            let (class, most) = (1 << (at.class & 63), at.count & !ACCEPT);
            let mut come = 0;
            while come < most && bytes.next().is_some_and(|byte| classes(*byte) & class != 0) {
                come += 1;
            }
            index += usize::from(come);
            if come > 0 && at.count & ACCEPT != 0 {
                best = Some(index);
            }
            if come < most {
                return best;
            }
            state = at.after;
        }
        best
    }

    #[inline]
    fn state(&self, state: u16) -> Option<State> {
        let at = (self.states + usize::from(state)) * State::SIZE;
        STATES.get(at..)?.first_chunk().map(State::read)
    }

    /// Where `byte` leads.
    #[inline]
    fn step(&self, from: State, byte: u8) -> Option<u16> {
        let first = self.edges + usize::from(from.edge);
        let edges = EDGES.get(first * 4..(first + usize::from(from.edges)) * 4)?;
        for [a, b, c, d] in edges.as_chunks::<4>().0 {
            let set = SETS.get(usize::from(u16::from_le_bytes([*a, *b])))?;
            if has(set, byte) {
                return Some(u16::from_le_bytes([*c, *d]));
            }
        }
        None
    }

    /// Whether the pattern, a class, takes `byte`.
    pub(super) fn takes(&self, byte: u8) -> bool {
        self.state(START).and_then(|start| self.step(start, byte)).is_some()
    }
}

/// A state of an automaton.
#[derive(Clone, Copy)]
struct State {
    /// Its first edge, counted within the automaton, and how many there are.
    edge: u16,
    edges: u16,
    /// Where a class comes again and again: its bit in `CLASSES`; how often it may, with the mark where the pattern may end
    /// after each, nought for no such; and the state after that.
    class: u16,
    count: u16,
    after: u16,
}

impl State {
    const SIZE: usize = 10;

    #[inline]
    fn read(bytes: &[u8; State::SIZE]) -> State {
        let [a, b, c, d, e, f, g, h, i, j] = *bytes;
        let [edge, edges, class, count, after] = [[a, b], [c, d], [e, f], [g, h], [i, j]].map(u16::from_le_bytes);
        State { edge, edges, class, count, after }
    }
}

/// Of which of the classes that are repeated a byte is, a bit for each.
#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "a table of 256 has a place for every byte")]
fn classes(byte: u8) -> u64 {
    CLASSES[usize::from(byte)]
}

#[inline(always)]
fn has(set: &[u64; 4], byte: u8) -> bool {
    set.get(usize::from(byte >> 6)).is_some_and(|word| word >> (byte & 63) & 1 != 0)
}

include!(concat!(env!("OUT_DIR"), "/rules.rs"));

/// Every rule there is.
#[must_use]
pub fn all() -> &'static [Rule] {
    &RULES
}

pub(super) fn keyword(index: u16) -> Option<&'static Keyword> {
    KEYWORDS.get(usize::from(index))
}

/// What the first map has for a hash of four bytes, as `lanes` makes it.
#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "a table of 65,536 has a place for every hash")]
pub(super) fn announced(hash: u16) -> u8 {
    FIRST[usize::from(hash)]
}

/// Whether the second map has it, too: of what the first has wrongly, one in eight.
fn announced_again(hash: u32) -> bool {
    let place = hash >> (32 - SECOND_BITS);
    let word = SECOND.get((place / 32) as usize).copied().unwrap_or_default();
    word >> (place & 31) & 1 != 0
}

/// What a hash may announce.
#[inline]
fn entries(hash: u32) -> &'static [Entry] {
    let bucket = (hash >> (32 - BUCKET_BITS)) as usize;
    let bounds = BUCKETS.get(bucket).zip(BUCKETS.get(bucket + 1));
    bounds.and_then(|(from, to)| ENTRIES.get(usize::from(*from)..usize::from(*to))).unwrap_or_default()
}

fn hash(block: u32) -> u32 {
    block.wrapping_mul(0x9e37_79b1)
}

/// What four bytes, case folded, announce: all of them, the first three or the last three.
#[inline]
pub(super) fn announces(block: u32, mut give: impl FnMut(&'static Entry)) {
    if !announced_again(hash(block)) {
        return;
    }
    for known in [block, block & 0x00ff_ffff, block & 0xffff_ff00] {
        for entry in entries(hash(known)) {
            if entry.block == known {
                give(entry);
            }
        }
    }
}
