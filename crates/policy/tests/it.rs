//! The egress policy as its callers see it: a table of decisions, and what must hold for every policy.

mod scan;

use bottle_policy::{Question, Rules, egress::is_method_override};
use bottle_spec::{
    host::{HostName, HostPattern},
    policy::{EgressPolicy, Inbound, OnFinding, PathPattern, Route, Tls},
    verdict::Reason,
};
use proptest::prelude::*;

fn route(host: &str, methods: Option<&[&str]>, paths: Option<&[&str]>) -> Route {
    Route {
        host: HostPattern::parse(host).unwrap(),
        ports: vec![443],
        methods: methods.map(|all| all.iter().map(|m| (*m).to_owned()).collect()),
        paths: paths.map(|all| all.iter().map(|p| PathPattern((*p).to_owned())).collect()),
        tls: Tls::Intercept,
        auth: None,
        private: false,
        inbound: Inbound::default(),
        ask: false,
        answer: None,
        granted: None,
        on_finding: OnFinding::default(),
        exempt: Vec::new(),
    }
}

fn rules(routes: Vec<Route>) -> Rules {
    Rules::new(EgressPolicy { routes, ..EgressPolicy::default() }).unwrap()
}

fn ask(rules: &Rules, host: &str, port: u16, method: &str, target: &str) -> Result<usize, Reason> {
    let host = HostName::parse(host).unwrap();
    let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
    let question = Question { host: &host, port, method, path, query, method_override: false };
    rules.permit(question).map(|permitted| permitted.route()).map_err(|refused| refused.reason)
}

#[test]
fn an_empty_allowlist_lets_nothing_out() {
    assert_eq!(ask(&rules(vec![]), "a.test", 443, "GET", "/"), Err(Reason::NoRoute));
    assert_eq!(rules(vec![]).tunnel(&HostName::parse("a.test").unwrap(), 443), Err(Reason::NoRoute));
}

#[test]
fn an_observed_bottle_reaches_what_no_route_allows_and_without_a_secret() {
    let routes = vec![route("api.test", Some(&["GET"]), Some(&["/a/**"]))];
    let policy = EgressPolicy { routes, observe: true, ..EgressPolicy::default() };
    let rules = Rules::new(policy).unwrap();
    assert_eq!(ask(&rules, "api.test", 443, "GET", "/a/b"), Ok(0));
    for (host, method, path) in [("api.test", "GET", "/b"), ("api.test", "POST", "/a/b"), ("else.test", "PUT", "/")] {
        let index = ask(&rules, host, 443, method, path).unwrap();
        assert!(rules.is_observed(index) && rules.route(index).is_some_and(|route| route.auth.is_none()));
    }
    let tunnel = |host: &str, port| rules.tunnel(&HostName::parse(host).unwrap(), port);
    assert_eq!(tunnel("else.test", 443), Ok(Tls::Intercept));
    assert_eq!(tunnel("else.test", 22), Err(Reason::NoRoute));
    assert_eq!(tunnel("probe.invalid", 443), Err(Reason::NoRoute));
    assert_eq!(ask(&rules, "probe.invalid", 80, "GET", "/"), Err(Reason::NoRoute));
    assert_eq!(ask(&rules, "api.test", 443, "GET", "/a/../b"), Err(Reason::PathAmbiguous));
    assert!(!rules.allows_private(&HostName::parse("else.test").unwrap(), 443));
}

#[test]
fn decisions() {
    let rules = rules(vec![
        route("api.test", Some(&["GET"]), Some(&["/repos/acme/app/**"])),
        route("api.test", Some(&["POST"]), Some(&["/hook"])),
        route("*.cdn.test", None, None),
    ]);
    let read = "/repos/acme/app/pulls";
    for (host, port, method, target, expected) in [
        ("api.test", 443, "GET", read, Ok(0)),
        ("API.test.", 443, "GET", read, Ok(0)),
        ("api.test", 443, "POST", "/hook", Ok(1)),
        ("x.cdn.test", 443, "DELETE", "/a/../b", Ok(2)),
        ("x.cdn.test", 443, "GET", "/a%00b", Err(Reason::PathAmbiguous)),
        ("cdn.test", 443, "GET", "/", Err(Reason::NoRoute)),
        ("api.test.evil.org", 443, "GET", read, Err(Reason::NoRoute)),
        ("api.test", 80, "GET", read, Err(Reason::PortNotAllowed)),
        ("api.test", 443, "DELETE", read, Err(Reason::MethodNotAllowed)),
        ("api.test", 443, "get", read, Err(Reason::MethodNotAllowed)),
        ("api.test", 443, "GET", "/user", Err(Reason::PathNotAllowed)),
        ("api.test", 443, "GET", "/repos/acme/app/../../other", Err(Reason::PathAmbiguous)),
        ("api.test", 443, "GET", "/repos/acme/app/x?_method=DELETE", Err(Reason::MethodOverride)),
        ("api.test", 443, "GET", "/repos/acme/app/x?a=1&%5Fmethod=DELETE", Err(Reason::MethodOverride)),
        ("api.test", 443, "OPTIONS", "*", Err(Reason::RequestMalformed)),
    ] {
        assert_eq!(ask(&rules, host, port, method, target), expected, "{method} {host}:{port}{target}");
    }
}

#[test]
fn method_override_headers_are_known_in_every_spelling() {
    for name in ["X-HTTP-Method-Override", "x_http_method_override", "X-Method-Override", "x-http-method"] {
        assert!(is_method_override(name), "{name}");
    }
    assert!(!is_method_override("x-http-methods") && !is_method_override("accept"));
}

fn any_route() -> impl Strategy<Value = Route> {
    let host = prop_oneof![Just("a.test"), Just("b.a.test"), Just("*.a.test"), Just("*.test")];
    let methods = prop_oneof![Just(None), Just(Some(vec!["GET"])), Just(Some(vec!["GET", "POST"]))];
    let paths =
        prop_oneof![Just(None), Just(Some(vec!["/a/**"])), Just(Some(vec!["/a*", "/b/*/c"])), Just(Some(vec!["/**"]))];
    let tls = prop_oneof![4 => Just(Tls::Intercept), 1 => Just(Tls::Passthrough)];
    (host, methods, paths, tls, prop::collection::vec(prop_oneof![Just(443u16), Just(80)], 1..3)).prop_map(
        |(host, methods, paths, tls, ports)| {
            let through = tls == Tls::Passthrough;
            let methods = methods.filter(|_| !through);
            let paths = paths.filter(|_| !through);
            Route { ports, tls, ..route(host, methods.as_deref(), paths.as_deref()) }
        },
    )
}

fn any_path() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("a"),
        Just("b"),
        Just("c"),
        Just("/"),
        Just(".."),
        Just("."),
        Just("%2f"),
        Just("%2e"),
        Just(";x"),
        Just("%25"),
        Just("\\"),
        Just("%00"),
        Just("é"),
        Just("%"),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #[test]
    fn taking_a_route_away_never_allows_more(
        routes in prop::collection::vec(any_route(), 1..6), gone in any::<prop::sample::Index>(),
        host in prop_oneof![Just("a.test"), Just("b.a.test"), Just("c.test")], path in any_path(),
        method in prop_oneof![Just("GET"), Just("POST"), Just("PUT")], port in prop_oneof![Just(443u16), Just(80)],
    ) {
        let mut fewer = routes.clone();
        fewer.remove(gone.index(routes.len()));
        let (all, fewer) = (rules(routes), rules(fewer));
        if ask(&fewer, host, port, method, &path).is_ok() {
            prop_assert!(ask(&all, host, port, method, &path).is_ok());
        }
        let name = HostName::parse(host).unwrap();
        if fewer.tunnel(&name, port).is_ok() {
            prop_assert!(all.tunnel(&name, port).is_ok());
        }
    }

    #[test]
    fn restricting_a_route_never_allows_more(
        routes in prop::collection::vec(any_route(), 1..4), path in any_path(),
        method in prop_oneof![Just("GET"), Just("POST")],
    ) {
        let mut narrow = routes.clone();
        for route in narrow.iter_mut().filter(|route| route.tls == Tls::Intercept) {
            route.paths.get_or_insert_with(|| vec![PathPattern("/a/**".to_owned())]);
            route.methods.get_or_insert_with(|| vec!["GET".to_owned()]);
        }
        if ask(&rules(narrow), "b.a.test", 443, method, &path).is_ok() {
            prop_assert!(ask(&rules(routes), "b.a.test", 443, method, &path).is_ok());
        }
    }

    #[test]
    fn the_spelling_of_a_host_changes_nothing(
        routes in prop::collection::vec(any_route(), 0..5), path in any_path(),
        host in prop_oneof![Just("a.test"), Just("b.a.test"), Just("c.test")], upper in any::<bool>(), dot in any::<bool>(),
    ) {
        let rules = rules(routes);
        let mut spelled = if upper { host.to_uppercase() } else { host.to_owned() };
        if dot { spelled.push('.'); }
        prop_assert_eq!(ask(&rules, host, 443, "GET", &path), ask(&rules, &spelled, 443, "GET", &path));
    }

    /// Whatever a permitted path is, the ways servers are known to read it all stay under what the route allows.
    #[test]
    fn no_permitted_path_escapes_its_prefix(path in any_path()) {
        let rules = rules(vec![route("a.test", None, Some(&["/a/**"]))]);
        if ask(&rules, "a.test", 443, "GET", &path).is_ok() {
            let decoded = path.replace("%2f", "/").replace("%2e", ".").replace("%25", "%").replace("%2f", "/").replace("%2e", ".");
            let mut stack = Vec::new();
            for segment in decoded.split('/').map(|s| s.split(';').next().unwrap()) {
                match segment {
                    "" | "." => {}
                    ".." => { stack.pop(); }
                    name => stack.push(name),
                }
            }
            prop_assert_eq!(stack.first().copied(), Some("a"), "{}", path);
        }
    }

    #[test]
    fn hostile_paths_do_not_panic(path in "\\PC*", query in "\\PC*") {
        let rules = rules(vec![route("a.test", Some(&["GET"]), Some(&["/a/**", "/*x*/**/y"]))]);
        let _ = ask(&rules, "a.test", 443, "GET", &format!("/{path}?{query}"));
    }
}
