//! The detectors over one flat text.
//!
//! A first form for those that build on it: prefixes and runs. The rules replace it.

use crate::scan::rules::{Rule, Severity};
use std::ops::Range;

/// No match, with all it depends on, is longer: keyword, gap and value, and the byte on either side.
pub const MAX_MATCH: usize = 1024;

/// A match of a rule.
#[derive(Debug, Clone)]
pub struct Hit {
    pub rule: &'static Rule,
    /// Of the secret itself, without the name before it.
    pub span: Range<usize>,
}

/// All detectors; immutable, and nothing to pay for before the first text.
#[derive(Debug)]
pub struct Detectors(());

static FIRST: &[(&str, Rule)] = &[
    ("ghp_", Rule { id: "github-token", title: "GitHub personal access token", severity: Severity::Critical }),
    ("AKIA", Rule { id: "aws-access-key-id", title: "AWS access key id", severity: Severity::High }),
    ("sk-ant-api03-", Rule { id: "anthropic-api-key", title: "Anthropic API key", severity: Severity::Critical }),
    ("xoxb-", Rule { id: "slack-bot-token", title: "Slack bot token", severity: Severity::Critical }),
    ("glpat-", Rule { id: "gitlab-token", title: "GitLab personal access token", severity: Severity::Critical }),
];

impl Detectors {
    #[must_use]
    pub fn shared() -> &'static Detectors {
        static SHARED: Detectors = Detectors(());
        &SHARED
    }

    /// Does beforehand what the first text would wait for.
    pub fn warm(&self) {}

    /// Gives every match in `text` whose end is before `settled`, or all of them where `last`, ordered by start.
    ///
    /// A match is judged as if the text ended with `text`. Over a part of a longer text the answer is that of the whole
    /// where `settled + MAX_MATCH <= text.len()` or `last`, and for matches that lie `MAX_MATCH` or more after the part's
    /// beginning, or where it is the whole's.
    pub fn find(&self, text: &[u8], settled: usize, last: bool, hit: &mut dyn FnMut(Hit)) {
        for start in 0..text.len() {
            let rest = text.get(start..).unwrap_or_default();
            for (prefix, rule) in FIRST {
                let Some(body) = rest.strip_prefix(prefix.as_bytes()) else { continue };
                let run =
                    body.iter().take(100).take_while(|it| it.is_ascii_alphanumeric() || b"_-".contains(it)).count();
                let end = start + prefix.len() + run;
                if run >= 16 && (last || end < settled) {
                    hit(Hit { rule, span: start..end });
                }
            }
        }
    }
}
