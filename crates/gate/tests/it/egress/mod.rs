//! The egress door over real sockets: curl, raw bytes and rustls in front; testkit's upstreams behind.

#![expect(clippy::cast_possible_truncation, reason = "lengths of short messages")]

mod cost;
mod harness;
mod http;
mod limits;
mod names;
mod secrets;
mod streams;
mod transparent;
