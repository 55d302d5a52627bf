//! Writes routes as a bottle's `egress:` part, for people to read and for [`Bottle::parse`](super::Bottle::parse) to
//! take again.

use crate::{
    escape::{Escaped, is_unprintable},
    policy::{Auth, Carrier, DEFAULT_PORTS, Inbound, OnFinding, PathPattern, Route, Tls},
};
use std::fmt::Write as _;

/// A route with what there is to say of it.
#[derive(Debug, Clone)]
pub struct Noted {
    pub route: Route,
    /// A line each, above the route.
    pub notes: Vec<String>,
    /// Written as a comment: a person may take it in, and nothing else does.
    pub left_out: bool,
}

/// The text of a manifest with these routes and nothing else; `head` goes above it, a line each.
pub fn bottle_of(head: &[String], routes: &[Noted]) -> String {
    let mut text = String::new();
    for line in head {
        comment(&mut text, "", line);
    }
    let none = routes.iter().all(|noted| noted.left_out);
    text.push_str(if none { "egress:\n  routes: []\n" } else { "egress:\n  routes:\n" });
    for noted in routes {
        for note in &noted.notes {
            comment(&mut text, "    ", note);
        }
        let mut lines = in_lines(&noted.route).into_iter();
        let first = lines.next().map(|line| format!("- {line}"));
        for line in first.into_iter().chain(lines.map(|line| format!("  {line}"))) {
            let _ = writeln!(text, "    {}{line}", if noted.left_out { "# " } else { "" });
        }
    }
    text
}

fn comment(text: &mut String, indent: &str, line: &str) {
    let _ = writeln!(text, "{indent}# {}", Escaped(line));
}

/// The keys of a route, the host first, a line each; paths have lines of their own.
pub(super) fn in_lines(route: &Route) -> Vec<String> {
    let paths = |paths: &[PathPattern]| {
        let below = paths.iter().map(|path| format!("  - {}", scalar(&path.0)));
        std::iter::once("paths:".to_owned()).chain(below).collect()
    };
    keys(route, paths)
}

/// The same within braces.
pub(super) fn in_line(route: &Route) -> String {
    let paths = |paths: &[PathPattern]| {
        let paths: Vec<String> = paths.iter().map(|path| scalar(&path.0)).collect();
        vec![format!("paths: [{}]", paths.join(", "))]
    };
    format!("{{ {} }}", keys(route, paths).join(", "))
}

fn keys(route: &Route, written: impl Fn(&[PathPattern]) -> Vec<String>) -> Vec<String> {
    let host = route.host.to_string();
    let mut lines = Vec::new();
    match route.ports.as_slice() {
        [port] if route.tls == Tls::Intercept || *port != 443 => {
            lines.push(format!("host: {}", scalar(&format!("{host}:{port}"))));
        }
        ports => {
            lines.push(format!("host: {}", scalar(&host)));
            let mut usual = DEFAULT_PORTS;
            usual.sort_unstable();
            let mut sorted = ports.to_vec();
            sorted.sort_unstable();
            if sorted != usual && route.tls == Tls::Intercept {
                let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                lines.push(format!("ports: [{}]", ports.join(", ")));
            }
        }
    }
    if let Some(methods) = &route.methods {
        lines
            .push(format!("methods: [{}]", methods.iter().map(|method| scalar(method)).collect::<Vec<_>>().join(", ")));
    }
    lines.extend(route.paths.as_deref().map(written).unwrap_or_default());
    if route.tls == Tls::Passthrough {
        lines.push("tls: passthrough".to_owned());
    }
    lines.extend(route.auth.as_ref().map(auth));
    if route.private {
        lines.push("private: true".to_owned());
    }
    let on_finding = match route.on_finding {
        OnFinding::Block => None,
        OnFinding::Redact => Some("redact"),
        OnFinding::Ask => Some("ask"),
        OnFinding::Log => Some("log"),
    };
    lines.extend(on_finding.map(|action| format!("on_finding: {action}")));
    if !route.exempt.is_empty() {
        lines.push(format!("exempt: [{}]", route.exempt.iter().map(|id| scalar(id)).collect::<Vec<_>>().join(", ")));
    }
    let inbound = match route.inbound {
        Inbound::Warn => None,
        Inbound::Strip => Some("strip"),
        Inbound::Block => Some("block"),
        Inbound::Off => Some("\"off\""),
    };
    lines.extend(inbound.map(|action| format!("inbound: {action}")));
    if route.ask {
        lines.push("ask: true".to_owned());
    }
    lines.extend(route.answer.as_ref().map(|text| format!("answer: {}", scalar(text))));
    lines
}

fn auth(auth: &Auth) -> String {
    let how = match &auth.carrier {
        Carrier::Bearer => "scheme: bearer".to_owned(),
        Carrier::Basic => "scheme: basic".to_owned(),
        Carrier::Header(name) => format!("header: {}", scalar(name)),
        Carrier::Query(name) => format!("query: {}", scalar(name)),
    };
    format!("auth: {{ {how}, secret: {} }}", scalar(&auth.secret.to_string()))
}

/// Plain where it can be taken for nothing else; a JSON string is one of YAML's, too. What a person would not see is
/// spelled out.
pub(super) fn scalar(text: &str) -> String {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'/');
    let word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    if plain && first && !word.contains(&text.to_ascii_lowercase().as_str()) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if is_unprintable(c) => {
                let _ = write!(quoted, "\\U{:08x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{host::HostPattern, manifest::Bottle, secret::SecretRef};
    use std::path::Path;

    fn route(host: &str) -> Route {
        Route::to(HostPattern::parse(host).unwrap())
    }

    #[test]
    fn what_is_written_is_read_again() {
        let path = |path: &str| PathPattern(path.to_owned());
        let auth = |carrier| Some(Auth { carrier, secret: SecretRef::Command("gh auth \"token\" # x".to_owned()) });
        let routes = [
            route("api.test"),
            Route { ports: vec![443], methods: Some(vec!["GET".to_owned()]), ..route("*.a.test") },
            Route { ports: vec![80, 8443], paths: Some(vec![path("/a/**"), path("/b:c'd")]), ..route("b.test") },
            Route { ports: vec![443], tls: Tls::Passthrough, private: true, ..route("c.test") },
            Route { auth: auth(Carrier::Bearer), on_finding: OnFinding::Log, ..route("d.test") },
            Route { auth: auth(Carrier::Header("x-key".to_owned())), inbound: Inbound::Off, ..route("no.test") },
            Route { exempt: vec!["jwt".to_owned(), "1x".to_owned()], inbound: Inbound::Strip, ..route("e.test") },
        ];
        let noted: Vec<Noted> = routes
            .iter()
            .map(|route| Noted { route: route.clone(), notes: vec!["a\nb: c".to_owned()], left_out: false })
            .collect();
        let text = bottle_of(&["head\u{1b}[31m".to_owned()], &noted);
        let bottle = Bottle::parse("b", Path::new("/b.yaml"), &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let read: Vec<Route> = bottle.egress.routes.into_iter().map(|route| route.value).collect();
        let sorted = |mut route: Route| {
            route.ports.sort_unstable();
            route
        };
        assert_eq!(read.into_iter().map(sorted).collect::<Vec<_>>(), routes.map(sorted), "{text}");
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn what_is_left_out_grants_nothing() {
        let noted = Noted { route: route("api.test"), notes: Vec::new(), left_out: true };
        let text = bottle_of(&[], std::slice::from_ref(&noted));
        assert!(text.contains("# - host: api.test"), "{text}");
        assert!(Bottle::parse("b", Path::new("/b.yaml"), &text).unwrap().egress.routes.is_empty());
    }
}
