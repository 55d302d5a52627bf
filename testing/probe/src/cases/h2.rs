//! The tricks of [`super::http`] as HTTP/2 has them: frames written by hand, so that no library puts them right.
//!
//! Only the question is encoded here, without compression (RFC 7541, section 6.2.2); of the answer nothing is read but
//! whether it holds what it must not.

use super::{
    Case,
    Control::{self, Depends, Escapes},
    Outcome,
    Section::{self, Http, NamesAndTls, Secrets},
    http::{CONNECT, fill, own_key},
};
use crate::{Field, wire};
use std::io::{Read, Write};

type Header = (&'static str, &'static str);

const fn case(name: &'static str, section: Section, control: Control, attempt: fn(&Field) -> Outcome) -> Case {
    Case { name, section, control, attempt }
}

macro_rules! case {
    ($name:literal, $section:expr, $control:expr, $($stream:expr),+) => {
        case($name, $section, $control, |field| nonce(field, &[$(&$stream),+]))
    };
}

const GET: Header = (":method", "GET");
const SCHEME: Header = (":scheme", "https");
const OURS: Header = (":authority", "{A}");
const THEIRS: Header = (":authority", "{D}");
const FINE: Header = (":path", "/public/1");
const FORBIDDEN: Header = (":path", "/forbidden");

pub(super) const CASES: &[Case] = &[
    case!("h2: authority of a denied host", NamesAndTls, Escapes, [GET, SCHEME, THEIRS, FINE]),
    case!(
        "h2: Host of a denied host beside the authority",
        NamesAndTls,
        Escapes,
        [GET, SCHEME, OURS, FINE, ("host", "{D}")]
    ),
    case!("h2: Host of a denied host and no authority", NamesAndTls, Escapes, [GET, SCHEME, FINE, ("host", "{D}")]),
    case!("h2: userinfo in the authority", NamesAndTls, Depends, [GET, SCHEME, (":authority", "{A}@{D}"), FINE]),
    case!("h2: two authorities", NamesAndTls, Depends, [GET, SCHEME, OURS, THEIRS, FINE]),
    case!(
        "h2: second stream to another authority",
        NamesAndTls,
        Escapes,
        [GET, SCHEME, OURS, FINE],
        [GET, SCHEME, THEIRS, FINE]
    ),
    case!("h2: denied path", Http, Escapes, [GET, SCHEME, OURS, FORBIDDEN]),
    case!("h2: denied method", Http, Escapes, [(":method", "DELETE"), SCHEME, OURS, FINE]),
    case!(
        "h2: method override",
        Http,
        Escapes,
        [(":method", "POST"), SCHEME, OURS, FINE, ("x-http-method-override", "DELETE")]
    ),
    case!("h2: path with %2e%2e", Http, Escapes, [GET, SCHEME, OURS, (":path", "/public/%2e%2e/forbidden")]),
    case!("h2: path with ..", Http, Escapes, [GET, SCHEME, OURS, (":path", "/public/../forbidden")]),
    case!("h2: path in absolute form", Http, Depends, [GET, SCHEME, OURS, (":path", "https://{D}/")]),
    case!("h2: two paths", Http, Depends, [GET, SCHEME, OURS, FINE, FORBIDDEN]),
    case!(
        "h2: second stream to a denied path",
        Http,
        Escapes,
        [GET, SCHEME, OURS, FINE],
        [GET, SCHEME, OURS, FORBIDDEN]
    ),
    case!(
        "h2: line break in a header",
        Http,
        Depends,
        [GET, SCHEME, OURS, FINE, ("x", "y\r\n\r\nGET /forbidden HTTP/1.1\r\nHost: {D}\r\n\r\n")]
    ),
    case!(
        "h2: header of another HTTP (transfer-encoding)",
        Http,
        Depends,
        [(":method", "POST"), SCHEME, OURS, FORBIDDEN, ("transfer-encoding", "chunked")]
    ),
    case!("h2: CONNECT in the tunnel", Http, Depends, [(":method", "CONNECT"), (":authority", "{D}:443")]),
    case!(
        "h2: extended CONNECT",
        Http,
        Depends,
        [(":method", "CONNECT"), (":protocol", "websocket"), SCHEME, OURS, FORBIDDEN]
    ),
    case!(
        "h2: the attacker's own key",
        Secrets,
        Escapes,
        [GET, SCHEME, OURS, FINE, ("authorization", "Bearer attacker")]
    ),
    case("h2: the upstream's echo of the secret", Secrets, Escapes, echo),
];

/// One stream for each list of headers, all sent at once.
fn nonce(field: &Field, streams: &[&[Header]]) -> Outcome {
    let filled = |headers: &&[Header]| headers.iter().map(|(name, value)| (*name, fill(field, value))).collect();
    match converse(field, &streams.iter().map(filled).collect::<Vec<_>>()) {
        Ok(answer) if field.holds_nonce(&answer) => {
            Outcome::Escaped("the upstream's forbidden answer came back".to_owned())
        }
        Ok(answer) => Outcome::Held(reason(&answer)),
        Err(error) => Outcome::Held(error),
    }
}

fn echo(field: &Field) -> Outcome {
    let mut headers: Vec<(&str, String)> =
        [GET, SCHEME, OURS, (":path", "/public/echo")].map(|(name, value)| (name, fill(field, value))).to_vec();
    headers.push(("authorization", format!("Bearer {}", own_key(field))));
    match converse(field, &[headers]) {
        Ok(answer) if field.holds_secret(&answer) => Outcome::Escaped("the secret came back".to_owned()),
        Ok(answer) => Outcome::Held(format!("came back without the secret ({} bytes)", answer.len())),
        Err(error) => Outcome::Held(error),
    }
}

/// What the gate's refusal says, where the answer is one.
fn reason(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let said = text.split_once("\"reason\":\"").and_then(|(_, rest)| rest.split('"').next());
    said.map_or_else(|| format!("{} bytes of other frames", answer.len()), str::to_owned)
}

fn converse(field: &Field, streams: &[Vec<(&str, String)>]) -> Result<Vec<u8>, String> {
    let stream = wire::tunnel(field.proxy, &fill(field, CONNECT)).map_err(|status| format!("CONNECT: {status}"))?;
    let mut stream = wire::tls_h2(stream, &field.allowed_host).map_err(|error| error.to_string())?;
    // Connection preface and empty SETTINGS.
    let mut question = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for (id, headers) in (1_u32..).step_by(2).zip(streams) {
        question.extend(frame(id, &block(headers)));
    }
    stream.write_all(&question).and_then(|()| stream.flush()).map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while !is_over(&answer, streams.len()) && answer.len() < 256 * 1024 {
        match stream.read(&mut piece) {
            Ok(count @ 1..) => answer.extend_from_slice(&piece[..count]),
            // A silence is an end as well.
            _ => break,
        }
    }
    Ok(answer)
}

/// Whether so many streams have ended, or the connection has: DATA and HEADERS with END_STREAM, RST_STREAM, GOAWAY.
fn is_over(answer: &[u8], streams: usize) -> bool {
    let mut rest = answer;
    let mut ended = 0;
    while let [a, b, c, kind, flags, _, _, _, _, after @ ..] = rest {
        match kind {
            0 | 1 if flags & 1 != 0 => ended += 1,
            3 => ended += 1,
            7 => return true,
            _ => {}
        }
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        // A frame whose end has not come yet does not count.
        let Some(next) = after.get(length..) else { return false };
        rest = next;
        if ended >= streams {
            return true;
        }
    }
    false
}

/// HEADERS with END_STREAM and END_HEADERS.
fn frame(id: u32, block: &[u8]) -> Vec<u8> {
    let length = u32::try_from(block.len()).unwrap_or_default().to_be_bytes();
    [&length[1..], &[1, 0x5], &id.to_be_bytes(), block].concat()
}

/// Literals without indexing, with new names, no Huffman coding.
fn block(headers: &[(&str, String)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name.as_bytes(), value.as_bytes()] {
            // Longer strings take a prefix code that nothing here needs.
            block.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("written in this file"));
            block.extend_from_slice(text);
        }
    }
    block
}
