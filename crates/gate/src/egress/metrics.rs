//! What the door has done so far, for a scraper on the host (OpenMetrics text over a Unix socket that the keeper made).
//!
//! Invariants: the number of series is bounded, whatever the agent asks for: a host has series of its own once a request
//! to it was allowed, and no more than [`MAX_HOSTS`] have; all others are one. Nothing in them comes from a peer but the
//! parsed names of such hosts.

use super::{Egress, denial::Facts};
use crate::limits::MAX_CONNECTIONS;
use bottle_spec::{
    event::{Decision, FindingAction, GitEvent, GitOperation},
    host::HostName,
    verdict::Reason,
};
use std::{
    collections::BTreeMap,
    fmt::Write,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    time::timeout,
};

/// Hosts with series of their own.
const MAX_HOSTS: usize = 200;
/// For one scrape.
const PATIENCE: Duration = Duration::from_secs(5);
const MAX_REQUEST: usize = 8 << 10;

#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    hosts: BTreeMap<HostName, Count>,
    others: Count,
    denials: BTreeMap<&'static str, u64>,
    /// Blocked, redacted, logged.
    findings: [u64; 4],
    /// Fetches, and refs of pushes, by whether they were allowed.
    git: BTreeMap<(&'static str, &'static str), u64>,
    /// Why they were not.
    git_denials: BTreeMap<&'static str, u64>,
    /// Allowed refs that the upstream took, and did not.
    git_ended: [u64; 2],
    /// Requests, tunnels and WebSockets of which bytes move.
    open: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    allowed: u64,
    denied: u64,
    sent: u64,
    received: u64,
}

impl Metrics {
    pub(crate) fn allowed(&self, facts: &Facts) {
        let mut counts = self.counts();
        if let Some(origin) = &facts.origin
            && counts.hosts.len() < MAX_HOSTS
            && !counts.hosts.contains_key(&origin.host)
        {
            counts.hosts.insert(origin.host.clone(), Count::default());
        }
        counts.of(facts).allowed += 1;
    }

    pub(crate) fn denied(&self, facts: &Facts, reason: Reason) {
        let mut counts = self.counts();
        counts.of(facts).denied += 1;
        *counts.denials.entry(reason.code()).or_default() += 1;
    }

    pub(crate) fn found(&self, action: FindingAction) {
        let [blocked, redacted, logged, asked] = &mut self.counts().findings;
        *match action {
            FindingAction::Block => blocked,
            FindingAction::Redact => redacted,
            FindingAction::Log => logged,
            FindingAction::Ask => asked,
        } += 1;
    }

    /// At the git door, whose gate has no metrics of its own.
    pub(crate) fn git(&self, event: &GitEvent) {
        let mut counts = self.counts();
        let operation = match event.operation {
            GitOperation::Fetch => "fetch",
            GitOperation::Push => "push",
        };
        let decision = if event.decision == Decision::Allow { "allow" } else { "deny" };
        *counts.git.entry((operation, decision)).or_default() += 1;
        if let Some(reason) = event.reason {
            *counts.git_denials.entry(reason.code()).or_default() += 1;
        }
    }

    pub(crate) fn git_ended(&self, taken: bool) {
        let [took, refused] = &mut self.counts().git_ended;
        *if taken { took } else { refused } += 1;
    }

    pub(crate) fn began(&self) {
        self.counts().open += 1;
    }

    pub(crate) fn ended(&self, facts: &Facts, sent: u64, received: u64) {
        let mut counts = self.counts();
        counts.open = counts.open.saturating_sub(1);
        let count = counts.of(facts);
        count.sent = count.sent.saturating_add(sent);
        count.received = count.received.saturating_add(received);
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn of(&mut self, facts: &Facts) -> &mut Count {
        let own = facts.origin.as_ref().and_then(|origin| self.hosts.get_mut(&origin.host));
        own.unwrap_or(&mut self.others)
    }

    fn write(&self, text: &mut String) {
        let other = ("", &self.others);
        let hosts = || self.hosts.iter().map(|(host, count)| (host.as_str(), count)).chain([other]);
        family(text, "bot_bottle_requests", "counter", "Requests and tunnels decided about.");
        for (host, count) in hosts() {
            for (decision, number) in [("allow", count.allowed), ("deny", count.denied)] {
                let _ = writeln!(
                    text,
                    "bot_bottle_requests_total{{host=\"{}\",decision=\"{decision}\"}} {number}",
                    escaped(host)
                );
            }
        }
        for (name, help, read) in [
            (
                "sent",
                "Bytes of bodies sent; of everything, in tunnels and WebSockets.",
                (|it| it.sent) as fn(&Count) -> u64,
            ),
            ("received", "The same, towards the agent.", |it| it.received),
        ] {
            family(text, &format!("bot_bottle_{name}_bytes"), "counter", help);
            for (host, count) in hosts() {
                let _ = writeln!(text, "bot_bottle_{name}_bytes_total{{host=\"{}\"}} {}", escaped(host), read(count));
            }
        }
        family(text, "bot_bottle_denials", "counter", "Denials by their reason.");
        for (reason, number) in &self.denials {
            let _ = writeln!(text, "bot_bottle_denials_total{{reason=\"{reason}\"}} {number}");
        }
        family(text, "bot_bottle_findings", "counter", "What the scan found in what was to leave.");
        for (action, number) in ["block", "redact", "log", "ask"].iter().zip(self.findings) {
            let _ = writeln!(text, "bot_bottle_findings_total{{action=\"{action}\"}} {number}");
        }
        family(text, "bot_bottle_git", "counter", "Fetches, and refs of pushes, decided about at the git door.");
        for ((operation, decision), number) in &self.git {
            let _ =
                writeln!(text, "bot_bottle_git_total{{operation=\"{operation}\",decision=\"{decision}\"}} {number}");
        }
        family(text, "bot_bottle_git_denials", "counter", "The same that were denied, by their reason.");
        for (reason, number) in &self.git_denials {
            let _ = writeln!(text, "bot_bottle_git_denials_total{{reason=\"{reason}\"}} {number}");
        }
        family(text, "bot_bottle_git_pushed", "counter", "Refs that were allowed, by whether the upstream took them.");
        for (taken, number) in ["true", "false"].iter().zip(self.git_ended) {
            let _ = writeln!(text, "bot_bottle_git_pushed_total{{taken=\"{taken}\"}} {number}");
        }
        gauge(text, "bot_bottle_open", "Requests, tunnels and WebSockets under way.", self.open);
    }
}

fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# TYPE {name} {kind}\n# HELP {name} {help}");
}

fn gauge(text: &mut String, name: &str, help: &str, value: u64) {
    family(text, name, "gauge", help);
    let _ = writeln!(text, "{name} {value}");
}

/// As a label's value has to be.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

impl Egress {
    /// Everything, as OpenMetrics has it.
    pub(crate) fn metrics_text(&self) -> String {
        let mut text = String::new();
        self.metrics.counts().write(&mut text);
        let connections = MAX_CONNECTIONS.saturating_sub(self.connections.available_permits());
        gauge(&mut text, "bot_bottle_connections", "Connections from the bottle.", connections as u64);
        gauge(&mut text, "bot_bottle_frozen", "1 while everything is denied.", u64::from(self.is_frozen()));
        gauge(&mut text, "bot_bottle_uptime_seconds", "Since this gate began.", self.opened.elapsed().as_secs());
        let live = self.live.load();
        let budgets = &live.rules.policy().budgets;
        let spent = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).spent(budgets, self.opened.elapsed());
        for (name, limit, spent) in
            [("bytes", budgets.bottle.bytes, spent.bytes), ("requests", budgets.bottle.requests, spent.requests)]
        {
            let Some(limit) = limit else { continue };
            gauge(&mut text, &format!("bot_bottle_budget_{name}"), "What may leave in one period.", limit);
            gauge(&mut text, &format!("bot_bottle_budget_{name}_spent"), "What has left in the last one.", spent);
        }
        text.push_str("# EOF\n");
        text
    }

    /// Answers scrapers, one after the other.
    pub async fn serve_metrics(self: Arc<Self>, listener: UnixListener) -> io::Result<()> {
        loop {
            let (stream, _) = listener.accept().await?;
            // A scraper that is too slow or gone is its own affair.
            let _ = timeout(PATIENCE, self.tell(stream)).await;
        }
    }

    /// Whatever is asked.
    async fn tell(&self, mut stream: UnixStream) -> io::Result<()> {
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") && asked.len() < MAX_REQUEST {
            if stream.read_buf(&mut asked).await? == 0 {
                return Ok(());
            }
        }
        let body = self.metrics_text();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        stream.shutdown().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::authority::Origin;

    fn facts(host: &str) -> Facts {
        let origin = Origin::new(true, HostName::parse(host).unwrap(), 443).unwrap();
        Facts { origin: Some(Arc::new(origin)), ..Facts::default() }
    }

    #[test]
    fn however_many_hosts_are_asked_for_the_series_are_bounded() {
        let metrics = Metrics::default();
        (0..1000).for_each(|n| metrics.denied(&facts(&format!("n{n}.denied.test")), Reason::NoRoute));
        metrics.allowed(&facts("api.test"));
        metrics.denied(&facts("api.test"), Reason::Finding);
        (0..1000).for_each(|n| metrics.allowed(&facts(&format!("n{n}.cdn.test"))));
        metrics.began();
        metrics.ended(&facts("api.test"), 7, 9);
        let mut text = String::new();
        metrics.counts().write(&mut text);
        assert!(!text.contains("denied.test"), "a name that was only denied has no series");
        for line in [
            r#"bot_bottle_requests_total{host="api.test",decision="allow"} 1"#,
            r#"bot_bottle_requests_total{host="api.test",decision="deny"} 1"#,
            r#"bot_bottle_requests_total{host="",decision="deny"} 1000"#,
            r#"bot_bottle_requests_total{host="",decision="allow"} 801"#,
            r#"bot_bottle_sent_bytes_total{host="api.test"} 7"#,
            r#"bot_bottle_denials_total{reason="no_route"} 1000"#,
            "bot_bottle_open 0",
        ] {
            assert!(
                text.lines().any(|it| it == line),
                "{line} in {}",
                text.lines().take(4).collect::<Vec<_>>().join("|")
            );
        }
        assert!(text.lines().count() < 5 * MAX_HOSTS, "{}", text.lines().count());
        assert_eq!(escaped("a\"b\\c\nd"), r#"a\"b\\c\nd"#);
    }
}
