//! What a fuzzer calls of the gate's own parsers. Not part of the interface.
//!
//! The seeds in `fuzz/seeds` run as tests here.

use crate::egress::{frames, framing::Framing, hello};
use bytes::BytesMut;

/// A TLS ClientHello; one that is whole stays the same with more bytes after it.
pub fn hello(data: &[u8]) {
    if let Ok(hello::Parsed::Whole(whole)) = hello::parse(data) {
        let longer = [data, b"\x16\x03\x01\x00\x01\x01"].concat();
        assert_eq!(hello::parse(&longer), Ok(hello::Parsed::Whole(whole)), "what comes later changes it");
    }
}

/// HTTP/1 requests, in chunks of the size that the first byte says.
pub fn framing(data: &[u8]) {
    let [size, bytes @ ..] = data else { return };
    let whole = passes(bytes, usize::MAX);
    let chunks = passes(bytes, usize::from(*size) + 1);
    if let (Some(whole), Some(chunks)) = (whole, chunks) {
        assert_eq!(whole, chunks, "the cuts make a difference");
    }
}

/// The head of a WebSocket's frame: the same wherever it is cut, and what is made of what follows reads the same.
pub fn websocket(data: &[u8]) {
    let whole = frames::head(data);
    for cut in 0..data.len().min(16) {
        match frames::head(data.get(..cut).unwrap_or_default()) {
            Ok(None) => {}
            found => assert_eq!(found, whole, "what comes later changes it"),
        }
    }
    bare(data);
    let Ok(Some(head)) = whole else { return };
    let payload = data.get(head.bytes..).unwrap_or_default();
    let mut made = BytesMut::new();
    frames::write(&mut made, head.last, head.opcode, head.mask, payload);
    // A control frame that is too long is none.
    if let Ok(Some(again)) = frames::head(&made) {
        assert_eq!(again, frames::Head { length: payload.len() as u64, bytes: again.bytes, ..head });
        let mut masked = made.split_off(again.bytes);
        frames::unmask(&mut masked, head.mask);
        assert_eq!(masked, payload, "the mask comes off again");
    } else {
        assert!(head.opcode >= 8 && payload.len() > 125, "what is made is a frame");
    }
}

/// As an upstream writes it.
fn bare(data: &[u8]) {
    let whole = frames::bare_head(data);
    for cut in 0..data.len().min(12) {
        match frames::bare_head(data.get(..cut).unwrap_or_default()) {
            Ok(None) => {}
            found => assert_eq!(found, whole, "what comes later changes it"),
        }
    }
    if let Ok(Some(head)) = whole {
        assert!(head.bytes <= data.len() && head.bytes <= 10, "a head is there");
        assert_eq!(frames::head(data), Err(bottle_spec::verdict::Reason::RequestMalformed), "a frame is of one side");
    }
}

/// How many bytes pass; `None` where something is refused.
fn passes(bytes: &[u8], size: usize) -> Option<usize> {
    let (mut framing, mut pending, mut passed) = (Framing::default(), Vec::new(), 0);
    for chunk in bytes.chunks(size) {
        pending.extend_from_slice(chunk);
        loop {
            let step = framing.pass(&pending).ok()?;
            assert!(step <= pending.len(), "no more passes than there is");
            if step == 0 {
                break;
            }
            pending.drain(..step);
            passed += step;
        }
    }
    Some(passed)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_seeds_pass() {
        let targets =
            [("hello", super::hello as fn(&[u8])), ("framing", super::framing), ("websocket", super::websocket)];
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
