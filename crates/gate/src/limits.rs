//! The numbers that bound what a hostile bottle or upstream can make the gate hold, wait for or write.
//!
//! Invariant: every queue, buffer, map and wait in this crate is bounded by a constant of this file. They are sized so
//! that a bottle at every limit at once stays below some 64 MiB, and so that no honest tool meets one.

use std::time::Duration;

/// Connections from the bottle served at once, over all TCP doors. A connection over the limit is closed at once; its
/// descriptor is never held, so the gate's own descriptors cannot be exhausted from inside.
pub const MAX_CONNECTIONS: usize = 1024;
/// Descriptors: two per connection (downstream and upstream) and what the gate itself keeps.
pub const MAX_DESCRIPTORS: u64 = 2 * MAX_CONNECTIONS as u64 + 512;
/// Concurrent HTTP/2 streams of one connection, as announced in SETTINGS.
pub const MAX_STREAMS: u32 = 128;
/// The whole head of a request or response, in bytes: hyper's buffer, nginx allows 32 KiB, Node 16 KiB.
pub const MAX_HEAD_BYTES: usize = 64 << 10;
/// Header fields of one message.
pub const MAX_HEADERS: usize = 128;
/// The trailers of a request, in bytes. hyper reads no more of HTTP/1's; h2 cuts a list off at 64 KiB and says nothing.
pub const MAX_TRAILER_BYTES: usize = 16 << 10;
/// From the first byte of a connection or request to the end of its head.
pub const HEAD_TIME: Duration = Duration::from_secs(15);
/// A TLS handshake, either side.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(15);
/// A TCP connect to one upstream address.
pub const CONNECT_TIME: Duration = Duration::from_secs(10);
/// The lookup of one upstream name.
pub const RESOLVE_TIME: Duration = Duration::from_secs(10);
/// From the end of a request to the head of its response: model APIs think for minutes.
pub const RESPONSE_TIME: Duration = Duration::from_secs(600);
/// A connection on which nothing moves either way. Longer than [`RESPONSE_TIME`], so that who waits for an answer hears
/// that there is none.
pub const IDLE_TIME: Duration = Duration::from_secs(660);

/// A request body of this length, in bytes, is searched as a whole before anything is done for its request.
pub const MAX_WHOLE: usize = 64 << 10;
/// A request body kept so that the request can be repeated with a fresh secret, in bytes.
pub const MAX_HELD: u64 = 256 << 10;
/// Requests that wait for the operator at once, each with at most [`MAX_HELD`] of its body.
pub const MAX_ASKED: usize = 8;
/// How long the operator has; shorter than a connection lives on which nothing moves.
pub const ASK_TIME: Duration = Duration::from_secs(540);
/// A client that reads events hears so often that its request still waits.
pub const ASK_NEWS: Duration = Duration::from_secs(3);
/// A request body of unknown length that pauses for so long is sent on as it comes.
pub const GATHER_PAUSE: Duration = Duration::from_millis(10);
/// What the screen holds back of a body goes on when its sender has paused for so long.
pub const FLUSH_PAUSE: Duration = Duration::from_millis(20);
/// What all decoders of compressed bodies may use together, in bytes: 7 of the greediest, 1,000 of gzip's.
pub const MAX_DECODERS: usize = 128 << 20;
/// Who finds none of it left waits for so long.
pub const DECODER_TIME: Duration = Duration::from_secs(2);
/// What a frozen gate's connections have left, to hear why.
pub const FREEZE_TIME: Duration = Duration::from_millis(250);
/// What is still read of a request that was answered before its end, so that its sender hears the answer: bytes, how long
/// in all, and how long without any.
pub const LINGER_BYTES: usize = 64 << 20;
pub const LINGER_TIME: Duration = Duration::from_secs(10);
pub const LINGER_PAUSE: Duration = Duration::from_secs(2);

/// Leaf certificates kept; a further host costs a new key and signature (some 0.1 ms).
pub const MAX_LEAVES: usize = 256;
/// An answer of the keeper to a request for a fresh secret; `command:` sources may ask a person.
pub const REFRESH_TIME: Duration = Duration::from_secs(30);
/// The least time between two refreshes of one secret, whatever upstreams answer.
pub const REFRESH_PAUSE: Duration = Duration::from_secs(30);

/// Synthetic addresses kept for names that no route names exactly, in each of two pools: names below a wildcard route,
/// and names that no route allows.
pub const MAX_NAMES: usize = 4096;
/// Names that routes name exactly; all keep their address.
pub const MAX_PINNED: usize = 8192;
/// A query at the resolver door, in bytes; the longest honest one has some 300.
pub const MAX_DNS_MESSAGE: usize = 1232;
/// Answers of the resolver door in one second, and at once after a quiet second.
pub const DNS_RATE: u32 = 2000;
/// TCP connections at the resolver door.
pub const MAX_DNS_CONNECTIONS: usize = 32;
/// A TCP connection at the resolver door that asks nothing.
pub const DNS_IDLE_TIME: Duration = Duration::from_secs(10);

/// The audit log of one bottle, in bytes; at the limit the gate denies everything, as when the disk is full.
pub const MAX_AUDIT_BYTES: u64 = 1 << 30;
/// One line of the audit log, in bytes.
pub const MAX_AUDIT_LINE: usize = 64 << 10;
/// Events that may wait for the next write to the audit log; a hundred bytes each.
pub const MAX_AUDIT_LATER: usize = 64;

/// Descriptors that may ride on the first frame: the audit log and the doors.
pub const MAX_DOORS: usize = 64;

/// `RLIMIT_DATA`, in bytes: a backstop far above what the other limits let the gate hold.
pub const MAX_MEMORY: u64 = 1 << 30;
