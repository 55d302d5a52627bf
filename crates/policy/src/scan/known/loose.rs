//! Finds values in the letters and digits of a text alone: in any case, with digits and signs for letters, and with
//! anything that is no letter or digit between.
//!
//! Every pattern has an anchor: that letter of it that text has least. Where a text has a byte that may be an anchor,
//! and there alone, the letters after it are looked up, and what passes is compared in full, forwards and backwards.

use super::search::Spelling;
use crate::scan::{
    Steps,
    decode::{
        class::{self, FOLD, FOLD_SIGNS},
        lanes::{self, Lane},
    },
};
use std::{fmt, ops::Range};

/// Letters that are looked up, the anchor first.
const GRAM: usize = 4;
/// Folded letters as text has them, the rarest first. Those that a sign may stand for are last, and anchor only what has
/// no others.
const RARE: &[u8] = b"q6zxjkvwybgpufmdhcroneltsa";
/// Bytes before and after a letter that may be left out: more are no way to write a value.
const BETWEEN: usize = 256;

/// Patterns of folded letters, each with the entry that it spells and how.
#[derive(Default)]
pub(super) struct Loose {
    patterns: Vec<Spelling>,
    /// The bytes that fold to an anchor, as small letters, by eights; the last ones again to fill up.
    anchors: Vec<[u8; 8]>,
    /// For each byte which anchors it may be, by the letter's place in [`RARE`] with one bit for all digits and others; and
    /// after which of them it may stand.
    follows: Follows,
    /// Gram, pattern, and the anchor's offset in it; in order of grams.
    grams: Vec<(u32, u32, u32)>,
    /// One bit for each hash of a gram.
    bits: Vec<u64>,
    /// The least letters of a pattern.
    shortest: usize,
}

/// Whether letters may follow an anchor: the letter after it in a pattern, with what is left out between.
struct Follows {
    is: [u32; 256],
    /// Of a letter, the anchors that it may follow; of a sign, all; [`LEFT_OUT`] of what is no letter.
    after: [u32; 256],
}

const LEFT_OUT: u32 = 1 << 31;

impl Default for Follows {
    fn default() -> Follows {
        Follows { is: [0; 256], after: [0; 256] }
    }
}

impl Follows {
    /// Of anchors with the letters that follow them.
    fn of(pairs: &[(u8, u8)]) -> Follows {
        let bit = |letter: u8| 1 << RARE.iter().position(|it| *it == letter).unwrap_or(RARE.len());
        let mut follows = Follows::default();
        for (byte, (is, after)) in (0..=u8::MAX).zip(follows.is.iter_mut().zip(&mut follows.after)) {
            let (letter, sign) = (class::of(&FOLD, byte), class::of(&FOLD_SIGNS, byte));
            *after = match (letter, sign) {
                (0, 0) => LEFT_OUT,
                (0, _) => !LEFT_OUT,
                _ => 0,
            };
            for (anchor, next) in pairs {
                *is |= if letter == *anchor || sign == *anchor { bit(*anchor) } else { 0 };
                *after |= if letter == *next { bit(*anchor) } else { 0 };
            }
        }
        follows
    }

    #[inline(always)]
    #[expect(clippy::indexing_slicing, reason = "a table of 256 has a place for every byte")]
    fn may(&self, text: &[u8], at: usize) -> bool {
        let Some([anchor, next]) = text.get(at..).and_then(|it| it.first_chunk()) else { return false };
        let (is, after) = (self.is[usize::from(*anchor)], self.after[usize::from(*next)]);
        is & after != 0 || is != 0 && after == LEFT_OUT && self.may_later(text, at, is)
    }

    /// The same where the next byte is none that counts.
    #[inline(never)]
    #[expect(clippy::indexing_slicing, reason = "a table of 256 has a place for every byte")]
    fn may_later(&self, text: &[u8], at: usize, is: u32) -> bool {
        let rest = text.get(at + 2..).unwrap_or_default().iter().take(BETWEEN);
        let mut after = rest.map(|it| self.after[usize::from(*it)]);
        after.find(|it| *it != LEFT_OUT).is_some_and(|it| it & is != 0)
    }
}

impl Loose {
    pub(super) fn new(mut patterns: Vec<Spelling>) -> Loose {
        patterns.sort_by(|a, b| (a.1, a.0.as_slice()).cmp(&(b.1, b.0.as_slice())));
        patterns.dedup_by(|a, b| a.1 == b.1 && a.0 == b.0);
        let mut grams = Vec::new();
        let (mut letters, mut pairs) = (Vec::new(), Vec::new());
        for (index, (bytes, ..)) in (0u32..).zip(&patterns) {
            let places = bytes.len().saturating_sub(GRAM - 1);
            let head = bytes.get(..places).unwrap_or_default();
            let rarity = |letter: &u8| RARE.iter().position(|it| it == letter).unwrap_or(RARE.len());
            let Some((offset, letter)) = (0u32..).zip(head).min_by_key(|(_, letter)| rarity(letter)) else { continue };
            letters.push(*letter);
            let gram = bytes.get(offset as usize..).and_then(|it| it.first_chunk::<GRAM>());
            pairs.extend(gram.map(|it| (it[0], it[1])));
            grams.extend(gram.map(|it| (u32::from_le_bytes(*it), index, offset)));
        }
        grams.sort_unstable();
        let folds = |byte: &u8| [&FOLD, &FOLD_SIGNS].iter().any(|it| letters.contains(&class::of(it, *byte)));
        let mut anchors: Vec<u8> = (0..=u8::MAX).filter(folds).map(|it| it | 0x20).collect();
        anchors.sort_unstable();
        anchors.dedup();
        let by_eights =
            |eight: &[u8]| std::array::from_fn(|at| eight.get(at).or(eight.last()).copied().unwrap_or_default());
        let anchors = anchors.chunks(8).map(by_eights).collect();
        let mut bits = vec![0u64; if grams.is_empty() { 0 } else { 64 }];
        for (gram, ..) in &grams {
            let (word, bit) = place(*gram);
            if let Some(word) = bits.get_mut(word) {
                *word |= bit;
            }
        }
        let shortest = patterns.iter().map(|(bytes, ..)| bytes.len()).min().unwrap_or_default();
        Loose { anchors, follows: Follows::of(&pairs), patterns, grams, bits, shortest }
    }

    /// Gives entry, place and way of every pattern in `text`.
    pub(super) fn find(&self, text: &[u8], hit: &mut dyn FnMut(usize, Range<usize>, Steps)) {
        if self.grams.is_empty() || text.len() < self.shortest {
            return;
        }
        // What a short run decodes to has seldom as many letters.
        let letter = |it: Lane| lanes::alphanumeric(it).or(lanes::sign_for_letter(it));
        if text.len() <= lanes::BLOCK && (lanes::mask(text, 0, letter).count_ones() as usize) < self.shortest {
            return;
        }
        for eight in &self.anchors {
            let anchors = eight.map(Lane::all);
            let anchor = |lane: Lane| {
                let folded = lane.folded();
                anchors.iter().fold(Lane::none(), |any, it| any.or(folded.same(*it)))
            };
            let mut at = 0;
            while at < text.len() {
                let mut places = lanes::mask(text, at, anchor);
                while places != 0 {
                    let place = at + places.trailing_zeros() as usize;
                    places &= places - 1;
                    if self.follows.may(text, place) {
                        self.anchored(text, place, hit);
                    }
                }
                at += lanes::BLOCK;
            }
        }
    }

    #[inline]
    fn anchored(&self, text: &[u8], at: usize, hit: &mut dyn FnMut(usize, Range<usize>, Steps)) {
        let together =
            text.get(at..).and_then(|it| it.first_chunk()).map_or([0; GRAM], |it| it.map(|it| class::of(&FOLD, it)));
        let (gram, signs) =
            if together.contains(&0) { gram(text, at, &FOLD) } else { (u32::from_le_bytes(together), false) };
        // Signs may stand before or after it, too.
        if self.announces(gram) {
            self.compare(text, at, gram, &FOLD, hit);
            self.compare(text, at, gram, &FOLD_SIGNS, hit);
        }
        if signs {
            let (gram, _) = self::gram(text, at, &FOLD_SIGNS);
            if self.announces(gram) {
                self.compare(text, at, gram, &FOLD_SIGNS, hit);
            }
        }
    }

    #[inline]
    fn announces(&self, gram: u32) -> bool {
        let (word, bit) = place(gram);
        self.bits.get(word).is_some_and(|bits| bits & bit != 0)
    }

    #[cold]
    fn compare(
        &self,
        text: &[u8],
        at: usize,
        gram: u32,
        fold: &[u8; 256],
        hit: &mut dyn FnMut(usize, Range<usize>, Steps),
    ) {
        let first = self.grams.partition_point(|(it, ..)| *it < gram);
        for (_, pattern, offset) in self.grams.iter().skip(first).take_while(|(it, ..)| *it == gram) {
            let Some((bytes, entry, steps)) = self.patterns.get(*pattern as usize) else { continue };
            let Some((before, after)) = bytes.split_at_checked(*offset as usize) else { continue };
            let (head, tail) = text.split_at_checked(at).unwrap_or_default();
            let forwards = follow(tail.iter(), after.iter(), fold);
            let backwards = follow(head.iter().rev(), before.iter().rev(), fold);
            if let Some((forwards, backwards)) = forwards.zip(backwards) {
                hit(*entry, at - backwards..at + forwards, *steps);
            }
        }
    }
}

impl fmt::Debug for Loose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loose").field("patterns", &self.patterns.len()).finish_non_exhaustive()
    }
}

/// The anchor and the letters after it; and whether a sign was passed over.
#[inline]
fn gram(text: &[u8], at: usize, fold: &[u8; 256]) -> (u32, bool) {
    let (mut gram, mut count, mut signs) = (0u32, 0, false);
    for byte in text.get(at..).unwrap_or_default().iter().take(BETWEEN) {
        let letter = class::of(fold, *byte);
        if letter == 0 {
            signs |= class::of(&FOLD_SIGNS, *byte) != 0;
            continue;
        }
        gram |= u32::from(letter) << (8 * count);
        count += 1;
        if count == GRAM {
            break;
        }
    }
    (gram, signs)
}

/// Whether the letters of a text are those of a pattern, and within how many bytes.
fn follow<'a>(
    text: impl Iterator<Item = &'a u8>,
    mut pattern: impl Iterator<Item = &'a u8>,
    fold: &[u8; 256],
) -> Option<usize> {
    let Some(mut wanted) = pattern.next() else { return Some(0) };
    let mut between = 0;
    for (index, byte) in text.enumerate() {
        let letter = class::of(fold, *byte);
        if letter == 0 {
            between += 1;
            if between > BETWEEN {
                return None;
            }
            continue;
        }
        if letter != *wanted {
            return None;
        }
        between = 0;
        match pattern.next() {
            Some(next) => wanted = next,
            None => return Some(index + 1),
        }
    }
    None
}

fn place(gram: u32) -> (usize, u64) {
    let hash = gram.wrapping_mul(0x9E37_79B1) >> 20;
    ((hash / 64) as usize, 1 << (hash % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use zeroize::Zeroizing;

    fn loose(pattern: &[u8]) -> Loose {
        let folded = pattern.iter().map(|it| class::of(&FOLD, *it)).filter(|it| *it != 0).collect();
        Loose::new(vec![(Zeroizing::new(folded), 0, Steps::default())])
    }

    proptest! {
        #[test]
        fn a_loose_match_is_placed_where_it_stands(
            value in "[a-zA-Z0-9]{10,40}", before in "[ -~]{0,80}", gap in "[-._ /]{0,3}", long in 0usize..200,
        ) {
            let mut text = vec![b'.'; long];
            text.extend_from_slice(before.as_bytes());
            let start = text.len();
            for letter in value.bytes() {
                text.push(letter);
                text.extend_from_slice(gap.as_bytes());
            }
            let mut found = Vec::new();
            loose(value.as_bytes()).find(&text, &mut |_, span, _| found.push(span));
            prop_assert!(found.contains(&(start..text.len() - gap.len())), "{:?}", found);
        }

        #[test]
        fn signs_stand_for_letters(value in "[a-z0-9]{10,30}", which in any::<u32>()) {
            let sign = |(index, byte): (usize, u8)| match byte {
                _ if which >> (index % 32) & 1 == 0 => byte.to_ascii_uppercase(),
                b'a' => b'@',
                b's' => b'$',
                b'i' | b'l' => b'!',
                b't' => b'+',
                byte => byte,
            };
            let text: Vec<u8> = value.bytes().enumerate().map(sign).collect();
            let mut found = 0;
            loose(value.as_bytes()).find(&text, &mut |_, _, _| found += 1);
            prop_assert!(found > 0, "{}", String::from_utf8_lossy(&text));
        }
    }
}
