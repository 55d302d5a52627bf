//! What a scan says: which rule, where, how it was hidden, and as much of the value as may be shown.
//!
//! Invariant: no part of a finding holds more of the value than its first four bytes and its length.

use crate::scan::rules::Severity;
use std::{fmt, ops::Range, sync::Arc};

/// A detector's id, or one of [`KNOWN_SECRET`], [`CANARY`] and [`TOO_DEEP`].
pub type RuleId = &'static str;

/// A value that the gate injects or that the user named under `protect:`.
pub const KNOWN_SECRET: RuleId = "known-secret";
/// A false credential planted in the bottle.
pub const CANARY: RuleId = "canary";
/// Encodings nested deeper, or taking more work, than the scan follows.
pub const TOO_DEEP: RuleId = "too-deep";

/// One value found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub rule: RuleId,
    pub severity: Severity,
    pub place: Place,
    pub shown: Shown,
    /// Which known secret or canary.
    pub name: Option<Arc<str>>,
    /// In the bytes that were given (of a stream: since its beginning), where they can be replaced in place.
    pub span: Option<Range<u64>>,
    /// What had to be undone to see it, outermost first; empty where it stood there plainly.
    pub through: Steps,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.rule)?;
        if let Some(name) = &self.name {
            write!(f, " {}", name.escape_debug())?;
        }
        write!(f, " in {}: {}", self.place, self.shown)?;
        if !self.through.is_empty() {
            write!(f, " through {}", self.through)?;
        }
        Ok(())
    }
}

/// Where in a message a finding lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    Host,
    Path,
    Query,
    /// Over several parts of a request's target.
    Target,
    Method,
    /// One header's value (or its name), by its name.
    Header(Arc<str>),
    /// Over several headers.
    Headers,
    Trailers,
    Body,
    /// A WebSocket message, in either direction.
    Message,
    /// A name of a file, a branch, an author and the like.
    Name,
    /// Any other text, by what the caller calls it.
    Other(&'static str),
}

/// Longer header names are the sender's to choose; they are cut when shown.
const NAME_SHOWN: usize = 64;

impl Place {
    /// The place of one header. Of a name only 64 characters are kept.
    #[must_use]
    pub fn header(name: &str) -> Place {
        Place::Header(name.chars().take(NAME_SHOWN).collect::<String>().into())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::Host => "host",
            Place::Path => "path",
            Place::Query => "query",
            Place::Target => "URL",
            Place::Method => "method",
            Place::Header(name) => return write!(f, "header {}", name.escape_debug()),
            Place::Headers => "headers",
            Place::Trailers => "trailers",
            Place::Body => "body",
            Place::Message => "message",
            Place::Name => "name",
            Place::Other(what) => what,
        })
    }
}

/// What may be shown of a value: its first bytes, at most four and at most a quarter of it, and its length.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    head: [u8; 4],
    heads: u8,
    length: usize,
}

impl Shown {
    #[must_use]
    pub fn of(value: &[u8]) -> Shown {
        let mut head = [0; 4];
        let mut heads = 0;
        for (slot, byte) in head.iter_mut().zip(value.iter().take(value.len() / 4)) {
            *slot = *byte;
            heads += 1;
        }
        Shown { head, heads, length: value.len() }
    }

    /// Of what is shown without any of it.
    #[must_use]
    pub fn length_only(length: usize) -> Shown {
        Shown { head: [0; 4], heads: 0, length }
    }

    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = self.head.get(..usize::from(self.heads)).unwrap_or_default();
        write!(f, "{}… ({} bytes)", head.escape_ascii(), self.length)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One thing undone on the way to a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Percent-encoding, `\u` and `\x` escapes, character references: one layer of any of them.
    Escapes,
    QuotedPrintable,
    /// Characters that look like others, or like nothing.
    Lookalikes,
    /// Text in tag characters or variation selectors.
    Invisible,
    Base64,
    Base32,
    Base85,
    Hex,
    /// gzip, zlib or bare deflate, also as an entry of an archive.
    Inflate,
    /// Pieces put together: fields, labels, segments, lines, events.
    Joined,
    /// Separators between single characters taken out.
    Spaced,
    /// A known value without its punctuation, in any case, with digits for letters.
    Loose,
    Reversed,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Step::Escapes => "escapes",
            Step::QuotedPrintable => "quoted-printable",
            Step::Lookalikes => "lookalikes",
            Step::Invisible => "invisible",
            Step::Base64 => "base64",
            Step::Base32 => "base32",
            Step::Base85 => "base85",
            Step::Hex => "hex",
            Step::Inflate => "inflate",
            Step::Joined => "joined",
            Step::Spaced => "spaced",
            Step::Loose => "loose",
            Step::Reversed => "reversed",
        }
    }
}

/// The steps to a finding. Of more than [`Steps::KEPT`], the outermost are kept.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Steps {
    kept: [Option<Step>; Steps::KEPT],
}

impl Steps {
    pub const KEPT: usize = 8;

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    pub fn iter(&self) -> impl Iterator<Item = Step> + '_ {
        self.kept.iter().flatten().copied()
    }

    /// These and then `step`. The same escape layer several times over is told once.
    #[must_use]
    pub fn then(mut self, step: Step) -> Steps {
        if self.iter().last() != Some(step)
            && let Some(slot) = self.kept.iter_mut().find(|slot| slot.is_none())
        {
            *slot = Some(step);
        }
        self
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.iter().enumerate() {
            let before = if index == 0 { "" } else { " > " };
            write!(f, "{before}{}", step.name())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_shows_four_bytes_and_the_length() {
        let value = b"ghp_0123456789abcdef0123456789abcdef0123";
        let finding = Finding {
            rule: "github-token",
            severity: Severity::Critical,
            place: Place::header("x-note"),
            shown: Shown::of(value),
            name: None,
            span: Some(0..40),
            through: Steps::default().then(Step::Base64).then(Step::Inflate),
        };
        assert_eq!(finding.to_string(), "github-token in header x-note: ghp_… (40 bytes) through base64 > inflate");
        assert!(!format!("{finding:?}").contains("0123"), "{finding:?}");
    }

    #[test]
    fn of_a_short_value_less_than_four_bytes_are_shown() {
        assert_eq!(Shown::of(b"hunter2x").to_string(), "hu… (8 bytes)");
        assert_eq!(Shown::of(b"abc").to_string(), "… (3 bytes)");
        assert_eq!(Shown::of(b"\x1b[2J\x1b[2J\x1b[2J\x1b[2J").to_string(), "\\x1b[2J… (16 bytes)");
    }
}
