//! curl in a bottle: what a route allows works, the secret arrives at the upstream and nowhere else, and the rest is
//! refused, whichever way it tries.

use crate::stage::{HOST, Stage, TOKEN};
use bottle_testkit::{env::leftovers, wait_for};
use std::{fs, path::Path, process::Command, time::Duration};

const ALLOW: &[&str] = &["--allow", "up.test:GET/echo/**", "--auth", "up.test=bearer:env:UP_TOKEN"];
const SOON: Duration = Duration::from_secs(30);

#[test]
fn an_allowed_request_gets_the_secret_and_the_bottle_does_not() {
    Stage::for_each_user(|stage| {
        let ran = stage.run(ALLOW, &["curl", "-sS", "https://up.test/echo/a?b=c"]);
        let echo: serde_json::Value = serde_json::from_str(ran.success()).expect("the upstream's echo");
        assert_eq!((&echo["method"], &echo["target"]), (&"GET".into(), &"/echo/a?b=c".into()));
        let seen = stage.upstream.seen();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
        assert_eq!(seen[0].sni.as_deref(), Some(HOST));
        assert!(!ran.stdout.contains(TOKEN), "the upstream's echo brought the secret in");
        assert!(ran.stdout.contains("authorization"), "the echo shows what stands in the secret's place");
    });
}

#[test]
fn what_no_route_allows_is_refused_with_the_reason() {
    let stage = Stage::ordinary();
    let report = ["-sS", "-o", "/dev/stdout", "-w", "\n%{http_code} %header{x-bot-bottle-reason}"];
    for (url, method) in [
        ("https://up.test/other", "GET"),
        ("https://up.test/echo/a", "DELETE"),
        ("http://up.test/other", "GET"),
        ("http://else.test/", "GET"),
    ] {
        let ran = stage.run(ALLOW, &[&["curl", "-X", method], &report[..], &[url]].concat());
        let (body, status) = ran.success().rsplit_once('\n').expect("body and status");
        assert!(status.starts_with("403 ") && status.len() > 4, "{method} {url}: {status}");
        let body: serde_json::Value = serde_json::from_str(body).expect("the refusal is JSON");
        for key in ["error", "reason", "host", "method", "path", "next_step"] {
            assert!(body.get(key).is_some(), "{key} in {body}");
        }
    }
    let denied = stage.run(ALLOW, &["curl", "-sS", "https://else.test/"]);
    assert_ne!(denied.code, Some(0), "a tunnel to a denied host: {denied}");
    assert!(stage.upstream.seen().is_empty());
}

#[test]
fn an_empty_list_lets_nothing_out() {
    let stage = Stage::ordinary();
    for url in ["https://up.test/echo", "http://up.test/echo"] {
        let ran = stage.run(&[], &["curl", "-sSf", url]);
        assert_ne!(ran.code, Some(0), "{url}");
    }
    assert!(stage.upstream.seen().is_empty());
}

#[test]
fn without_proxy_variables_the_policy_is_the_same() {
    Stage::for_each_user(|stage| {
        let ran = stage.run(ALLOW, &["curl", "-sS", "--noproxy", "*", "https://up.test/echo/a"]);
        assert!(ran.success().contains("/echo/a"));
        assert_eq!(stage.upstream.take_seen()[0].header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
        for url in ["https://up.test/other", "https://else.test/", "http://up.test/other", "https://192.0.2.1/"] {
            let ran = stage.run(ALLOW, &["curl", "-sSf", "--max-time", "10", "--noproxy", "*", url]);
            assert_ne!(ran.code, Some(0), "{url}: {ran}");
        }
        assert!(stage.upstream.seen().is_empty());
    });
}

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
fn the_secret_is_nowhere_but_on_the_request() {
    Stage::for_each_user(|stage| {
        let look = "env; cat /proc/*/environ /proc/*/cmdline 2>/dev/null; curl -sS https://up.test/echo/a; \
                    find / -xdev -type f -size -1024k -not -path '/proc/*' -not -path '/usr/*' -not -path '/opt/*' \
                    -exec cat {} + 2>/dev/null; curl -sS https://up.test/slow/3000; echo looked";
        let running =
            stage.spawn(&["--keep", "--allow", HOST, "--auth", "up.test=bearer:env:UP_TOKEN"], &["sh", "-c", look]);
        wait_for("the bottle to be at work", SOON, || (stage.upstream.seen().len() >= 2).then_some(()));
        let outside = processes_saying(TOKEN, stage.env.root());
        let ran = running.finish(SOON);
        assert!(ran.success().contains("looked"));
        assert!(!ran.stdout.contains(TOKEN), "inside");
        assert!(outside.is_empty(), "in the arguments or environment of {outside:?}");
        let holding = files_holding(stage.env.root(), TOKEN.as_bytes());
        assert!(holding.is_empty(), "in {holding:?}");
        assert!(!files_holding(stage.env.root(), b"up.test").is_empty(), "the search finds what is there");
    });
}

/// Our processes (not the cli that was given the secret in its environment) that say `word` for others to read.
fn processes_saying(word: &str, root: &Path) -> Vec<String> {
    let list = Command::new("ps").args(["-eo", "args"]).output().map(|output| output.stdout).unwrap_or_default();
    let mut found = Vec::new();
    if String::from_utf8_lossy(&list).contains(word) {
        found.push("ps".to_owned());
    }
    let ours = leftovers::processes(&root.to_string_lossy());
    assert!(ours.iter().any(|(_, line)| line.ends_with("keeper")), "a keeper is among {ours:?}");
    for (pid, line) in ours {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if !line.contains(" run ") && String::from_utf8_lossy(&environment).contains(word) {
            found.push(line);
        }
    }
    found
}

fn files_holding(directory: &Path, word: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            found.extend(files_holding(&path, word));
        } else if kind.is_file() && !path.ends_with("bin/bot-bottle") {
            let bytes = fs::read(&path).unwrap_or_default();
            if bytes.windows(word.len()).any(|window| window == word) {
                found.push(path.display().to_string());
            }
        }
    }
    found
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
