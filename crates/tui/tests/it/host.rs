//! A host with three bottles, and agents that ask for something of each kind.

use bottle_tui::event::{Asks, Bottle, BottleState, Decision, DiffKind, DiffLine, Event, Kind, Logs, Request, Verdict};

pub(crate) const NOW: u64 = 1_764_460_800_000;

pub(crate) fn bottle(name: &str, state: BottleState) -> Bottle {
    Bottle {
        name: name.to_owned(),
        agent: "claude".to_owned(),
        state,
        created: Some(NOW - 240_000),
        cpu: Some(123),
        memory: Some(300 << 20),
        traffic: (0..60).map(|n| if n % 7 == 0 { 0 } else { n * n * 100 }).collect(),
        allowed: 12,
        denied: 3,
    }
}

pub(crate) fn bottles() -> Event {
    let bottles = vec![
        bottle("fix-kqzmb", BottleState::Running),
        bottle("review-abcde", BottleState::Frozen),
        bottle("tidy-zyxwv", BottleState::Stopped),
    ];
    Event::Bottles { now: NOW, bottles }
}

pub(crate) fn request(id: &str, kind: Kind, summary: &str) -> Request {
    Request {
        id: id.to_owned(),
        digest: format!("{id}-digest"),
        bottle: "fix-kqzmb".to_owned(),
        kind,
        summary: summary.to_owned(),
        risks: vec!["a host that the bottle could not reach before".to_owned()],
        whole: vec![
            "reason     to read the docs".to_owned(),
            "risk       a host that the bottle could not reach before".to_owned(),
        ],
        diff: Vec::new(),
        made: NOW - 60_000,
        expires: NOW + 29 * 60_000,
        asks: None,
        choices: Vec::new(),
    }
}

pub(crate) fn egress() -> Request {
    let asks = Asks::Reach { methods: Some(vec!["GET".to_owned(), "POST".to_owned()]), paths: None };
    let summary = "send to docs.rs:443  GET,POST on every path, as long as the bottle runs";
    Request { asks: Some(asks), ..request("abcdef", Kind::Egress, summary) }
}

pub(crate) fn push() -> Request {
    let line = |text: &str| {
        let kind = match text.as_bytes() {
            [b'@', ..] => DiffKind::Hunk,
            [b'+', b'+', ..] | [b'-', b'-', ..] | [b'd', ..] => DiffKind::File,
            [b'+', ..] => DiffKind::Added,
            [b'-', ..] => DiffKind::Removed,
            _ => DiffKind::Context,
        };
        DiffLine { kind, text: text.to_owned() }
    };
    let text = "diff --git a/src/main.rs b/src/main.rs\n--- a/src/main.rs\n+++ b/src/main.rs\n@@ -1,4 +1,4 @@\n \
                fn main() {\n-    println!(\"hello\"); // old\n+    println!(\"hello, {}\", 7);\n }\n";
    Request {
        risks: Vec::new(),
        whole: vec![
            "upstream   git@github.com:acme/app.git".to_owned(),
            "ref        refs/heads/agent/x from nothing to 1f2e3d4c".to_owned(),
            "commit     1f2e3d4c Ann: say hello".to_owned(),
        ],
        diff: text.lines().map(line).collect(),
        ..request("ghijkl", Kind::Push, "push to app: refs/heads/agent/x  1 commits")
    }
}

pub(crate) fn refs() -> Request {
    let refs = ["refs/heads/agent/*", "refs/heads/fix"].map(str::to_owned).to_vec();
    Request {
        asks: Some(Asks::Refs(refs)),
        ..request("mnopqr", Kind::Git, "push rule for app: refs/heads/agent/* refs/heads/fix")
    }
}

pub(crate) fn question(choices: &[&str]) -> Request {
    let choices = choices.iter().map(|choice| (*choice).to_owned()).collect();
    Request {
        choices,
        risks: Vec::new(),
        whole: Vec::new(),
        ..request("stuvwx", Kind::Question, "asks: Which database?")
    }
}

pub(crate) fn requests() -> Vec<Request> {
    vec![egress(), push(), refs(), question(&["SQLite", "PostgreSQL"])]
}

pub(crate) fn decision(bottle: &str, seq: u64, verdict: Verdict, text: &str) -> Decision {
    Decision { bottle: bottle.to_owned(), seq, time: NOW + seq * 1000, verdict, text: text.to_owned() }
}

pub(crate) fn decisions() -> Vec<Decision> {
    vec![
        decision("fix-kqzmb", 4, Verdict::Allow, "allow GET docs.rs:443/serde"),
        decision("fix-kqzmb", 5, Verdict::Deny, "deny  POST docs.rs:443/ [method_not_allowed]"),
        decision("review-abcde", 9, Verdict::Deny, "deny  CONNECT evil.test:443 [no_route]"),
        decision("review-abcde", 10, Verdict::Note, "frozen by the operator"),
    ]
}

/// What a first look gives.
pub(crate) fn news() -> Vec<Event> {
    let lines = (1..=60).map(|n| format!("line {n} of the log")).collect();
    let logs = Event::Logs(Logs { bottle: "fix-kqzmb".to_owned(), lines });
    vec![bottles(), Event::Requests(requests()), Event::Decided(decisions()), logs]
}
