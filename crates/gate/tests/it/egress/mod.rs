//! The egress door over real sockets: curl, raw bytes and rustls in front; testkit's upstreams behind.

mod harness;
mod http;
mod names;
mod secrets;
mod streams;
mod transparent;
