//! The program as its users meet it: started as a process, judged by its output, its exit code and what it leaves.

#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

mod agents;
mod asked;
mod audit;
mod bad_input;
mod canaries;
mod changes;
mod cloned;
mod contract;
mod crash;
mod curl;
mod dashboard;
#[cfg(feature = "registry")]
mod doctor;
mod freeze;
mod gate;
mod git;
mod login;
mod mounted;
mod newcomer;
mod notify;
mod one_screen;
mod policy;
#[cfg(feature = "registry")]
mod pull;
mod screen;
mod side_by_side;
mod smolmachines;
mod stage;
mod supervise;
mod tmux;
mod tools;
mod volume;
mod web;
mod words;
