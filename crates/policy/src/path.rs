//! Paths as a route compares them.
//!
//! Servers disagree about what a path means: some decode `%2F` before they split, some cut `;parameters`, some fold
//! `..` after decoding twice. So a path is not normalised here and never rewritten; it is *read in every way a server
//! is known to*, and it matches only if every reading does. What could be read as going up or sideways matches nothing.

use std::borrow::Cow;

/// What is refused on every route, also where all paths are allowed: bytes that no client sends on purpose and that
/// split lines or strings further on. Encoded NUL, CR and LF count as themselves.
pub(crate) fn has_forbidden_bytes(path: &str) -> bool {
    let raw = path.bytes().any(|b| b < b' ' || b == 0x7f || b == b'\\');
    raw || encoded(path.as_bytes()).any(|b| b < b' ' || b == 0x7f)
}

/// The bytes that valid percent-escapes of a path stand for.
fn encoded(path: &[u8]) -> impl Iterator<Item = u8> + '_ {
    path.windows(3).filter_map(|window| match window {
        [b'%', high, low] => byte(*high, *low),
        _ => None,
    })
}

fn byte(high: u8, low: u8) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

/// One reading of a path: its segments, decoded once, without the leading slash. A path that ends in `/` ends in an
/// empty segment; there is no other empty one.
type Reading<'a> = Vec<Cow<'a, [u8]>>;

/// Every reading of a path; one for most.
#[derive(Debug)]
pub(crate) struct Readings<'a>(Vec<Reading<'a>>);

/// The path can be taken for another one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ambiguous;

impl<'a> Readings<'a> {
    /// Reads an origin-form path. Refuses: anything [`has_forbidden_bytes`] does, `.` and `..` as a segment in every
    /// spelling (also `..;x`, `%2e%2e`, behind `%2F`), empty segments, broken and double escapes, what is not UTF-8
    /// after decoding, and full-width forms that some servers fold to `.`, `/` or `\`.
    pub(crate) fn of(path: &'a str) -> Result<Readings<'a>, Ambiguous> {
        let rest = path.strip_prefix('/').ok_or(Ambiguous)?;
        if has_forbidden_bytes(path) {
            return Err(Ambiguous);
        }
        let plain = rest.split('/').map(decode).collect::<Result<Reading<'a>, _>>()?;
        let parameters = plain.iter().any(|s| s.contains(&b';'));
        let slashes = plain.iter().any(|s| s.contains(&b'/'));
        let mut readings = vec![plain];
        if slashes {
            let split = readings.first().map(split_again).unwrap_or_default();
            readings.push(split);
        }
        if parameters {
            let cut: Vec<_> = readings.iter().map(without_parameters).collect();
            readings.extend(cut);
        }
        if readings.iter().all(is_straight) { Ok(Readings(readings)) } else { Err(Ambiguous) }
    }

    /// Whether every reading is matched by one of these patterns.
    pub(crate) fn all_match(&self, patterns: &[Pattern]) -> bool {
        self.0.iter().all(|reading| patterns.iter().any(|pattern| pattern.matches(reading)))
    }
}

/// Decodes one segment once.
fn decode(segment: &str) -> Result<Cow<'_, [u8]>, Ambiguous> {
    if !segment.contains('%') {
        return if folds(segment) { Err(Ambiguous) } else { Ok(Cow::Borrowed(segment.as_bytes())) };
    }
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(b) = bytes.next() {
        if b == b'%' {
            let (high, low) = bytes.next().zip(bytes.next()).ok_or(Ambiguous)?;
            decoded.push(byte(high, low).ok_or(Ambiguous)?);
        } else {
            decoded.push(b);
        }
    }
    let twice = encoded(&decoded).next().is_some();
    let text = std::str::from_utf8(&decoded).map_err(|_| Ambiguous)?;
    if twice || folds(text) || decoded.contains(&b'\\') { Err(Ambiguous) } else { Ok(Cow::Owned(decoded)) }
}

/// Characters that compatibility mappings (NFKC, best fit) turn into `.`, `/`, `\`, `%` or `;`.
fn folds(text: &str) -> bool {
    !text.is_ascii()
        && text.chars().any(|c| {
            matches!(
                c,
                '\u{ff0e}' | '\u{ff0f}' | '\u{ff3c}' | '\u{ff05}' | '\u{ff1b}' | '\u{fe52}' | '\u{fe68}' | '\u{fe6a}'
                    | '\u{fe54}' | '\u{2024}'..='\u{2026}' | '\u{2044}' | '\u{2215}' | '\u{2216}' | '\u{29f5}'
                    | '\u{29f8}' | '\u{ff61}' | '\u{3002}' | '\u{37e}' | '\u{80}'..='\u{9f}'
            )
        })
}

fn split_again<'a>(reading: &Reading<'a>) -> Reading<'a> {
    reading.iter().flat_map(|s| s.split(|b| *b == b'/')).map(|s| Cow::Owned(s.to_vec())).collect()
}

fn without_parameters<'a>(reading: &Reading<'a>) -> Reading<'a> {
    reading.iter().map(|s| Cow::Owned(s.split(|b| *b == b';').next().unwrap_or_default().to_vec())).collect()
}

/// No segment goes nowhere, upward, or is empty before the end.
fn is_straight(reading: &Reading<'_>) -> bool {
    let last = reading.len().saturating_sub(1);
    let dots = |s: &[u8]| !s.is_empty() && s.iter().all(|b| matches!(b, b'.' | b' '));
    reading.iter().enumerate().all(|(i, s)| !dots(s) && (i == last || !s.is_empty()))
}

/// A path pattern of a route, taken apart once.
#[derive(Debug)]
pub(crate) struct Pattern(Vec<Part>);

#[derive(Debug)]
enum Part {
    /// `**`: any number of segments, none included.
    Any,
    /// One segment, with `*` for any run of bytes within it.
    One(Vec<Token>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Byte(u8),
    Star,
}

impl Pattern {
    /// `None` where the text is no path pattern: it must start with `/`, hold neither `?` nor `#`, and be straight.
    pub(crate) fn parse(text: &str) -> Option<Pattern> {
        let rest = text.strip_prefix('/')?;
        if has_forbidden_bytes(text) || text.contains(['?', '#']) {
            return None;
        }
        let segments = rest.split('/').map(decode).collect::<Result<Reading<'_>, _>>().ok()?;
        if !is_straight(&segments) {
            return None;
        }
        rest.split('/').zip(segments).map(|(raw, decoded)| part(raw, &decoded)).collect::<Option<_>>().map(Pattern)
    }

    fn matches(&self, reading: &Reading<'_>) -> bool {
        wild(
            &self.0,
            reading,
            |part| matches!(part, Part::Any),
            |part, segment| match part {
                Part::Any => false,
                Part::One(tokens) if segment.is_empty() => tokens.is_empty(),
                Part::One(tokens) => {
                    wild(tokens, segment, |t| *t == Token::Star, |t, b| matches!(t, Token::Byte(byte) if byte == b))
                }
            },
        )
    }
}

/// A `*` is a wildcard as written; `%2A` is the character.
fn part(raw: &str, decoded: &[u8]) -> Option<Part> {
    if raw == "**" {
        return Some(Part::Any);
    }
    if raw.contains("**") {
        return None;
    }
    if !raw.contains('%') {
        return Some(Part::One(
            decoded.iter().map(|b| if *b == b'*' { Token::Star } else { Token::Byte(*b) }).collect(),
        ));
    }
    let mut tokens = Vec::new();
    for (i, piece) in raw.split('*').enumerate() {
        if i > 0 {
            tokens.push(Token::Star);
        }
        tokens.extend(decode(piece).ok()?.iter().map(|b| Token::Byte(*b)));
    }
    Some(Part::One(tokens))
}

/// Matches a whole text against a pattern with wildcards that take any number of items, in time O(pattern · text).
fn wild<P, T>(pattern: &[P], text: &[T], star: impl Fn(&P) -> bool, same: impl Fn(&P, &T) -> bool) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while let Some(item) = text.get(t) {
        match pattern.get(p) {
            Some(part) if star(part) => {
                retry = Some((p, t));
                p += 1;
            }
            Some(part) if same(part, item) => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star_at, taken)) = retry else { return false };
                retry = Some((star_at, taken + 1));
                p = star_at + 1;
                t = taken + 1;
            }
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(star))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> Option<bool> {
        let pattern = Pattern::parse(pattern).unwrap();
        Readings::of(path).ok().map(|readings| readings.all_match(&[pattern]))
    }

    #[test]
    fn wildcards() {
        for (pattern, path, expected) in [
            ("/", "/", true),
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/a", "/A", false),
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/b/c", false),
            ("/a/*", "/a/", false),
            ("/a/*.json", "/a/x.json", true),
            ("/a/x*y*z", "/a/xxyyyz", true),
            ("/a/x*y*z", "/a/xz", false),
            ("/a/**", "/a", true),
            ("/a/**", "/a/", true),
            ("/a/**", "/a/b/c", true),
            ("/a/**", "/ab", false),
            ("/**/x", "/a/b/x", true),
            ("/**/x", "/x", true),
            ("/**/x", "/x/y", false),
            ("/repos/*/app/**", "/repos/acme/app/pulls/1", true),
            ("/**", "/anything;v=1/at/all", true),
            ("/a%20b/*", "/a%20b/c", true),
            ("/a/%2A", "/a/x", false),
            ("/a/%2A", "/a/*", true),
        ] {
            assert_eq!(matches(pattern, path), Some(expected), "{pattern} {path}");
        }
    }

    #[test]
    fn a_path_with_two_readings_passes_only_if_both_do() {
        // npm asks for `/@scope%2fname`.
        assert_eq!(matches("/**", "/@scope%2fname"), Some(true));
        assert_eq!(matches("/@scope*/**", "/@scope%2fname"), Some(true));
        assert_eq!(matches("/@scope/**", "/@scope%2fname"), Some(false));
        assert_eq!(matches("/public*", "/public%2fsecret"), Some(false));
        // Tomcat and its kin cut `;parameters`.
        assert_eq!(matches("/a;public/*", "/a;public/x"), Some(false));
        assert_eq!(matches("/a*/x", "/a;b/x"), Some(true));
    }

    #[test]
    fn what_goes_up_or_sideways_is_ambiguous() {
        for path in [
            "",
            "a",
            "*",
            "/..",
            "/a/..",
            "/a/../b",
            "/a/./b",
            "/a/..;x/b",
            "/a/.;/b",
            "/a/%2e%2e/b",
            "/a/%2E./b",
            "/a/%2e%2e%2fb",
            "/a/..%2fb",
            "/a/..%5cb",
            "/a%5cb",
            "/a\\b",
            "/a//b",
            "//a",
            "/a/;x/b",
            "/%252e%252e/a",
            "/a/%252fb",
            "/a/%25%32%65",
            "/a%00",
            "/a%0d%0ab",
            "/a\0b",
            "/a\rb",
            "/a%7f",
            "/a%",
            "/a%2",
            "/a%zz",
            "/%c0%ae%c0%ae/a",
            "/a/%ff",
            "/a/．．/b",
            "/a/%EF%BC%8E%EF%BC%8E/b",
            "/a／b",
            "/a%2f/b",
            "/...",
            "/a/.. /b",
            "/a/..%20/b",
            "/a%2f%2fb",
            "/a/\u{2025}/b",
        ] {
            assert!(Readings::of(path).is_err(), "{path:?} was read");
        }
        for path in
            ["/", "/a", "/a/", "/a/b.c", "/a...b", "/.git", "/a/..b", "/%7Euser", "/w/C%23", "/%E4%BD%A0", "/a b"]
        {
            assert!(Readings::of(path).is_ok(), "{path:?} was not read");
        }
    }

    #[test]
    fn a_pattern_that_is_none_is_refused() {
        for text in ["", "a", "/a/../b", "/a?x", "/a#b", "/a//b", "/a**", "/**b/c", "/%zz", "/a\\b", "/./a"] {
            assert!(Pattern::parse(text).is_none(), "{text:?} was taken");
        }
    }

    #[test]
    fn many_stars_stay_quick() {
        let pattern = format!("/{}b", "a*".repeat(50));
        let path = format!("/{}", "a".repeat(8_000));
        assert_eq!(matches(&pattern, &path), Some(false));
    }
}
