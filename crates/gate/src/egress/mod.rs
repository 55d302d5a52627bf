//! The egress door: every request that leaves a bottle passes through here.
//!
//! A connection is accepted (`accept`), its tunnel opened (`connect`, `tunnel`) and its TLS ended (`tunnel`); each
//! request in it is `Received`, `Permitted`, `Screened` and `Credentialed` (`request`, `inject`), goes out (`upstream`) by a
//! connection that is kept (`pool`, `line`) or made (`outward`, `dial`), and its response comes back scrubbed (`respond`,
//! `scrub`, `decode`).
//!
//! Invariants: nothing goes upstream but a `Credentialed`; the host of a tunnel, its TLS server name and the authority
//! of every request in it are one; every decision is in the audit log before it takes effect, and one that cannot be
//! written there is a denial. The gate itself speaks to no host of its own accord.
//!
//! Tasks: one per connection of the agent's, which also drives the connection upstream that its request goes by; one per
//! upstream that speaks HTTP/2, per request whose body passes as it comes, and per WebSocket. No channels of our own.

mod accept;
mod ask;
mod authority;
mod body;
mod connect;
mod decode;
mod decoders;
mod denial;
mod dial;
mod downstream;
mod exchange;
mod flow;
pub(crate) mod frames;
pub(crate) mod framing;
mod freezing;
mod guard;
mod hearing;
pub(crate) mod hello;
mod inbound;
mod inject;
mod judge;
mod knowledge;
mod lasting;
mod line;
mod lingering;
mod metrics;
mod outward;
mod pieces;
mod pool;
mod pulse;
mod request;
mod respond;
mod screen;
mod screened_body;
mod scrub;
mod trailers;
mod tunnel;
mod upstream;
mod waiting;
mod websocket;

use crate::{audit::Audit, ca::Issuer, limits::MAX_CONNECTIONS, synthetic::Names, vault::Vault};
use arc_swap::ArcSwap;
pub use ask::Questions;
use bottle_policy::{Fault, Rules, budget::Ledger, inbound::Tools};
use bottle_spec::{gate_link::HeldCanary, policy::EgressPolicy, verdict::Reason};
use decoders::Decoders;
use denial::Facts;
use freezing::Switch;
use hickory_resolver::TokioResolver;
use inject::Credentials;
use knowledge::Knowledge;
use metrics::Metrics;
use rustls::RootCertStore;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{Notify, Semaphore, watch};
use upstream::Upstream;

/// The limit on a head as HTTP/2 counts it (RFC 9113, section 6.5.2).
const MAX_HEADER_LIST: u32 = 64 << 10;

/// What the door is made of.
#[derive(Debug)]
pub struct Parts {
    pub policy: EgressPolicy,
    pub issuer: Issuer,
    pub vault: Vault,
    pub audit: Audit,
    pub names: Names,
    pub resolver: TokioResolver,
    /// What upstream certificates must lead to: the system's roots and the policy's `upstream_ca`.
    pub upstream_roots: RootCertStore,
    pub canaries: Vec<HeldCanary>,
    /// From the start.
    pub frozen: bool,
    /// Whether refusals say how to ask the operator.
    pub supervised: bool,
    pub questions: Questions,
}

#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    #[error("the policy is not valid: {}", listed(.0))]
    Policy(Vec<Fault>),
    #[error("TLS towards upstreams could not be set up")]
    Tls(#[source] rustls::Error),
}

fn listed(faults: &[Fault]) -> String {
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("; ")
}

/// The egress door of one bottle.
#[derive(Debug)]
pub struct Egress {
    live: ArcSwap<Live>,
    issuer: Issuer,
    vault: Vault,
    audit: Audit,
    names: Names,
    resolver: TokioResolver,
    knowledge: Knowledge,
    /// What the servers of tools have said of them.
    tools: Mutex<Tools>,
    /// What was sent; under every policy the same account.
    ledger: Mutex<Ledger>,
    pub(crate) metrics: Metrics,
    /// The ledger's time begins here.
    opened: Instant,
    frozen: Switch,
    decoders: Decoders,
    supervised: bool,
    questions: Questions,
    /// Grants for one request that had it.
    used: Mutex<BTreeSet<String>>,
    /// One permit per connection served.
    connections: Arc<Semaphore>,
    /// Told of each connection, for the pulse.
    connected: Notify,
    draining: watch::Sender<bool>,
    /// Told of every policy taken.
    reloads: watch::Sender<()>,
    #[cfg(feature = "unscanned")]
    unscanned: bool,
}

/// What a policy brings with it. Replaced as a whole: a connection to an upstream that was made under one policy is
/// never used under another.
#[derive(Debug)]
struct Live {
    rules: Arc<Rules>,
    upstream: Upstream,
    credentials: Credentials,
}

impl Egress {
    pub fn new(parts: Parts) -> Result<Arc<Egress>, EgressError> {
        Egress::of(parts).map(Arc::new)
    }

    /// A door that searches no request, for the bench to measure beside one that does.
    #[cfg(feature = "unscanned")]
    pub fn unscanned(parts: Parts) -> Result<Arc<Egress>, EgressError> {
        Ok(Arc::new(Egress { unscanned: true, ..Egress::of(parts)? }))
    }

    fn of(parts: Parts) -> Result<Egress, EgressError> {
        let frozen = Switch::new(parts.frozen);
        let live = live(parts.policy, parts.upstream_roots, &parts.resolver, &parts.vault, &frozen)?;
        Ok(Egress {
            live: ArcSwap::from_pointee(live),
            issuer: parts.issuer,
            vault: parts.vault,
            audit: parts.audit,
            names: parts.names,
            resolver: parts.resolver,
            knowledge: Knowledge::new(parts.canaries),
            tools: Mutex::default(),
            ledger: Mutex::default(),
            metrics: Metrics::default(),
            opened: Instant::now(),
            frozen,
            decoders: Decoders::default(),
            supervised: parts.supervised,
            questions: parts.questions,
            used: Mutex::default(),
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            connected: Notify::new(),
            draining: watch::Sender::new(false),
            reloads: watch::Sender::new(()),
            #[cfg(feature = "unscanned")]
            unscanned: false,
        })
    }

    /// Whether requests are searched: always, but in a build for the bench.
    fn is_scanning(&self) -> bool {
        #[cfg(feature = "unscanned")]
        return !self.unscanned;
        #[cfg(not(feature = "unscanned"))]
        true
    }

    /// Takes a new policy, or keeps the one in force and says why. Connections stay; their next requests are asked
    /// about under the new policy, and what lasts longer than a request ends where that no longer allows it.
    pub fn reload(&self, policy: EgressPolicy, upstream_roots: RootCertStore) -> Result<(), EgressError> {
        let live = live(policy, upstream_roots, &self.resolver, &self.vault, &self.frozen)?;
        self.live.store(Arc::new(live));
        self.reloads.send_replace(());
        Ok(())
    }

    /// Takes no new connections, lets requests that are under way end, and returns when all have or the time is up.
    pub async fn drain(&self, limit: Duration) {
        self.draining.send_replace(true);
        let all = u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX);
        // Fails only if the semaphore is closed, which it never is.
        let _ = tokio::time::timeout(limit, self.connections.acquire_many(all)).await;
    }

    /// How many connections to upstreams wait for their next request, of those over HTTP/1.1.
    pub fn kept_lines(&self) -> usize {
        self.live.load().upstream.idle()
    }

    /// Takes what a route that was granted for one request gives; a second one finds nothing.
    fn take_once(&self, rules: &Rules, route: usize) -> Result<(), Reason> {
        let granted = rules.route(route).and_then(|route| route.granted.as_ref()).filter(|granted| granted.once);
        let Some(granted) = granted else { return Ok(()) };
        let first = self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(granted.request.clone());
        if !first {
            return Err(Reason::NoRoute);
        }
        self.vault.tell_used(granted.request.clone());
        Ok(())
    }

    /// Writes a permission down, and tells its number; it holds only if that worked.
    fn allow(&self, facts: &Facts, injected: bool) -> Result<u64, Reason> {
        let written = self.audit.record(facts.event(None, injected)).map_err(|error| {
            tracing::error!(%error, "the audit log could not be written: denied");
            Reason::PolicyError
        })?;
        self.metrics.allowed(facts);
        Ok(written)
    }

    /// Writes a denial down. It holds in any case.
    fn deny(&self, facts: &Facts, reason: Reason) {
        self.metrics.denied(facts, reason);
        if let Err(error) = self.audit.record(facts.event(Some(reason), false)) {
            tracing::error!(%error, "the audit log could not be written");
        }
    }
}

fn live(
    policy: EgressPolicy,
    roots: RootCertStore,
    resolver: &TokioResolver,
    vault: &Vault,
    frozen: &Switch,
) -> Result<Live, EgressError> {
    let rules = Arc::new(Rules::new(policy).map_err(EgressError::Policy)?);
    let upstream = Upstream::new(&rules, roots, resolver, vault, frozen).map_err(EgressError::Tls)?;
    let credentials = Credentials::new(&rules);
    Ok(Live { rules, upstream, credentials })
}
