//! What is shown whole, as lines of a given width: so that the end of every text can be scrolled to, however long its
//! lines are.
//!
//! Invariant: every text that is not ours is escaped here, whoever escaped it before, and no line is wider than the
//! page.

use crate::{
    event::{DiffKind, Request},
    figures,
    keymap::{KEYS, Place},
    state::{Modal, Pane},
};
use bottle_spec::escape::Escaped;
use ratatui::{layout::Rect, text::Span};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Strong,
    Risk,
    /// The one of a list that is chosen.
    Selected,
    /// A line of a diff, and what its file's name ends with.
    Diff(DiffKind, Language),
}

/// How comments begin, as far as it matters for a line alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Language {
    #[default]
    Unknown,
    Slashes,
    Hash,
    Dashes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) tone: Tone,
    pub(crate) text: String,
}

/// Width and height that a page has in a modal of this area, whose last lines are for input.
pub(crate) fn room(area: Rect, inputs: u16) -> (usize, usize) {
    let width = usize::from(area.width.saturating_sub(2)).max(1);
    (width, usize::from(area.height.saturating_sub(2).saturating_sub(inputs)).max(1))
}

pub(crate) fn page(modal: &Modal, now: u64, width: usize) -> Vec<Line> {
    let mut page = Page { width, lines: Vec::new() };
    match modal {
        Modal::Request { request, .. } | Modal::Narrow { request, .. } | Modal::Words { request, .. } => {
            page.request(request, now);
        }
        Modal::Choose { request, at } => {
            page.put(Tone::Strong, &request.summary);
            page.put(Tone::Plain, "");
            page.list(&request.choices, *at);
        }
        Modal::Agents { names, at } => page.list(names, *at),
        Modal::Preflight { lines, .. } | Modal::Text { lines, .. } => {
            lines.iter().for_each(|line| page.put(Tone::Plain, line));
        }
        Modal::Sure { question, .. } => page.put(Tone::Plain, question),
        Modal::Help => page.help(),
    }
    page.lines
}

struct Page {
    width: usize,
    lines: Vec<Line>,
}

impl Page {
    fn put(&mut self, tone: Tone, text: &str) {
        let escaped = Escaped(text).to_string();
        for part in wrapped(&escaped, self.width) {
            self.lines.push(Line { tone, text: part });
        }
    }

    fn list(&mut self, entries: &[String], selected: usize) {
        for (at, entry) in entries.iter().enumerate() {
            let (tone, mark) = if at == selected { (Tone::Selected, '>') } else { (Tone::Plain, ' ') };
            // One line each, so that the chosen one is one line.
            let line = Escaped(&format!("{mark} {} {entry}", at + 1)).to_string();
            let first = wrapped(&line, self.width).into_iter().next().unwrap_or_default();
            self.lines.push(Line { tone, text: first });
        }
    }

    fn request(&mut self, request: &Request, now: u64) {
        let left = figures::age(request.expires.saturating_sub(now));
        self.put(Tone::Plain, &format!("{}  {}  {left} left", request.id, request.bottle));
        self.put(Tone::Strong, &request.summary);
        for line in &request.whole {
            let tone = if line.starts_with("risk ") { Tone::Risk } else { Tone::Plain };
            self.put(tone, line);
        }
        if request.diff.is_empty() {
            return;
        }
        self.put(Tone::Plain, "");
        let mut language = Language::Unknown;
        for line in &request.diff {
            if line.kind == DiffKind::File && line.text.starts_with("diff ") {
                language = language_of(&line.text);
            }
            self.put(Tone::Diff(line.kind, language), &line.text);
        }
    }

    fn help(&mut self) {
        let groups = [
            (Place::Pane(Pane::Requests), "requests"),
            (Place::Pane(Pane::Bottles), "bottles"),
            (Place::Pane(Pane::Decisions), "decisions"),
            (Place::Question, "where y answers"),
            (Place::Text, "where a text is written"),
            (Place::Panes, "panes"),
            (Place::Everywhere, "everywhere"),
        ];
        for (place, title) in groups {
            self.put(Tone::Strong, title);
            for binding in KEYS.iter().filter(|binding| binding.place == place) {
                self.put(Tone::Plain, &format!("  {:<18} {}", binding.shown, binding.does));
            }
        }
        self.put(Tone::Strong, "mouse");
        self.put(
            Tone::Plain,
            "  press selects, a second press shows whole; the wheel scrolls; shift leaves it to the terminal",
        );
    }
}

/// By characters, as wide as they are drawn. An empty text is one empty line.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for c in text.chars() {
        let wide = Span::raw(c.to_string()).width();
        if used + wide > width && used > 0 {
            lines.push(String::new());
            used = 0;
        }
        if let Some(line) = lines.last_mut() {
            line.push(c);
        }
        used += wide;
    }
    lines
}

/// By the ending of the last name in a line as `diff --git a/x.rs b/x.rs`.
fn language_of(line: &str) -> Language {
    let name = line.rsplit('/').next().unwrap_or_default();
    match name.rsplit_once('.').map_or(name, |(_, ending)| ending) {
        "rs" | "c" | "h" | "cc" | "cpp" | "hpp" | "go" | "java" | "kt" | "js" | "jsx" | "ts" | "tsx" | "mjs"
        | "swift" | "cs" | "scala" | "php" | "css" | "scss" | "proto" | "zig" | "dart" => Language::Slashes,
        "py" | "sh" | "bash" | "rb" | "pl" | "yml" | "yaml" | "toml" | "tf" | "cfg" | "conf" | "Dockerfile"
        | "Makefile" | "nix" | "mk" => Language::Hash,
        "sql" | "lua" | "hs" | "elm" => Language::Dashes,
        _ => Language::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_the_page_and_nothing_is_lost() {
        for text in ["", "abc", "abcdefghij", "漢字漢字漢字", "e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}"] {
            let lines = wrapped(text, 5);
            assert_eq!(lines.concat(), text);
            assert!(lines.iter().all(|line| Span::raw(line.as_str()).width() <= 5), "{lines:?}");
        }
        assert_eq!(wrapped("漢", 1), ["漢"], "what is wider than the page has a line of its own");
    }

    #[test]
    fn a_files_name_tells_its_language() {
        assert_eq!(language_of("diff --git a/src/x.rs b/src/x.rs"), Language::Slashes);
        assert_eq!(language_of("diff --git a/Makefile b/Makefile"), Language::Hash);
        assert_eq!(language_of("diff --git a/README.md b/README.md"), Language::Unknown);
    }
}
