//! Known values that leave in pieces, a piece in each of several requests.
//!
//! Every value is spelled as it is, reversed, in hex, base32 and base64. Of what a request says, two things are noted:
//! which bytes of a spelling it contains in a row (in any order, from any place, eight bytes at least), and whether a
//! short value goes on where the one before it in the same place left off (a byte is enough). A spelling of which all
//! but an eighth has left within [`WINDOW`] has left.
//!
//! Sans-I/O: the caller says what time it is. Invariants: memory depends on the values alone ([`MAX_VALUES`],
//! [`MAX_VALUE`], [`MAX_PLACES`]), work on the length of a text; values are wiped when this is dropped, and nothing
//! prints them.

mod spell;

use crate::scan::{CANARY, Finding, KNOWN_SECRET, Place, Severity, Shown, Step, Steps};
use spell::{GRAM, Grams, fold, gram, spellings, unspelled};
use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};
use zeroize::Zeroizing;

/// How long a piece counts.
pub const WINDOW: Duration = Duration::from_secs(3600);
/// Values followed, at most; the first ones count.
pub const MAX_VALUES: usize = 64;
/// Of a longer value its beginning is followed, in bytes.
pub const MAX_VALUE: usize = 128;
/// Shorter values are not followed: pieces of them are everywhere.
const MIN_VALUE: usize = 16;
/// Places in which a value may be under way at once; of more, the longest unused is forgotten.
pub const MAX_PLACES: usize = 256;
/// A value that is longer than this goes on from no other, in bytes.
const SHORT: usize = 48;
/// Values that are not looked at when they come again: most of what a request says is what the last one said.
const RECENT: usize = 256;
/// Shorter ones are: a secret may hold the same letter twice.
const REPEATED: usize = 5;

/// What is known of pieces that have left. One for a bottle.
pub struct Fragments {
    values: Vec<Value>,
    spellings: Vec<Spelling>,
    grams: Grams,
    hasher: RandomState,
    /// Spellings under way, by the hash of the place.
    places: HashMap<u64, Under>,
    /// Hashes of values that were noted lately, each in the slot of its hash.
    recent: Vec<u64>,
}

struct Value {
    name: Arc<str>,
    canary: bool,
    length: usize,
}

struct Spelling {
    value: usize,
    text: Zeroizing<Vec<u8>>,
    /// For each byte of it, when it left last: in seconds from 1 on, 0 = never.
    left: Vec<u32>,
}

struct Under {
    at: Duration,
    ways: Vec<Way>,
}

/// A spelling that leaves in order.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Way {
    spelling: usize,
    /// What has left of it begins and ends here.
    start: usize,
    end: usize,
}

impl Fragments {
    /// Follows these: each with its name, and whether it is a canary.
    pub fn new<'a>(values: impl Iterator<Item = (Arc<str>, bool, &'a [u8])>) -> Fragments {
        let (mut kept, mut all) = (Vec::new(), Vec::new());
        for (name, canary, value) in values.filter(|(_, _, value)| value.len() >= MIN_VALUE).take(MAX_VALUES) {
            let followed = value.get(..value.len().min(MAX_VALUE)).unwrap_or_default();
            for text in spellings(followed) {
                let left = vec![0; text.len()];
                all.push(Spelling { value: kept.len(), text, left });
            }
            kept.push(Value { name, canary, length: value.len() });
        }
        let grams = Grams::new(all.iter().map(|spelling| spelling.text.as_slice()));
        Fragments {
            values: kept,
            spellings: all,
            grams,
            hasher: RandomState::new(),
            places: HashMap::new(),
            recent: vec![0; RECENT],
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Notes a short value that a request says in `place` (a host and the name of a field, say). Gives the value that
    /// has left with it.
    pub fn value(&mut self, now: Duration, place: &[&str], text: &[u8]) -> Option<Finding> {
        if self.is_recent(place, text) {
            return None;
        }
        let decoded = if text.len() <= 2 * MAX_VALUE { unspelled(text) } else { Vec::new() };
        let text = fold(text);
        let mut found = self.contained(now, &text);
        for decoded in &decoded {
            found = found.or_else(|| self.contained(now, decoded));
        }
        if text.is_empty() || text.len() > SHORT {
            return found;
        }
        let place = self.hasher.hash_one(place);
        found.or_else(|| {
            self.goes_on(now, place, std::iter::once(text.as_slice()).chain(decoded.iter().map(Vec::as_slice)))
        })
    }

    fn is_recent(&mut self, place: &[&str], text: &[u8]) -> bool {
        let hash = self.hasher.hash_one((place, text));
        let slot = usize::try_from(hash % RECENT as u64).ok().and_then(|slot| self.recent.get_mut(slot));
        let seen = slot.is_some_and(|slot| std::mem::replace(slot, hash) == hash);
        seen && text.len() >= REPEATED
    }

    /// Notes a text in which pieces may stand.
    pub fn text(&mut self, now: Duration, text: &[u8]) -> Option<Finding> {
        self.contained(now, &fold(text))
    }

    fn contained(&mut self, now: Duration, text: &[u8]) -> Option<Finding> {
        let now = u32::try_from(now.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        let mut found = None;
        for (at, window) in text.windows(GRAM).enumerate() {
            let Some(code) = gram(window).filter(|code| self.grams.may_hold(*code)) else { continue };
            for (spelling, start) in self.grams.places(code) {
                let Some(spelling) = self.spellings.get_mut(spelling) else { continue };
                let behind = |offset: usize| Some(spelling.text.get(start + offset)? == text.get(at + offset)?);
                let before = |back: usize| {
                    Some(spelling.text.get(start.checked_sub(back)?)? == text.get(at.checked_sub(back)?)?)
                };
                let back = (1..).take_while(|back| before(*back) == Some(true)).count();
                let ahead = (0..).take_while(|offset| behind(*offset) == Some(true)).count();
                if back + ahead >= spelling.text.len() {
                    // All of it in one text is the scan's to tell, and nothing is left to come.
                    continue;
                }
                for left in spelling.left.get_mut(start - back..start + ahead).unwrap_or_default() {
                    *left = now;
                }
                if spelling.is_complete(now) {
                    spelling.left.fill(0);
                    found = found.or(Some(spelling.value));
                }
            }
        }
        found.and_then(|value| self.finding(value))
    }

    fn goes_on<'t>(&mut self, now: Duration, place: u64, texts: impl Iterator<Item = &'t [u8]>) -> Option<Finding> {
        let before = self.places.remove(&place).filter(|under| under.at + WINDOW >= now);
        let before = before.map(|under| under.ways).unwrap_or_default();
        let (mut ways, mut found) = (Vec::new(), None);
        for text in texts {
            for (index, spelling) in self.spellings.iter().enumerate() {
                let spare = spelling.text.len() / 8;
                let begun = before.iter().filter(|way| way.spelling == index).copied();
                let anew = (0..=spare).map(|start| Way { spelling: index, start, end: start });
                for Way { start, end, .. } in begun.chain(anew) {
                    let rest = spelling.text.get(end..).unwrap_or_default();
                    let next = Way { spelling: index, start, end: end + text.len() };
                    if !rest.starts_with(text) || ways.contains(&next) {
                        continue;
                    }
                    if end > start && start + rest.len() - text.len() <= spare {
                        found = Some(spelling.value);
                    }
                    ways.push(next);
                }
            }
        }
        if found.is_none() && !ways.is_empty() {
            self.make_room();
            self.places.insert(place, Under { at: now, ways });
        }
        found.and_then(|value| self.finding(value))
    }

    fn make_room(&mut self) {
        if self.places.len() < MAX_PLACES {
            return;
        }
        let oldest = self.places.iter().min_by_key(|(_, under)| under.at).map(|(place, _)| *place);
        oldest.and_then(|place| self.places.remove(&place));
    }

    fn finding(&self, value: usize) -> Option<Finding> {
        let value = self.values.get(value)?;
        Some(Finding {
            rule: if value.canary { CANARY } else { KNOWN_SECRET },
            severity: Severity::Critical,
            place: Place::Other("several requests"),
            shown: Shown::length_only(value.length),
            name: Some(Arc::clone(&value.name)),
            span: None,
            through: Steps::default().then(Step::Joined),
        })
    }
}

impl Spelling {
    fn is_complete(&self, now: u32) -> bool {
        let window = u32::try_from(WINDOW.as_secs()).unwrap_or(u32::MAX);
        let missing = self.left.iter().filter(|left| **left == 0 || left.saturating_add(window) < now).count();
        missing <= self.left.len() / 8
    }
}

impl fmt::Debug for Fragments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fragments({} values)", self.values.len())
    }
}

#[cfg(test)]
mod tests;
