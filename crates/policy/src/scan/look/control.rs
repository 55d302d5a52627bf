//! The control run of the evasions: with the step that sees through it switched off, each must be missed. A test that
//! finds a value whatever is switched off would prove nothing of that step.

#[path = "../../../tests/scan/hide.rs"]
mod hide;

use crate::scan::{Known, Place, Scanner, Shape, Step};
use std::sync::Arc;

const TOKEN: &str = concat!("ghp", "_q7Lm2XvTz9RkB4nYcW8sHdJ3fGpA6u", "1Gj56z");
const SECRET: &str = "Tr0ub4dor-and-3xtra/Zq==";
const ASCII85: &[u8] = b"!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstu";
const RFC1924: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";

type Way = (Step, &'static str, fn(&str) -> Vec<u8>);

/// For what the rules detect.
static RULES: &[Way] = &[
    (Step::Base64, "base64", |it| hide::base64(it.as_bytes()).into()),
    (Step::Base64, "base64, aligned otherwise", |it| hide::base64(format!("x{it}").as_bytes()).into()),
    (Step::Base64, "base64 after a digit", |it| format!("z{}", hide::base64(it.as_bytes())).into()),
    (Step::Base64, "base64 for URLs", |it| hide::base64(it.as_bytes()).replace('+', "-").replace('/', "_").into()),
    (Step::Base64, "base64 five times", |it| (0..5).fold(it.to_owned(), |it, _| hide::base64(it.as_bytes())).into()),
    (Step::Base32, "base32", |it| hide::base32(it.as_bytes()).into()),
    (Step::Base32, "base32 in lower case", |it| hide::base32(it.as_bytes()).to_lowercase().into()),
    (Step::Base85, "base85", |it| hide::base85(it.as_bytes(), RFC1924).into()),
    (Step::Base85, "ascii85", |it| format!("<~{}~>", hide::base85(it.as_bytes(), ASCII85)).into()),
    (Step::Hex, "hexadecimal", |it| hide::hex(it.as_bytes(), "", "").into()),
    (Step::Hex, "hexadecimal with colons", |it| hide::hex(it.as_bytes(), "", ":").into()),
    (Step::Hex, "hexadecimal with blanks", |it| hide::hex(it.as_bytes(), "", " ").into()),
    (Step::Hex, "hexadecimal with commas", |it| hide::hex(it.as_bytes(), "0x", ", ").into()),
    (Step::Hex, "hexadecimal with dashes", |it| hide::hex(it.as_bytes(), "", "-").into()),
    (Step::Hex, "hexadecimal with dots", |it| hide::hex(it.as_bytes(), "", ".").into()),
    (Step::Escapes, "percent", |it| hide::percent(it, 1).into()),
    (Step::Escapes, "percent, ten layers", |it| hide::percent(it, 10).into()),
    (Step::Escapes, "references", |it| it.chars().map(|it| format!("&#{};", u32::from(it))).collect::<String>().into()),
    (Step::Escapes, "\\u", |it| it.chars().map(|it| format!("\\u{:04x}", u32::from(it))).collect::<String>().into()),
    (Step::Escapes, "octal", |it| it.chars().map(|it| format!("\\{:03o}", u32::from(it))).collect::<String>().into()),
    (Step::QuotedPrintable, "quoted-printable", |it| hide::quoted(it).into()),
    (Step::Inflate, "gzip", |it| hide::gzip(wordy(it).as_bytes())),
    (Step::Inflate, "zlib", |it| hide::zlib(wordy(it).as_bytes())),
    (Step::Inflate, "zip", |it| hide::zip(wordy(it).as_bytes())),
    (Step::Inflate, "base64 of deflate", |it| hide::base64(&hide::deflate(wordy(it).as_bytes())).into()),
    (Step::Base64, "base64 of gzip", |it| hide::base64(&hide::gzip(wordy(it).as_bytes())).into()),
    (Step::Lookalikes, "zero-width", |it| hide::strewn(it, "\u{200b}").into()),
    (Step::Lookalikes, "bidirectional", |it| hide::strewn(it, "\u{202e}\u{2066}").into()),
    (Step::Lookalikes, "combining marks", |it| hide::strewn(it, "\u{301}\u{327}").into()),
    (Step::Lookalikes, "control characters", |it| hide::strewn(it, "\u{1}\u{2}").into()),
    (Step::Lookalikes, "full width", |it| hide::styled(it, 0xff21, 0xff41, 0xff10).into()),
    (Step::Lookalikes, "mathematical", |it| hide::styled(it, 0x1d400, 0x1d41a, 0x1d7ce).into()),
    (Step::Lookalikes, "cyrillic", |it| hide::homoglyphs(it, "acehopxyTBHKM", "асеһорхуТВНКМ").into()),
    (Step::Lookalikes, "greek", |it| hide::homoglyphs(it, "ovpABEZHKMNT", "ονρΑΒΕΖΗΚΜΝΤ").into()),
    (Step::Lookalikes, "armenian", |it| hide::homoglyphs(it, "ohnguqS", "օհոցսզՏ").into()),
    (Step::Lookalikes, "cherokee", |it| hide::homoglyphs(it, "WMHZRTAJ", "ᎳᎷᎻᏃᎡᎢᎪᎫ").into()),
    (Step::Lookalikes, "exotic spaces", |it| hide::strewn(it, "\u{2009}").into()),
    (Step::Spaced, "single characters with dots", |it| hide::strewn(it, ".").into()),
    (Step::Spaced, "single characters with blanks", |it| hide::strewn(it, " ").into()),
    (Step::Invisible, "all in tag characters", |it| hide::tags(it).into()),
    (Step::Invisible, "all in variation selectors", |it| hide::selectors(it).into()),
    (Step::Joined, "fields", |it| format!("{{\"a\":\"{}\",\"b\":\"{}\"}}", &it[..18], &it[18..]).into()),
    (Step::Joined, "keys", |it| format!("{{\"{}\":1,\"{}\":1}}", &it[..18], &it[18..]).into()),
    (Step::Joined, "a form", |it| format!("a={}&b={}", &it[..18], &it[18..]).into()),
    (Step::Joined, "markup", |it| format!("<p>{}</p><p>{}</p>", &it[..18], &it[18..]).into()),
    (Step::Joined, "events", |it| format!("data: {}\n\ndata: {}\n\n", &it[..18], &it[18..]).into()),
];

/// For what is known.
static KNOWN: &[Way] = &[
    (Step::Loose, "lower case", |it| it.to_lowercase().into()),
    (Step::Loose, "leetspeak", |it| it.replace(['o', 'O'], "0").replace('e', "3").replace(['a', 'A'], "4").into()),
    (Step::Loose, "signs", |it| it.replace(['s', 'S'], "$").replace(['a', 'A'], "@").into()),
    (Step::Reversed, "reversed", |it| it.chars().rev().collect::<String>().into()),
];

/// With so many words that it pays to compress it: what does not is stored, and stands there plainly.
fn wordy(text: &str) -> String {
    format!("{} {text} {}", "some words before it".repeat(9), "and as many words after it".repeat(9))
}

fn finds(blind: Option<Step>, rule: &str, text: &[u8]) -> bool {
    let known = Known::builder().secret("db", SECRET.as_bytes()).build();
    let scanner = Arc::new(Scanner { blind, ..Scanner::new(known) });
    let (mut found, mut stream) = (scanner.piece(Place::Body, text), scanner.stream(Shape::Raw));
    stream.push(bytes::Bytes::copy_from_slice(text), &mut found);
    stream.finish(&mut found);
    found.iter().any(|it| it.rule.contains(rule))
}

#[test]
fn each_evasion_is_missed_without_the_step_that_sees_through_it() {
    let mut wrong = Vec::new();
    for (ways, rule, subject) in [(RULES, "github", TOKEN), (KNOWN, "known-secret", SECRET)] {
        for (step, name, hide) in ways {
            let text = hide(subject);
            if !finds(None, rule, &text) {
                wrong.push(format!("{name} is missed"));
            }
            if finds(Some(*step), rule, &text) {
                wrong.push(format!("{name} is found without {step:?}"));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}
