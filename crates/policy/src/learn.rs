//! From what a bottle asked for to the fewest and narrowest routes that allow it.
//!
//! Invariants: every request that was seen, and stands behind no [`Doubt`], is allowed by the routes; nothing is asked of
//! the routes that [`Rules`] has not answered. What looks like a way out for data is not granted: it comes with its
//! doubts, for a person to decide about. All of it is bounded, however long the log is.

mod doubt;
mod paths;

pub use doubt::Doubt;

use crate::{Question, Rules, egress::is_nobodys};
use bottle_spec::{
    event::{AuditEvent, Decision, EgressEvent},
    host::{HostName, HostPattern},
    policy::{EgressPolicy, PathPattern, Route},
    verdict::Reason,
};
use std::collections::{BTreeMap, BTreeSet};

/// Hosts that are told apart; more are counted.
pub const MAX_HOSTS: usize = 4096;
/// Paths of one host and method that are told apart; with more, all are allowed.
pub const MAX_PATHS: usize = 1024;

/// Reads a log, record by record.
#[derive(Debug, Default)]
pub struct Learner {
    hosts: BTreeMap<HostName, Seen>,
    /// By the number of the record that allowed it, for what is written down of it later.
    hosts_of: BTreeMap<u64, HostName>,
    requests: u64,
    refused: BTreeMap<&'static str, u64>,
    beyond: u64,
}

/// What was asked of one host.
#[derive(Debug, Default)]
struct Seen {
    ports: BTreeSet<u16>,
    /// By method.
    paths: BTreeMap<String, BTreeSet<String>>,
    requests: u64,
    injected: bool,
    /// Tunnels that were refused, with what would have been asked in them.
    tunnels: u64,
    findings: BTreeSet<String>,
    sent: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct Learned {
    pub hosts: Vec<LearnedHost>,
    pub requests: u64,
    /// What no route can allow, by the code of the reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Requests to hosts beyond [`MAX_HOSTS`].
    pub beyond: u64,
}

/// The routes of one host; to be granted as they are only where there is no doubt.
#[derive(Debug)]
pub struct LearnedHost {
    pub host: HostName,
    /// Without `auth`: a log names no secret.
    pub routes: Vec<Route>,
    pub requests: u64,
    /// Some of them carried a secret.
    pub injected: bool,
    pub doubts: Vec<Doubt>,
}

impl Learner {
    /// `seq` is the record's number.
    pub fn see(&mut self, seq: u64, event: &AuditEvent) {
        match event {
            AuditEvent::Egress(event) => self.asked(seq, event),
            AuditEvent::Finding(finding) => {
                let host = finding.host.as_deref().and_then(|host| HostName::parse(host).ok());
                if let Some(seen) = host.and_then(|host| self.host(host)) {
                    seen.findings.insert(finding.rule.clone());
                }
            }
            AuditEvent::EgressEnded(ended) => {
                let host = self.hosts_of.remove(&ended.of);
                if let Some(seen) = host.and_then(|host| self.host(host)) {
                    seen.sent = seen.sent.saturating_add(ended.sent);
                }
            }
            _ => {}
        }
    }

    fn asked(&mut self, seq: u64, event: &EgressEvent) {
        let (Some(host), Some(port)) = (&event.host, event.port) else { return self.refuse(event.reason) };
        let Ok(host) = HostName::parse(host) else { return self.refuse(event.reason) };
        if is_nobodys(&host) {
            return self.refuse(event.reason);
        }
        let tunnel = event.method.as_deref() == Some("CONNECT");
        match (event.decision, event.reason) {
            // The requests inside come one by one.
            (Decision::Allow, _) if tunnel => return,
            (Decision::Allow, _) => {}
            (
                Decision::Deny,
                Some(
                    Reason::NoRoute
                    | Reason::PortNotAllowed
                    | Reason::MethodNotAllowed
                    | Reason::PathNotAllowed
                    | Reason::Finding,
                ),
            ) => {}
            (Decision::Deny, reason) => return self.refuse(reason),
        }
        self.requests += 1;
        if self.hosts_of.len() < MAX_HOSTS {
            self.hosts_of.insert(seq, host.clone());
        }
        let Some(seen) = self.host(host) else {
            self.beyond += 1;
            return;
        };
        seen.ports.insert(port);
        seen.requests += 1;
        seen.injected |= event.injected;
        match (&event.method, &event.path) {
            (Some(method), Some(path)) if !tunnel => {
                let paths = seen.paths.entry(method.clone()).or_default();
                if paths.len() <= MAX_PATHS {
                    paths.insert(path.clone());
                }
            }
            _ => seen.tunnels += 1,
        }
    }

    fn refuse(&mut self, reason: Option<Reason>) {
        if let Some(reason) = reason {
            *self.refused.entry(reason.code()).or_default() += 1;
        }
    }

    fn host(&mut self, host: HostName) -> Option<&mut Seen> {
        let room = self.hosts.len() < MAX_HOSTS || self.hosts.contains_key(&host);
        room.then(|| self.hosts.entry(host).or_default())
    }

    pub fn learned(self) -> Learned {
        let crowded = doubt::crowded(self.hosts.keys());
        let hosts = self.hosts.into_iter().map(|(host, seen)| {
            let doubts = doubt::doubts(&host, &seen, &crowded);
            LearnedHost { routes: routes(&host, &seen), requests: seen.requests, injected: seen.injected, host, doubts }
        });
        Learned { hosts: hosts.collect(), requests: self.requests, refused: self.refused, beyond: self.beyond }
    }
}

/// One route for each set of paths, with the methods that were used on it.
fn routes(host: &HostName, seen: &Seen) -> Vec<Route> {
    let mut by_paths: BTreeMap<Option<Vec<String>>, Vec<String>> = BTreeMap::new();
    for (method, paths) in &seen.paths {
        let patterns = (paths.len() <= MAX_PATHS).then(|| paths::patterns(paths)).flatten();
        let patterns = patterns.filter(|patterns| allows(host, seen, method, patterns, paths));
        by_paths.entry(patterns).or_default().push(method.clone());
    }
    let route = |paths: Option<Vec<String>>, methods| Route {
        ports: seen.ports.iter().copied().collect(),
        methods,
        paths: paths.map(patterned),
        ..Route::to(HostPattern::Exact(host.clone()))
    };
    if by_paths.is_empty() {
        return vec![route(None, None)];
    }
    by_paths.into_iter().map(|(paths, methods)| route(paths, Some(methods))).collect()
}

fn patterned(paths: Vec<String>) -> Vec<PathPattern> {
    paths.into_iter().map(PathPattern).collect()
}

/// Whether a route of these patterns allows each of the paths. One that a route with paths cannot tell apart from
/// another is allowed by no pattern.
fn allows(host: &HostName, seen: &Seen, method: &str, patterns: &[String], paths: &BTreeSet<String>) -> bool {
    let Some(port) = seen.ports.first() else { return false };
    let paths_only = Some(patterned(patterns.to_vec()));
    let route = Route { ports: vec![*port], paths: paths_only, ..Route::to(HostPattern::Exact(host.clone())) };
    let Ok(rules) = Rules::new(EgressPolicy { routes: vec![route], ..EgressPolicy::default() }) else { return false };
    paths.iter().all(|path| {
        let question = Question { host, port: *port, method, path, query: None, method_override: false };
        rules.permit(question).is_ok()
    })
}

#[cfg(test)]
mod tests;
