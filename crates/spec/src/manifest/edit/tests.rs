//! Tables of layouts, before and after, and what is given up.

use super::*;
use crate::{host::HostPattern, policy::PathPattern};

fn route() -> Addition {
    let route = Route {
        ports: vec![443],
        methods: Some(vec!["GET".to_owned()]),
        paths: Some(vec![PathPattern("/a/**".to_owned())]),
        ..Route::to(HostPattern::parse("new.test").unwrap())
    };
    Addition::Route { route: Box::new(route), first: false }
}

fn first() -> Addition {
    match route() {
        Addition::Route { route, .. } => Addition::Route { route, first: true },
        other => other,
    }
}

fn refs() -> Addition {
    Addition::Refs { repository: "app".to_owned(), refs: vec!["refs/heads/new/*".parse().unwrap()] }
}

#[track_caller]
fn becomes(addition: &Addition, before: &str, after: &str) {
    let written = addition.write_into("b", Path::new("/b.yaml"), before);
    assert_eq!(written.unwrap_or_else(|error| panic!("{error}: {before}")), after);
}

const NEW: &str = "    - host: \"new.test:443\"\n      methods: [GET]\n      paths:\n        - \"/a/**\"\n";
const WITHIN: &str = "{ host: \"new.test:443\", methods: [GET], paths: [\"/a/**\"] }";

#[test]
fn a_route_stands_behind_the_others_and_nothing_else_moves() {
    let before = "# mine\nimage: 'host'\negress:   # out\n  routes:\n    - host: a.test  # the API\n      methods: [GET]\n      \
                  # and a thought\n\n    - { host: 'b.test' } # another\n  # the office's\n  upstream_ca: ~/ca.pem\nenv: { A: \"1\" }\n";
    let (head, tail) = before.split_at(before.find("  # the office's").unwrap());
    becomes(&route(), before, &format!("{head}{NEW}{tail}"));
    let (head, tail) = before.split_at(before.find("    - host: a.test").unwrap());
    becomes(&first(), before, &format!("{head}{NEW}{tail}"));
}

#[test]
fn every_layout_of_an_absent_or_empty_list_is_written_in_lines() {
    becomes(&route(), "", &format!("egress:\n  routes:\n{NEW}"));
    becomes(&route(), "# nothing yet", &format!("# nothing yet\negress:\n  routes:\n{NEW}"));
    becomes(&route(), "image: host", &format!("image: host\negress:\n  routes:\n{NEW}"));
    becomes(&route(), "egress:\nimage: host\n", &format!("egress:\n  routes:\n{NEW}image: host\n"));
    becomes(&route(), "egress: ~ # none\n", &format!("egress: # none\n  routes:\n{NEW}"));
    becomes(&route(), "egress:\n  routes:\n", &format!("egress:\n  routes:\n{NEW}"));
    becomes(
        &route(),
        "egress:\n  routes: []  # none\nimage: host\n",
        &format!("egress:\n  routes:  # none\n{NEW}image: host\n"),
    );
    becomes(
        &route(),
        "egress:\n  upstream_ca: /ca.pem # ours\n\nimage: host\n",
        &format!("egress:\n  upstream_ca: /ca.pem # ours\n  routes:\n{NEW}\nimage: host\n"),
    );
}

#[test]
fn what_stands_in_brackets_stays_in_brackets() {
    let flow = |before: &str| {
        let written = route().write_into("b", Path::new("/b.yaml"), before);
        written.unwrap_or_else(|error| panic!("{error}: {before}")).replace(WITHIN, "NEW")
    };
    assert_eq!(flow("egress: { routes: [] }\n"), "egress: { routes: [NEW] }\n");
    assert_eq!(flow("egress: {}\n"), "egress: {routes: [NEW]}\n");
    assert_eq!(
        flow("egress: {resolve: {a.test: \"1.2.3.4:1\"}}\n"),
        "egress: {resolve: {a.test: \"1.2.3.4:1\"}, routes: [NEW]}\n"
    );
    assert_eq!(
        flow("egress:\n  routes: [{host: a.test}, # a\n    {host: b.test}, # b\n  ]\n"),
        "egress:\n  routes: [{host: a.test}, # a\n    {host: b.test}, NEW, # b\n  ]\n"
    );
}

#[test]
fn a_list_that_is_not_indented_and_windows_lines_stay_as_they_are() {
    let dedented = NEW.replace("\n    ", "\n  ").replacen("    -", "  -", 1);
    becomes(
        &route(),
        "egress:\n  routes:\n  - host: a.test # ü\n",
        &format!("egress:\n  routes:\n  - host: a.test # ü\n{dedented}"),
    );
    let windows = "egress:\r\n  routes:\r\n    - host: a.test\r\nimage: host\r\n";
    let (head, tail) = windows.split_at(windows.find("image").unwrap());
    becomes(&route(), windows, &format!("{head}{}{tail}", NEW.replace('\n', "\r\n")));
}

#[test]
fn refs_join_those_of_their_repository_alone() {
    let text = |a: &str, b: &str| {
        format!(
            "git:\n  - name: other\n    upstream: https://h.test/o\n    push: {{ refs: [\"refs/heads/x\"] }}\n  - name: app # ours\n    \
             upstream: https://h.test/a\n    push:\n      refs:{a} # mine\n{b}      approval: ask\n"
        )
    };
    becomes(&refs(), &text(" [\"refs/heads/a/*\"]", ""), &text(" [\"refs/heads/a/*\", \"refs/heads/new/*\"]", ""));
    becomes(
        &refs(),
        &text("", "      - refs/heads/a\n"),
        &text("", "      - refs/heads/a\n      - \"refs/heads/new/*\"\n"),
    );
    let without = "git: [{ name: app, upstream: https://h.test/a }]\n";
    let error = refs().write_into("b", Path::new("/b.yaml"), without).unwrap_err();
    assert!(matches!(error, EditError::NoRepository(_)), "{error}");
}

#[test]
fn what_would_change_something_else_is_given_up() {
    let refused = |text: &str| route().write_into("b", Path::new("/b.yaml"), text).unwrap_err();
    // The list is another's, too.
    let repository = |name: &str, list: &str| {
        format!("  - name: {name}\n    upstream: https://h.test/{name}\n    push: {{ refs: {list} }}\n")
    };
    let both = format!("git:\n{}{}", repository("app", "&r [refs/heads/x]"), repository("other", "*r"));
    assert!(matches!(refs().write_into("b", Path::new("/b.yaml"), &both), Err(EditError::Layout)));
    let shared = "egress:\n  routes: &r [{host: a.test}]\n";
    becomes(&route(), shared, &shared.replace("}]", &format!("}}, {WITHIN}]")));
    assert!(matches!(
        refused("egress: &e\n  routes:\n    - &r {host: a.test}\n    - *r\nenv: *e\n"),
        EditError::Unreadable(_)
    ));
    assert!(matches!(refused("image: host\n...\n"), EditError::Layout));
    assert!(matches!(refused("{ image: host }\n"), EditError::Layout));
    assert!(matches!(refused("egress: [\n"), EditError::Unreadable(_)));
    let there = route().write_into("b", Path::new("/b.yaml"), "").unwrap();
    assert!(matches!(refused(&there), EditError::There));
}

#[test]
fn what_is_done_by_hand_gives_the_same() {
    let by_hand = Bottle::parse("b", Path::new("/b.yaml"), &route().by_hand()).unwrap();
    let written = Bottle::parse("b", Path::new("/b.yaml"), &route().write_into("b", Path::new("/b.yaml"), "").unwrap());
    assert_eq!(unplaced(by_hand), unplaced(written.unwrap()));
}
