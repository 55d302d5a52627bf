//! The egress door over real sockets: curl, raw bytes and rustls in front; testkit's upstreams behind.

#![expect(clippy::cast_possible_truncation, reason = "lengths of short messages")]

mod asked;
mod budgets;
mod cost;
mod cuts;
mod findings;
mod floods;
mod freezing;
mod hardening;
mod harness;
mod http;
mod inbound;
mod kept;
mod lasting;
mod limits;
mod names;
mod pieces;
mod refusals;
mod screening;
mod secrets;
mod shapes;
mod slow;
mod streams;
mod trailers;
mod transparent;
mod wire;
