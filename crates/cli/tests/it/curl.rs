//! curl in a bottle, and upstreams that are not what they should be. What every backend must do is in the contract.

use crate::stage::{HOST, Stage};
use std::fs;

const ALLOW: &[&str] = &["--allow", "up.test:GET/echo/**", "--auth", "up.test=bearer:env:UP_TOKEN"];

#[test]
fn the_certificate_is_checked_on_both_sides() {
    let stage = Stage::ordinary();
    let distrustful = stage.run(ALLOW, &["curl", "-sS", "--cacert", "/dev/null", "https://up.test/echo/a"]);
    assert_ne!(distrustful.code, Some(0), "without the bottle's authority no client believes the gate");
    for shown in ["Expired", "WrongHost", "SelfSigned"] {
        use bottle_testkit::{TlsUpstream, authority::Shown};
        let shown = match shown {
            "Expired" => Shown::Expired,
            "WrongHost" => Shown::WrongHost,
            _ => Shown::SelfSigned,
        };
        let bad =
            TlsUpstream::options(&["bad.test"]).shown(shown).authority(stage.upstream.authority().clone()).start();
        let resolve = format!("bad.test={}", bad.address());
        let ran = stage.run(&["--allow", "bad.test", "--resolve", &resolve], &["curl", "-sSf", "https://bad.test/"]);
        assert_ne!(ran.code, Some(0), "{shown:?}");
        assert!(bad.seen().is_empty(), "{shown:?}");
    }
}

#[test]
fn a_secret_that_the_upstream_no_longer_takes_is_read_anew_once() {
    let stage = Stage::ordinary();
    let file = stage.env.write("work/token", "stale");
    // A relative path: the command runs in the same directory when the keeper reads it again.
    let command = "up.test=bearer:command:cat token; echo fresh > token";
    let flags = ["--allow", HOST, "--auth", command];
    let ran =
        stage.run(&flags, &["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "https://up.test/refresh/fresh"]);
    assert_eq!(ran.success(), "200");
    assert_eq!(stage.upstream.seen().len(), 2, "once with the old value and once with the new");
    assert_eq!(fs::read_to_string(file).unwrap_or_default().trim(), "fresh");
}
