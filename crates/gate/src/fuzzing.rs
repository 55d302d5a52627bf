//! What a fuzzer calls of the gate's own parsers. Not part of the interface.
//!
//! The seeds in `fuzz/seeds` run as tests here.

use crate::egress::{
    frames::{self, Relay, Replaceable, Verdict},
    framing::Framing,
    hello,
};
use bottle_policy::scan::{Finding, Known, Scanner};
use bottle_spec::verdict::Reason;
use bytes::BytesMut;
use std::sync::{Arc, LazyLock};

const SECRET: &[u8] = b"q7Lm2XvTz9RkB4nYcW8s";

static SCANNER: LazyLock<Arc<Scanner>> =
    LazyLock::new(|| Arc::new(Scanner::new(Known::builder().secret("it", SECRET).build())));

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

/// What an agent sends by a WebSocket: the first byte says whether findings are replaced, the second how large the
/// pieces are in which the rest comes. Where it is cut makes no difference; what goes on is whole frames, says what
/// came, and does not say what must not leave.
pub fn relay(data: &[u8]) {
    let [redacts, size, bytes @ ..] = data else { return };
    cut(redacts & 1 == 1, bytes, bytes.chunks(usize::from(*size) + 1));
}

fn cut<'b>(redacts: bool, bytes: &'b [u8], pieces: impl Iterator<Item = &'b [u8]>) {
    let whole = relayed(redacts, std::iter::once(bytes));
    assert_eq!(whole, relayed(redacts, pieces), "the cuts make a difference");
    let Ok(said) = whole else { return };
    let leaks = |(_, text): &(u8, Vec<u8>)| text.windows(SECRET.len()).any(|window| window == SECRET);
    assert!(!said.iter().any(leaks), "what is known left");
    if !redacts {
        assert_eq!(said, messages(bytes).0, "something else went on");
    }
}

/// The messages and control frames that go on.
fn relayed<'b>(redacts: bool, pieces: impl Iterator<Item = &'b [u8]>) -> Result<Vec<(u8, Vec<u8>)>, Reason> {
    let mut relay = Relay::new(&SCANNER, Verdicts { redacts });
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(&relay.pass(piece)?);
    }
    let (said, left) = messages(&out);
    assert_eq!(left, 0, "what goes on is whole frames");
    Ok(said)
}

/// What ends in these frames, each with its type, and how many bytes behind them are no whole frame.
fn messages(mut bytes: &[u8]) -> (Vec<(u8, Vec<u8>)>, usize) {
    let (mut ended, mut kind, mut message) = (Vec::new(), 0, Vec::new());
    while let Ok(Some(head)) = frames::head(bytes) {
        let end = usize::try_from(head.length).ok().and_then(|length| head.bytes.checked_add(length));
        let Some((frame, rest)) = end.and_then(|end| bytes.split_at_checked(end)) else { break };
        let mut payload = frame.get(head.bytes..).unwrap_or_default().to_vec();
        frames::unmask(&mut payload, head.mask);
        bytes = rest;
        if head.opcode >= 8 {
            ended.push((head.opcode, payload));
            continue;
        }
        kind |= head.opcode;
        message.append(&mut payload);
        if head.last {
            ended.push((std::mem::take(&mut kind), std::mem::take(&mut message)));
        }
    }
    (ended, bytes.len())
}

/// Replaces what can be, or stops at everything.
struct Verdicts {
    redacts: bool,
}

impl Verdict for Verdicts {
    fn verdict(&self, found: &mut Vec<Finding>, replaceable: Replaceable) -> Result<(), Reason> {
        let replaced = self.redacts && replaceable == Replaceable::InPlace;
        let stops = found.drain(..).any(|finding| !replaced || finding.span.is_none());
        if stops { Err(Reason::Finding) } else { Ok(()) }
    }

    fn spared(&self) -> Option<&[String]> {
        self.redacts.then_some(&[])
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
        assert_eq!(frames::head(data), Err(Reason::RequestMalformed), "a frame is of one side");
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
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_seeds_pass() {
        let targets = [
            ("hello", super::hello as fn(&[u8])),
            ("framing", super::framing),
            ("websocket", super::websocket),
            ("relay", super::relay),
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

    /// A message in fragments, a control frame between two of them, or something that is out of place.
    fn frames_of() -> impl Strategy<Value = Vec<u8>> {
        let text = prop_oneof![
            4 => proptest::collection::vec(any::<u8>(), 0..60),
            1 => proptest::collection::vec(any::<u8>(), 100..300),
            1 => Just([b"say ", SECRET, b" now"].concat()),
            1 => Just(SECRET[..9].to_vec()),
            1 => Just(SECRET[9..].to_vec()),
        ];
        let pieces = proptest::collection::vec((text, any::<[u8; 4]>()), 1..4);
        (pieces, 1..3_u8, proptest::option::of(0..12_u8), 0..20_u8).prop_map(|(pieces, kind, between, odd)| {
            let (mut out, count) = (BytesMut::new(), pieces.len());
            for (index, (text, mask)) in pieces.iter().enumerate() {
                // One in twenty continues what has not begun, or never ends.
                let opcode = if index == 0 && odd != 0 { kind } else { 0 };
                frames::write(&mut out, index + 1 == count && odd != 1, opcode, *mask, text);
                if let (Some(control @ 8..=10), true) = (between, index == 0) {
                    frames::write(&mut out, true, control, *mask, b"between");
                }
            }
            out.to_vec()
        })
    }

    proptest! {
        #[test]
        fn what_a_relay_says_of_frames_does_not_depend_on_the_cuts(
            frames in proptest::collection::vec(frames_of(), 0..5),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
            redacts: bool,
        ) {
            let bytes = frames.concat();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.sort_unstable();
            let ends = at.iter().copied().chain([bytes.len()]);
            let starts = std::iter::once(0).chain(at.iter().copied());
            super::cut(redacts, &bytes, starts.zip(ends).map(|(start, end)| &bytes[start..end]));
            super::cut(redacts, &bytes, bytes.chunks(1));
        }
    }
}
