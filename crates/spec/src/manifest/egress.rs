//! The `egress:` part of a bottle.

use super::{
    Placed,
    tree::Node,
    walk::{Keys, Table, Walk},
};
use crate::{
    host::HostName,
    notation::{Address, HostAndPort, Method, Port, ProxyUrl, header_name, query_name},
    policy::{Auth, Carrier, DEFAULT_PORTS, Inbound, OnFinding, PathPattern, Route, Tls, UpstreamProxy},
    secret::SecretRef,
};
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

pub(super) const EGRESS: Keys =
    Keys { of: "`egress`", names: &["routes", "upstream_ca", "resolve", "upstream_proxy"], strict: false };
pub(super) const ROUTE: Keys = Keys {
    of: "a route",
    names: &[
        "host",
        "ports",
        "methods",
        "paths",
        "tls",
        "auth",
        "private",
        "on_finding",
        "exempt",
        "inbound",
        "ask",
        "answer",
    ],
    strict: true,
};
const INBOUND: &[(&str, Inbound)] =
    &[("warn", Inbound::Warn), ("strip", Inbound::Strip), ("block", Inbound::Block), ("off", Inbound::Off)];
const ON_FINDING: &[(&str, OnFinding)] =
    &[("block", OnFinding::Block), ("redact", OnFinding::Redact), ("ask", OnFinding::Ask), ("log", OnFinding::Log)];
pub(super) const AUTH: Keys = Keys { of: "`auth`", names: &["scheme", "header", "query", "secret"], strict: true };
pub(super) const PROXY: Keys = Keys { of: "`upstream_proxy`", names: &["url", "auth"], strict: true };

/// Paths are as written: `~` and relative ones are not resolved yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Egress {
    pub routes: Vec<Placed<Route>>,
    pub upstream_ca: Vec<Placed<PathBuf>>,
    pub resolve: BTreeMap<HostName, SocketAddr>,
    pub upstream_proxy: Option<Placed<UpstreamProxy>>,
}

pub(super) fn egress(walk: &mut Walk<'_>, node: &Node) -> Egress {
    let Some(mut table) = walk.table(node, EGRESS) else { return Egress::default() };
    let routes = table.take("routes").map(|node| walk.list(node, "`routes`")).unwrap_or_default();
    Egress {
        routes: routes.iter().filter_map(|node| route(walk, node).map(|route| walk.placed(node, route))).collect(),
        upstream_ca: table.take("upstream_ca").map(|node| upstream_ca(walk, node)).unwrap_or_default(),
        resolve: table.take("resolve").map(|node| resolve(walk, node)).unwrap_or_default(),
        upstream_proxy: table.take("upstream_proxy").and_then(|node| upstream_proxy(walk, node)),
    }
}

pub(super) fn route(walk: &mut Walk<'_>, node: &Node) -> Option<Route> {
    let mut table = walk.table(node, ROUTE)?;
    let spot = table.spot;
    let host = match table.take("host") {
        Some(node) => walk.parsed::<HostAndPort>(node, "`host`"),
        None => {
            walk.missing(spot, "a route", "host", "write `host: api.example.com` or `host: \"*.example.com\"`");
            None
        }
    };
    let tls_node = table.take("tls");
    let tls = match tls_node {
        Some(node) => {
            walk.choice(node, "`tls`", &[("intercept", Tls::Intercept), ("passthrough", Tls::Passthrough)])?
        }
        None => Tls::Intercept,
    };
    if tls == Tls::Passthrough {
        refuse_behind_passthrough(walk, &mut table);
    }
    let named = host.as_ref().and_then(|host| host.port);
    let ports = ports(walk, &mut table, named, tls);
    let methods = table.take("methods").map(|node| methods(walk, node));
    let paths = table.take("paths").map(|node| paths(walk, node));
    let auth = table.take("auth").map(|node| auth(walk, node));
    let private = table.take("private").map_or(Some(false), |node| walk.truth(node, "`private`"));
    let on_finding =
        table.take("on_finding").map_or(Some(OnFinding::Block), |node| walk.choice(node, "`on_finding`", ON_FINDING));
    let inbound = table.take("inbound").map_or(Some(Inbound::Warn), |node| walk.choice(node, "`inbound`", INBOUND));
    let exempt = table.take("exempt").map(|node| exempt(walk, node)).unwrap_or_default();
    let auth = match auth {
        Some(auth) => Some(auth?),
        None => None,
    };
    let ask = table.take("ask").map_or(Some(false), |node| walk.truth(node, "`ask`"));
    let answer = table.take("answer").map(|node| answer(walk, node, auth.is_some()));
    let answer = match answer {
        Some(answer) => Some(answer?),
        None => None,
    };
    let (private, on_finding, inbound, ask) = (private?, on_finding?, inbound?, ask?);
    Some(Route {
        host: host?.host,
        ports,
        methods,
        paths,
        tls,
        auth,
        private,
        on_finding,
        exempt,
        inbound,
        ask,
        answer,
        granted: None,
    })
}

/// The longest answer of the gate's own, in bytes: a token response or a release note, not a file.
const ANSWER_MAX: usize = 16 << 10;

fn answer(walk: &mut Walk<'_>, node: &Node, has_auth: bool) -> Option<String> {
    let text = walk.text(node, "`answer`")?;
    let wrong = if has_auth {
        Some(("a route that the gate answers sends no secret", "remove `auth`, or `answer`"))
    } else if text.len() > ANSWER_MAX {
        Some(("`answer` is longer than 16 KiB", "shorten it"))
    } else if serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        Some(("`answer` is not JSON", "write it in quotes, as `answer: '{\"ok\": true}'`"))
    } else {
        None
    };
    if let Some((message, hint)) = wrong {
        walk.note(node.spot, message, Some(hint.to_owned()));
        return None;
    }
    Some(text.to_owned())
}

/// Under passthrough the gate sees bytes: what would need more is a mistake, not a wish that is quietly dropped.
fn refuse_behind_passthrough(walk: &mut Walk<'_>, table: &mut Table<'_>) {
    for key in ["methods", "paths", "auth", "on_finding", "exempt", "inbound", "answer"] {
        if let Some(node) = table.take(key) {
            let hint = "remove it, or let the gate see the requests with `tls: intercept`";
            let message = format!("`{key}` cannot be held to with `tls: passthrough`");
            walk.note(node.spot, message, Some(hint.to_owned()));
        }
    }
}

fn ports(walk: &mut Walk<'_>, table: &mut Table<'_>, named: Option<u16>, tls: Tls) -> Vec<u16> {
    match (table.take("ports"), named) {
        (Some(node), Some(port)) => {
            let hint = format!("leave `:{port}` out of `host`, or leave `ports` out");
            walk.note(node.spot, "the route's port is given twice", Some(hint));
            Vec::new()
        }
        (Some(node), None) => {
            let mut ports: Vec<u16> =
                walk.parsed_list::<Port>(node, "`ports`").iter().map(|port| port.value.0).collect();
            if walk.list(node, "`ports`").is_empty() {
                walk.note(node.spot, "`ports` is empty", Some("leave it out for 443 and 80".to_owned()));
            }
            ports.sort_unstable();
            ports.dedup();
            ports
        }
        (None, Some(port)) => vec![port],
        // Nothing but TLS can be handed on by its server name.
        (None, None) if tls == Tls::Passthrough => vec![443],
        (None, None) => DEFAULT_PORTS.to_vec(),
    }
}

fn methods(walk: &mut Walk<'_>, node: &Node) -> Vec<String> {
    let methods = walk.parsed_list::<Method>(node, "`methods`");
    if walk.list(node, "`methods`").is_empty() {
        empty(walk, node, "methods");
    }
    methods.into_iter().map(|method| method.value.0).collect()
}

fn paths(walk: &mut Walk<'_>, node: &Node) -> Vec<PathPattern> {
    let paths = walk.parsed_list::<PathPattern>(node, "`paths`");
    if walk.list(node, "`paths`").is_empty() {
        empty(walk, node, "paths");
    }
    paths.into_iter().map(|path| path.value).collect()
}

/// Whether there are such rules is known where the rules are.
pub(super) fn exempt(walk: &mut Walk<'_>, node: &Node) -> Vec<String> {
    let items = walk.list(node, "`exempt`");
    items.iter().filter_map(|item| walk.text(item, "a rule in `exempt`").map(str::to_owned)).collect()
}

fn empty(walk: &mut Walk<'_>, node: &Node, key: &str) {
    // A single value where a list is meant has been noted already.
    if matches!(&node.value, super::tree::Value::List(_)) {
        let hint = format!("leave `{key}` out to allow all of them, or remove the route");
        walk.note(node.spot, format!("an empty list of {key} allows nothing"), Some(hint));
    }
}

pub(super) fn auth(walk: &mut Walk<'_>, node: &Node) -> Option<Auth> {
    const HOW: &str = "one of `scheme: bearer`, `scheme: basic`, `header: NAME`, `query: NAME`";
    let mut table = walk.table(node, AUTH)?;
    let spot = table.spot;
    let secret = match table.take("secret") {
        Some(node) => secret(walk, node),
        None => {
            walk.missing(spot, "`auth`", "secret", "write `secret: env:NAME`, or file:, command:, keyring:");
            None
        }
    };
    let given = ["scheme", "header", "query"].map(|key| table.take(key));
    let carrier = match given {
        [Some(node), None, None] => walk
            .choice(node, "`scheme`", &[("bearer", 0), ("basic", 1)])
            .map(|index| if index == 0 { Carrier::Bearer } else { Carrier::Basic }),
        [None, Some(node), None] => carrier(walk, node, "`header`", header_name),
        [None, None, Some(node)] => carrier(walk, node, "`query`", query_name),
        [None, None, None] => {
            walk.note(spot, "`auth` does not say how the secret is sent", Some(HOW.to_owned()));
            None
        }
        _ => {
            walk.note(spot, "`auth` says in more than one way how the secret is sent", Some(HOW.to_owned()));
            None
        }
    };
    Some(Auth { carrier: carrier?, secret: secret? })
}

fn carrier(
    walk: &mut Walk<'_>,
    node: &Node,
    what: &str,
    parse: fn(&str) -> Result<Carrier, crate::notation::NotationError>,
) -> Option<Carrier> {
    let text = walk.text(node, what)?;
    match parse(text) {
        Ok(carrier) => Some(carrier),
        Err(error) => {
            walk.note(node.spot, format!("{what} `{text}`: {error}"), None);
            None
        }
    }
}

/// The text is not repeated in the message: someone may have written the secret itself there.
pub(super) fn secret(walk: &mut Walk<'_>, node: &Node) -> Option<SecretRef> {
    match walk.text(node, "`secret`")?.parse() {
        Ok(secret) => Some(secret),
        Err(error) => {
            let error: crate::secret::SecretRefError = error;
            let hint = "a manifest names where a secret is found, never the secret".to_owned();
            walk.note(node.spot, error.to_string(), Some(hint));
            None
        }
    }
}

/// One path or a list of them.
fn upstream_ca(walk: &mut Walk<'_>, node: &Node) -> Vec<Placed<PathBuf>> {
    match &node.value {
        super::tree::Value::Scalar(path) => vec![walk.placed(node, PathBuf::from(path))],
        _ => {
            let items = walk.list(node, "`upstream_ca`");
            let path = |node: &Node, walk: &mut Walk<'_>| walk.text(node, "`upstream_ca`").map(PathBuf::from);
            items.iter().filter_map(|node| path(node, walk).map(|path| walk.placed(node, path))).collect()
        }
    }
}

fn resolve(walk: &mut Walk<'_>, node: &Node) -> BTreeMap<HostName, SocketAddr> {
    let mut addresses = BTreeMap::new();
    for (name, node) in walk.map(node, "`resolve`") {
        let address = walk.parsed::<Address>(node, "the address of a name in `resolve`");
        match HostName::parse(name.value) {
            Ok(host) => {
                addresses.extend(address.map(|address| (host, address.0)));
            }
            Err(error) => walk.note_at(&name.place, format!("`{}`: {error}", name.value)),
        }
    }
    addresses
}

/// `http://HOST:PORT`, or a table with `url` and `auth`.
fn upstream_proxy(walk: &mut Walk<'_>, node: &Node) -> Option<Placed<UpstreamProxy>> {
    let (url, auth) = match &node.value {
        super::tree::Value::Scalar(_) => (proxy_url(walk, node)?, None),
        _ => {
            let mut table = walk.table(node, PROXY)?;
            let auth = match table.take("auth") {
                Some(node) => Some(secret(walk, node)?),
                None => None,
            };
            let Some(url) = table.take("url") else {
                walk.missing(node.spot, "`upstream_proxy`", "url", "write `url: http://proxy.example:3128`");
                return None;
            };
            (proxy_url(walk, url)?, auth)
        }
    };
    Some(walk.placed(node, UpstreamProxy { host: url.host, port: url.port, auth }))
}

/// The text is not repeated in the message: it may hold a password.
fn proxy_url(walk: &mut Walk<'_>, node: &Node) -> Option<ProxyUrl> {
    match walk.text(node, "`upstream_proxy`")?.parse() {
        Ok(url) => Some(url),
        Err(error) => {
            let error: crate::notation::NotationError = error;
            walk.note(node.spot, format!("`upstream_proxy`: {error}"), None);
            None
        }
    }
}
