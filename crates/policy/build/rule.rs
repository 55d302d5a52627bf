//! A rule as it is written, checked on its own and among the others.

use crate::document::Node;
use std::collections::BTreeSet;

/// How a rule looks for its secret; see docs/rules.md.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The pattern begins where the keyword does, or at the run of `behind` before it.
    Token,
    /// The keyword is part of a name; the pattern is the value given to it.
    Assigned,
    /// `lead` begins at the keyword; the pattern follows it.
    Led,
    /// A scanner of its own.
    Own,
}

pub(crate) struct Spec {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) family: String,
    pub(crate) severity: String,
    pub(crate) keywords: Vec<String>,
    pub(crate) kind: Kind,
    pub(crate) scanner: String,
    pub(crate) lead: String,
    pub(crate) behind: String,
    pub(crate) pattern: String,
    /// A space alone gives a value, too.
    pub(crate) spaced: bool,
    /// No letter or digit before it.
    pub(crate) starts_word: bool,
    /// What may not follow: "", or `word`; or what must: a character.
    pub(crate) ends: String,
    /// Hundredths of a bit for each character.
    pub(crate) entropy: u16,
    pub(crate) check: String,
    pub(crate) positive: Vec<String>,
    pub(crate) near_miss: Vec<String>,
}

const SEVERITIES: &[&str] = &["low", "medium", "high", "critical"];
const KEYWORD_MIN: usize = 3;

pub(crate) fn all(document: &Node, family: &str) -> Result<Vec<Spec>, String> {
    let Node::List(items) = document else { return Err("a file is a list of rules".to_owned()) };
    items.iter().map(|item| one(item, family)).collect()
}

fn one(item: &Node, family: &str) -> Result<Spec, String> {
    let Node::Table(fields) = item else { return Err("a rule is a table".to_owned()) };
    let known = [
        "id",
        "title",
        "severity",
        "keywords",
        "assigned",
        "scanner",
        "lead",
        "behind",
        "pattern",
        "starts",
        "ends",
        "entropy",
        "check",
        "positive",
        "near_miss",
    ];
    let word = |name: &str| fields.iter().find(|(key, _)| key == name).and_then(|(_, value)| scalar(value));
    let words = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| scalars(value));
    let id = word("id").ok_or("a rule without id")?;
    let fault = |what: &str| format!("{id}: {what}");
    if let Some((key, _)) = fields.iter().find(|(key, _)| !known.contains(&key.as_str())) {
        return Err(fault(&format!("no field `{key}`")));
    }
    let kind = match (word("scanner"), word("assigned"), word("lead")) {
        (Some(_), None, None) => Kind::Own,
        (None, Some(_), None) => Kind::Assigned,
        (None, None, Some(_)) => Kind::Led,
        (None, None, None) => Kind::Token,
        _ => return Err(fault("one of scanner, assigned and lead")),
    };
    let entropy = word("entropy").map_or(Ok(0), |it| hundredths(&it)).map_err(|what| fault(&what))?;
    let spec = Spec {
        title: word("title").ok_or_else(|| fault("no title"))?,
        family: family.to_owned(),
        severity: word("severity").ok_or_else(|| fault("no severity"))?,
        keywords: words("keywords").unwrap_or_default(),
        kind,
        scanner: word("scanner").unwrap_or_default(),
        lead: word("lead").unwrap_or_default(),
        behind: word("behind").unwrap_or_default(),
        pattern: word("pattern").unwrap_or_default(),
        spaced: word("assigned").is_some_and(|it| it == "spaced"),
        starts_word: word("starts").is_some_and(|it| it == "word"),
        ends: word("ends").unwrap_or_else(|| if kind == Kind::Assigned { "word".to_owned() } else { String::new() }),
        entropy,
        check: word("check").unwrap_or_else(|| "none".to_owned()),
        positive: words("positive").unwrap_or_default(),
        near_miss: words("near_miss").unwrap_or_default(),
        id: id.clone(),
    };
    check(&spec).map_err(|what| fault(&what))?;
    Ok(spec)
}

fn check(spec: &Spec) -> Result<(), String> {
    let kebab = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-';
    if !spec.id.chars().all(kebab) {
        return Err("an id is kebab case".to_owned());
    }
    if !SEVERITIES.contains(&spec.severity.as_str()) {
        return Err(format!("severity is one of {SEVERITIES:?}"));
    }
    if spec.keywords.is_empty() != (spec.kind == Kind::Own) || spec.pattern.is_empty() != (spec.kind == Kind::Own) {
        return Err("keywords and pattern, or a scanner".to_owned());
    }
    if spec.positive.len() < 2 || spec.near_miss.len() < 2 {
        return Err("at least two positive and two near_miss examples".to_owned());
    }
    let mut examples: Vec<&String> = spec.positive.iter().chain(&spec.near_miss).collect();
    examples.sort();
    if let Some(same) = examples.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("`{}` is an example twice", same[0]));
    }
    if !matches!(spec.ends.len(), 0 | 1) && spec.ends != "word" {
        return Err("ends is `word` or one character".to_owned());
    }
    for keyword in &spec.keywords {
        if keyword.len() < KEYWORD_MIN || !keyword.is_ascii() {
            return Err(format!("`{keyword}` is no keyword: {KEYWORD_MIN} bytes of ASCII or more"));
        }
        let lower = keyword.to_ascii_lowercase();
        if !spec.positive.iter().any(|it| it.to_ascii_lowercase().contains(&lower)) {
            return Err(format!("no positive example holds the keyword `{keyword}`"));
        }
    }
    Ok(())
}

pub(crate) fn check_together(rules: &[Spec]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    match rules.iter().find(|rule| !seen.insert(&rule.id)) {
        Some(twice) => Err(format!("{}: two rules of this id", twice.id)),
        None => Ok(()),
    }
}

/// `3.5` as 350.
fn hundredths(text: &str) -> Result<u16, String> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    format!("{whole}{fraction:0<2}").parse().map_err(|_| format!("entropy `{text}` is no number of two places"))
}

fn scalar(node: &Node) -> Option<String> {
    match node {
        Node::Scalar(text) => Some(text.clone()),
        _ => None,
    }
}

fn scalars(node: &Node) -> Vec<String> {
    match node {
        Node::List(items) => items.iter().filter_map(scalar).collect(),
        Node::Scalar(text) => vec![text.clone()],
        Node::Table(_) => Vec::new(),
    }
}
