//! How much of a request's target looks random: what could be data on its way out, spelled as a name.
//!
//! A measure, not a verdict: hashes and ids look random, too, and are sent by honest tools. What counts is how much of
//! it goes to hosts that anybody may have (below a wildcard), see [`crate::budget`].

use std::hash::{BuildHasher, RandomState};

/// Shorter words say too little to look like anything.
const SHORT: usize = 4;
/// From so many characters on, a word without vowels or a long number is none that people write.
const LONG: usize = 8;

/// Gives each word of `text` that looks random.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &[u8]> {
    let words = text.as_bytes().split(|byte| !byte.is_ascii_alphanumeric());
    words.filter(|word| is_random(word))
}

/// Letters and digits or upper and lower case in turns, hardly a vowel, or a long number.
fn is_random(word: &[u8]) -> bool {
    if word.len() < SHORT {
        return false;
    }
    let pairs = || word.iter().zip(word.iter().skip(1));
    let turns = pairs().filter(|(one, next)| is_turn(class(**one), class(**next))).count();
    // `utf8` and `iPhone` are words; `a1b2` is none.
    if turns >= 2 && turns * 4 >= word.len() {
        return true;
    }
    if word.len() < LONG {
        return false;
    }
    let digits = word.iter().filter(|byte| byte.is_ascii_digit()).count();
    let letters = word.len() - digits;
    let vowels = word.iter().filter(|byte| b"aeiouyAEIOUY".contains(byte)).count();
    turns * 6 >= word.len() || digits == word.len() || (letters >= LONG && vowels * 5 <= letters)
}

/// A capital begins a word.
fn is_turn(one: Class, next: Class) -> bool {
    one != next && (one, next) != (Class::Upper, Class::Lower)
}

#[derive(Clone, Copy, PartialEq)]
enum Class {
    Lower,
    Upper,
    Digit,
}

fn class(byte: u8) -> Class {
    match byte {
        b'0'..=b'9' => Class::Digit,
        b'A'..=b'Z' => Class::Upper,
        _ => Class::Lower,
    }
}

/// What was seen already; the same word again tells nobody anything new.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    hasher: RandomState,
    /// By hash; a slot holds the newest of those that share it.
    slots: Vec<u64>,
}

impl Seen {
    const SLOTS: usize = 4096;

    /// Whether this word is new.
    pub(crate) fn note(&mut self, word: &[u8]) -> bool {
        let hash = self.hasher.hash_one(word) | 1;
        self.slots.resize(Seen::SLOTS, 0);
        let slot = usize::try_from(hash >> 1).unwrap_or_default() % Seen::SLOTS;
        self.slots.get_mut(slot).is_some_and(|slot| std::mem::replace(slot, hash) != hash)
    }

    pub(crate) fn forget(&mut self) {
        self.slots = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_look_random_and_words_do_not() {
        for text in [
            "9f86d081884c7d659a2feaa0c55ad015",
            "dGhlIHF1aWNrIGJyb3duIGZveCBqdW1wcw",
            "mzxw6ytboi5dq4dvmq",
            "a1b2",
            "qwrtpsdfghklzxcv",
            "1732190400123",
            "AKIA1Q2W3E4R5T6Y7U8I",
        ] {
            assert_eq!(words(text).count(), 1, "{text}");
        }
        for text in [
            "/repos/acme/app/pulls/17/comments?per_page=100&sort=updated",
            "/packages/serde_json/1.0.140/download",
            "/v1/messages/count_tokens",
            "/index.php?page=Contact&lang=en-GB&year=2026",
            "/simple/typing-extensions/",
            "/utf8/iPhone/h264/x86/win32/ipv6",
            "/en-US/docs/Web/JavaScript/Reference/Global_Objects/Array",
            "",
        ] {
            assert_eq!(
                words(text).count(),
                0,
                "{text}: {:?}",
                words(text).map(String::from_utf8_lossy).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn the_same_word_is_new_once() {
        let mut seen = Seen::default();
        assert!(seen.note(b"9f86d081884c") && !seen.note(b"9f86d081884c") && seen.note(b"884c7d659a2f"));
        seen.forget();
        assert!(seen.note(b"9f86d081884c"));
    }
}
