//! Phrases that give orders to an agent, as data: a stem that begins one, and the stems that must follow it.
//!
//! A part is met by a word that begins with one of its stems, in any case; up to [`GAP`] other words may stand between
//! two parts. Scripts without spaces have their phrases whole.

use std::{ops::Range, sync::LazyLock};

/// Words between two parts.
const GAP: usize = 3;
/// How far behind its beginning a phrase may end, in bytes.
const REACH: usize = 240;

/// One way to say it.
#[derive(Debug)]
pub(super) struct Phrase {
    pub(super) rule: &'static str,
    /// Says nothing in the open, only where it is hidden from people.
    pub(super) weak: bool,
    /// The beginnings; searched for as they stand, ASCII in any case.
    starts: &'static [&'static str],
    /// Each must follow.
    then: &'static [&'static [&'static str]],
}

const fn strong(
    rule: &'static str,
    starts: &'static [&'static str],
    then: &'static [&'static [&'static str]],
) -> Phrase {
    Phrase { rule, weak: false, starts, then }
}

const fn weak(rule: &'static str, starts: &'static [&'static str], then: &'static [&'static [&'static str]]) -> Phrase {
    Phrase { rule, weak: true, starts, then }
}

const OVERRIDE: &str = "inbound-override";
const ROLE: &str = "inbound-role";
const SECRECY: &str = "inbound-secrecy";
const FRAME: &str = "inbound-frame";
/// Words to an agent as such.
pub(super) const ORDER: &str = "inbound-order";
/// What an agent could be told to do; a tool's description may well say it.
const DEED: &str = "inbound-deed";

#[rustfmt::skip]
static PHRASES: &[Phrase] = &[
    strong(OVERRIDE, &["ignore", "disregard", "forget", "override", "bypass"],
        &[&["previous", "prior", "above", "earlier", "preceding", "former", "existing"],
          &["instruction", "prompt", "rule", "direction", "guideline", "command", "constraint", "message"]]),
    strong(OVERRIDE, &["ignore all", "disregard all", "forget all", "ignore your", "disregard your", "forget your"],
        &[&["instruction", "prompt", "rules", "guideline", "constraint", "training"]]),
    strong(OVERRIDE, &["new instructions:", "updated instructions:", "your new instructions", "new system prompt",
        "system override", "actual instructions are"], &[]),
    // German, Dutch
    strong(OVERRIDE, &["ignorier", "missachte", "vergiss"],
        &[&["vorherig", "bisherig", "obig", "vorangegangen", "vorangehend", "frühere", "alle"],
          &["anweisung", "instruktion", "befehl", "vorgabe", "regel"]]),
    strong(OVERRIDE, &["negeer", "vergeet"],
        &[&["vorige", "eerdere", "bovenstaande", "voorgaande"], &["instructie", "opdracht", "aanwijzing", "regel"]]),
    // French, Spanish, Portuguese, Italian: the noun comes first
    strong(OVERRIDE, &["ignore", "oublie", "néglige"],
        &[&["instruction", "consigne", "directive", "règle"], &["précédent", "antérieur", "ci-dessus", "ci"]]),
    strong(OVERRIDE, &["ignora", "ignore", "olvida", "olvide", "desestim"],
        &[&["instruccion", "indicacion", "orden", "regla"], &["anterior", "previa", "precedente", "de arriba"]]),
    strong(OVERRIDE, &["ignore", "esqueça", "desconsidere"],
        &[&["instruç", "orientaç", "regras", "ordens"], &["anterior", "acima", "prévia"]]),
    strong(OVERRIDE, &["ignora", "dimentica"],
        &[&["istruzion", "indicazion", "regol"], &["precedent", "sopra", "anterior"]]),
    // Polish, Russian
    strong(OVERRIDE, &["zignoruj", "zapomnij"], &[&["poprzedni", "wcześniejsz", "powyższ"], &["instrukcj", "polece", "zasad"]]),
    strong(OVERRIDE, &["игнорируй", "Игнорируй", "забудь", "Забудь", "проигнорируй", "Проигнорируй"],
        &[&["предыдущ", "прежн", "вышеуказан", "все"], &["инструкц", "указани", "правил"]]),
    // Chinese, Japanese, Korean, Arabic, Hindi
    strong(OVERRIDE, &["忽略之前的", "忽略以上", "忽略先前", "忽略前面", "无视之前", "无视以上", "無視之前", "忘记之前的指令",
        "以前の指示を無視", "これまでの指示を無視", "上記の指示を無視", "前の指示を無視",
        "이전 지시를 무시", "이전 명령을 무시", "위의 지시를 무시", "이전의 모든 지시",
        "تجاهل التعليمات السابقة", "تجاهل جميع التعليمات", "पिछले निर्देशों को अनदेखा", "पिछले निर्देशों को नज़रअंदाज़"], &[]),
    strong(ROLE, &["you are now", "from now on you are", "from now on, you are"],
        &[&["developer", "dan", "jailbr", "unrestricted", "unfiltered", "root", "administrator", "free", "different"]]),
    strong(ROLE, &["enter developer mode", "enable developer mode", "enable god mode", "do anything now"], &[]),
    strong(SECRECY, &["do not tell", "don't tell", "do not inform", "don't inform", "do not mention", "don't mention",
        "do not reveal", "don't reveal", "do not alert", "without telling", "without informing", "without alerting",
        "without notifying", "hide this from", "keep this from"], &[&["user", "human", "operator", "person"]]),
    strong(FRAME, &["<|im_start|>", "<|im_end|>", "<|system|>", "<|start_header_id|>", "<<SYS>>", "[/INST]",
        "<|endoftext|>", "### system prompt", "begin system prompt", "<system_prompt>"], &[]),
    weak(ORDER, &["<important>", "you must", "you should now", "you will now", "before using this tool", "before answering",
        "before you answer", "before responding", "instead of answering", "as an ai", "ai agent", "ai assistant",
        "language model", "dear assistant", "attention assistant", "note to the assistant", "when you read this",
        "when summarizing"], &[]),
    weak(DEED, &["execute", "run the", "read the", "open the", "send", "upload", "forward", "exfiltrat", "fetch", "print"],
        &[&["command", "script", "file", "content", "key", "token", "password", "credential", "secret", "env", "ssh",
            "conversation", "history", "prompt"]]),
];

/// Those starts that have one first byte, in small letters.
struct Starts {
    /// Which second bytes they have, a bit for each.
    seconds: [u64; 4],
    /// Each with the phrases that begin so.
    starts: Vec<(&'static [u8], Vec<&'static Phrase>)>,
}

/// By their first byte. In ordinary text two bytes and the one before them say that nothing begins here, which an
/// automaton over all starts takes several times as long for.
static STARTS: LazyLock<[Starts; 256]> = LazyLock::new(|| {
    let mut all: Vec<&'static str> = PHRASES.iter().flat_map(|phrase| phrase.starts).copied().collect();
    all.sort_unstable();
    all.dedup();
    let mut starts = [const { Starts { seconds: [0; 4], starts: Vec::new() } }; 256];
    for text in all {
        let phrases = PHRASES.iter().filter(|phrase| phrase.starts.contains(&text)).collect();
        let [first, second, ..] = text.as_bytes() else { continue };
        let Some(same) = starts.get_mut(usize::from(first.to_ascii_lowercase())) else { continue };
        let (word, bit) = bit(*second);
        same.seconds.get_mut(word).into_iter().for_each(|seconds| *seconds |= bit);
        same.starts.push((text.as_bytes(), phrases));
    }
    starts
});

/// Where the bit of a second byte stands.
fn bit(byte: u8) -> (usize, u64) {
    let byte = byte.to_ascii_lowercase();
    (usize::from(byte >> 6), 1 << (byte & 63))
}

/// Gives every phrase that begins in this part of the text.
pub(super) fn find(text: &[u8], within: Range<usize>, each: &mut dyn FnMut(&'static Phrase, Range<usize>)) {
    let starts = &*STARTS;
    let byte_before = |back: usize| within.start.checked_sub(back).and_then(|at| text.get(at)).copied().unwrap_or(0);
    let (mut before, mut last) = (byte_before(2), byte_before(1));
    let part = text.get(within.start..text.len().min(within.end.saturating_add(1))).unwrap_or_default();
    for (at, pair) in (within.start..).zip(part.windows(2)) {
        let &[first, second] = pair else { continue };
        let begins = begins_word(before, last);
        (before, last) = (last, first);
        let Some(same) = starts.get(usize::from(first.to_ascii_lowercase())).filter(|_| begins) else { continue };
        let (word, bit) = bit(second);
        if same.seconds.get(word).is_some_and(|seconds| seconds & bit != 0) {
            begun(text, at, same, each);
        }
    }
}

fn begun(text: &[u8], at: usize, begins: &Starts, each: &mut dyn FnMut(&'static Phrase, Range<usize>)) {
    for (start, phrases) in &begins.starts {
        let end = at + start.len();
        // Most differ in their second byte.
        let same = |given: &[u8]| given.iter().zip(*start).all(|(one, other)| one.eq_ignore_ascii_case(other));
        if !text.get(at..end).is_some_and(same) {
            continue;
        }
        for phrase in phrases {
            if let Some(end) = follows(text, end, phrase.then) {
                each(phrase, at..end);
            }
        }
    }
}

/// By the two bytes before, 0 where there are none: not in the middle of an ASCII word. The letter of a JSON escape
/// (`\n`) is no letter of a word.
fn begins_word(before: u8, last: u8) -> bool {
    !last.is_ascii_alphanumeric() || (before == b'\\' && matches!(last, b'n' | b't' | b'r'))
}

/// Where the phrase ends, if all its parts follow.
fn follows(text: &[u8], from: usize, parts: &[&[&str]]) -> Option<usize> {
    let reach = text.get(from..text.len().min(from + REACH))?;
    // A cut letter at the end is no letter.
    let reach = reach.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let mut words = Words { text: reach, at: 0, first: true };
    let mut end = 0;
    for part in parts {
        let mut between = 0;
        end = loop {
            let (word, end) = words.next()?;
            if part.iter().any(|stem| begins_with(word, stem)) {
                break end;
            }
            between += 1;
            if between > GAP {
                return None;
            }
        };
    }
    Some(from + end)
}

fn begins_with(word: &str, stem: &str) -> bool {
    let mut letters = word.chars().flat_map(char::to_lowercase);
    stem.chars().all(|expected| letters.next() == Some(expected))
}

/// Words, taken apart at everything that is no letter and no digit.
struct Words<'t> {
    text: &'t str,
    at: usize,
    /// The rest of the word that the start ended in goes first.
    first: bool,
}

impl<'t> Words<'t> {
    fn next(&mut self) -> Option<(&'t str, usize)> {
        if std::mem::take(&mut self.first) {
            self.skip(|c| c.is_alphanumeric());
        }
        loop {
            let escape = self.text.get(self.at..)?.strip_prefix(['\\']);
            if escape.is_some_and(|rest| rest.starts_with(['n', 't', 'r'])) {
                self.at += 2;
            } else if self.text.get(self.at..)?.starts_with(|c: char| !c.is_alphanumeric()) {
                self.at += self.text.get(self.at..)?.chars().next().map_or(1, char::len_utf8);
            } else {
                break;
            }
        }
        let start = self.at;
        self.skip(|c| c.is_alphanumeric() || c == '-');
        let word = self.text.get(start..self.at).filter(|word| !word.is_empty())?;
        Some((word, self.at))
    }

    fn skip(&mut self, part: impl Fn(char) -> bool) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        self.at += rest.find(|c| !part(c)).unwrap_or(rest.len());
    }
}
