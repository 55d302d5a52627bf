//! What a fuzzer calls of the gate's own parsers. Not part of the interface.
//!
//! The seeds in `fuzz/seeds` run as tests here.

use crate::egress::{framing::Framing, hello};

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
        for (target, run) in [("hello", super::hello as fn(&[u8])), ("framing", super::framing)] {
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
