//! What is asked for, as data: names, policy, plan, verdicts, audit events and the messages between our processes.
//!
//! Invariant: nothing here touches the file system, the network, the environment or the clock; every function is
//! a pure function of its arguments. What may happen is decided in `bottle-policy`; what does happen, in
//! `bottle-gate` and `bottle-runtime`.

#![forbid(unsafe_code)]

pub mod door;
pub mod escape;
pub mod init_link;
pub mod machine_link;
pub mod secret;
pub mod wire;

#[cfg(feature = "manifest")]
pub mod event;
#[cfg(feature = "manifest")]
pub mod facts;
#[cfg(feature = "manifest")]
pub mod gate_link;
#[cfg(feature = "manifest")]
pub mod git;
#[cfg(feature = "manifest")]
pub mod host;
#[cfg(feature = "manifest")]
pub mod login;
#[cfg(feature = "manifest")]
pub mod manifest;
#[cfg(feature = "manifest")]
pub mod notation;
#[cfg(feature = "manifest")]
pub mod notify;
#[cfg(feature = "manifest")]
pub mod operator;
#[cfg(feature = "manifest")]
pub mod plan;
#[cfg(feature = "manifest")]
pub mod policy;
#[cfg(feature = "manifest")]
pub mod provider;
#[cfg(feature = "manifest")]
pub mod request;
#[cfg(feature = "manifest")]
pub mod resolve;
#[cfg(feature = "manifest")]
pub mod slug;
#[cfg(feature = "manifest")]
pub mod topology;
#[cfg(feature = "manifest")]
pub mod verdict;
