//! The gate from outside: real sockets on loopback, real processes.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod audit;
mod ca;
mod child;
mod confine;
mod egress;
mod keeper;
mod life;
