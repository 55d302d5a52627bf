//! One look after the other at this host's bottles, each cheap enough to be taken twice a second with twenty of them:
//! what did not change since the look before is not read again.
//!
//! Invariants: every text is escaped before it is given on; what cannot be read now is left out, and may be there at the
//! next look. Nothing here asks a keeper or a gate anything: a look costs a bottle nothing and cannot be held up by one.

mod costs;
mod logs;
mod tail;
mod waiting;

use super::super::list::{now, open};
use crate::compose::Context;
use bottle_runtime::store::{Listed, State, Store};
use bottle_spec::{escape::Escaped, slug::Slug};
use bottle_tui::event::{Bottle, BottleState, Look};
use costs::Costs;
use logs::Logs;
use std::collections::BTreeMap;
use tail::Tail;
use waiting::Waiting;

/// Decisions that one look reads whole, of all bottles together; of more, the newest.
const DECISIONS: usize = 200;
/// Of one bottle at the least.
const DECISIONS_EACH: usize = 10;

/// What is known from the looks before.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    bottles: BTreeMap<Slug, Seen>,
    costs: Costs,
    logs: Logs,
}

#[derive(Debug, Default)]
struct Seen {
    tail: Tail,
    waiting: Waiting,
}

impl Looks {
    /// With the log of this bottle, where it has news.
    pub(crate) fn look(&mut self, log_of: Option<&str>, context: &Context) -> Look {
        let now = now();
        let Ok(store) = open(context) else { return Look { now, ..Look::default() } };
        let listed = store.list().unwrap_or_default();
        self.bottles.retain(|slug, _| listed.iter().any(|listed| listed.slug == slug.as_str()));
        self.costs.measure(&listed);
        let running = listed.iter().filter(|listed| is_live(listed.state)).count();
        let each = (DECISIONS / running.max(1)).max(DECISIONS_EACH);
        let mut look = Look { now, ..Look::default() };
        for listed in listed {
            if let Ok(slug) = listed.slug.parse::<Slug>() {
                self.bottle(&slug, listed, each, &store, &mut look);
            }
        }
        look.requests.sort_by_key(|request| request.made);
        look.decisions.sort_by_key(|decision| decision.time);
        look.logs = log_of.and_then(|name| name.parse().ok()).and_then(|slug| self.logs.news(&store.bottle(&slug)));
        look
    }

    fn bottle(&mut self, slug: &Slug, listed: Listed, each: usize, store: &Store, look: &mut Look) {
        let bottle = store.bottle(slug);
        let seen = self.bottles.entry(slug.clone()).or_default();
        if is_live(listed.state) || !seen.tail.has_read() {
            look.decisions.extend(seen.tail.read(&bottle.audit_log(), slug, each));
        }
        if is_live(listed.state) {
            look.requests.extend(seen.waiting.requests(&bottle, look.now));
        }
        let Listed { slug: name, state, metadata } = listed;
        let cost = metadata.as_ref().and_then(|metadata| self.costs.of(metadata.keeper));
        let created = metadata.as_ref().map(|metadata| metadata.created);
        look.bottles.push(Bottle {
            name,
            agent: metadata.map(|metadata| Escaped(&metadata.agent).to_string()).unwrap_or_default(),
            state: state_of(state),
            created,
            cpu: cost.and_then(|cost| cost.cpu),
            memory: cost.map(|cost| cost.memory),
            traffic: seen.tail.traffic(look.now),
            allowed: seen.tail.allowed(),
            denied: seen.tail.denied(),
        });
    }
}

fn is_live(state: State) -> bool {
    state_of(state).is_live()
}

fn state_of(state: State) -> BottleState {
    match state {
        State::Creating => BottleState::Creating,
        State::Running => BottleState::Running,
        State::Frozen => BottleState::Frozen,
        State::Stopped => BottleState::Stopped,
        State::Failed => BottleState::Failed,
    }
}
