//! Colours of a diff: what was added and removed, and within a line comments, strings, numbers and the words that most
//! languages share.
//!
//! A line at a time and without a grammar: a comment or string that began on a line before is not known. A highlighter
//! with grammars was weighed and left out: the smallest keeps megabytes of them in memory for a screen that has forty.

use super::{BOLD, Colours, DIM};
use crate::{event::DiffKind, page::Language};
use ratatui::{
    style::{Color, Style},
    text::{Line, Span},
};

const WORDS: [&str; 62] = [
    "and",
    "as",
    "async",
    "await",
    "break",
    "case",
    "catch",
    "class",
    "const",
    "continue",
    "def",
    "default",
    "do",
    "elif",
    "else",
    "end",
    "enum",
    "except",
    "export",
    "extends",
    "final",
    "finally",
    "fn",
    "for",
    "from",
    "func",
    "function",
    "if",
    "impl",
    "import",
    "in",
    "interface",
    "is",
    "let",
    "loop",
    "match",
    "mod",
    "mut",
    "new",
    "not",
    "or",
    "package",
    "pass",
    "private",
    "pub",
    "public",
    "raise",
    "return",
    "self",
    "static",
    "struct",
    "switch",
    "then",
    "this",
    "throw",
    "trait",
    "try",
    "type",
    "use",
    "var",
    "while",
    "with",
];

pub(super) fn line(text: &str, kind: DiffKind, language: Language, colours: Colours) -> Line<'static> {
    let base = match kind {
        DiffKind::File => return Line::styled(text.to_owned(), BOLD),
        DiffKind::Hunk => return Line::styled(text.to_owned(), colours.of(Color::Cyan)),
        DiffKind::Added => colours.of(Color::Green),
        DiffKind::Removed => colours.of(Color::Red),
        DiffKind::Context => Style::new(),
    };
    if language == Language::Unknown || colours == Colours::None {
        return Line::styled(text.to_owned(), base);
    }
    let mut spans = Vec::new();
    // The sign belongs to the diff, not to the file.
    let sign = text.chars().next().map_or(0, char::len_utf8);
    let (sign, mut rest) = text.split_at_checked(sign).unwrap_or(("", text));
    spans.push(Span::styled(sign.to_owned(), base));
    while !rest.is_empty() {
        let (length, style) = token(rest, language, colours);
        let (part, behind) = rest.split_at_checked(length).unwrap_or((rest, ""));
        spans.push(Span::styled(part.to_owned(), base.patch(style)));
        rest = behind;
    }
    Line::from(spans)
}

/// How long the first token is, in bytes, and how it looks.
fn token(text: &str, language: Language, colours: Colours) -> (usize, Style) {
    let comment = match language {
        Language::Slashes => text.starts_with("//") || text.starts_with("/*"),
        Language::Hash => text.starts_with('#'),
        Language::Dashes => text.starts_with("--"),
        Language::Unknown => false,
    };
    if comment {
        return (text.len(), DIM);
    }
    let first = text.chars().next().unwrap_or(' ');
    if matches!(first, '"' | '\'' | '`') {
        return match closing(text, first) {
            Some(end) => (end, colours.of(Color::Yellow)),
            None => (first.len_utf8(), Style::new()),
        };
    }
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    if !is_word(first) {
        return (first.len_utf8(), Style::new());
    }
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    let word = text.get(..end).unwrap_or_default();
    let style = if first.is_ascii_digit() {
        colours.of(Color::Magenta)
    } else if WORDS.binary_search(&word).is_ok() {
        BOLD
    } else {
        Style::new()
    };
    (end, style)
}

/// Behind the quote that ends this string.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at + c.len_utf8()),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_its_text_and_its_parts_have_their_looks() {
        assert!(WORDS.is_sorted());
        for text in ["+let x = \"a\\\"b\"; // done", "-it's 7 'cm'", " ", "", "+ünter # no", "+\"open", "+'"] {
            let line = line(text, DiffKind::Added, Language::Slashes, Colours::Sixteen);
            assert_eq!(line.spans.iter().map(|span| span.content.as_ref()).collect::<String>(), text);
        }
        let line = line("+let x = \"a\\\"b\" + 7; // let", DiffKind::Added, Language::Slashes, Colours::Sixteen);
        let look = |part: &str| line.spans.iter().find(|span| span.content == part).map(|span| span.style).unwrap();
        let green = Style::new().fg(Color::Green);
        assert_eq!(look("+"), green);
        assert_eq!(look("let"), green.patch(BOLD));
        assert_eq!(look("\"a\\\"b\""), green.fg(Color::Yellow));
        assert_eq!(look("7"), green.fg(Color::Magenta));
        assert_eq!(look("// let"), green.patch(DIM));
    }
}
