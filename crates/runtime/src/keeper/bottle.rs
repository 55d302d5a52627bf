//! A running bottle as the keeper's tasks see it.

use super::{egress_gate::Seen, freeze::Freezer, init::Init, queue::Queue, session::Seat, terminal::Terminal};
use bottle_spec::slug::Slug;
use std::{collections::BTreeMap, rc::Rc};
use tokio::sync::{mpsc, watch};

/// How it went; told to clients when nothing of the bottle runs any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) code: u8,
    /// Why not all of it could be taken down, the outermost reason first; empty where it could.
    pub(crate) left: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Bottle {
    pub(crate) slug: Slug,
    pub(crate) init: Rc<Init>,
    pub(crate) init_pid: i32,
    pub(crate) gate: Rc<Seen>,
    pub(crate) freezer: Freezer,
    pub(crate) queue: Rc<Queue>,
    pub(crate) agent: u32,
    pub(crate) terminal: Option<Rc<Terminal>>,
    /// Of the agent, and of what is run beside it.
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) cwd: String,
    pub(crate) stops: mpsc::Sender<u32>,
    pub(crate) ended: watch::Receiver<Option<Ended>>,
    /// As [`Bottle::ended`], for sessions.
    pub(crate) code: watch::Receiver<Option<u8>>,
    /// How often to ring at the agent's terminal.
    pub(crate) bells: watch::Receiver<u64>,
}

impl Bottle {
    /// Asks the keeper to end the bottle. One who asks while it is ending just waits with the others.
    pub(crate) fn stop(&self, grace_seconds: u32) {
        let _ = self.stops.try_send(grace_seconds);
    }

    pub(crate) fn ended(&self) -> watch::Receiver<Option<Ended>> {
        self.ended.clone()
    }

    /// A place at the agent.
    pub(crate) fn seat(&self) -> Seat {
        Seat {
            init: Rc::clone(&self.init),
            program: self.agent,
            terminal: self.terminal.clone(),
            ended: self.code.clone(),
            bells: Some(self.bells.clone()),
        }
    }
}
