//! The tables, written as Rust and as bytes.

use crate::{
    automaton::{self, Automaton, Bytes},
    filter::{self, BUCKET_BITS, Beside, Entry, Filter, SECOND_BITS},
    rule::{Kind, Spec},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fmt::Write as _,
    fs,
    path::Path,
};

/// As in `scan/detect.rs`: keyword, gap and value together stay below it.
const LONGEST_PATTERN: usize = 860;
/// What may stand between a name and the sign that gives it a value, and the sign.
const GAP: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789_.- =:>\"'`,([{/\\\t;|?&%+<])}\r\n";

/// A state as it is written: the first of its edges, counted within the automaton, and how many there are; the class of a
/// repetition that begins there, how often it may come with the mark where the pattern may end after each, nought where
/// none begins, and the state after that.
type State = [u16; 5];

#[derive(Default)]
struct Tables {
    sets: Vec<Bytes>,
    states: Vec<State>,
    /// A set and where its bytes lead.
    edges: Vec<[u16; 2]>,
    /// The classes that are repeated; a bit for each of them is kept of every byte.
    repeated: Vec<Bytes>,
    /// Each automaton by its pattern and whether case is folded.
    made: BTreeMap<(String, bool), (String, BTreeSet<u8>)>,
    automata: BTreeMap<(String, bool), Automaton>,
}

impl Tables {
    /// The automaton of a pattern as a Rust expression.
    fn add(&mut self, pattern: &str, fold: bool) -> Result<String, String> {
        let key = (pattern.to_owned(), fold);
        if let Some((made, _)) = self.made.get(&key) {
            return Ok(made.clone());
        }
        let automaton = Automaton::of(pattern, fold)?;
        if automaton.longest.is_none_or(|it| it > LONGEST_PATTERN) {
            return Err(format!("`{pattern}` may match {:?} bytes, more than {LONGEST_PATTERN}", automaton.longest));
        }
        let made = format!("Automaton {{ states: {}, edges: {} }}", self.states.len(), self.edges.len());
        let first = self.edges.len();
        for (state, edges) in automaton.states.iter().enumerate() {
            let chain = automaton.chain(state);
            let of = |(bytes, length, after): (Bytes, u16, u16)| Ok([self.repeated(&bytes)?, length, after]);
            let [class, count, after] = chain.map_or(Ok::<_, String>([0; 3]), of)?;
            let narrow = |it: usize| u16::try_from(it).map_err(|error| error.to_string());
            self.states.push([narrow(self.edges.len() - first)?, narrow(edges.len())?, class, count, after]);
            for (to, bytes) in edges {
                let set = self.set(bytes)?;
                self.edges.push([set, *to]);
            }
        }
        self.made.insert(key.clone(), (made.clone(), BTreeSet::new()));
        self.automata.insert(key, automaton);
        Ok(made)
    }

    fn repeated(&mut self, bytes: &Bytes) -> Result<u16, String> {
        let place = self.repeated.iter().position(|it| it == bytes).unwrap_or_else(|| {
            self.repeated.push(*bytes);
            self.repeated.len() - 1
        });
        let bit = u16::try_from(place).ok().filter(|it| *it < 64);
        bit.ok_or_else(|| "more than 64 classes that are repeated".to_owned())
    }

    /// For each byte, of which of the classes that are repeated it is.
    fn classes(&self) -> Vec<u64> {
        let holds = |bytes: &Bytes, byte: usize| bytes[byte >> 6] >> (byte & 63) & 1;
        let of = |byte| (0..).zip(&self.repeated).fold(0, |all, (bit, bytes)| all | holds(bytes, byte) << bit);
        (0..256).map(of).collect()
    }

    /// The state after `keyword` at the beginning of a pattern, with the mark where it may end there.
    fn state_after(&self, pattern: &str, fold: bool, keyword: &str) -> Result<u16, String> {
        let automaton = self.automata.get(&(pattern.to_owned(), fold)).ok_or("an automaton that was not made")?;
        let state = keyword.bytes().fold(1, |state, byte| automaton.step(state, byte));
        Ok(if automaton.ends(keyword.as_bytes()) { state | automaton::ACCEPT } else { state })
    }

    fn set(&mut self, bytes: &Bytes) -> Result<u16, String> {
        let place = self.sets.iter().position(|it| it == bytes).unwrap_or_else(|| {
            self.sets.push(*bytes);
            self.sets.len() - 1
        });
        u16::try_from(place).map_err(|error| error.to_string())
    }

    /// Which bytes may come after `keyword` at the beginning of the pattern; an error where it cannot begin so.
    fn after(&self, pattern: &str, keyword: &str) -> Result<BTreeSet<u8>, String> {
        let automaton = self.automata.get(&(pattern.to_owned(), true)).ok_or("an automaton that was not made")?;
        let state = keyword.bytes().fold(1, |state, byte| automaton.step(state, byte));
        if state == 0 {
            return Err(format!("`{pattern}` cannot begin with the keyword `{keyword}`"));
        }
        // Where the pattern may end with the keyword, what follows is not its matter.
        if automaton.ends(keyword.as_bytes()) {
            return Ok((0..=255).collect());
        }
        Ok((0..=255).filter(|byte| automaton.step(state, *byte) != 0).map(|it| it.to_ascii_lowercase()).collect())
    }
}

pub(crate) fn all(rules: &[Spec], out: &Path) -> Result<(), Box<dyn Error>> {
    let mut tables = Tables::default();
    let mut text = format!("pub(crate) static RULES: [Rule; {}] = [\n", rules.len());
    for rule in rules {
        let expression = one(rule, &mut tables).map_err(|why| format!("{}: {why}", rule.id))?;
        writeln!(text, "{expression},")?;
    }
    text.push_str("];\n");
    let first = keywords(rules, &tables, &mut text)?;
    writeln!(text, "static CLASSES: [u64; 256] = {:?};", tables.classes())?;
    writeln!(text, "static SETS: [[u64; 4]; {}] = {:?};", tables.sets.len(), tables.sets)?;
    fs::write(out.join("rules.rs"), text)?;
    fs::write(out.join("first.bin"), first)?;
    let bytes = |numbers: &[u16]| numbers.iter().flat_map(|it| it.to_le_bytes()).collect::<Vec<u8>>();
    fs::write(out.join("states.bin"), bytes(tables.states.as_flattened()))?;
    fs::write(out.join("edges.bin"), bytes(tables.edges.as_flattened()))?;
    fs::write(out.join("examples.rs"), examples(rules))?;
    Ok(())
}

/// What the checks of a value's make-up count; as in `scan/checksum.rs`.
const TALLIED: usize = 128;

fn one(rule: &Spec, tables: &mut Tables) -> Result<String, String> {
    let shape = match rule.kind {
        Kind::Token => {
            let (exact, folded) = (tables.add(&rule.pattern, false)?, tables.add(&rule.pattern, true)?);
            let behind = if rule.behind.is_empty() {
                "None".to_owned()
            } else {
                format!("Some({})", tables.add(&rule.behind, false)?)
            };
            format!("Shape::Token {{ exact: {exact}, folded: {folded}, behind: {behind} }}")
        }
        Kind::Assigned => {
            let value = tables.add(&rule.pattern, false)?;
            let longest = tables.automata.get(&(rule.pattern.clone(), false)).and_then(|it| it.longest);
            if ["secret", "strong-password"].contains(&rule.check.as_str()) && longest.is_none_or(|it| it > TALLIED) {
                return Err(format!("a value of more than {TALLIED} bytes cannot be checked so"));
            }
            format!("Shape::Assigned {{ value: {value}, spaced: {} }}", rule.spaced)
        }
        Kind::Led => {
            let (lead, value) = (tables.add(&rule.lead, true)?, tables.add(&rule.pattern, false)?);
            format!("Shape::Led {{ lead: {lead}, value: {value} }}")
        }
        Kind::Own => "Shape::Own".to_owned(),
    };
    let ends = match rule.ends.as_str() {
        "" => "Ends::Anywhere".to_owned(),
        "word" => "Ends::Word".to_owned(),
        one => format!("Ends::Before(b{:?})", one.chars().next().unwrap_or_default()),
    };
    let crowds = rule.kind != Kind::Assigned && rule.keywords.iter().any(|it| crowds(rule, tables, it));
    let check = if rule.kind == Kind::Own { &rule.scanner } else { &rule.check };
    let check = match check.strip_prefix("identity-") {
        Some(kind) => format!("Identity(identity::Kind::{})", camel(kind)),
        None => camel(check),
    };
    Ok(format!(
        "Rule {{ id: {:?}, title: {:?}, family: {:?}, severity: Severity::{}, shape: {shape}, starts_word: {}, crowds: {crowds}, ends: {ends}, entropy: {}, check: Check::{check} }}",
        rule.id,
        rule.title,
        rule.family,
        camel(&rule.severity),
        rule.starts_word,
        rule.entropy,
    ))
}

/// Whether a text of nothing but the keyword keeps the rule busy at each of them.
fn crowds(rule: &Spec, tables: &Tables, keyword: &str) -> bool {
    let pattern = if rule.lead.is_empty() { &rule.pattern } else { &rule.lead };
    let automaton = tables.automata.get(&(pattern.clone(), true));
    let text = keyword.repeat(4);
    !rule.behind.is_empty() || automaton.is_some_and(|it| text.bytes().fold(1, |state, byte| it.step(state, byte)) != 0)
}

fn camel(words: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    words.split('-').filter(|it| !it.is_empty()).map(capital).collect()
}

/// Appends the tables of keywords; gives the first map.
fn keywords(rules: &[Spec], tables: &Tables, text: &mut String) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut by_text: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, rule) in rules.iter().enumerate() {
        for keyword in &rule.keywords {
            by_text.entry(keyword.clone()).or_default().push(index);
        }
    }
    let mut filter = Filter::default();
    writeln!(text, "static KEYWORDS: [Keyword; {}] = [", by_text.len())?;
    for (index, (keyword, users)) in by_text.iter().enumerate() {
        let mut beside = Beside { before: BTreeSet::new(), after: BTreeSet::from([0]) };
        for rule in users.iter().map(|it| &rules[*it]) {
            let after = match rule.kind {
                Kind::Token if rule.behind.is_empty() => tables.after(&rule.pattern, keyword),
                Kind::Led => tables.after(&rule.lead, keyword),
                Kind::Token => Ok((0..=255u8).collect()),
                // A name so short ends there.
                Kind::Assigned | Kind::Own => {
                    Ok(GAP.iter().copied().filter(|it| keyword.len() > 3 || !it.is_ascii_alphanumeric()).collect())
                }
            };
            beside.after.extend(after.map_err(|why| format!("{}: {why}", rule.id))?);
            let word = rule.starts_word && rule.kind == Kind::Token && rule.behind.is_empty()
                || rule.kind == Kind::Assigned && keyword.len() < 5;
            // An escaped line end is none of the word.
            beside.before.extend((0..=255u8).filter(|it| !word || !it.is_ascii_alphanumeric() || b"nrt".contains(it)));
        }
        filter.add(u16::try_from(index)?, keyword, &beside);
        let mut announced = String::new();
        for index in users {
            let rule = &rules[*index];
            let after = |pattern: &str, fold| {
                tables.state_after(pattern, fold, keyword).map_err(|why| format!("{}: {why}", rule.id))
            };
            let (exact, folded) = match rule.kind {
                Kind::Token if rule.behind.is_empty() => (after(&rule.pattern, false)?, after(&rule.pattern, true)?),
                Kind::Led => (0, after(&rule.lead, true)?),
                Kind::Token | Kind::Assigned | Kind::Own => (0, 0),
            };
            write!(announced, "Announced {{ rule: {index}, exact: {exact}, folded: {folded} }}, ")?;
        }
        writeln!(text, "Keyword {{ text: b{keyword:?}, rules: &[{announced}] }},")?;
    }
    text.push_str("];\n");
    let (mut first, mut second) = (vec![0u8; 1 << 16], vec![0u32; 1 << (SECOND_BITS - 5)]);
    for block in &filter.blocks {
        first[filter::place(*block)] |= filter::mark(*block);
        let place = filter::hash(*block) >> (32 - SECOND_BITS);
        second[(place / 32) as usize] |= 1 << (place % 32);
    }
    let mut buckets = vec![0u16; (1 << BUCKET_BITS) + 1];
    for entry in &filter.entries {
        buckets[entry.bucket as usize + 1] += 1;
    }
    for at in 1..buckets.len() {
        buckets[at] += buckets[at - 1];
    }
    writeln!(text, "static SECOND: [u32; {}] = {second:?};", second.len())?;
    writeln!(text, "static BUCKETS: [u16; {}] = {buckets:?};", buckets.len())?;
    writeln!(text, "static ENTRIES: [Entry; {}] = [", filter.entries.len())?;
    for Entry { block, keyword, offset, reversed, .. } in &filter.entries {
        writeln!(text, "Entry {{ block: {block}, keyword: {keyword}, offset: {offset}, reversed: {reversed} }},")?;
    }
    text.push_str("];\n");
    Ok(first)
}

/// What only tests and the bench read.
fn examples(rules: &[Spec]) -> String {
    let mut text = String::from(
        "/// id, keywords, lead, pattern, positive, near misses.\npub(super) static EXAMPLES: &[Example] = &[\n",
    );
    for rule in rules {
        let Spec { id, keywords, lead, pattern, positive, near_miss, .. } = rule;
        // A rule of an assigned value has the gap where others have their lead.
        let lead = if rule.kind == Kind::Assigned { "=" } else { lead };
        text.push_str(&format!("({id:?}, &{keywords:?}, {lead:?}, {pattern:?}, &{positive:?}, &{near_miss:?}),\n"));
    }
    text + "];\n"
}
