//! What a fuzzer calls, beside the code that it calls. Not part of the interface.
//!
//! Each takes any bytes and must neither panic nor take long; beyond that each checks what must hold. The seeds in
//! `fuzz/seeds` run as tests here.

use crate::{
    inbound::{Act, Cut, Cutter, Piece, Reader, Tools},
    path::{Pattern, Readings},
    scan::{Finding, Known, Place, Scanner, Shape},
};
use bytes::Bytes;
use std::sync::{Arc, LazyLock};

const SECRET: &[u8] = b"q7Lm2XvTz9RkB4nYcW8s";

static SCANNER: LazyLock<Arc<Scanner>> =
    LazyLock::new(|| Arc::new(Scanner::new(Known::builder().secret("it", SECRET).build())));

/// A request's target, and the path rules on it.
pub fn url(data: &[u8]) {
    let target = String::from_utf8_lossy(data);
    let _ = SCANNER.request_head("a.test", &target, std::iter::empty());
    let path = target.split('?').next().unwrap_or_default();
    if let (Ok(readings), Some(pattern)) = (Readings::of(path), Pattern::parse("/v1/**/x")) {
        assert!(readings.all_match(&[pattern]) || !readings.all_match(&[]), "no pattern matches nothing");
    }
}

/// Headers, one per line, and a host before them.
pub fn header(data: &[u8]) {
    let mut lines = data.split(|it| *it == b'\n');
    let host = String::from_utf8_lossy(lines.next().unwrap_or_default());
    let headers: Vec<(String, &[u8])> = lines
        .filter_map(|line| {
            let at = line.iter().position(|it| *it == b':')?;
            let (name, value) = line.split_at_checked(at)?;
            Some((String::from_utf8_lossy(name).into_owned(), value.get(1..)?))
        })
        .collect();
    let _ = SCANNER.request_head(&host, "/", headers.iter().map(|(name, value)| (name.as_str(), *value)));
}

/// A body of any shape, by its first byte, in chunks, by the next; a known value is planted at the place that two more
/// say.
pub fn body(data: &[u8]) {
    let [shape, size, high, low, text @ ..] = data else { return };
    let shape = match shape % 5 {
        0 => Shape::Raw,
        1 => Shape::Json,
        2 => Shape::Form,
        3 => Shape::Xml,
        _ => Shape::Text,
    };
    cut(&shape, usize::from(*size) * 16 + 1, text);
    let at = usize::from(u16::from_be_bytes([*high, *low])).min(text.len());
    let (before, after) = text.split_at(at);
    let planted = [before, SECRET, after].concat();
    let (_, found) = through(&shape, 1000, &planted);
    assert!(found.iter().any(|it| it.name.is_some()), "a value that stands there plainly is found");
    let piece = SCANNER.piece(Place::Body, &planted);
    assert!(piece.iter().any(|it| it.name.is_some()), "also in a text that is there as a whole");
}

/// A multipart body. Its first byte is the size of chunks.
pub fn multipart(data: &[u8]) {
    let [size, text @ ..] = data else { return };
    cut(&Shape::Multipart { boundary: b"xyz".to_vec() }, usize::from(*size) + 1, text);
}

/// An event stream. Its first byte is the size of chunks.
pub fn events(data: &[u8]) {
    let [size, text @ ..] = data else { return };
    cut(&Shape::EventStream, usize::from(*size) + 1, text);
}

/// Messages, each with its length before it; nothing of a message is held back at its end.
pub fn messages(data: &[u8]) {
    let mut stream = SCANNER.stream(Shape::WebSocketMessages);
    let (mut rest, mut found) = (data, Vec::new());
    while let [length, after @ ..] = rest {
        let (message, after) = after.split_at(after.len().min(usize::from(*length)));
        let given = stream.push(Bytes::copy_from_slice(message), &mut found).len() + stream.flush(&mut found).len();
        assert_eq!(given, message.len(), "a message goes on as a whole");
        rest = after;
    }
}

/// What comes back, in chunks of the size that the first byte says.
pub fn inbound(data: &[u8]) {
    let [size, text @ ..] = data else { return };
    let size = usize::from(*size) + 1;
    assert_eq!(read(Act::Strip, usize::MAX, text), read(Act::Strip, size, text), "the cuts make a difference");
    assert_eq!(read(Act::Warn, size, text).0, text, "what is only read is not changed");
    for cut in [Cut::Whole, Cut::Lines, Cut::Events] {
        let whole = judged(cut, usize::MAX, text);
        assert_eq!(whole, judged(cut, size, text), "the cuts make a difference");
        assert_eq!(whole.concat(), text, "the pieces are the body");
    }
}

fn read(act: Act, size: usize, text: &[u8]) -> (Vec<u8>, Vec<(&'static str, String)>) {
    let (mut reader, mut out, mut signs) = (Reader::new(act), Vec::new(), Vec::new());
    for chunk in text.chunks(size) {
        out.extend(reader.push(Bytes::copy_from_slice(chunk), &mut signs).into_iter().flatten());
    }
    out.extend(reader.flush(&mut signs).into_iter().flatten());
    (out, signs.into_iter().map(|sign| (sign.rule, sign.words)).collect())
}

fn judged(cut: Cut, size: usize, text: &[u8]) -> Vec<Vec<u8>> {
    let (mut cutter, mut pieces, mut tools) = (Cutter::new(cut), Vec::new(), Tools::default());
    let mut each = |piece: Piece<'_>| {
        let (Piece::One(bytes) | Piece::Part(bytes, _)) = piece;
        let _ = tools.event("a.test", bytes, Act::Strip, &mut Vec::new());
        let _ = tools.text("a.test", bytes, Act::Strip, &mut Vec::new());
        pieces.push(bytes.to_vec());
        Ok::<(), std::convert::Infallible>(())
    };
    for chunk in text.chunks(size) {
        let _ = cutter.push(chunk, &mut each);
    }
    let _ = cutter.finish(&mut each);
    pieces
}

/// What is found and given back does not depend on the cuts, and what is given back is what came.
fn cut(shape: &Shape, size: usize, text: &[u8]) {
    let whole = through(shape, usize::MAX, text);
    let chunks = through(shape, size, text);
    assert_eq!(whole, chunks, "the cuts make a difference");
    assert_eq!(whole.0, text, "what goes on is what came");
}

fn through(shape: &Shape, size: usize, text: &[u8]) -> (Vec<u8>, Vec<Finding>) {
    let mut stream = SCANNER.stream(shape.clone());
    let (mut out, mut found) = (Vec::new(), Vec::new());
    for chunk in text.chunks(size) {
        out.extend_from_slice(&stream.push(Bytes::copy_from_slice(chunk), &mut found));
    }
    out.extend_from_slice(&stream.finish(&mut found));
    (out, found)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_seeds_pass() {
        type Target = (&'static str, fn(&[u8]));
        let targets: [Target; 7] = [
            ("scan_url", super::url),
            ("scan_header", super::header),
            ("scan_body", super::body),
            ("scan_multipart", super::multipart),
            ("scan_events", super::events),
            ("scan_messages", super::messages),
            ("inbound", super::inbound),
        ];
        for (target, run) in targets {
            let seeds = format!("{}/../../fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"));
            let mut count = 0;
            for seed in std::fs::read_dir(&seeds).unwrap() {
                run(&std::fs::read(seed.unwrap().path()).unwrap());
                count += 1;
            }
            assert!(count >= 3, "{target} has {count} seeds");
        }
    }
}
