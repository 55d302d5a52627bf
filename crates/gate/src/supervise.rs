//! The supervise door: an MCP server (streamable HTTP) by which the agent asks its operator for more and learns what it
//! may do already.
//!
//! A connection is served by [`door`]; a call goes to one of the [`tools`]; what is asked is kept by the [`desk`], which
//! puts it before the operator by way of the keeper and hears of the answer. [`words`] says the policy.
//!
//! **The process.** A gate of its own, started when somebody first knocks: [`serve`] confines itself as the egress gate
//! does and holds no secret. One thread, one event loop, one task per connection; no session is kept between requests,
//! so a process that was killed is missed by nobody who asks again.
//!
//! Invariants: nothing is granted here: an answer comes from the keeper alone, and the most that a request can do is to
//! be shown. Every body, wait, connection and list is bounded.

mod ask;
mod desk;
mod door;
mod serve;
mod tools;
mod words;

pub use serve::{SuperviseGateError, serve};
