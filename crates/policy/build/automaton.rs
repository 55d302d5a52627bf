//! Patterns as tables: an anchored deterministic automaton over bytes.
//!
//! Invariant: state 0 is dead and the start is state 1. A state is a list of edges, each a set of bytes and where they
//! lead, with the top bit set where the pattern may end there; most have one. No two edges of a state share a byte.

use regex_automata::{
    nfa::thompson::{self, NFA, State, Transition},
    util::{primitives::StateID, syntax},
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

pub(crate) const ACCEPT: u16 = 1 << 15;
/// More would be a pattern that does not mean what its author thinks.
const STATES_MAX: usize = 3000;

/// Which of the 256 bytes.
pub(crate) type Bytes = [u64; 4];

pub(crate) struct Automaton {
    pub(crate) states: Vec<BTreeMap<u16, Bytes>>,
    /// Of what it accepts; `None` where there is no end.
    pub(crate) longest: Option<usize>,
}

impl Automaton {
    pub(crate) fn of(pattern: &str, fold_case: bool) -> Result<Automaton, String> {
        let syntax = syntax::Config::new().unicode(false).utf8(false).case_insensitive(fold_case);
        let compiler = thompson::Config::new().which_captures(thompson::WhichCaptures::None).utf8(false);
        let nfa = NFA::compiler()
            .syntax(syntax)
            .configure(compiler)
            .build(pattern)
            .map_err(|error| format!("`{pattern}`: {error}"))?;
        if !nfa.look_set_any().is_empty() {
            return Err(format!("`{pattern}`: no anchors or word borders; there are `starts` and `ends`"));
        }
        let states = determinise(&nfa).map_err(|what| format!("`{pattern}`: {what}"))?;
        Ok(Automaton { longest: longest(&states), states })
    }

    /// The state after `byte`, without the mark.
    pub(crate) fn step(&self, state: u16, byte: u8) -> u16 {
        let holds = |bytes: &Bytes| bytes[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1;
        self.states[usize::from(state)].iter().find(|(_, bytes)| holds(bytes)).map_or(0, |(to, _)| to & !ACCEPT)
    }

    /// A repetition of one class that begins at `state`: the class, how often at most, marked where the pattern may end
    /// after each, and the state after that. Shorter ones are no gain.
    pub(crate) fn chain(&self, state: usize) -> Option<(Bytes, u16, u16)> {
        const LEAST: u16 = 3;
        let only = |state: usize| match self.states[state].iter().collect::<Vec<_>>()[..] {
            [(to, bytes)] => Some((*to, *bytes)),
            _ => None,
        };
        let (first, class) = only(state)?;
        let (mut length, mut at) = (1, first & !ACCEPT);
        while let Some((to, bytes)) = only(usize::from(at)).filter(|_| length < 1024)
            && bytes == class
            && to & ACCEPT == first & ACCEPT
        {
            (length, at) = (length + 1, to & !ACCEPT);
        }
        (length >= LEAST).then_some((class, length | first & ACCEPT, at))
    }

    /// Whether the pattern may end with `text`.
    pub(crate) fn ends(&self, text: &[u8]) -> bool {
        let Some((last, head)) = text.split_last() else { return false };
        let state = head.iter().fold(1, |state, byte| self.step(state, *byte));
        let edges = &self.states[usize::from(state)];
        edges.iter().any(|(to, bytes)| to & ACCEPT != 0 && bytes[usize::from(last >> 6)] >> (last & 63) & 1 == 1)
    }
}

type Set = Vec<StateID>;

fn determinise(nfa: &NFA) -> Result<Vec<BTreeMap<u16, Bytes>>, String> {
    let closures: Vec<Set> = (0..nfa.states().len()).map(|it| closure(nfa, StateID::must(it))).collect();
    let start = closures[nfa.start_anchored().as_usize()].clone();
    let mut known: HashMap<Set, u16> = HashMap::from([(Set::new(), 0), (start.clone(), 1)]);
    let mut waiting = vec![Set::new(), start];
    let mut states: Vec<BTreeMap<u16, Bytes>> = Vec::new();
    while let Some(set) = waiting.get(states.len()).cloned() {
        let ranges: Vec<Transition> = set.iter().flat_map(|it| transitions(nfa.state(*it))).collect();
        let mut edges: BTreeMap<u16, Bytes> = BTreeMap::new();
        for (first, last) in pieces(&ranges) {
            let mut next = Set::new();
            for range in ranges.iter().filter(|it| it.matches_byte(first)) {
                next.extend(&closures[range.next.as_usize()]);
            }
            next.sort_unstable();
            next.dedup();
            if next.is_empty() {
                continue;
            }
            let accepts = next.iter().any(|it| matches!(nfa.state(*it), State::Match { .. }));
            let fresh = u16::try_from(waiting.len()).unwrap_or(ACCEPT);
            let id = *known.entry(next).or_insert_with_key(|next| {
                waiting.push(next.clone());
                fresh
            });
            let bytes = edges.entry(if accepts { id | ACCEPT } else { id }).or_default();
            for byte in first..=last {
                bytes[usize::from(byte >> 6)] |= 1 << (byte & 63);
            }
        }
        states.push(edges);
        if states.len() > STATES_MAX {
            return Err(format!("more than {STATES_MAX} states"));
        }
    }
    Ok(states)
}

/// The stretches of bytes within which all bytes are in the same of the ranges.
fn pieces(ranges: &[Transition]) -> Vec<(u8, u8)> {
    let mut firsts: BTreeSet<u16> = ranges.iter().flat_map(|it| [u16::from(it.start), u16::from(it.end) + 1]).collect();
    firsts.insert(256);
    let firsts: Vec<u16> = firsts.into_iter().collect();
    let byte = |it: u16| u8::try_from(it).unwrap_or(u8::MAX);
    firsts.windows(2).map(|pair| (byte(pair[0]), byte(pair[1] - 1))).collect()
}

/// What can be reached without a byte, of the states that take one or accept.
fn closure(nfa: &NFA, from: StateID) -> Set {
    let (mut reached, mut waiting, mut seen) = (Set::new(), vec![from], HashSet::new());
    while let Some(id) = waiting.pop() {
        if !seen.insert(id) {
            continue;
        }
        match nfa.state(id) {
            State::Union { alternates } => waiting.extend(alternates.iter()),
            State::BinaryUnion { alt1, alt2 } => waiting.extend([*alt1, *alt2]),
            State::Capture { next, .. } | State::Look { next, .. } => waiting.push(*next),
            State::ByteRange { .. } | State::Sparse(_) | State::Dense(_) | State::Match { .. } => reached.push(id),
            State::Fail => {}
        }
    }
    reached
}

fn transitions(state: &State) -> Vec<Transition> {
    match state {
        State::ByteRange { trans } => vec![*trans],
        State::Sparse(sparse) => sparse.transitions.to_vec(),
        State::Dense(dense) => {
            let of = |byte| dense.matches_byte(byte).map(|next| Transition { start: byte, end: byte, next });
            (0..=255).filter_map(of).collect()
        }
        _ => Vec::new(),
    }
}

/// The longest way through live states, `None` where it goes round.
fn longest(states: &[BTreeMap<u16, Bytes>]) -> Option<usize> {
    let mut layer: BTreeSet<u16> = BTreeSet::from([1]);
    for length in 0..2048 {
        layer = layer.iter().flat_map(|it| states[usize::from(*it)].keys()).map(|to| to & !ACCEPT).collect();
        if layer.is_empty() {
            return Some(length);
        }
    }
    None
}
