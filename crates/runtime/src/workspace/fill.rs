//! Filling a workspace, in a process of its own: it takes as long as the directory is large, and the keeper, which has
//! one thread, goes on meanwhile. So do files that travel to an engine and back. Nothing here has a privilege that the
//! keeper has not.
//!
//! The order is JSON on standard input, to its end; what happens is told on standard output, one [`FillEvent`] a line.

use super::{Copied, clone::Cloning, copy};
use crate::{backend::docker, changes, store::BottleDir};
use bottle_spec::{plan::Workspace, slug::Slug};
use serde::{Deserialize, Serialize};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    error::Error,
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

const EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    Fill(FillOrder),
    /// To the engine that makes the bottle's container.
    Send(docker::Sending),
    /// From it, at the bottle's end.
    Fetch(docker::Coming),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FillOrder {
    pub(crate) slug: Slug,
    pub(crate) state: PathBuf,
    pub(crate) workspace: Workspace,
    pub(crate) owner: Option<u32>,
    /// The user's.
    pub(crate) environment: BTreeMap<String, String>,
    /// Where a clone fetches from and pushes to.
    pub(crate) url: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FillEvent {
    Copied {
        files: u64,
        bytes: u64,
    },
    /// Git is at work, which says nothing.
    Fetching,
    Notice {
        text: String,
    },
    /// The error and its causes, outermost first.
    Failed {
        causes: Vec<String>,
    },
    Done,
}

#[derive(Debug, thiserror::Error)]
pub enum FillError {
    #[error("the order did not come")]
    Order(#[source] io::Error),
    #[error("the order makes no sense")]
    Nonsense(#[source] serde_json::Error),
}

/// The whole of the process, after its parent's death has been made its own.
pub fn run(mut orders: impl io::Read, mut told: impl io::Write) -> Result<(), FillError> {
    // Fails nowhere; then the process ends later than it could.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let mut text = Vec::new();
    orders.read_to_end(&mut text).map_err(FillError::Order)?;
    let order: Order = serde_json::from_slice(&text).map_err(FillError::Nonsense)?;
    let mut tell = |event: &FillEvent| {
        // Where nobody listens any more, the process is about to be ended.
        let line = serde_json::to_string(event).unwrap_or_default();
        let _ = writeln!(told, "{line}").and_then(|()| told.flush());
    };
    let done = obey(&order, &mut tell);
    tell(
        &done.map_or_else(
            |error| FillEvent::Failed { causes: crate::keeper::chain(error.as_ref()) },
            |()| FillEvent::Done,
        ),
    );
    Ok(())
}

fn obey(order: &Order, tell: &mut dyn FnMut(&FillEvent)) -> Result<(), Box<dyn Error>> {
    let mut copied = |Copied { files, bytes }| tell(&FillEvent::Copied { files, bytes });
    match order {
        Order::Fill(order) => fill(order, tell),
        Order::Send(sending) => Ok(docker::send(sending, &mut copied)?),
        Order::Fetch(coming) => Ok(docker::fetch(coming, true, &mut copied)?),
    }
}

fn fill(order: &FillOrder, tell: &mut dyn FnMut(&FillEvent)) -> Result<(), Box<dyn Error>> {
    let bottle = BottleDir { slug: order.slug.clone(), state: order.state.clone(), runtime: PathBuf::new() };
    let target = bottle.workspace();
    let tell = RefCell::new(tell);
    let mut last = Instant::now();
    let mut left_out = Vec::new();
    let mut progress = |Copied { files, bytes }| {
        if last.elapsed() > EVERY {
            last = Instant::now();
            tell.borrow_mut()(&FillEvent::Copied { files, bytes });
        }
    };
    match &order.workspace {
        Workspace::Copy { source } => drop(copy(source, &target, order.owner, &mut progress)?),
        Workspace::Clone { source } => {
            let (owner, environment, url) = (order.owner, &order.environment, order.url.as_str());
            let cloning = Cloning { bottle: &bottle, source, target: &target, owner, environment, url };
            left_out = cloning.make(&mut progress, &mut || tell.borrow_mut()(&FillEvent::Fetching))?;
        }
        Workspace::None | Workspace::Mount { .. } => return Ok(()),
    }
    for what in left_out {
        tell.borrow_mut()(&FillEvent::Notice { text: format!("left out of the workspace: {what}") });
    }
    changes::record(&bottle, &target)?;
    Ok(())
}
