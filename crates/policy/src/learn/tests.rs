//! Logs as a gate writes them, and what is learnt of them.

use super::*;
use bottle_spec::event::{EgressEnded, FindingAction, FindingEvent};
use proptest::prelude::*;

fn asked(host: &str, method: &str, path: &str, reason: Option<Reason>) -> AuditEvent {
    AuditEvent::Egress(EgressEvent {
        decision: if reason.is_some() { Decision::Deny } else { Decision::Allow },
        reason,
        host: Some(host.to_owned()),
        port: Some(443),
        method: Some(method.to_owned()),
        path: (method != "CONNECT").then(|| path.to_owned()),
        injected: false,
        status: None,
        observed: reason.is_none(),
        budget: None,
    })
}

fn learned(events: &[AuditEvent]) -> Learned {
    let mut learner = Learner::default();
    for (seq, event) in events.iter().enumerate() {
        learner.see(seq as u64, event);
    }
    learner.learned()
}

fn doubts(events: &[AuditEvent], host: &str) -> Vec<Doubt> {
    learned(events).hosts.into_iter().find(|learned| learned.host.as_str() == host).unwrap().doubts
}

#[test]
fn what_was_asked_for_is_allowed_and_no_more() {
    let events = [
        asked("api.test", "CONNECT", "", None),
        asked("api.test", "GET", "/repos/acme/app", None),
        asked("api.test", "GET", "/repos/acme/app/pulls", Some(Reason::PathNotAllowed)),
        asked("api.test", "POST", "/hook", Some(Reason::MethodNotAllowed)),
        asked("cdn.test", "GET", "/x", Some(Reason::NoRoute)),
        asked("never.test", "GET", "/", Some(Reason::UpstreamTls)),
    ];
    let learned = learned(&events);
    assert_eq!(learned.requests, 4);
    assert_eq!(learned.refused, BTreeMap::from([("upstream_tls", 1)]));
    let routes: Vec<Route> = learned.hosts.iter().flat_map(|host| host.routes.clone()).collect();
    assert!(learned.hosts.iter().all(|host| host.doubts.is_empty()));
    let rules = Rules::new(EgressPolicy { routes, ..EgressPolicy::default() }).unwrap();
    let ask = |host, port, method, path| {
        let host = HostName::parse(host).unwrap();
        let question = Question { host: &host, port, method, path, query: None, method_override: false };
        rules.permit(question).is_ok()
    };
    assert!(ask("api.test", 443, "GET", "/repos/acme/app/pulls") && ask("api.test", 443, "POST", "/hook"));
    assert!(ask("cdn.test", 443, "GET", "/x"));
    for (host, port, method, path) in [
        ("api.test", 80, "GET", "/repos/acme/app"),
        ("api.test", 443, "POST", "/repos/acme/app"),
        ("api.test", 443, "GET", "/hook"),
        ("api.test", 443, "GET", "/repos/acme/other"),
        ("cdn.test", 443, "GET", "/y"),
        ("never.test", 443, "GET", "/"),
    ] {
        assert!(!ask(host, port, method, path), "{method} {host}:{port}{path}");
    }
}

#[test]
fn what_looks_like_a_way_out_is_doubted() {
    let get = |host: &str| asked(host, "GET", "/", None);
    assert_eq!(doubts(&[get("api.test")], "api.test"), []);
    assert_eq!(doubts(&[get("abc.webhook.site")], "abc.webhook.site"), [Doubt::Drop]);
    assert_eq!(doubts(&[get("me.github.io")], "me.github.io"), [Doubt::SharedSuffix("github.io".to_owned())]);
    let name = "mzxw6ytboi5dq4dvmq4tqmzr.evil.test";
    assert_eq!(doubts(&[get(name)], name), [Doubt::RandomName]);
    let path = asked("api.test", "GET", "/i/9f86d081884c7d659a2feaa0c55ad015.gif", None);
    assert_eq!(doubts(&[path], "api.test"), [Doubt::RandomPath]);
    assert_eq!(doubts(&[asked("api.test", "CONNECT", "", Some(Reason::NoRoute))], "api.test"), [Doubt::Unseen]);
    let crowd: Vec<AuditEvent> = (0..20).map(|n| get(&format!("host{n}.evil.test"))).collect();
    assert_eq!(doubts(&crowd, "host3.evil.test"), [Doubt::Crowd { domain: "evil.test".to_owned(), names: 20 }]);

    let finding = AuditEvent::Finding(FindingEvent {
        action: FindingAction::Block,
        rule: "github-token".to_owned(),
        name: None,
        place: "body".to_owned(),
        shown: String::new(),
        through: String::new(),
        host: Some("api.test".to_owned()),
        method: None,
        path: None,
    });
    let refused = asked("api.test", "POST", "/", Some(Reason::Finding));
    assert_eq!(doubts(&[finding, refused], "api.test"), [Doubt::Finding("github-token".to_owned())]);

    let ended = AuditEvent::EgressEnded(EgressEnded { of: 0, status: None, sent: 5 << 20, received: 0, took: 1 });
    assert_eq!(doubts(&[get("api.test"), ended], "api.test"), [Doubt::Volume(5 << 20)]);
}

proptest! {
    #[test]
    fn everything_seen_is_allowed(
        seen in prop::collection::vec((0..4_usize, prop::sample::select(vec!["GET", "POST", "M-SEARCH"]), any_path()), 1..60),
    ) {
        let hosts = ["a.test", "b.test", "c.test", "d.e.test"];
        let events: Vec<AuditEvent> = seen.iter().map(|(host, method, path)| asked(hosts[*host], method, path, None)).collect();
        let routes: Vec<Route> = learned(&events).hosts.into_iter().flat_map(|host| host.routes).collect();
        let rules = Rules::new(EgressPolicy { routes, ..EgressPolicy::default() }).unwrap();
        for (host, method, path) in &seen {
            let host = HostName::parse(hosts[*host]).unwrap();
            let question = Question { host: &host, port: 443, method, path, query: None, method_override: false };
            prop_assert!(rules.permit(question).is_ok(), "{method} {host} {path}");
        }
    }
}

/// Also such as a route with paths cannot tell apart.
fn any_path() -> impl Strategy<Value = String> {
    let part =
        prop::sample::select(vec!["a", "b", "17", "18", "0a1b2c3d", "%2f", "..", ";x", "*", "", "long-name", "%41"]);
    prop::collection::vec(part, 1..5).prop_map(|parts| format!("/{}", parts.join("/")))
}
