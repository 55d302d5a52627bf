//! Turns an upstream's echo of an injected secret back into the placeholder.
//!
//! Sans-I/O. Invariant: what comes out does not depend on how the input was cut into chunks. Bytes are held back only
//! while they are the beginning of a spelling of a secret, so an event stream is not delayed.

use aho_corasick::{AhoCorasick, Input, MatchKind};
use base64::{
    Engine, engine::general_purpose::STANDARD, engine::general_purpose::STANDARD_NO_PAD,
    engine::general_purpose::URL_SAFE_NO_PAD,
};
use bottle_spec::secret::Secret;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::{fmt, sync::Arc};
use zeroize::Zeroizing;

/// Shorter spellings are not looked for: they occur everywhere, and a secret of this length is none.
const MIN_SPELLING: usize = 6;
/// What RFC 3986 calls unreserved stays as it is.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Finds every spelling of some secrets. Immutable and shared by all responses.
pub(crate) struct Scrubber {
    spellings: Vec<Zeroizing<Vec<u8>>>,
    /// The placeholder of each spelling.
    placeholders: Vec<Arc<str>>,
    search: Option<AhoCorasick>,
}

impl Scrubber {
    /// For these values, each with its placeholder: raw, in base64 (with and without padding, URL-safe),
    /// percent-encoded in both cases, and as JSON writes it.
    pub(crate) fn new<'a>(secrets: impl Iterator<Item = (&'a Secret, &'a Arc<str>)>) -> Scrubber {
        let (mut spellings, mut placeholders) = (Vec::new(), Vec::new());
        for (secret, placeholder) in secrets {
            for spelling in spellings_of(secret.expose()) {
                if spelling.len() >= MIN_SPELLING && !spellings.contains(&spelling) {
                    spellings.push(spelling);
                    placeholders.push(Arc::clone(placeholder));
                }
            }
        }
        let build = || AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&spellings).ok();
        let search = if spellings.is_empty() { None } else { build() };
        Scrubber { spellings, placeholders, search }
    }

    /// Scrubs a text that is there as a whole; `None` where it is clean.
    pub(crate) fn whole(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let search = self.search.as_ref().filter(|search| search.is_match(bytes))?;
        let mut clean = Vec::with_capacity(bytes.len());
        search.replace_all_with_bytes(bytes, &mut clean, |found, _, out| {
            out.extend_from_slice(self.placeholder(found.pattern().as_usize()));
            true
        });
        Some(clean)
    }

    /// Scrubs the values of headers or trailers.
    pub(crate) fn headers(&self, headers: &mut HeaderMap) {
        for value in headers.values_mut() {
            if let Some(clean) = self.whole(value.as_bytes()) {
                *value = HeaderValue::from_bytes(&clean).unwrap_or(HeaderValue::from_static("scrubbed"));
            }
        }
        // A header's name is in lower case by now; one that spells a secret is not worth keeping.
        let spelled: Vec<_> = headers.keys().filter(|name| self.is_name(name.as_str())).cloned().collect();
        for name in spelled {
            headers.remove(name);
        }
    }

    fn is_name(&self, name: &str) -> bool {
        let within =
            |spelling: &[u8]| name.as_bytes().windows(spelling.len()).any(|w| w.eq_ignore_ascii_case(spelling));
        name.len() >= MIN_SPELLING && self.spellings.iter().any(|spelling| within(spelling))
    }

    fn placeholder(&self, spelling: usize) -> &[u8] {
        self.placeholders.get(spelling).map_or(b"scrubbed".as_slice(), |placeholder| placeholder.as_bytes())
    }

    /// Where in `bytes`, from `from` on, a spelling may have begun that goes on in the next chunk.
    fn open_end(&self, bytes: &[u8], from: usize) -> usize {
        let longest = self.spellings.iter().map(|s| s.len()).max().unwrap_or(0);
        let start = bytes.len().saturating_sub(longest.saturating_sub(1)).max(from);
        let begins = |tail: &[u8]| self.spellings.iter().any(|s| s.len() > tail.len() && s.starts_with(tail));
        (start..bytes.len()).find(|at| bytes.get(*at..).is_some_and(begins)).unwrap_or(bytes.len())
    }
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scrubber({} spellings)", self.spellings.len())
    }
}

fn spellings_of(value: &str) -> Vec<Zeroizing<Vec<u8>>> {
    let percent = percent_encoded(value);
    let json = serde_json::to_string(value).unwrap_or_default();
    let json = json.trim_matches('"').to_owned();
    let all = [
        value.to_owned(),
        STANDARD.encode(value),
        STANDARD_NO_PAD.encode(value),
        URL_SAFE_NO_PAD.encode(value),
        lower_escapes(&percent),
        percent.replace("%20", "+"),
        percent,
        json.replace('/', "\\/"),
        json,
    ];
    all.into_iter().map(|spelling| Zeroizing::new(spelling.into_bytes())).collect()
}

/// As `inject` puts a value into a query.
pub(crate) fn percent_encoded(value: &str) -> String {
    utf8_percent_encode(value, RESERVED).to_string()
}

/// `%2F` as `%2f`.
fn lower_escapes(percent: &str) -> String {
    let mut digits = 0;
    let lower = |c: char| {
        digits = if c == '%' { 3 } else { u8::saturating_sub(digits, 1) };
        if digits > 0 { c.to_ascii_lowercase() } else { c }
    };
    percent.chars().map(lower).collect()
}

/// One body on its way through.
#[derive(Debug)]
pub(crate) struct Window {
    scrubber: Arc<Scrubber>,
    held: BytesMut,
    /// Write `*` for each byte instead of the placeholder.
    masking: bool,
}

impl Window {
    pub(crate) fn new(scrubber: Arc<Scrubber>) -> Window {
        Window { scrubber, held: BytesMut::new(), masking: false }
    }

    /// One that keeps every length, for bytes that some framing counts.
    pub(crate) fn masking(scrubber: Arc<Scrubber>) -> Window {
        Window { masking: true, ..Window::new(scrubber) }
    }

    pub(crate) fn scrubber(&self) -> &Scrubber {
        &self.scrubber
    }

    /// Takes the next chunk and gives back what is settled.
    pub(crate) fn push(&mut self, chunk: Bytes) -> Bytes {
        if self.held.is_empty() {
            return self.settle(chunk);
        }
        let mut joined = std::mem::take(&mut self.held);
        joined.extend_from_slice(&chunk);
        self.settle(joined.freeze())
    }

    /// What was held back, at the end of the body.
    pub(crate) fn finish(&mut self) -> Bytes {
        // Held bytes are the beginning of one spelling and may hold a whole shorter one.
        let held = std::mem::take(&mut self.held).freeze();
        match self.scrubber.whole(&held) {
            Some(_) if self.masking => vec![b'*'; held.len()].into(),
            Some(clean) => clean.into(),
            None => held,
        }
    }

    fn settle(&mut self, bytes: Bytes) -> Bytes {
        let Some(search) = &self.scrubber.search else { return bytes };
        let mut clean: Option<BytesMut> = None;
        let mut done = 0;
        let open = loop {
            let open = self.scrubber.open_end(&bytes, done);
            let found = search.find(Input::new(&bytes[..]).range(done..));
            let Some(found) = found.filter(|found| found.start() < open) else { break open };
            let out = clean.get_or_insert_with(|| BytesMut::with_capacity(bytes.len()));
            out.extend_from_slice(bytes.get(done..found.start()).unwrap_or_default());
            if self.masking {
                out.resize(out.len() + found.len(), b'*');
            } else {
                out.extend_from_slice(self.scrubber.placeholder(found.pattern().as_usize()));
            }
            done = found.end();
        };
        self.held.extend_from_slice(bytes.get(open..).unwrap_or_default());
        match clean {
            None => bytes.slice(..open),
            Some(mut out) => {
                out.extend_from_slice(bytes.get(done..open).unwrap_or_default());
                out.freeze()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scrubber(secrets: &[&str]) -> Arc<Scrubber> {
        let held: Vec<_> = secrets.iter().map(|s| (Secret::new((*s).to_owned()), Arc::from("PLACE"))).collect();
        Arc::new(Scrubber::new(held.iter().map(|(secret, placeholder)| (secret, placeholder))))
    }

    fn through(scrubber: &Arc<Scrubber>, text: &[u8], cuts: &[usize]) -> Vec<u8> {
        let mut window = Window::new(Arc::clone(scrubber));
        let (mut out, mut rest) = (Vec::new(), text);
        for cut in cuts {
            let (chunk, next) = rest.split_at((*cut).min(rest.len()));
            out.extend(window.push(Bytes::copy_from_slice(chunk)));
            rest = next;
        }
        out.extend(window.push(Bytes::copy_from_slice(rest)));
        out.extend(window.finish());
        out
    }

    #[test]
    fn every_spelling_is_found() {
        let secret = "sk-live/a+b\"c=1";
        let scrubber = scrubber(&[secret]);
        for spelling in spellings_of(secret) {
            let text = [b"x", spelling.as_slice(), b"y"].concat();
            assert_eq!(scrubber.whole(&text).unwrap(), b"xPLACEy", "{}", String::from_utf8_lossy(&spelling));
        }
        assert!(scrubber.whole(b"sk-live/a+b").is_none());
    }

    #[test]
    fn an_event_is_not_held_back() {
        let mut window = Window::new(scrubber(&["secret-value"]));
        assert_eq!(window.push(Bytes::from_static(b"data: {}\n\n")), "data: {}\n\n");
        assert_eq!(window.push(Bytes::from_static(b"data: sec")), "data: ");
        assert_eq!(window.push(Bytes::from_static(b"ond\n\n")), "second\n\n");
    }

    #[test]
    fn headers_are_scrubbed_by_value_and_dropped_by_name() {
        let mut headers = HeaderMap::new();
        headers.insert("x-echo", HeaderValue::from_static("Bearer secret-value"));
        headers.insert("x-secret-value", HeaderValue::from_static("1"));
        scrubber(&["Secret-Value"]).headers(&mut headers);
        assert!(headers.get("x-secret-value").is_none() && headers.get("x-echo").unwrap() == "Bearer secret-value");
        scrubber(&["secret-value"]).headers(&mut headers);
        assert_eq!(headers.get("x-echo").unwrap(), "Bearer PLACE");
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            pieces in prop::collection::vec(prop_oneof![
                Just("aabaab"), Just("aab"), Just("aabaabaac"), Just("a"), Just("b"), Just("YWFiYWFi"), Just("xyz")
            ], 0..20),
            cuts in prop::collection::vec(0usize..7, 0..30),
        ) {
            let scrubber = scrubber(&["aabaab", "aabaabaac", "aabaabaac-longer"]);
            let text = pieces.concat();
            let whole = scrubber.whole(text.as_bytes()).unwrap_or_else(|| text.clone().into_bytes());
            prop_assert_eq!(through(&scrubber, text.as_bytes(), &cuts), whole);
        }
    }
}
