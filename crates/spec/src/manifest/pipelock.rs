//! Reads a `pipelock.yaml` (Pipelock's configuration, version 1) as routes.
//!
//! Invariant: what comes out lets out no more than the file does. What is read: a strict allowlist, `forward_proxy`,
//! `tls_interception`, `dlp`, request and response scanning, and the names that may resolve to private addresses. Every
//! other key is a mistake with its name, unless its person leaves it out by name; what is read and needs no counterpart
//! here, or has a stricter one, is told in a note.

use super::{
    Mistakes,
    tree::{Node, Value},
    walk::{Keys, Table, Walk},
};
use crate::{
    host::HostPattern,
    policy::{Inbound, OnFinding, Route, Tls},
};
use std::path::Path;

const READ: [&str; 11] = [
    "version",
    "mode",
    "enforce",
    "api_allowlist",
    "forward_proxy",
    "tls_interception",
    "dlp",
    "request_body_scanning",
    "response_scanning",
    "trusted_domains",
    "ssrf",
];
const FORWARD_PROXY: Keys = Keys {
    of: "`forward_proxy`",
    names: &["enabled", "max_tunnel_seconds", "idle_timeout_seconds", "sni_verification", "sni_require_tls"],
    strict: false,
};
const TLS_INTERCEPTION: Keys = Keys {
    of: "`tls_interception`",
    names: &[
        "enabled",
        "ca_cert",
        "ca_key",
        "passthrough_domains",
        "cert_ttl",
        "cert_cache_size",
        "max_response_bytes",
    ],
    strict: false,
};
const DLP: Keys = Keys { of: "`dlp`", names: &["scan_env", "include_defaults", "patterns"], strict: false };
const PATTERN: Keys = Keys { of: "a pattern", names: &["name", "regex", "severity", "validator"], strict: false };
const BODIES: Keys = Keys {
    of: "`request_body_scanning`",
    names: &[
        "enabled",
        "action",
        "max_body_bytes",
        "scan_headers",
        "header_mode",
        "sensitive_headers",
        "ignore_headers",
    ],
    strict: false,
};
const RESPONSES: Keys = Keys {
    of: "`response_scanning`",
    names: &["enabled", "action", "include_defaults", "patterns", "exempt_domains"],
    strict: false,
};
const SSRF: Keys = Keys { of: "`ssrf`", names: &["ip_allowlist"], strict: false };

/// A file's routes, and what there is to know of how they came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    pub routes: Vec<Route>,
    pub notes: Vec<String>,
}

/// Reads the text of the file at `path`. `without` names top-level keys that its person leaves out.
pub fn import(path: &Path, text: &str, without: &[String]) -> Result<Imported, Mistakes> {
    let mut walk = Walk::new(path);
    let imported = match walk.read(text, 1)? {
        Some(root) => read(&mut walk, &root, without),
        None => Some(Imported { routes: Vec::new(), notes: Vec::new() }),
    };
    walk.finish(imported)
}

fn read(walk: &mut Walk<'_>, root: &Node, without: &[String]) -> Option<Imported> {
    let entries = walk.map(root, "a pipelock.yaml");
    let (mut notes, mut hosts, mut trusted, mut passed, mut exempt) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut on_finding, mut inbound, mut strict) = (OnFinding::Block, Inbound::Warn, false);
    for (key, node) in entries {
        if without.iter().any(|left| left == key.value) {
            notes.push(format!("{} was left out by its person", key.value));
            continue;
        }
        match key.value {
            "version" => {
                walk.choice(node, "`version`", &[("1", ())]);
            }
            "mode" => strict = mode(walk, node),
            "enforce" => {
                must_be(walk, node, "enforce", true, "with it off nothing is blocked; here nothing passes by default")
            }
            "api_allowlist" => hosts = domains(walk, node, "`api_allowlist`"),
            "forward_proxy" => forward_proxy(walk, node, &mut notes),
            "tls_interception" => passed = tls_interception(walk, node, &mut notes),
            "dlp" => dlp(walk, node, &mut notes),
            "request_body_scanning" => on_finding = bodies(walk, node, &mut notes).unwrap_or_default(),
            "response_scanning" => (inbound, exempt) = responses(walk, node, &mut notes),
            "trusted_domains" => trusted = domains(walk, node, "`trusted_domains`"),
            "ssrf" => ssrf(walk, node),
            other => {
                let message = format!("`{other}` has no counterpart here and is not taken over");
                let hint = format!("remove it, or say --without {other}; taken over are: {}", READ.join(", "));
                walk.note(node.spot, message, Some(hint));
            }
        }
    }
    if !strict {
        let hint = "set `mode: strict` and name the hosts in `api_allowlist`; to find out which, run the agent with \
                    --observe and ask `policy learn`";
        walk.note(root.spot, "only a strict allowlist can be taken over", Some(hint.to_owned()));
    }
    // What is said of a part of a wildcard's hosts needs a route of its own.
    let parts = [&trusted, &passed, &exempt].into_iter().flatten();
    let parts: Vec<_> = parts.filter(|part| hosts.iter().any(|host| covers(host, part))).cloned().collect();
    hosts.extend(parts);
    hosts.sort();
    hosts.dedup();
    for (host, place) in unlisted(&hosts, &[("trusted_domains", &trusted), ("passthrough_domains", &passed)]) {
        notes.push(format!("{host} of {place} is not in api_allowlist, and so not reached"));
    }
    let routes = hosts.iter().map(|host| {
        let covered = |patterns: &[HostPattern]| patterns.iter().any(|pattern| covers(pattern, host));
        let usual = Route { private: covered(&trusted), ..Route::to(host.clone()) };
        if covered(&passed) {
            return Route { ports: vec![443], tls: Tls::Passthrough, ..usual };
        }
        let inbound = if covered(&exempt) { Inbound::Off } else { inbound };
        Route { on_finding, inbound, ..usual }
    });
    let mut routes: Vec<Route> = routes.collect();
    // The first that matches decides: names go before what lies below them, long ones before short.
    routes.sort_by_key(|route| {
        let length = route.host.to_string().len();
        (matches!(route.host, HostPattern::Below(_)), std::cmp::Reverse(length))
    });
    Some(Imported { routes, notes })
}

fn mode(walk: &mut Walk<'_>, node: &Node) -> bool {
    walk.text(node, "`mode`") == Some("strict")
}

/// There, `*.NAME` stands for the name itself as well.
fn domains(walk: &mut Walk<'_>, node: &Node, what: &str) -> Vec<HostPattern> {
    let mut patterns = Vec::new();
    for item in walk.list(node, what) {
        let Some(text) = walk.text(item, what) else { continue };
        match HostPattern::parse(text) {
            Ok(HostPattern::Below(name)) => {
                patterns.extend([HostPattern::Exact(name.clone()), HostPattern::Below(name)]);
            }
            Ok(name) => patterns.push(name),
            Err(error) => walk.note(item.spot, format!("{what} `{text}`: {error}"), None),
        }
    }
    patterns.sort();
    patterns.dedup();
    patterns
}

/// Whether every host of `route` is one of `pattern`'s.
fn covers(pattern: &HostPattern, route: &HostPattern) -> bool {
    match (pattern, route) {
        (pattern, HostPattern::Exact(host)) => pattern.matches(host),
        (HostPattern::Below(_), HostPattern::Below(name)) => pattern == route || pattern.matches(name),
        (HostPattern::Exact(_), HostPattern::Below(_)) => false,
    }
}

fn unlisted<'a>(hosts: &[HostPattern], lists: &[(&'a str, &Vec<HostPattern>)]) -> Vec<(String, &'a str)> {
    let listed = |pattern: &HostPattern| hosts.iter().any(|host| covers(pattern, host));
    let of = |(place, patterns): &(&'a str, &Vec<HostPattern>)| {
        let missing = patterns.iter().filter(|pattern| !listed(pattern));
        missing.map(|pattern| (pattern.to_string(), *place)).collect::<Vec<_>>()
    };
    lists.iter().flat_map(of).collect()
}

fn must_be(walk: &mut Walk<'_>, node: &Node, key: &str, wanted: bool, why: &str) {
    if walk.truth(node, &format!("`{key}`")) == Some(!wanted) {
        walk.note(node.spot, format!("`{key}: {}` cannot be taken over: {why}", !wanted), None);
    }
}

fn forward_proxy(walk: &mut Walk<'_>, node: &Node, notes: &mut Vec<String>) {
    let Some(mut table) = walk.table(node, FORWARD_PROXY) else { return };
    if let Some(node) = table.take("sni_verification") {
        must_be(walk, node, "sni_verification", true, "the server name is always held against the host asked for");
    }
    if ["max_tunnel_seconds", "idle_timeout_seconds"].into_iter().any(|key| table.take(key).is_some()) {
        notes.push("the times of forward_proxy are not taken over: the gate has its own".to_owned());
    }
}

fn tls_interception(walk: &mut Walk<'_>, node: &Node, notes: &mut Vec<String>) -> Vec<HostPattern> {
    let Some(mut table) = walk.table(node, TLS_INTERCEPTION) else { return Vec::new() };
    let enabled = table.take("enabled").and_then(|node| walk.truth(node, "`enabled`")).unwrap_or(false);
    if !enabled {
        notes.push(
            "tls_interception is off there; here TLS ends at the gate, unless a route says passthrough".to_owned(),
        );
    }
    if ["ca_cert", "ca_key"].into_iter().any(|key| table.take(key).is_some()) {
        notes.push("its authority is not taken over: each bottle has one of its own, for one run".to_owned());
    }
    table.take("passthrough_domains").map(|node| domains(walk, node, "`passthrough_domains`")).unwrap_or_default()
}

fn dlp(walk: &mut Walk<'_>, node: &Node, notes: &mut Vec<String>) {
    let Some(mut table) = walk.table(node, DLP) else { return };
    if let Some(node) = table.take("scan_env")
        && walk.truth(node, "`scan_env`") == Some(true)
    {
        notes.push("scan_env: name the variables under `protect`, as env:NAME".to_owned());
    }
    if let Some(node) = table.take("patterns") {
        patterns(walk, node, "dlp", notes);
    }
}

/// Patterns are not taken over: here are rules of its own, with validators.
fn patterns(walk: &mut Walk<'_>, node: &Node, of: &str, notes: &mut Vec<String>) {
    let mut names = Vec::new();
    for item in walk.list(node, "`patterns`") {
        let name = walk.table(item, PATTERN).and_then(|mut table| table.take("name"));
        names.extend(name.and_then(|node| walk.text(node, "`name`")).map(str::to_owned));
    }
    if !names.is_empty() {
        notes.push(format!("patterns of {of} are replaced by the gate's own rules: {}", names.join(", ")));
    }
}

fn bodies(walk: &mut Walk<'_>, node: &Node, notes: &mut Vec<String>) -> Option<OnFinding> {
    let mut table = walk.table(node, BODIES)?;
    let on = table.take("enabled").map_or(Some(true), |node| walk.truth(node, "`enabled`"))?;
    let action = match table.take("action") {
        Some(node) => walk.choice(node, "`action`", &[("block", OnFinding::Block), ("warn", OnFinding::Log)])?,
        None => OnFinding::Log,
    };
    if limits(&mut table) {
        notes.push("request_body_scanning: all of a body and every header is searched, whatever its size".to_owned());
    }
    Some(if on { action } else { OnFinding::Log })
}

fn limits(table: &mut Table<'_>) -> bool {
    let keys = ["max_body_bytes", "scan_headers", "header_mode", "sensitive_headers", "ignore_headers"];
    keys.into_iter().filter(|key| table.take(key).is_some()).count() > 0
}

fn responses(walk: &mut Walk<'_>, node: &Node, notes: &mut Vec<String>) -> (Inbound, Vec<HostPattern>) {
    let Some(mut table) = walk.table(node, RESPONSES) else { return (Inbound::Warn, Vec::new()) };
    let on = table.take("enabled").is_none_or(|node| walk.truth(node, "`enabled`") != Some(false));
    let actions = [("block", Inbound::Block), ("strip", Inbound::Strip), ("warn", Inbound::Warn)];
    let action = table.take("action").and_then(|node| walk.choice(node, "`action`", &actions)).unwrap_or_default();
    if let Some(node) = table.take("patterns") {
        patterns(walk, node, "response_scanning", notes);
    }
    let exempt = table.take("exempt_domains").map(|node| domains(walk, node, "`exempt_domains`"));
    (if on { action } else { Inbound::Off }, exempt.unwrap_or_default())
}

/// An address that every host may have would be wider than a host that may have a private one.
fn ssrf(walk: &mut Walk<'_>, node: &Node) {
    let Some(mut table) = walk.table(node, SSRF) else { return };
    let Some(list) = table.take("ip_allowlist") else { return };
    if !matches!(&list.value, Value::List(items) if items.is_empty()) {
        let hint = "name the hosts under `trusted_domains`, or fix their addresses with `egress.resolve`";
        walk.note(list.spot, "`ip_allowlist` exempts addresses; here names are exempt", Some(hint.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        host::HostName,
        manifest::{Bottle, Noted, bottle_of},
    };

    const STRICT: &str = "\
version: 1
mode: strict
enforce: true
api_allowlist: [\"*.example.com\", api.test, intern.corp.test, big.video.test]
forward_proxy: { enabled: true, max_tunnel_seconds: 300, sni_verification: true }
tls_interception:
  enabled: true
  ca_cert: /etc/x.pem
  passthrough_domains: [\"*.video.test\", cdn.example.com, elsewhere.test]
dlp:
  scan_env: true
  include_defaults: false
  patterns:
    - { name: AWS Access ID, regex: 'AKIA.*', severity: critical }
request_body_scanning: { enabled: true, action: warn, max_body_bytes: 5 }
response_scanning: { enabled: true, action: strip, exempt_domains: [api.test] }
trusted_domains: [\"*.corp.test\"]
ssrf: { ip_allowlist: [] }
";

    fn read(text: &str, without: &[&str]) -> Result<Imported, Mistakes> {
        let without: Vec<String> = without.iter().map(|key| (*key).to_owned()).collect();
        import(Path::new("/pipelock.yaml"), text, &without)
    }

    #[test]
    fn a_strict_file_becomes_routes() {
        let imported = read(STRICT, &[]).unwrap();
        let of = |host: &str| imported.routes.iter().find(|route| route.host.to_string() == host).unwrap();
        assert!(of("intern.corp.test").private && of("cdn.example.com").tls == Tls::Passthrough);
        // There the wildcard holds the name itself.
        assert_eq!(of("*.example.com").on_finding, OnFinding::Log);
        assert_eq!(of("example.com").inbound, Inbound::Strip);
        assert_eq!(of("api.test").inbound, Inbound::Off);
        assert!(!of("api.test").private && of("*.example.com").tls == Tls::Intercept);
        assert_eq!(of("big.video.test").tls, Tls::Passthrough);
        assert_eq!(imported.routes.len(), 6);
        let notes = imported.notes.join("\n");
        for told in ["elsewhere.test", "AWS Access ID", "protect", "authority", "forward_proxy"] {
            assert!(notes.contains(told), "{told}: {notes}");
        }
        let noted: Vec<Noted> = imported
            .routes
            .iter()
            .map(|route| Noted { route: route.clone(), notes: Vec::new(), left_out: false })
            .collect();
        let text = bottle_of(&imported.notes, &noted);
        let bottle = Bottle::parse("b", Path::new("/b.yaml"), &text).unwrap();
        assert_eq!(bottle.egress.routes.len(), 6, "{text}");
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        let file = format!("{STRICT}fetch_proxy: {{}}\nmcp_tool_policy: {{ enabled: true }}\n");
        let error = read(&file, &["fetch_proxy"]).unwrap_err().to_string();
        assert!(error.contains("`mcp_tool_policy`") && error.contains(":20:"), "{error}");
        assert!(!error.contains("fetch_proxy` has"), "{error}");
        assert!(read(&file, &["fetch_proxy", "mcp_tool_policy"]).is_ok());
        for (change, told) in [
            (("mode: strict", "mode: balanced"), "strict allowlist"),
            (("enforce: true", "enforce: false"), "enforce"),
            (("sni_verification: true", "sni_verification: false"), "sni_verification"),
            (("ip_allowlist: []", "ip_allowlist: [10.0.0.0/8]"), "ip_allowlist"),
            (("action: strip", "action: ask"), "action"),
            (("scan_env: true", "scan_environment: true"), "scan_environment"),
            (("api.test,", "10.0.0.1,"), "10.0.0.1"),
        ] {
            let error = read(&STRICT.replacen(change.0, change.1, 1), &[]).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        assert!(read("", &[]).is_ok_and(|nothing| nothing.routes.is_empty()));
    }

    #[test]
    fn a_pattern_covers_no_more_than_it_says() {
        let pattern = |text| HostPattern::parse(text).unwrap();
        assert!(
            covers(&pattern("*.a.test"), &pattern("b.a.test")) && covers(&pattern("*.a.test"), &pattern("*.b.a.test"))
        );
        assert!(
            !covers(&pattern("*.a.test"), &pattern("a.test")) && !covers(&pattern("b.a.test"), &pattern("*.a.test"))
        );
        assert!(pattern("*.a.test").matches(&HostName::parse("x.a.test").unwrap()));
    }
}
