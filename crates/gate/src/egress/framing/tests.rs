//! What is refused, each for one reason, beside what passes.

use super::*;
use proptest::prelude::*;

/// Feeds a stream in pieces; the bytes passed and the first violation.
fn run(stream: &[u8], mut cuts: impl Iterator<Item = usize>) -> (usize, Option<Violation>) {
    let mut framing = Framing::default();
    let (mut seen, mut passed) = (0, 0);
    loop {
        match framing.pass(&stream[passed..seen]) {
            Err(violation) => return (passed, Some(violation)),
            Ok(0) if seen == stream.len() => return (passed, None),
            Ok(0) => seen = (seen + cuts.next().unwrap_or(stream.len()).max(1)).min(stream.len()),
            Ok(amount) => passed += amount,
        }
    }
}

const GOOD: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.0\r\n\r\n",
    "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked \r\n\r\n0a\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n",
];

const BAD: &[(&str, Violation)] = &[
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", Violation::Malformed),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", Violation::Malformed),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", Violation::Malformed),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", Violation::Malformed),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", Violation::Malformed),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", Violation::Malformed),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", Violation::Malformed),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Violation::Malformed),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n", Violation::Malformed),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        Violation::Malformed,
    ),
    ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Violation::Malformed),
    ("GET / HTTP/1.1\nHost: a\n\n", Violation::Malformed),
    ("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", Violation::Malformed),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: b\rY: c\r\n\r\n", Violation::Malformed),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", Violation::Malformed),
    ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", Violation::Malformed),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", Violation::Malformed),
    ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", Violation::Malformed),
    ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Violation::Malformed),
    ("GET / x HTTP/1.1\r\nHost: a\r\n\r\n", Violation::Malformed),
    ("GET /\r\nHost: a\r\n\r\n", Violation::Malformed),
    ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Violation::Malformed),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Violation::Malformed),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Violation::Host),
    ("GET / HTTP/1.1\r\nX: a\r\n\r\n", Violation::Host),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n0\r\n\r\n",
        Violation::Malformed,
    ),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n", Violation::Malformed),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", Violation::Malformed),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", Violation::Malformed),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", Violation::Malformed),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", Violation::Malformed),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: b\r\n\r\n", Violation::Malformed),
];

/// Each is refused for one reason alone; the head may not have ended.
const BAD_HEADS: &[&str] = &[
    "G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
    " / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /\t HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1 x\r\nHost: a\r\n\r\n",
    "REFUSED / HTTP/1.1\r\nHost: a\r\n\r\n",
    "REFUSED / HTTP/1.0\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nnocolon\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive , Cookie\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: b\rY",
    "GET / HTTP/1.1\r\nHost: a\r\nX: b\nY",
    "GET / HTTP/1.1\r\nHost: a\r\nX: \0",
    "GET / HTTP/1.1\r\nHost: a\r\n b",
    "GET / HTTP/1.1\r\nHost: a\r\n\tb",
    "\r\nGET",
];

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

/// What may follow [`CHUNKED`], and is refused.
const BAD_CHUNKS: &[&str] = &[
    "00000000000000003\r\nabc\r\n",
    "\r\n",
    "\r",
    "0\r\nX: a\n",
    "0\r\nX : a\r\n",
    "0\r\nX: \x01\r\n",
    "0\r\nno colon\r\n",
];

#[test]
fn each_refusal_stands_alone() {
    let bad = |stream: &str| run(stream.as_bytes(), std::iter::empty()).1;
    for head in BAD_HEADS {
        assert_eq!(bad(head), Some(Violation::Malformed), "{head:?}");
    }
    for chunks in BAD_CHUNKS {
        assert_eq!(bad(&format!("{CHUNKED}{chunks}")), Some(Violation::Malformed), "{chunks:?}");
    }
    for name in ["host", "Content-Length", "transfer_encoding", "authorization", "connection", "x-api-key", "cookie"] {
        assert_eq!(bad(&format!("{CHUNKED}0\r\n{name}: 1\r\n\r\n")), Some(Violation::Malformed), "{name}");
    }
    for name in ["host", "content-length", "transfer-encoding", "content-encoding", "content-type", "authorization"]
        .iter()
        .chain(&["cookie", "expect", "connection"])
    {
        let named = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close, {}\r\n\r\n", name.to_uppercase());
        assert_eq!(bad(&named), Some(Violation::Malformed), "{name}");
    }
    let endless = |before: &str, limit: usize| format!("{before}X: {}", "x".repeat(limit + 1));
    assert_eq!(bad(&endless("GET / HTTP/1.1\r\nHost: a\r\n", MAX_HEAD_BYTES)), Some(Violation::TooLong));
    let endless = endless(&format!("{CHUNKED}0\r\n"), MAX_TRAILER_BYTES);
    assert_eq!(bad(&endless), Some(Violation::TooLong));
    assert_eq!(bad(&format!("{endless}\r\n\r\n")), Some(Violation::TooLong));
    let trailers = "X: y\r\n".repeat(MAX_TRAILER_BYTES / 6 + 1);
    assert_eq!(bad(&format!("{CHUNKED}0\r\n{trailers}\r\n")), Some(Violation::TooLong));
}

#[test]
fn sound_streams_pass_whole_and_others_stop() {
    for stream in GOOD {
        assert_eq!(run(stream.as_bytes(), std::iter::empty()), (stream.len(), None), "{stream:?}");
    }
    for (stream, violation) in BAD {
        assert_eq!(run(stream.as_bytes(), std::iter::empty()).1, Some(*violation), "{stream:?}");
    }
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(MAX_HEAD_BYTES));
    assert_eq!(run(long.as_bytes(), std::iter::empty()).1, Some(Violation::TooLong));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(MAX_HEADERS));
    assert_eq!(run(many.as_bytes(), std::iter::empty()).1, Some(Violation::TooLong));
}

proptest! {
    #[test]
    fn cuts_change_nothing(which in 0..GOOD.len() + BAD.len(), cuts in prop::collection::vec(1usize..9, 0..200)) {
        let all: Vec<&str> = GOOD.iter().copied().chain(BAD.iter().map(|(s, _)| *s)).collect();
        let stream = all[which].as_bytes();
        let cut = run(stream, cuts.into_iter().chain(std::iter::repeat(1)));
        prop_assert_eq!(cut, run(stream, std::iter::empty()));
    }

    #[test]
    fn hostile_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = run(&bytes, std::iter::repeat(3));
    }
}
