//! What a request becomes, and what is said of it beforehand.

use super::*;
use bottle_spec::{operator::GitRequest, policy::OnFinding, secret::SecretRef};
use serde_json::{Value, json};

fn plan(egress: Value, git: Value) -> Plan {
    let plan = json!({
        "agent": "a", "bottle": null, "backend": "namespace", "provider": "command", "command": ["x"], "prompt": "",
        "skills": [], "image": "host", "env": {}, "mounts": [], "workspace": { "mode": "none" }, "egress": egress,
        "git": git, "secrets": [{ "source": "env:TOKEN", "placeholder": "ph-1" }], "supervise": true,
        "limits": { "cpu_millis": null, "memory": null, "pids": null, "disk": null }, "ports": [], "notices": [],
    });
    serde_json::from_value(plan).unwrap()
}

fn github() -> Plan {
    let route = json!({
        "host": "api.github.com", "ports": [443], "methods": ["GET"], "on_finding": "redact",
        "auth": { "carrier": "bearer", "secret": "env:TOKEN" },
    });
    plan(json!({ "routes": [route] }), json!([{ "name": "app", "upstream": "/srv/app" }]))
}

fn asked(value: Value) -> Requested {
    serde_json::from_value(value).unwrap()
}

fn issues() -> Requested {
    asked(json!({
        "kind": "egress", "host": "api.github.com", "methods": ["POST", "PATCH"], "paths": ["/repos/acme/**"],
        "reason": "to write", "term": { "seconds": 600 },
    }))
}

fn route(grant: Option<Grant>) -> Route {
    match grant.unwrap().gives {
        Gives::Route { route, .. } => *route,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_known_host_is_treated_as_the_plan_treats_it_and_nothing_wider_is_given() {
    let plan = github();
    let route = route(grant("abc", &issues(), &plan).unwrap());
    assert_eq!(route.auth, plan.egress.routes[0].auth);
    assert_eq!(route.on_finding, OnFinding::Redact);
    assert_eq!(route.methods.as_deref(), Some(&["POST".to_owned(), "PATCH".to_owned()][..]));
    assert_eq!(route.granted, Some(Granted { request: "abc".to_owned(), once: false }));
    let new = asked(json!({ "kind": "egress", "host": "x.test" }));
    let Gives::Route { route, first } = grant("abc", &new, &plan).unwrap().unwrap().gives else { panic!() };
    assert_eq!((route.auth, route.ports, first), (None, vec![443], false));
}

#[test]
fn a_narrowed_request_asks_for_no_more() {
    let narrow = |methods: Option<&[&str]>, paths: Option<&[&str]>| {
        let texts = |texts: &[&str]| texts.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let paths = paths.map(|paths| texts(paths).into_iter().map(PathPattern).collect());
        narrowed(&issues(), &Narrowing { methods: methods.map(texts), paths, ..Narrowing::default() })
    };
    let got = narrow(Some(&["POST"]), Some(&["/repos/acme/app/issues", "/repos/acme/*/x"])).unwrap();
    let Requested::Egress(got) = got else { panic!() };
    assert_eq!(got.methods.unwrap(), ["POST"]);
    assert_eq!(narrow(Some(&["DELETE"]), None), Err(GrantError::Wider("DELETE".to_owned())));
    for wider in ["/repos/**", "/**", "/repos/other/x", "/repos/*/x", "repos/acme/x"] {
        assert_eq!(narrow(None, Some(&[wider])), Err(GrantError::Wider(wider.to_owned())), "{wider}");
    }
    let star = |wide: &str, narrow: &str| covers(&PathPattern(wide.to_owned()), &PathPattern(narrow.to_owned()));
    assert!(star("/a/*", "/a/b") && star("/a/*", "/a/*") && star("/**", "/a/**") && star("/a/**/z", "/a/b/c/z"));
    assert!(!star("/a/*", "/a/**") && !star("/a/*", "/a/b/c") && !star("/a/b", "/a/*") && !star("/a/*", "/a"));
}

#[test]
fn a_secret_goes_to_the_one_host_that_was_asked_for() {
    let secret = |name: &str| asked(json!({ "kind": "secret_route", "host": "up.test", "secret": name }));
    let Gives::Route { route, first } = grant("abc", &secret("ph-1"), &github()).unwrap().unwrap().gives else {
        panic!()
    };
    assert!(first && route.host == HostPattern::parse("up.test").unwrap());
    assert_eq!(route.auth.unwrap().secret, SecretRef::Env("TOKEN".to_owned()));
    assert_eq!(grant("abc", &secret("env:TOKEN"), &github()), Err(GrantError::NoSecret("env:TOKEN".to_owned())));
}

#[test]
fn what_would_make_the_policy_invalid_is_not_granted() {
    let bad = |value: Value| grant("abc", &asked(value), &github()).unwrap_err();
    let paths = json!({ "kind": "egress", "host": "x.test", "paths": ["x"] });
    assert!(matches!(bad(paths), GrantError::Invalid(Fault::Path { .. })));
    let method = json!({ "kind": "egress", "host": "x.test", "methods": ["CONNECT"] });
    assert!(matches!(bad(method), GrantError::Invalid(Fault::Method { .. })));
    let unknown = json!({ "kind": "git", "repository": "lib", "refs": ["refs/heads/a"] });
    assert!(matches!(bad(unknown), GrantError::NoRepository(_)));
}

#[test]
fn refs_are_narrowed_to_some_of_those_asked_for() {
    let refs = vec!["refs/heads/a".parse().unwrap(), "refs/heads/b".parse().unwrap()];
    let git = GitRequest { repository: "app".to_owned(), refs, reason: String::new(), term: Term::Bottle };
    let narrow = |name: &str| {
        let refs = Some(vec![name.to_owned()]);
        narrowed(&Requested::Git(git.clone()), &Narrowing { refs, ..Narrowing::default() })
    };
    let Requested::Git(kept) = narrow("refs/heads/b").unwrap() else { panic!() };
    assert_eq!(kept.refs.len(), 1);
    assert_eq!(narrow("refs/heads/*"), Err(GrantError::Wider("refs/heads/*".to_owned())));
}

#[test]
fn risks_are_told_from_facts() {
    let told = |value: Value| risks(&asked(value), &github()).join("; ");
    for (value, word) in [
        (json!({ "kind": "egress", "host": "me.github.io", "methods": ["GET"] }), "below github.io"),
        (json!({ "kind": "egress", "host": "*.github.io" }), "below this suffix"),
        (json!({ "kind": "egress", "host": "*.example.com" }), "every name below"),
        (json!({ "kind": "egress", "host": "api.github.com" }), "credential of the bottle's route"),
        (json!({ "kind": "egress", "host": "new.test" }), "could not reach before"),
        (json!({ "kind": "egress", "host": "new.test", "port": 80 }), "unencrypted"),
        (json!({ "kind": "egress", "host": "new.test", "methods": ["POST"] }), "change things: POST"),
        (json!({ "kind": "egress", "host": "new.test" }), "every path"),
        (json!({ "kind": "secret_route", "host": "new.test", "secret": "ph-1" }), "a credential goes"),
        (json!({ "kind": "git", "repository": "app", "refs": ["refs/heads/*"] }), "every ref of its kind"),
    ] {
        assert!(told(value.clone()).contains(word), "{value}: {}", told(value.clone()));
    }
    let small = json!({
        "kind": "egress", "host": "api.github.com", "methods": ["GET"], "paths": ["/x"], "term": "once",
    });
    assert_eq!(told(small), "it is sent with the credential of the bottle's route to this host");
}
