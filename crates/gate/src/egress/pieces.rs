//! What is known and leaves in pieces, one in each of several requests ([`bottle_policy::fragments`]).
//!
//! Invariant: the piece that completes a value does not go on, unless the route lets findings through.

use super::{
    Egress,
    body::RequestBody,
    inject::is_replaced,
    judge::{Judge, Replaceable},
    screen::Screened,
};
use bottle_policy::scan::Finding;
use bottle_spec::{host::HostName, verdict::Reason};
use http::HeaderMap;
use std::sync::PoisonError;

/// Of a body so much is looked at, in bytes; a longer one that is all of pieces is a finding of the screen's.
const MAX_BODY: usize = 8 << 10;
/// The words of a body of no more than this are looked at one by one.
const MAX_WORDS: usize = 256;

impl Egress {
    /// Notes what a request says.
    pub(crate) fn piece(&self, screened: &Screened, judge: &Judge) -> Result<(), Reason> {
        let scanned = self.knowledge.scanned(&self.vault);
        let mut fragments = scanned.fragments.lock().unwrap_or_else(PoisonError::into_inner);
        if fragments.is_empty() || !self.is_scanning() {
            return Ok(());
        }
        let (now, host) = (self.opened.elapsed(), screened.origin.host.as_str());
        let mut found: Option<Finding> = None;
        let mut note = |place: &[&str], text: &[u8]| {
            found = found.take().or(fragments.value(now, place, text));
        };
        note(&["host", below(&screened.origin.host)], host.as_bytes());
        labels(&screened.origin.host).for_each(|label| note(&["label", below(&screened.origin.host)], label));
        let path = screened.parts.uri.path();
        // From the end: what comes before may change, too.
        for (segment, place) in path.rsplit('/').zip(["1", "2", "3", "4", "5", "6", "7", "8"]) {
            note(&["path", host, place], segment.as_bytes());
        }
        for pair in screened.parts.uri.query().unwrap_or_default().split(['&', ';']) {
            let (name, value) = pair.split_once('=').unwrap_or(("", pair));
            note(&["query", host, name], value.as_bytes());
            note(&["name", host], name.as_bytes());
        }
        let replacement = judge.replacement();
        for (name, value) in screened.parts.headers.iter().filter(|(name, _)| !is_replaced(name, replacement)) {
            note(&["header", host, name.as_str()], value.as_bytes());
        }
        if let RequestBody::Held(Some(body)) | RequestBody::Trailed(body, _) = &screened.body {
            if body.len() <= MAX_WORDS {
                let word = |byte: &u8| byte.is_ascii_whitespace() || b"\"{}[]:,=&<>".contains(byte);
                note(&["body", host], body);
                let words = body.split(word).filter(|word| !word.is_empty());
                words
                    .zip(["1", "2", "3", "4", "5", "6", "7", "8"])
                    .for_each(|(word, at)| note(&["word", host, at], word));
            }
            found = found.or_else(|| fragments.text(now, body.get(..body.len().min(MAX_BODY)).unwrap_or_default()));
        }
        drop(fragments);
        judge.judge(&mut found.into_iter().collect(), Replaceable::Not)
    }

    /// The same of trailers, which may come when the rest is on its way.
    pub(crate) fn piece_of_trailers(&self, host: &str, trailers: &HeaderMap, judge: &Judge) -> Result<(), Reason> {
        let scanned = self.knowledge.scanned(&self.vault);
        let mut fragments = scanned.fragments.lock().unwrap_or_else(PoisonError::into_inner);
        if fragments.is_empty() || !self.is_scanning() {
            return Ok(());
        }
        let now = self.opened.elapsed();
        let mut found: Option<Finding> = None;
        for (name, value) in trailers {
            found = found.or_else(|| fragments.value(now, &["trailer", host, name.as_str()], value.as_bytes()));
        }
        drop(fragments);
        judge.judge(&mut found.into_iter().collect(), Replaceable::Not)
    }

    /// The same of a name alone.
    pub(crate) fn piece_of_name(&self, host: &HostName, judge: &Judge) -> Result<(), Reason> {
        let scanned = self.knowledge.scanned(&self.vault);
        let mut fragments = scanned.fragments.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.opened.elapsed();
        let mut found = fragments.value(now, &["host", below(host)], host.as_str().as_bytes());
        for label in labels(host) {
            found = found.or_else(|| fragments.value(now, &["label", below(host)], label));
        }
        drop(fragments);
        judge.judge(&mut found.into_iter().collect(), Replaceable::Not)
    }
}

/// Those that its owner's customers may choose.
fn labels(host: &HostName) -> impl Iterator<Item = &[u8]> {
    let own = host.as_str().strip_suffix(below(host)).unwrap_or_default();
    own.split('.').filter(|label| !label.is_empty()).map(str::as_bytes)
}

/// What the names of one owner have in common, as near as matters: the last two labels.
fn below(host: &HostName) -> &str {
    let text = host.as_str();
    text.rmatch_indices('.').nth(1).and_then(|(at, _)| text.get(at..)).unwrap_or(text)
}
