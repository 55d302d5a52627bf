//! Short texts that are there as a whole: a header, a request's target, a file's name.

use crate::scan::{
    Finding, MAX_MATCH, Place, Scanner, Shape, Steps,
    look::{Look, View},
    parts::{Joined, Parts, fields},
};

/// Pieces of longer ones are looked at apart, and overlap.
const LONG: usize = 32 * 1024;
const OVERLAP: usize = 4 * MAX_MATCH;

/// Looks at a text in every way.
pub(super) fn piece(scanner: &Scanner, place: &Place, text: &[u8]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut parts = Parts::new(&Shape::Raw);
    let mut start = 0;
    loop {
        let end = text.len().min(start + LONG);
        let part = text.get(start..end).unwrap_or_default();
        look(scanner, place, part, start, &mut found);
        if end == text.len() {
            break;
        }
        start = end - OVERLAP;
    }
    // A text of one word has no parts.
    if text.iter().any(|it| matches!(it, b'"' | b'=' | b'<' | b'\n')) {
        gather(scanner, place, text.len(), &mut found, |look| {
            parts.feed(text, &mut |joined| look.joined(joined));
            parts.border(&mut |joined| look.joined(joined));
            parts.judge(&mut |joined| look.joined(joined));
        });
    }
    found
}

fn look(scanner: &Scanner, place: &Place, text: &[u8], start: usize, found: &mut Vec<Finding>) {
    let at = |offset: usize| u64::try_from(start + offset).unwrap_or(u64::MAX);
    gather(scanner, place, text.len(), found, |look| {
        let map = |span: std::ops::Range<usize>| Some(at(span.start)..at(span.end));
        let view = View { text, map: &map, steps: Steps::default(), depth: 0, fresh: 0, open: false };
        look.plain(view);
        look.hidden(view);
    });
}

/// Adds what `with` finds, each once.
fn gather(scanner: &Scanner, place: &Place, fresh: usize, found: &mut Vec<Finding>, with: impl FnOnce(&mut Look<'_>)) {
    let mut tell = |finding: Finding| {
        let same = |it: &Finding| it.rule == finding.rule && it.name == finding.name && overlap(it, &finding);
        if !found.iter().any(same) {
            found.push(finding);
        }
    };
    let mut look = Look::new(scanner, place, fresh, &mut tell);
    with(&mut look);
    look.end();
}

fn overlap(one: &Finding, other: &Finding) -> bool {
    match (&one.span, &other.span) {
        (Some(one), Some(other)) => one.start < other.end && other.start < one.end,
        (None, None) => true,
        _ => false,
    }
}

/// Each part of a request's head, and what is split over several.
pub(super) fn request_head<'a>(
    scanner: &Scanner,
    host: &str,
    target: &str,
    headers: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> Vec<Finding> {
    let mut found = piece(scanner, &Place::Host, host.as_bytes());
    split(scanner, &Place::Host, host.as_bytes(), b".-", &mut found);
    found.extend(piece(scanner, &Place::Target, target.as_bytes()));
    split(scanner, &Place::Target, target.as_bytes(), b"/?&=;.,+", &mut found);
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let values = |pair: &'_ str| pair.split_once('=').map_or(0, |(name, _)| name.len() + 1);
    let (mut joined_values, mut joined_names) = (Joined::default(), Joined::default());
    gather(scanner, &Place::Target, target.len(), &mut found, |look| {
        // A value may begin in the path and go on in the query's values.
        for segment in target.split('?').next().unwrap_or_default().split('/') {
            joined_values.push(segment.as_bytes(), &mut |joined| look.joined(joined));
        }
        for pair in query.split(['&', ';']) {
            let (name, value) = pair.split_at_checked(values(pair)).unwrap_or_default();
            joined_values.push(value.as_bytes(), &mut |joined| look.joined(joined));
            joined_names.push(name.trim_end_matches('=').as_bytes(), &mut |joined| look.joined(joined));
        }
        joined_values.judge(&mut |joined| look.joined(joined));
        joined_names.judge(&mut |joined| look.joined(joined));
    });
    let mut values = Joined::default();
    let mut lines = Vec::new();
    for (name, value) in headers {
        found.extend(piece(scanner, &Place::header(name), value));
        lines.extend_from_slice(name.as_bytes());
        lines.extend_from_slice(b": ");
        lines.extend_from_slice(value);
        lines.push(b'\n');
        gather(scanner, &Place::Headers, value.len(), &mut found, |look| {
            values.push(value, &mut |joined| look.joined(joined));
        });
    }
    gather(scanner, &Place::Headers, MAX_MATCH, &mut found, |look| values.judge(&mut |joined| look.joined(joined)));
    // A name says what a value is: `x-api-key: …`.
    for finding in piece(scanner, &Place::Headers, &lines) {
        if !found.iter().any(|it| it.rule == finding.rule && it.name == finding.name) {
            found.push(Finding { span: None, ..finding });
        }
    }
    found
}

fn split(scanner: &Scanner, place: &Place, text: &[u8], separators: &[u8], found: &mut Vec<Finding>) {
    gather(scanner, place, text.len(), found, |look| fields(text, separators, &mut |joined| look.joined(joined)));
}
