//! What the page is told, as server-sent events: bottles, requests and decisions, each whole and when it is new.
//!
//! Invariants: this host is looked at only while somebody listens; who reads slowly is told of the newest state and costs
//! no memory for those between.

use super::super::look::Looks;
use crate::compose::Context;
use bottle_tui::event::{Bottle, Decision};
use bytes::Bytes;
use serde::Serialize;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, watch},
    time::{MissedTickBehavior, interval},
};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Decisions that the page is given.
const DECISIONS: usize = 100;

/// One list, as the event that tells of it; empty = not looked yet.
type Told = watch::Sender<Bytes>;

#[derive(Debug)]
pub(super) struct News {
    lists: Arc<[Told; 3]>,
    soon: Arc<Notify>,
}

/// What one page has been told of.
#[derive(Debug)]
pub(super) struct Listening {
    lists: [watch::Receiver<Bytes>; 3],
}

impl News {
    /// Looks from now on, in a task of its own.
    pub(super) fn gathered(context: Arc<Context>) -> News {
        let lists: Arc<[Told; 3]> = Arc::new(std::array::from_fn(|_| Told::new(Bytes::new())));
        let soon = Arc::new(Notify::new());
        tokio::spawn(gather(Arc::clone(&lists), Arc::clone(&soon), context));
        News { lists, soon }
    }

    /// Something was changed here: looks at once.
    pub(super) fn look_soon(&self) {
        self.soon.notify_one();
    }

    pub(super) fn listen(&self) -> Listening {
        let listening = self.lists.each_ref().map(|list| {
            let mut list = list.subscribe();
            list.mark_changed();
            list
        });
        self.look_soon();
        Listening { lists: listening }
    }

    /// Pages that listen.
    pub(super) fn listeners(&self) -> usize {
        self.lists[0].receiver_count()
    }
}

impl Listening {
    /// The next event, in the form of server-sent events; `None` where there will be none.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            let [bottles, requests, decisions] = &mut self.lists;
            let told = tokio::select! {
                changed = bottles.changed() => changed.map(|()| bottles.borrow_and_update().clone()),
                changed = requests.changed() => changed.map(|()| requests.borrow_and_update().clone()),
                changed = decisions.changed() => changed.map(|()| decisions.borrow_and_update().clone()),
            };
            match told {
                Ok(event) if event.is_empty() => {}
                other => return other.ok(),
            }
        }
    }
}

async fn gather(lists: Arc<[Told; 3]>, soon: Arc<Notify>, context: Arc<Context>) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks = Looks::default();
    let mut seen = Vec::new();
    let mut recent: VecDeque<Decision> = VecDeque::new();
    loop {
        tokio::select! {
            _ = ticks.tick(), if lists[0].receiver_count() > 0 => {}
            () = soon.notified() => {}
        }
        let context = Arc::clone(&context);
        let looked = tokio::task::spawn_blocking(move || {
            let look = looks.look(None, &context);
            (looks, look)
        });
        let Ok((again, look)) = looked.await else { return };
        looks = again;
        let are_new = !look.decisions.is_empty();
        recent.extend(look.decisions);
        recent.drain(..recent.len().saturating_sub(DECISIONS));
        let [bottles, requests, decisions] = &*lists;
        if seen != look.bottles || bottles.borrow().is_empty() {
            tell(bottles, "bottles", &Bottles { now: look.now, bottles: &look.bottles });
            seen = look.bottles;
        }
        tell(requests, "requests", &look.requests);
        if are_new || decisions.borrow().is_empty() {
            tell(decisions, "decisions", &recent);
        }
    }
}

#[derive(Serialize)]
struct Bottles<'a> {
    now: u64,
    bottles: &'a [Bottle],
}

fn tell(list: &Told, name: &str, what: &impl Serialize) {
    // Strings and numbers: they have a form.
    let Ok(json) = serde_json::to_string(what) else { return };
    let event = Bytes::from(format!("event: {name}\ndata: {json}\n\n"));
    list.send_if_modified(|last| {
        let is_new = *last != event;
        *last = event;
        is_new
    });
}
