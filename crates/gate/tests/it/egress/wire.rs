//! HTTP/2 frame by frame, as a client that keeps to no rule may send it.

use super::harness::{Gate, LIMIT, Tls};
use std::io::{Read, Write};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
pub(super) const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// The largest frame that everybody takes.
const MAX_FRAME: usize = 16 << 10;

/// One field, neither indexed nor compressed (RFC 7541, section 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    [&[0][..], &length(name.len()), name.as_bytes(), &length(value.len()), value.as_bytes()].concat()
}

/// A number with a prefix of seven bits (RFC 7541, section 5.1).
fn length(length: usize) -> Vec<u8> {
    if length < 0x7f {
        return vec![length as u8];
    }
    let (mut out, mut rest) = (vec![0x7f], length - 0x7f);
    while rest >= 0x80 {
        out.push(0x80 | rest as u8);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}

/// A frame of the first stream.
pub(super) fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes()[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

/// What a client begins with.
pub(super) fn opening() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat()
}

/// HEADERS, in as many frames as it takes: a head, or trailers.
pub(super) fn headers(flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    let block: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
    let mut pieces: Vec<&[u8]> = block.chunks(MAX_FRAME).collect();
    let last = pieces.pop().unwrap_or_default();
    let mut out = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        out.extend(if index == 0 { frame(HEADERS, flags, piece) } else { frame(CONTINUATION, 0, piece) });
    }
    let (kind, flags) = if pieces.is_empty() { (HEADERS, flags) } else { (CONTINUATION, 0) };
    out.extend(frame(kind, flags | END_HEADERS, last));
    out
}

/// A request, with what a client begins with: the fields, and what stands in its body.
pub(super) fn request(fields: &[(&str, &str)], body: &str) -> Vec<u8> {
    let end = if body.is_empty() { END_STREAM } else { 0 };
    let data = if body.is_empty() { Vec::new() } else { frame(DATA, END_STREAM, body.as_bytes()) };
    [opening(), headers(end, fields), data].concat()
}

/// The head of a POST to `api.test`.
pub(super) fn post(path: &str) -> Vec<u8> {
    let fields = [(":method", "POST"), (":scheme", "https"), (":authority", "api.test"), (":path", path)];
    [opening(), headers(0, &fields)].concat()
}

/// An HTTP/2 connection to `api.test` with these bytes sent.
pub(super) fn h2(gate: &Gate, bytes: &[u8]) -> Tls {
    let mut tls = gate.tls_with(gate.connect("api.test:443"), "api.test", &[b"h2"]).unwrap();
    tls.sock.set_read_timeout(Some(LIMIT)).unwrap();
    tls.write_all(bytes).unwrap();
    tls
}

/// The kind, flags and payload of the next frame.
pub(super) fn next(tls: &mut Tls) -> Result<(u8, u8, Vec<u8>), std::io::Error> {
    let mut head = [0; 9];
    tls.read_exact(&mut head)?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    tls.read_exact(&mut payload)?;
    Ok((head[3], head[4], payload))
}

/// Reads frames until HEADERS, RST_STREAM or GOAWAY, or the end.
pub(super) fn until_ended(tls: &mut Tls) -> bool {
    loop {
        match next(tls) {
            Ok((HEADERS | RST_STREAM | GOAWAY, ..)) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

/// What the first stream's data says, and whether it came to its end.
pub(super) fn answered(tls: &mut Tls) -> (String, bool) {
    let mut all = Vec::new();
    let mut whole = false;
    while let Ok((kind, flags, payload)) = next(tls) {
        if kind == DATA {
            all.extend_from_slice(&payload);
        }
        whole = matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0;
        if whole || matches!(kind, RST_STREAM | GOAWAY) {
            break;
        }
    }
    (String::from_utf8_lossy(&all).into_owned(), whole)
}
