//! The dashboard: bottles, what their agents ask for, what was decided, and the keys that answer.
//!
//! An [`event::Event`] changes the [`state::State`], which may give an [`action::Action`] back; [`mod@draw`] shows the
//! state. Nothing else: state and drawing are pure functions of the events, so that a recording of them shows what a
//! person saw. [`runner`] alone touches the terminal; where bottles come from and what an action does is the caller's.
//!
//! Invariants: what is approved is what is on the screen, by its hash; every text of an agent's is escaped before it is
//! drawn; no key does anything that cannot be undone without a second one.

pub mod action;
pub mod draw;
pub mod event;
mod field;
pub mod figures;
mod input;
mod keymap;
mod layout;
mod page;
pub mod runner;
pub mod state;
