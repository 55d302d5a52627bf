//! Each way to hide a value, for one that a rule detects, one that is known and one that was planted.

use super::{CANARY, SECRET, TOKEN, hide, in_chunks, scanner, subjects, through};
use bottle_policy::scan::{Finding, Known, Place, Scanner, Shape};
use proptest::prelude::*;
use std::sync::Arc;

type Way = (&'static str, fn(&str) -> Vec<u8>);

const ASCII85: &[u8] = b"!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstu";
const RFC1924: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";
const Z85: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// As it stands in a URL or a token.
fn unpadded(text: &str) -> Vec<u8> {
    hide::base64(text.as_bytes()).trim_end_matches('=').replace('+', "-").replace('/', "_").into()
}

/// Ways that whoever gets it can undo exactly, so that the rules must see through them as well.
static EXACT: &[Way] = &[
    ("plain", |it| it.into()),
    ("base64", |it| hide::base64(it.as_bytes()).into()),
    ("base64, aligned otherwise", |it| hide::base64(format!("x{it}").as_bytes()).into()),
    ("base64, the third way", |it| hide::base64(format!("xy{it}").as_bytes()).into()),
    ("base64 after a digit", |it| format!("z{}", hide::base64(it.as_bytes())).into()),
    ("base64 after two", |it| format!("zz{}", hide::base64(it.as_bytes())).into()),
    ("base64 after three", |it| format!("zzz{}", hide::base64(it.as_bytes())).into()),
    ("base64 for URLs", |it| hide::base64(it.as_bytes()).replace('+', "-").replace('/', "_").into()),
    ("base64 without padding", |it| hide::base64(it.as_bytes()).trim_end_matches('=').into()),
    ("base64 for URLs without padding", unpadded),
    ("the same, aligned otherwise", |it| unpadded(&format!("x{it}"))),
    ("the same, the third way", |it| unpadded(&format!("xy{it}"))),
    ("base64 in lines", |it| {
        let text = hide::base64(it.as_bytes());
        text.as_bytes().chunks(20).map(|it| str::from_utf8(it).unwrap()).collect::<Vec<_>>().join("\r\n").into()
    }),
    ("base64 in lines of a string", |it| {
        let text = hide::base64(it.as_bytes());
        text.as_bytes().chunks(20).map(|it| str::from_utf8(it).unwrap()).collect::<Vec<_>>().join("\\n").into()
    }),
    ("base32", |it| hide::base32(it.as_bytes()).into()),
    ("base32 in lower case", |it| hide::base32(it.as_bytes()).to_lowercase().into()),
    ("base85", |it| hide::base85(it.as_bytes(), RFC1924).into()),
    ("ascii85", |it| format!("<~{}~>", hide::base85(it.as_bytes(), ASCII85)).into()),
    ("z85", |it| hide::base85(it.as_bytes(), Z85).into()),
    ("hexadecimal", |it| hide::hex(it.as_bytes(), "", "").into()),
    ("hexadecimal in capitals", |it| hide::hex(it.as_bytes(), "", "").to_uppercase().into()),
    ("hexadecimal after 0x", |it| format!("0x{}", hide::hex(it.as_bytes(), "", "")).into()),
    ("hexadecimal with colons", |it| hide::hex(it.as_bytes(), "", ":").into()),
    ("hexadecimal with blanks", |it| hide::hex(it.as_bytes(), "", " ").into()),
    ("hexadecimal with dashes", |it| hide::hex(it.as_bytes(), "", "-").into()),
    ("hexadecimal with commas", |it| hide::hex(it.as_bytes(), "0x", ", ").into()),
    ("hexadecimal with dots", |it| hide::hex(it.as_bytes(), "", ".").into()),
    ("hexadecimal with \\x", |it| hide::hex(it.as_bytes(), "\\x", "").into()),
    ("percent", |it| hide::percent(it, 1).into()),
    ("percent, three layers", |it| hide::percent(it, 3).into()),
    ("percent, ten layers", |it| hide::percent(it, 10).into()),
    ("one character in percent", |it| it.replacen(&it[6..7], &hide::percent(&it[6..7], 1), 1).into()),
    ("references", |it| it.chars().map(|it| format!("&#{};", u32::from(it))).collect::<String>().into()),
    ("references in hexadecimal", |it| {
        it.chars().map(|it| format!("&#x{:X};", u32::from(it))).collect::<String>().into()
    }),
    ("a name for each sign", |it| {
        it.replace('_', "&lowbar;").replace('-', "&#45;").replace('/', "&sol;").replace('=', "&equals;").into()
    }),
    ("\\u", |it| it.chars().map(|it| format!("\\u{:04x}", u32::from(it))).collect::<String>().into()),
    ("\\\\u in a string in a string", |it| {
        it.chars().map(|it| format!("\\\\u{:04x}", u32::from(it))).collect::<String>().into()
    }),
    ("octal", |it| it.chars().map(|it| format!("\\{:03o}", u32::from(it))).collect::<String>().into()),
    ("quoted-printable", |it| hide::quoted(it).into()),
    ("a comment in a picture", picture),
    ("gzip", |it| hide::gzip(it.as_bytes())),
    ("zlib", |it| hide::zlib(it.as_bytes())),
    ("zip", |it| hide::zip(it.as_bytes())),
    ("gzip of a longer text", |it| hide::gzip(format!("{} {it} {0}", "words and words ".repeat(20)).as_bytes())),
    ("base64 of deflate of a longer text", |it| {
        hide::base64(&hide::deflate(format!("{} {it} {0}", "words and words ".repeat(20)).as_bytes())).into()
    }),
    ("base64 of gzip", |it| hide::base64(&hide::gzip(it.as_bytes())).into()),
    ("base64 of deflate", |it| hide::base64(&hide::deflate(it.as_bytes())).into()),
    ("hexadecimal of zlib", |it| hide::hex(&hide::zlib(it.as_bytes()), "", "").into()),
    ("base64 five times", |it| (0..5).fold(it.to_owned(), |it, _| hide::base64(it.as_bytes())).into()),
    ("base64 of hexadecimal of percent", |it| {
        hide::base64(hide::hex(hide::percent(it, 2).as_bytes(), "", "").as_bytes()).into()
    }),
    ("percent of base64 of gzip of base32", |it| {
        hide::percent(&hide::base64(&hide::gzip(hide::base32(it.as_bytes()).as_bytes())), 1).into()
    }),
    ("references of percent of \\u", |it| {
        let text: String = it.chars().map(|it| format!("\\u{:04x}", u32::from(it))).collect();
        hide::percent(&text, 1).replace('%', "&#37;").into()
    }),
    ("zero-width", |it| hide::strewn(it, "\u{200b}").into()),
    ("bidirectional", |it| hide::strewn(it, "\u{202e}\u{2066}").into()),
    ("tag characters between", |it| hide::strewn(it, "\u{e0041}").into()),
    ("variation selectors between", |it| hide::strewn(it, "\u{fe0f}").into()),
    ("combining marks", |it| hide::strewn(it, "\u{301}\u{327}").into()),
    ("control characters", |it| hide::strewn(it, "\u{1}").into()),
    ("NUL, as UTF-16 has it", |it| hide::strewn(it, "\0").into()),
    ("exotic spaces", |it| hide::strewn(it, "\u{2009}").into()),
    ("no-break spaces in percent", |it| hide::strewn(it, "%C2%A0").into()),
    ("zero-width in \\u", |it| hide::strewn(it, "\\u200b").into()),
    ("full width", |it| hide::styled(it, 0xff21, 0xff41, 0xff10).into()),
    ("mathematical", |it| hide::styled(it, 0x1d400, 0x1d41a, 0x1d7ce).into()),
    ("monospace", |it| hide::styled(it, 0x1d670, 0x1d68a, 0x1d7f6).into()),
    ("cyrillic", |it| hide::homoglyphs(it, "acehopxyTBHKM", "асеһорхуТВНКМ").into()),
    ("greek", |it| hide::homoglyphs(it, "ovpABEZHKMNT", "ονρΑΒΕΖΗΚΜΝΤ").into()),
    ("armenian", |it| hide::homoglyphs(it, "ohnguqS", "օհոցսզՏ").into()),
    ("cherokee", |it| hide::homoglyphs(it, "WMHZRTAJ", "ᎳᎷᎻᏃᎡᎢᎪᎫ").into()),
    ("all in tag characters", |it| hide::tags(it).into()),
    ("all in variation selectors", |it| hide::selectors(it).into()),
    ("single characters with dots", |it| hide::strewn(it, ".").into()),
    ("single characters with blanks", |it| hide::strewn(it, " ").into()),
];

/// Ways that only somebody who knows the value can see through.
static LOOSE: &[Way] = &[
    ("lower case", |it| it.to_lowercase().into()),
    ("upper case", |it| it.to_uppercase().into()),
    ("leetspeak", |it| it.replace(['o', 'O'], "0").replace('e', "3").replace(['a', 'A'], "4").into()),
    ("leetspeak with signs", |it| it.replace(['s', 'S'], "$").replace(['a', 'A'], "@").into()),
    ("reversed", |it| it.chars().rev().collect::<String>().into()),
    ("reversed in base64", |it| hide::base64(it.chars().rev().collect::<String>().as_bytes()).into()),
    ("dots between parts", |it| {
        it.as_bytes().chunks(4).map(|it| str::from_utf8(it).unwrap()).collect::<Vec<_>>().join(".").into()
    }),
    ("lines between parts", |it| {
        it.as_bytes().chunks(5).map(|it| str::from_utf8(it).unwrap()).collect::<Vec<_>>().join("\n").into()
    }),
    ("several separators", |it| hide::strewn(it, " - ").into()),
];

/// The head of a JPEG with a comment and an EXIF segment that holds `text`, and some of the picture.
fn picture(text: &str) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xd8, 0xff, 0xe1, 0, 60];
    bytes.extend_from_slice(b"Exif\0\0II*\0\x08\0\0\0\x01\0\x0e\x01\x02\0\x28\0\0\0\x1a\0\0\0");
    bytes.extend_from_slice(text.as_bytes());
    bytes
        .extend_from_slice(&[0, 0xff, 0xfe, 0, 4, 0x80, 0x81, 0xff, 0xda, 0, 8, 1, 1, 0, 0, 0x3f, 0, 0xa5, 0x5a, 0x91]);
    bytes
}

/// What stands around it; none of it may help or harm.
static AROUND: &[(&str, &str)] =
    &[("", ""), ("the value is ", " and that was it."), ("{\"note\":\"", "\",\"n\":1}"), ("a=", "&b=c")];

/// What was not found, and how it was hidden.
fn missed(way: &Way, subject: &str, is: fn(&Finding) -> bool) -> Vec<String> {
    let (name, hide) = way;
    let mut missed = Vec::new();
    for (before, after) in AROUND {
        let mut text = before.as_bytes().to_vec();
        text.extend_from_slice(&hide(subject));
        text.extend_from_slice(after.as_bytes());
        let shown = String::from_utf8_lossy(&text).into_owned();
        for shape in [Shape::Raw, Shape::Json] {
            let (out, found) = through(&shape, &text, 7);
            if !found.iter().any(is) {
                missed.push(format!("{name}, {shape:?}: {shown}: {found:?}"));
            }
            assert!(out == text, "{name}: {shown}");
        }
        let found = scanner().piece(Place::Other("text"), &text);
        if !found.iter().any(is) {
            missed.push(format!("{name}, as a whole: {shown}: {found:?}"));
        }
        for finding in found {
            let told = format!("{finding} {finding:?}");
            assert!(!told.contains(&subject[..8]), "{told}");
        }
    }
    missed
}

#[test]
fn every_way_that_can_be_undone_is_seen_through() {
    let missed: Vec<String> = EXACT
        .iter()
        .flat_map(|way| subjects().into_iter().flat_map(|(subject, is)| missed(way, subject, is)))
        .collect();
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever hides it, whatever the body is said to be, wherever chunks end: what is found is the same, and what leaves
    /// is what came.
    #[test]
    fn what_is_hidden_is_found_however_it_is_cut(
        way in 0..EXACT.len(), subject in 0usize..3, shape in 0usize..4, before in 0usize..20_000,
        mut cuts in prop::collection::vec(0usize..200, 0..6), far in prop::collection::vec(0usize..20_000, 0..4),
    ) {
        let shape = [Shape::Raw, Shape::Json, Shape::Text, Shape::EventStream][shape].clone();
        let (value, is) = subjects()[subject];
        let mut text = b"just words, ".repeat(before / 12);
        // Near the value most of all.
        cuts.iter_mut().for_each(|cut| *cut += text.len());
        cuts.extend(far);
        text.extend_from_slice(&(EXACT[way].1)(value));
        text.extend_from_slice(b" and some more words");
        cuts.retain(|cut| *cut < text.len());
        cuts.sort_unstable();
        let ends = cuts.iter().copied().chain([text.len()]);
        let chunks = [0].into_iter().chain(cuts.iter().copied()).zip(ends).map(|(from, to)| &text[from..to]);
        let (out, found) = in_chunks(&scanner(), &shape, chunks);
        prop_assert!(found.iter().any(is), "{}, {:?}: {:?}", EXACT[way].0, shape, found);
        prop_assert!(out == text);
        let rules = |found: &[Finding]| found.iter().map(|it| it.rule).collect::<std::collections::BTreeSet<_>>();
        let (_, whole) = through(&shape, &text, usize::MAX);
        prop_assert_eq!(rules(&found), rules(&whole), "{}, {:?}", EXACT[way].0, shape);
    }
}

/// A key in a file is longer than what is compared in one piece; a part of it is as bad, and a JSON string writes its lines
/// and signs otherwise.
#[test]
fn a_long_value_and_one_full_of_signs_are_known() {
    let lines: Vec<String> = (0u32..12)
        .map(|it| hide::base64(format!("{:>3}/a key's own bytes {:>24}", it * 7, it * it).as_bytes()))
        .collect();
    let key = format!("-----BEGIN THING-----\n{}\n-----END THING-----\n", lines.join("\n"));
    let signs = "pa\"ss\\w/ord\twith\nlines&<tags>'";
    let known = Known::builder().secret("key", key.as_bytes()).secret("signs", signs.as_bytes()).build();
    let scanner = Arc::new(Scanner::new(known));
    let json = |value: &str| serde_json::json!({ "content": value }).to_string();
    let ways: Vec<(&str, String)> = vec![
        ("plain", key.clone()),
        ("a part", lines[3..9].join("\n")),
        ("a string of JSON", json(&key)),
        ("a string of JSON in a string of JSON", json(&json(&key))),
        ("base64", hide::base64(key.as_bytes())),
        ("base64 in lines", {
            let text = hide::base64(key.as_bytes());
            text.as_bytes().chunks(76).map(|it| str::from_utf8(it).unwrap()).collect::<Vec<_>>().join("\r\n")
        }),
        ("hexadecimal", hide::hex(key.as_bytes(), "", "")),
        ("percent", hide::percent(&key, 1)),
        ("other line ends", key.replace('\n', "\r\n")),
        ("signs: plain", signs.to_owned()),
        ("signs: a string of JSON", json(signs)),
        ("signs: a string of JSON, solidus and all", json(signs).replace('/', "\\/")),
        (
            "signs: references",
            signs.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;"),
        ),
        ("signs: percent", hide::percent(signs, 1)),
    ];
    for (way, text) in ways {
        for shape in [Shape::Raw, Shape::Json] {
            for size in [13, 4096] {
                let (_, found) = in_chunks(&scanner, &shape, text.as_bytes().chunks(size));
                let name = if way.starts_with("signs") { "signs" } else { "key" };
                let told = found.iter().any(|it| it.name.as_deref() == Some(name));
                assert!(told, "{way}, {shape:?}: {text}: {found:?}");
            }
        }
    }
}

/// Of a key and a service account what is theirs alone is known, in whatever way it is laid out, and nothing of what every
/// other has as well.
#[test]
fn of_several_lines_what_looks_random_is_known_and_the_rest_is_not() {
    let line = |seed: u8| {
        let bytes: Vec<u8> =
            (0..48u8).map(|it| it.wrapping_mul(it).wrapping_mul(37).wrapping_add(seed.wrapping_mul(it ^ 91))).collect();
        hide::base64(&bytes)
    };
    let body = |seed: u8| (0..26).map(|it| line(seed.wrapping_add(it * 3))).collect::<Vec<_>>();
    let pem = |body: &[String], end: &str| {
        format!("-----BEGIN THING-----{end}{}{end}-----END THING-----{end}", body.join(end))
    };
    let account = |body: &[String], id: &str| {
        serde_json::to_string_pretty(&serde_json::json!({
            "type": "service_account", "project_id": "tide-tables", "private_key_id": id, "private_key": pem(body, "\n"),
            "client_email": "tides@tide-tables.example", "client_id": "104857600000000000001",
            "auth_uri": "https://accounts.example/o/oauth2/auth", "token_uri": "https://oauth2.example/token",
            "auth_provider_x509_cert_url": "https://www.example/oauth2/v1/certs",
            "client_x509_cert_url": "https://www.example/robot/v1/metadata/x509/tides%40tide-tables.example",
        }))
        .unwrap()
    };
    let (ours, others) = (body(1), body(2));
    let (id, other_id) = ("8f14e45fceea167a5a36dedd4bea2543c9f0f895", "1f0e3dad99908345f7439f8ffabdffc4b6d767d2");
    let key = pem(&body(3), "\n");
    let openssh = format!(
        "-----BEGIN OPENSSH THING-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\n{}\n",
        line(200)
    );
    // With what a server shows to everybody.
    let public = pem(&others, "\n").replace("THING", "CERTIFICATE");
    let key = format!("{public}{key}");
    let known = Known::builder()
        .secret("account", account(&ours, id).as_bytes())
        .secret("key", key.as_bytes())
        .secret("openssh", openssh.as_bytes())
        .build();
    let scanner = Arc::new(Scanner::new(known));
    let told = |text: &str, name: &str| {
        [13, 4096].iter().all(|size| {
            let (_, found) = in_chunks(&scanner, &Shape::Raw, text.as_bytes().chunks(*size));
            found.iter().any(|it| it.name.as_deref() == Some(name))
        })
    };
    for (way, text) in [
        ("whole", account(&ours, id)),
        ("its key on its own", pem(&ours, "\n")),
        ("with the line ends of Windows", pem(&ours, "\r\n")),
        ("without any", ours.concat()),
        ("one line", ours[9].clone()),
        ("the line after the first, indented", format!("    {}\n", ours[0])),
        ("its id", format!("key {id}")),
        ("in base64", hide::base64(account(&ours, id).as_bytes())),
        ("in hexadecimal", hide::hex(account(&ours, id).as_bytes(), "", "")),
    ] {
        assert!(told(&text, "account"), "{way}: {text}");
    }
    assert!(told(&serde_json::json!({ "k": key }).to_string(), "key") && told(&body(3)[25], "key"));
    assert!(told(&line(200), "openssh"));
    for (way, text) in [
        ("another account", account(&others, other_id)),
        ("another key", pem(&others, "\n")),
        ("the certificate beside the key", public),
        ("another OpenSSH key", openssh.replace(&line(200), &others[0])),
        ("the words of one", account(&[], "").replace("tide-tables", "other")),
    ] {
        for name in ["account", "key", "openssh"] {
            let (_, found) = in_chunks(&scanner, &Shape::Raw, text.as_bytes().chunks(4096));
            assert!(!found.iter().any(|it| it.name.as_deref() == Some(name)), "{way}: {found:?}");
        }
    }
}

#[test]
fn what_is_known_is_seen_in_any_guise() {
    let known = || subjects().into_iter().skip(1);
    let missed: Vec<String> =
        LOOSE.iter().flat_map(|way| known().flat_map(|(subject, is)| missed(way, subject, is))).collect();
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn nothing_is_found_where_nothing_is() {
    for way in EXACT.iter().chain(LOOSE) {
        let text = (way.1)("just/some-Text_that is no secret at ALL 0123");
        for shape in [Shape::Raw, Shape::Json] {
            let (_, found) = through(&shape, &text, 1000);
            assert_eq!(found, [], "{}: {}", way.0, String::from_utf8_lossy(&text));
        }
    }
}

#[test]
fn too_deep_a_nest_is_told() {
    let deep = (0..30).fold(TOKEN.to_owned(), |it, _| hide::base64(it.as_bytes()));
    for text in [hide::percent(TOKEN, 40), deep] {
        let (_, found) = through(&Shape::Raw, text.as_bytes(), 4096);
        assert!(found.iter().any(|it| it.rule == "too-deep"), "{found:?}");
    }
    let bomb = hide::gzip(&vec![b' '; 8_000_000]);
    let (_, found) = through(&Shape::Raw, &bomb, 4096);
    assert!(found.iter().any(|it| it.rule == "too-deep"), "{found:?}");
}

#[test]
fn a_long_compressed_body_is_followed_to_its_end() {
    let mut seed = 1u32;
    let mut noise: Vec<u8> = (0..300_000)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b"abcdefghijklmnop "[usize::from((seed >> 24) as u8) % 17]
        })
        .collect();
    noise.extend_from_slice(format!(" {TOKEN} {CANARY} {SECRET}").as_bytes());
    let (_, found) = through(&Shape::Raw, &hide::gzip(&noise), 1000);
    for (_, is) in subjects() {
        assert!(found.iter().any(is), "{found:?}");
    }
}
