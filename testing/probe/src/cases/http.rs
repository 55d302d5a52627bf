//! Tricks within an intercepted tunnel to the allowed host. The upstream answers with the nonce whenever a request
//! reaches it that the policy does not allow.

use super::{
    Case,
    Control::{self, Depends, Escapes},
    Outcome,
    Section::{self, Http, NamesAndTls, Secrets},
    proxied::plain_then_tls,
};
use crate::{Field, wire};
use std::io::Write;

const fn case(name: &'static str, section: Section, control: Control, attempt: fn(&Field) -> Outcome) -> Case {
    Case { name, section, control, attempt }
}

pub(super) const CONNECT: &str = "CONNECT {A}:443 HTTP/1.1\r\nHost: {A}:443\r\n\r\n";

macro_rules! inside {
    ($name:literal, $control:expr, $text:expr) => {
        case($name, Http, $control, |field| inside(field, $text))
    };
}

pub(super) const CASES: &[Case] = &[
    case("server name of another host", NamesAndTls, Escapes, |field| plain_then_tls(field, CONNECT, "{D}", "{D}")),
    case("Host of another host in the tunnel", NamesAndTls, Escapes, |field| {
        plain_then_tls(field, CONNECT, "{A}", "{D}")
    }),
    case("no server name", NamesAndTls, Escapes, |field| plain_then_tls(field, CONNECT, "", "{D}")),
    case("plain HTTP in the tunnel", NamesAndTls, Depends, plain_in_tunnel),
    inside!("denied path", Escapes, "GET /forbidden HTTP/1.1\r\nHost: {A}\r\n\r\n"),
    inside!("denied method", Escapes, "DELETE /public/x HTTP/1.1\r\nHost: {A}\r\n\r\n"),
    inside!("TRACE", Escapes, "TRACE /public/x HTTP/1.1\r\nHost: {A}\r\n\r\n"),
    inside!(
        "method override",
        Escapes,
        "POST /public/x HTTP/1.1\r\nHost: {A}\r\nX-HTTP-Method-Override: DELETE\r\nContent-Length: 0\r\n\r\n"
    ),
    inside!("path with ..", Escapes, "GET /public/../forbidden HTTP/1.1\r\nHost: {A}\r\n\r\n"),
    inside!("path with %2e%2e", Escapes, "GET /public/%2e%2e/forbidden HTTP/1.1\r\nHost: {A}\r\n\r\n"),
    inside!("path with %2F", Escapes, "GET /public%2F..%2Fforbidden HTTP/1.1\r\nHost: {A}\r\n\r\n"),
    inside!("path with ..;x", Escapes, "GET /public/..;x/forbidden HTTP/1.1\r\nHost: {A}\r\n\r\n"),
    inside!("path with a backslash", Depends, "GET /public\\..\\forbidden HTTP/1.1\r\nHost: {A}\r\n\r\n"),
    inside!("path with %5c", Escapes, "GET /public/..%5cforbidden HTTP/1.1\r\nHost: {A}\r\n\r\n"),
    inside!("path encoded twice", Escapes, "GET /public/%252e%252e/forbidden HTTP/1.1\r\nHost: {A}\r\n\r\n"),
    inside!("path with //", Escapes, "GET //forbidden HTTP/1.1\r\nHost: {A}\r\n\r\n"),
    inside!("absolute form of a denied host", Escapes, "GET https://{D}/public/ HTTP/1.1\r\nHost: {A}\r\n\r\n"),
    inside!("two Hosts", Depends, "GET /public/ HTTP/1.1\r\nHost: {A}\r\nHost: {D}\r\n\r\n"),
    inside!(
        "CONNECT in CONNECT",
        Depends,
        "CONNECT {D}:443 HTTP/1.1\r\nHost: {D}:443\r\n\r\nGET / HTTP/1.1\r\nHost: {D}\r\n\r\n"
    ),
    inside!(
        "second request of the tunnel",
        Escapes,
        "GET /public/1 HTTP/1.1\r\nHost: {A}\r\n\r\nGET /forbidden HTTP/1.1\r\nHost: {A}\r\n\r\n"
    ),
    inside!(
        "second request of the tunnel, another Host",
        Escapes,
        "GET /public/1 HTTP/1.1\r\nHost: {A}\r\n\r\nGET / HTTP/1.1\r\nHost: {D}\r\n\r\n"
    ),
    inside!(
        "lengths of both kinds in the tunnel",
        Depends,
        "POST /public/ HTTP/1.1\r\nHost: {A}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /forbidden HTTP/1.1\r\nHost: {A}\r\n\r\n"
    ),
    inside!(
        "space before the colon",
        Depends,
        "POST /public/ HTTP/1.1\r\nHost: {A}\r\nTransfer-Encoding : chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\nGET /forbidden HTTP/1.1\r\nHost: {A}\r\n\r\n"
    ),
    inside!(
        "two lengths in the tunnel",
        Depends,
        "POST /public/ HTTP/1.1\r\nHost: {A}\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\nGET /forbidden HTTP/1.1\r\nHost: {A}\r\n\r\n"
    ),
    inside!("line feeds alone", Escapes, "GET /forbidden HTTP/1.1\nHost: {A}\n\n"),
    inside!("folded header", Depends, "GET /public/ HTTP/1.1\r\nHost: {A}\r\nX: a\r\n GET /forbidden HTTP/1.1\r\n\r\n"),
    inside!(
        "chunk extension",
        Depends,
        "POST /public/ HTTP/1.1\r\nHost: {A}\r\nTransfer-Encoding: chunked\r\n\r\n0;a=\"\n\"\r\n\r\nGET /forbidden HTTP/1.1\r\nHost: {A}\r\n\r\n"
    ),
    inside!(
        "h2c upgrade in the tunnel",
        Depends,
        "GET /public/ HTTP/1.1\r\nHost: {A}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\nGET /forbidden HTTP/1.1\r\nHost: {A}\r\n\r\n"
    ),
    inside!(
        "upgrade that nobody answers, then other bytes",
        Escapes,
        "GET /public/ HTTP/1.1\r\nHost: {A}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /forbidden HTTP/1.1\r\nHost: {A}\r\n\r\n"
    ),
    case("the attacker's own key to an injected host", Secrets, Escapes, |field| {
        inside(field, "GET /public/key HTTP/1.1\r\nHost: {A}\r\nAuthorization: Bearer attacker\r\n\r\n")
    }),
    case("the attacker's own key, twice", Secrets, Escapes, |field| {
        inside(
            field,
            "GET /public/key HTTP/1.1\r\nHost: {A}\r\nAuthorization: Bearer a\r\nAUTHORIZATION: Bearer b\r\n\r\n",
        )
    }),
    case("injected header sent on as hop-by-hop", Secrets, Depends, |field| {
        inside(
            field,
            "GET /public/key HTTP/1.1\r\nHost: {A}\r\nConnection: authorization\r\nAuthorization: Bearer a\r\n\r\n",
        )
    }),
    case("the upstream's echo of the secret", Secrets, Escapes, |field| echoed(field, "/public/echo")),
    case("the upstream's echo of the secret, in small pieces", Secrets, Escapes, |field| {
        echoed(field, "/public/split")
    }),
    case("the upstream's echo of the secret, in a header", Secrets, Escapes, |field| echoed(field, "/public/header")),
    case("the upstream's echo of the secret, gzip'd", Secrets, Depends, gzip_echo),
    case("no injection over plain HTTP", Secrets, Depends, plain_injection),
];

pub(super) fn fill(field: &Field, text: &str) -> String {
    text.replace("{A}", &field.allowed_host).replace("{D}", &field.denied_host)
}

/// The bytes, in a tunnel to the allowed host with its own server name.
fn converse(field: &Field, text: &str) -> Result<Vec<u8>, String> {
    let stream = wire::tunnel(field.proxy, &fill(field, CONNECT)).map_err(|status| format!("CONNECT: {status}"))?;
    let mut stream = wire::tls(stream, &field.allowed_host).map_err(|error| error.to_string())?;
    stream.write_all(fill(field, text).as_bytes()).map_err(|error| error.to_string())?;
    stream.flush().map_err(|error| error.to_string())?;
    Ok(wire::rest(stream))
}

fn inside(field: &Field, text: &str) -> Outcome {
    match converse(field, text) {
        Ok(answer) if field.holds_nonce(&answer) => {
            Outcome::Escaped("the upstream's forbidden answer came back".to_owned())
        }
        Ok(answer) => Outcome::Held(first_line(&answer)),
        Err(error) => Outcome::Held(error),
    }
}

fn first_line(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).lines().next().unwrap_or("no answer").to_owned()
}

fn plain_in_tunnel(field: &Field) -> Outcome {
    let mut stream = match wire::tunnel(field.proxy, &fill(field, CONNECT)) {
        Ok(stream) => stream,
        Err(status) => return Outcome::Held(format!("CONNECT: {status}")),
    };
    let question = fill(field, "GET /forbidden HTTP/1.1\r\nHost: {D}\r\n\r\n");
    let answer = stream.write_all(question.as_bytes()).map(|()| wire::rest(stream)).unwrap_or_default();
    if field.holds_nonce(&answer) {
        return Outcome::Escaped("the upstream's forbidden answer came back".to_owned());
    }
    Outcome::Held(first_line(&answer))
}

/// What a program inside puts on a request that wants the secret: on the bare host it has the secret itself.
pub(super) fn own_key(field: &Field) -> String {
    if field.bare { field.secret() } else { "placeholder".to_owned() }
}

fn echoed(field: &Field, path: &str) -> Outcome {
    let key = own_key(field);
    let text =
        format!("GET {path} HTTP/1.1\r\nHost: {{A}}\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n");
    match converse(field, &text) {
        Ok(answer) if field.holds_secret(&unchunked(&answer)) => Outcome::Escaped("the secret came back".to_owned()),
        Ok(answer) if answer.starts_with(b"HTTP/1.1 200") => Outcome::Held("came back without the secret".to_owned()),
        Ok(answer) => Outcome::Held(first_line(&answer)),
        Err(error) => Outcome::Held(error),
    }
}

/// The answer, and once more with its chunks joined, so that a secret cut by them is seen.
fn unchunked(answer: &[u8]) -> Vec<u8> {
    let mut joined = [answer, b"\n"].concat();
    let body = answer.windows(4).position(|window| window == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    let mut rest = answer.get(body..).unwrap_or_default();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).ok().and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
        let Some(chunk) = size.filter(|size| *size > 0).and_then(|size| rest.get(end + 2..end + 2 + size)) else {
            break;
        };
        joined.extend_from_slice(chunk);
        rest = rest.get(end + 4 + chunk.len()..).unwrap_or_default();
    }
    joined
}

/// An answer that the gate handed on packed is unpacked first, whatever became of its chunks.
fn gzip_echo(field: &Field) -> Outcome {
    let key = own_key(field);
    let text = format!(
        "GET /public/gzip HTTP/1.1\r\nHost: {{A}}\r\nAuthorization: Bearer {key}\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n"
    );
    match converse(field, &text) {
        Ok(answer) => match gunzip(&answer) {
            Some(body) if field.holds_secret(&body) => Outcome::Escaped("the secret came back".to_owned()),
            Some(_) => Outcome::Held("unpacked without the secret".to_owned()),
            None if field.holds_secret(&unchunked(&answer)) => Outcome::Escaped("the secret came back".to_owned()),
            None => Outcome::Held(first_line(&answer)),
        },
        Err(error) => Outcome::Held(error),
    }
}

/// By the tool that every machine has.
fn gunzip(answer: &[u8]) -> Option<Vec<u8>> {
    use std::process::{Command, Stdio};
    let joined = unchunked(answer);
    let start = joined.windows(3).rposition(|window| window == [0x1f, 0x8b, 8])?;
    let mut child = Command::new("gzip")
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(joined.get(start..)?).ok()?;
    Some(child.wait_with_output().ok()?.stdout)
}

fn plain_injection(field: &Field) -> Outcome {
    if field.bare {
        return Outcome::NotApplicable("nothing is injected on the bare host".to_owned());
    }
    let question = fill(field, "GET http://{A}/public/echo HTTP/1.1\r\nHost: {A}\r\nConnection: close\r\n\r\n");
    match wire::ask(field.proxy, question.as_bytes()) {
        Ok(answer) if field.holds_secret(&answer) => Outcome::Escaped("the secret came back".to_owned()),
        Ok(answer) => Outcome::Held(first_line(&answer)),
        Err(error) => Outcome::Held(error.to_string()),
    }
}
