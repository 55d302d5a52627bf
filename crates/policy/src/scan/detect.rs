//! The detectors over one flat text: from a keyword to the secret it announces.
//!
//! Invariant: whether a rule matches at a keyword is decided by the [`MAX_MATCH`] bytes around it alone, never by what
//! was found before, so a text may be cut anywhere that leaves so much beside. The work for each byte is bounded: a
//! keyword leads to a few look-ups, an automaton stops at the first byte that cannot belong, and a long value belongs
//! to few keywords.

use crate::scan::{
    checksum::{self, Check},
    entropy, filter,
    rules::{self, Announced, Automaton, Ends, Entry, RULES, Rule, Shape},
    unnamed,
};
use std::ops::Range;

#[cfg(test)]
mod examples;
mod gap;
#[cfg(test)]
mod tests;

/// No match, with all it depends on, is longer: keyword, gap and value, and the bytes on either side.
pub const MAX_MATCH: usize = 1024;

const BEHIND_MAX: usize = 96;
/// Keywords of a rule that stand nearer to each other are a crowd: only the first, and those that begin a word, count.
const CROWD: usize = 128;
/// So much of a name before the keyword is read.
const NAME_MAX: usize = 24;
/// What comes before `token` where it is none to keep.
const PASSING: &[&[u8]] = &[
    b"next",
    b"page",
    b"paging",
    b"pagination",
    b"continuation",
    b"cursor",
    b"sync",
    b"csrf",
    b"xsrf",
    b"clientrequest",
    b"idempotency",
    b"cancellation",
];
/// What a token in another case must have, whatever its rule asks: fewer words are written so.
const FOLDED_ENTROPY: u16 = 300;

/// A match of a rule.
#[derive(Debug, Clone)]
pub struct Hit {
    pub rule: &'static Rule,
    /// Of the secret itself, without the name before it.
    pub span: Range<usize>,
}

/// All detectors. They are tables of the program: there is nothing to make and nothing to free.
#[derive(Debug)]
pub struct Detectors(());

impl Detectors {
    #[must_use]
    pub fn shared() -> &'static Detectors {
        static SHARED: Detectors = Detectors(());
        &SHARED
    }

    /// Brings what every text needs into memory.
    pub fn warm(&self) {
        self.find(b"ghp_ 0000 0000 0000 token=", 0, true, &mut |_| {});
    }

    /// Gives every match in `text` whose end is before `settled`, or all of them where `last`, ordered by start.
    ///
    /// A match is judged as if the text ended with `text`. Over a part of a longer text the answer is that of the whole
    /// where `settled + MAX_MATCH <= text.len()` or `last`, and for matches that end `MAX_MATCH` or more after the
    /// part's beginning, or where it is the whole's.
    pub fn find(&self, text: &[u8], settled: usize, last: bool, hit: &mut dyn FnMut(Hit)) {
        self.search(text, settled, last, true, hit);
    }

    /// The same without the rules that go by a name and the look of a value, unless `guesses`.
    pub(super) fn search(&self, text: &[u8], settled: usize, last: bool, guesses: bool, hit: &mut dyn FnMut(Hit)) {
        let mut search = Search::new(text, guesses);
        filter::walk(text, &mut search);
        unnamed::wallet_keys(text, |span| search.unnamed(Check::Wif, span));
        let mut found = search.found;
        found.sort_unstable_by_key(|it| (it.1.start, it.1.end, it.0));
        found.dedup();
        for (rule, span) in found {
            if (last || span.end < settled)
                && let Some(rule) = RULES.get(usize::from(rule))
            {
                hit(Hit { rule, span });
            }
        }
    }
}

/// Values that were judged, by rule and place: keywords near to each other lead to the same.
const JUDGED: usize = 16;

/// The length of the value of a rule at a place, read in a direction.
type Judged = [Option<(u16, bool, usize, Option<usize>)>; JUDGED];

struct Search<'t> {
    text: &'t [u8],
    /// Whether rules are asked that go by a name and the look of a value.
    guesses: bool,
    judged: Judged,
    /// What is read backwards, the right way round.
    turned: Vec<u8>,
    found: Vec<(u16, Range<usize>)>,
    /// For each rule up to where a keyword stands in a crowd; empty until it is needed.
    asked: Vec<usize>,
    /// Where a number may begin that was not looked at yet.
    numbers_from: usize,
}

impl filter::Met for Search<'_> {
    #[inline]
    fn block(&mut self, at: usize, block: u32) {
        rules::announces(block, |entry| self.announced(at, entry));
    }

    fn digits(&mut self, at: usize) {
        let starts = unnamed::starts(at);
        for start in starts.start.max(self.numbers_from)..starts.end {
            if let Some((check, span)) = unnamed::number_at(self.text, start) {
                self.unnamed(check, span);
            }
        }
        self.numbers_from = starts.end;
    }
}

impl<'t> Search<'t> {
    fn new(text: &'t [u8], guesses: bool) -> Search<'t> {
        Search {
            text,
            guesses,
            judged: [const { None }; JUDGED],
            turned: Vec::new(),
            found: Vec::new(),
            asked: Vec::new(),
            numbers_from: 0,
        }
    }

    #[inline(never)]
    fn announced(&mut self, at: usize, entry: &Entry) {
        let Some(keyword) = rules::keyword(entry.keyword) else { return };
        let Some(start) = at.checked_add_signed(-isize::from(entry.offset)) else { return };
        let end = start + keyword.text.len();
        let Some(here) = self.text.get(start..end) else { return };
        let from = if entry.reversed { end - 1 } else { start };
        let reading = Reading { text: self.text, from, back: entry.reversed };
        let alike =
            if entry.reversed { alike(here.iter().rev(), keyword.text) } else { alike(here.iter(), keyword.text) };
        if let Some(exact) = alike {
            for one in keyword.rules {
                self.rule(one, reading, keyword.text.len(), exact);
            }
        }
    }

    fn unnamed(&mut self, check: Check, span: Range<usize>) {
        let rule = RULES.iter().position(|it| matches!(it.shape, Shape::Own) && it.check == check);
        self.found.extend(rule.and_then(|it| u16::try_from(it).ok()).map(|rule| (rule, span)));
    }

    /// Whether the keyword stands within what an earlier one of the same rule has been asked about. Where it does not follow
    /// upon a byte of a token it is a beginning in any case.
    fn crowded(&mut self, index: u16, reading: Reading<'_>, behind: bool) -> bool {
        let follows =
            reading.before(0).is_some_and(|it| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-' | b'+' | b'/'));
        if reading.back {
            return follows && !behind;
        }
        if self.asked.is_empty() {
            self.asked.resize(RULES.len(), 0);
        }
        let Some(last) = self.asked.get_mut(usize::from(index)) else { return false };
        let near = reading.from < *last;
        *last = reading.from + CROWD;
        near && follows
    }

    /// One rule at a keyword of `length` bytes, of which the case is that of the rule or not.
    fn rule(&mut self, announced: &Announced, reading: Reading<'_>, length: usize, exact: bool) {
        let index = announced.rule;
        let Some(rule) = RULES.get(usize::from(index)).filter(|it| self.guesses || !it.check.strict()) else { return };
        let behind = matches!(rule.shape, Shape::Token { behind: Some(_), .. });
        if rule.crowds && self.crowded(index, reading, behind) {
            return;
        }
        let Search { judged, turned, .. } = self;
        let span = match &rule.shape {
            Shape::Token { exact: pattern, folded, behind } => {
                let (pattern, state) = if exact { (pattern, announced.exact) } else { (folded, announced.folded) };
                match behind {
                    None => reading.token(rule, |it| it.longest_after(pattern, state, length), length, exact, turned),
                    Some(class) => {
                        let before = reading.run_behind(class);
                        let begins = reading.moved_back(before);
                        begins
                            .and_then(|it| it.token(rule, |it| it.longest(pattern, 0), before + length, exact, turned))
                    }
                }
            }
            Shape::Assigned { value, spaced } => {
                let mut value = |offset: usize| {
                    let place = reading.span(offset, 1).start;
                    let slot = judged.get_mut((place ^ usize::from(index)) % JUDGED)?;
                    match slot {
                        Some((rule, back, at, length)) if (*rule, *back, *at) == (index, reading.back, place) => {
                            *length
                        }
                        _ => {
                            let length = reading.value(rule, value, offset, turned);
                            *slot = Some((index, reading.back, place, length));
                            length
                        }
                    }
                };
                reading.assigned(rule, &mut value, *spaced, length)
            }
            Shape::Led { lead, value } => reading
                .longest_after(lead, announced.folded, length)
                .and_then(|from| reading.value(rule, value, from, turned).map(|length| reading.span(from, length))),
            Shape::Own => None,
        };
        self.found.extend(span.map(|span| (index, span)));
    }
}

/// A text as it is read from a place on: forwards, or backwards as reversed text must be.
#[derive(Clone, Copy)]
struct Reading<'t> {
    text: &'t [u8],
    /// The first byte read.
    from: usize,
    back: bool,
}

impl<'t> Reading<'t> {
    fn at(self, offset: usize) -> Option<u8> {
        let place = if self.back { self.from.checked_sub(offset) } else { self.from.checked_add(offset) };
        place.and_then(|it| self.text.get(it)).copied()
    }

    /// What was read just before the beginning; 0 is the nearest.
    fn before(self, offset: usize) -> Option<u8> {
        Reading { back: !self.back, ..self }.at(offset + 1)
    }

    fn forward(self, offset: usize) -> &'t [u8] {
        self.text.get(self.from + offset..).unwrap_or_default()
    }

    fn backward(self, offset: usize) -> &'t [u8] {
        (self.from + 1).checked_sub(offset).and_then(|end| self.text.get(..end)).unwrap_or_default()
    }

    /// So many bytes from `offset` on, as they are read; `turned` is for what is read backwards.
    fn read<'r>(self, offset: usize, length: usize, turned: &'r mut Vec<u8>) -> &'r [u8]
    where
        't: 'r,
    {
        if self.back {
            turned.clear();
            turned.extend(self.backward(offset).iter().rev().take(length));
            turned
        } else {
            let forward = self.forward(offset);
            forward.get(..length).unwrap_or(forward)
        }
    }

    fn longest(self, automaton: &Automaton, offset: usize) -> Option<usize> {
        if self.back {
            automaton.longest(self.backward(offset).iter().rev())
        } else {
            automaton.longest(self.forward(offset).iter())
        }
    }

    /// The same from the beginning of a pattern, where the first `begun` bytes are known to lead to `state`.
    fn longest_after(self, automaton: &Automaton, state: u16, begun: usize) -> Option<usize> {
        if self.back {
            automaton.longest_after(state, begun, self.backward(begun).iter().rev())
        } else {
            automaton.longest_after(state, begun, self.forward(begun).iter())
        }
    }

    fn span(self, offset: usize, length: usize) -> Range<usize> {
        if self.back {
            let end = (self.from + 1).saturating_sub(offset);
            end.saturating_sub(length)..end
        } else {
            self.from + offset..self.from + offset + length
        }
    }

    fn run_behind(self, class: &Automaton) -> usize {
        (0..BEHIND_MAX).take_while(|it| self.before(*it).is_some_and(|byte| class.takes(byte))).count()
    }

    fn moved_back(self, by: usize) -> Option<Reading<'t>> {
        let from = if self.back { self.from.checked_add(by) } else { self.from.checked_sub(by) };
        from.map(|from| Reading { from, ..self })
    }

    /// A token that begins here; `head` bytes of it are not random.
    fn token(
        self,
        rule: &Rule,
        longest: impl FnOnce(Self) -> Option<usize>,
        head: usize,
        exact: bool,
        turned: &mut Vec<u8>,
    ) -> Option<Range<usize>> {
        if rule.starts_word && self.in_word() {
            return None;
        }
        let length = longest(self).filter(|it| *it >= head)?;
        self.ends(rule, length).then_some(())?;
        let token = self.read(0, length, turned);
        let body = if head > length - head { token.get(..head) } else { token.get(head..) }?;
        let entropy = entropy::hundredths(body);
        if entropy < rule.entropy {
            return None;
        }
        let real = if exact || !rule.check.by_case() { rule.check.holds(token, body) } else { true };
        let folded =
            || checksum::of_one_case(token) && entropy >= FOLDED_ENTROPY && body.iter().any(u8::is_ascii_digit);
        let shown = || !rule.check.proves() && checksum::placeholder(body);
        (real && (exact || folded()) && !shown()).then(|| self.span(0, length))
    }

    /// A letter or digit stands before, other than that of an escaped line end.
    fn in_word(self) -> bool {
        let escaped =
            !self.back && self.before(1) == Some(b'\\') && self.before(0).is_some_and(|it| b"nrt".contains(&it));
        self.before(0).is_some_and(|it| it.is_ascii_alphanumeric()) && !escaped
    }

    fn ends(self, rule: &Rule, length: usize) -> bool {
        let after = self.at(length);
        match rule.ends {
            Ends::Anywhere => true,
            Ends::Word => after.is_none_or(|it| !it.is_ascii_alphanumeric() && it != b'_'),
            Ends::Before(byte) => after == Some(byte),
        }
    }

    /// The value that is given to a name of which the keyword is a part: after the rest of the name, what separates, and
    /// opening quotes. Each sign that separates may be the one.
    fn assigned(
        self,
        rule: &Rule,
        value: &mut dyn FnMut(usize) -> Option<usize>,
        spaced: bool,
        keyword: usize,
    ) -> Option<Range<usize>> {
        if keyword < 5 && self.in_word() || keyword == 3 && self.at(keyword).is_none_or(|it| !gap::ends_name(it)) {
            return None;
        }
        let length = if self.back {
            let gap = self.backward(keyword).iter().rev();
            gap::value_after(gap.copied(), rule.check.strict(), spaced, |offset| value(keyword + offset))
        } else {
            let gap = self.forward(keyword).iter();
            gap::value_after(gap.copied(), rule.check.strict(), spaced, |offset| value(keyword + offset))
        };
        let (offset, length) = length?;
        (!rule.check.strict() || !self.is_passing()).then(|| self.span(keyword + offset, length))
    }

    /// Whether the name up to here says that the value is for a moment, or where something is: the token of the next page,
    /// of a form, of a request; a part of a resource's name.
    fn is_passing(self) -> bool {
        if self.before(0) == Some(b':') && self.before(1).is_some_and(|it| it.is_ascii_digit()) {
            return true;
        }
        let before = (0..NAME_MAX).map_while(|it| self.before(it)).take_while(|it| is_of_name(*it));
        let letters = before.filter(u8::is_ascii_alphabetic).map(|it| it.to_ascii_lowercase());
        // Filled from its end, so that it reads as the text does.
        let mut name = [0; NAME_MAX];
        name.iter_mut().rev().zip(letters).for_each(|(slot, letter)| *slot = letter);
        PASSING.iter().any(|word| name.ends_with(word))
    }

    /// The length of the value at `offset`, where there is one and it may be real.
    fn value(self, rule: &Rule, pattern: &Automaton, offset: usize, turned: &mut Vec<u8>) -> Option<usize> {
        let length = self.longest(pattern, offset)?;
        let here = Reading { from: self.span(offset, 1).start, ..self };
        here.ends(rule, length).then_some(())?;
        let value = self.read(offset, length, turned);
        let random = || rule.entropy == 0 || entropy::hundredths(value) >= rule.entropy;
        let shown = || !rule.check.proves() && checksum::placeholder(value);
        (rule.check.holds(value, value) && random() && !shown()).then_some(length)
    }
}

/// Whether bytes are those of a keyword, which is as long, but for the case of letters: and if so, whether in that, too.
#[inline(always)]
fn alike<'t>(here: impl Iterator<Item = &'t u8>, keyword: &[u8]) -> Option<bool> {
    let mut other_case = false;
    for (a, b) in here.zip(keyword) {
        if a != b {
            if !a.eq_ignore_ascii_case(b) {
                return None;
            }
            other_case = true;
        }
    }
    Some(!other_case)
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}
