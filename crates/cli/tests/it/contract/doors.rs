//! The ways out that a bottle has, each met by the program that everybody uses.

use super::{Backend, Fixture, NAME, SOON};
use crate::{
    gate::pid_of,
    stage::{HOST, TOKEN},
};
use bottle_testkit::{GitRepository, env::leftovers, wait_for, wait_until};
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

const ALLOW: &[&str] = &["--allow", "up.test:GET/echo/**", "--auth", "up.test=bearer:env:UP_TOKEN"];

pub(super) fn an_allowed_request_gets_the_secret_and_the_bottle_does_not(backend: Backend) {
    Fixture::for_each_user(backend, |it| {
        let ran = it.stage.run(ALLOW, &["curl", "-sS", "https://up.test/echo/a?b=c"]);
        let echo: Value = serde_json::from_str(ran.success()).expect("the upstream's echo");
        assert_eq!((&echo["method"], &echo["target"]), (&"GET".into(), &"/echo/a?b=c".into()));
        let seen = it.stage.upstream.seen();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
        assert_eq!(seen[0].sni.as_deref(), Some(HOST));
        assert!(!ran.stdout.contains(TOKEN), "the upstream's echo brought the secret in");
        assert!(ran.stdout.contains("authorization"), "the echo shows what stands in the secret's place");
    });
}

pub(super) fn what_no_route_allows_is_refused_with_the_reason(backend: Backend) {
    let Some(it) = Fixture::ordinary(backend) else { return };
    let report = ["-sS", "-o", "/dev/stdout", "-w", "\n%{http_code} %header{x-bot-bottle-reason}"];
    for (url, method) in [
        ("https://up.test/other", "GET"),
        ("https://up.test/echo/a", "DELETE"),
        ("http://up.test/other", "GET"),
        ("http://else.test/", "GET"),
    ] {
        let ran = it.stage.run(ALLOW, &[&["curl", "-X", method], &report[..], &[url]].concat());
        let (body, status) = ran.success().rsplit_once('\n').expect("body and status");
        assert!(status.starts_with("403 ") && status.len() > 4, "{method} {url}: {status}");
        let body: Value = serde_json::from_str(body).expect("the refusal is JSON");
        for key in ["error", "reason", "host", "method", "path", "next_step"] {
            assert!(body.get(key).is_some(), "{key} in {body}");
        }
    }
    let denied = it.stage.run(ALLOW, &["curl", "-sS", "https://else.test/"]);
    assert_ne!(denied.code, Some(0), "a tunnel to a denied host: {denied}");
    assert!(it.stage.upstream.seen().is_empty());
}

pub(super) fn an_empty_list_lets_nothing_out(backend: Backend) {
    let Some(it) = Fixture::ordinary(backend) else { return };
    for url in ["https://up.test/echo", "http://up.test/echo"] {
        let ran = it.stage.run(&[], &["curl", "-sSf", url]);
        assert_ne!(ran.code, Some(0), "{url}");
    }
    assert!(it.stage.upstream.seen().is_empty());
}

pub(super) fn without_proxy_variables_the_policy_is_the_same(backend: Backend) {
    Fixture::for_each_user(backend, |it| {
        let ran = it.stage.run(ALLOW, &["curl", "-sS", "--noproxy", "*", "https://up.test/echo/a"]);
        assert!(ran.success().contains("/echo/a"));
        let seen = it.stage.upstream.take_seen();
        assert_eq!(seen[0].header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
        for url in ["https://up.test/other", "https://else.test/", "http://up.test/other", "https://192.0.2.1/"] {
            let ran = it.stage.run(ALLOW, &["curl", "-sSf", "--max-time", "10", "--noproxy", "*", url]);
            assert_ne!(ran.code, Some(0), "{url}: {ran}");
        }
        assert!(it.stage.upstream.seen().is_empty());
    });
}

pub(super) fn the_secret_is_nowhere_but_on_the_request(backend: Backend) {
    Fixture::for_each_user(backend, |it| {
        let look = "env; cat /proc/*/environ /proc/*/cmdline 2>/dev/null; curl -sS https://up.test/echo/a; \
                    find / -xdev -type f -size -1024k -not -path '/proc/*' -not -path '/usr/*' -not -path '/opt/*' \
                    -exec cat {} + 2>/dev/null; curl -sS https://up.test/slow/3000; echo looked";
        let flags = ["--keep", "--allow", HOST, "--auth", "up.test=bearer:env:UP_TOKEN"];
        let running = it.stage.spawn(&flags, &["sh", "-c", look]);
        let root = it.env().root();
        wait_for("the bottle to be at work", SOON, || (it.stage.upstream.seen().len() >= 2).then_some(()));
        let outside = processes_saying(TOKEN, root);
        let ran = running.finish(SOON);
        assert!(ran.success().contains("looked"));
        assert!(!ran.stdout.contains(TOKEN), "inside");
        assert!(outside.is_empty(), "in the arguments or environment of {outside:?}");
        let holding = files_holding(root, TOKEN.as_bytes());
        assert!(holding.is_empty(), "in {holding:?}");
        assert!(!files_holding(root, b"up.test").is_empty(), "the search finds what is there");
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

pub(super) fn without_its_gate_nothing_leaves_and_a_new_one_has_the_old_policy(backend: Backend) {
    let Some(it) = Fixture::ordinary(backend) else { return };
    let stage = &it.stage;
    let script = "while :; do curl -s -o /dev/null -w '%{http_code}\\n' --max-time 1 https://up.test/echo/a || echo none >>~/none; \
                  curl -s -o /dev/null -w 'denied %{http_code}\\n' --max-time 1 https://up.test/other || :; done";
    let log = stage.env.root().join("log");
    let mut command = stage.env.command(&stage.arguments(&["--allow", "up.test:GET/echo/**"], &["sh", "-c", script]));
    let output = fs::File::create(&log).expect("a file of ours");
    command.stdin(Stdio::null()).stdout(output).stderr(Stdio::null());
    let mut launcher = command.spawn().expect("the program starts");
    let came = || stage.upstream.seen().len();
    wait_until("requests to arrive", SOON, || came() >= 2);

    let keeper = pid_of(stage, "keeper").expect("a keeper");
    let gate = pid_of(stage, "gate").expect("a gate");
    kill_process(keeper, Signal::STOP).expect("our own keeper");
    kill_process(gate, Signal::KILL).expect("our own gate");
    wait_until("the gate to be gone", SOON, || pid_of(stage, "gate") != Some(gate));
    let before = came();
    // Where its output is carried by its keeper, that stands still as well.
    let bottles = fs::read_dir(stage.env.state().join("bottles")).expect("its state");
    let home = bottles.flatten().next().expect("the bottle").path().join("agent/home");
    let read = || match (backend, it.containers().as_slice()) {
        // Its home is there.
        (Backend::DockerSent, [container]) => {
            it.engine().client(&["exec", container, "cat", "/home/agent/none"]).stdout
        }
        _ => fs::read_to_string(home.join("none")).unwrap_or_default(),
    };
    let lines = || read().lines().count();
    wait_until("requests to fail", SOON, || lines() >= 2);
    assert_eq!(came(), before, "something left without a gate");

    kill_process(keeper, Signal::CONT).expect("our own keeper");
    wait_until("requests to arrive again", SOON, || came() > before);
    let new = wait_for("a new gate", SOON, || pid_of(stage, "gate"));
    assert_ne!(new, gate);
    assert!(stage.upstream.seen().iter().all(|seen| seen.path() == "/echo/a" && seen.host.starts_with(HOST)));
    let text = fs::read_to_string(&log).unwrap_or_default();
    assert!(!text.contains("denied 200"), "{text}");
    launcher.kill().expect("our own launcher");
    launcher.wait().expect("our own launcher");
    it.comes_to_an_end();
}

pub(super) fn git_goes_through_its_door_alone(backend: Backend) {
    Fixture::for_each_user(backend, |it| {
        let upstream = GitRepository::new(&it.env().work(), "app", it.env().user());
        let git = format!("app={}", upstream.path().display());
        let script = "git config --global user.name Agent; git config --global user.email agent@example.test
                      git clone -q $GIT_GATE_URL/app x && cd x && echo new > new && git add new && git commit -qm new
                      git push -q origin HEAD:refs/heads/agent/x && git ls-remote origin refs/heads/agent/x | cut -f1
                      git rev-parse HEAD; git push -q origin HEAD:main 2>&1 | grep -c 'may be pushed'";
        let flags = ["--workspace", "none", "--git", &git, "--push", "app=refs/heads/agent/*:allow"];
        let ran = it.stage.run(&flags, &["sh", "-c", script]);
        let lines: Vec<&str> = ran.success().lines().collect();
        let [listed, made, refused] = lines[..] else { panic!("{ran}") };
        assert!(listed == made && refused == "1", "{ran}");
        assert_eq!(upstream.upstream("refs/heads/agent/x").as_deref(), Some(made));
        assert_ne!(upstream.upstream("main").as_deref(), Some(made));
    });
}

/// By the protocol itself: what the official client does besides is tested with it.
pub(super) fn an_agent_asks_and_goes_on_when_its_operator_says_yes(backend: Backend) {
    let Some(it) = Fixture::new(backend) else { return };
    let ask = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"request_egress",
                 "arguments":{"host":"up.test","paths":["/echo/a"],"reason":"to do my work"}}}"#;
    let script = format!(
        "status() {{ curl -s -o /dev/null -w %{{http_code}} https://up.test/echo/a; }}; echo before $(status)
         curl -sS -m 60 -H 'accept: application/json, text/event-stream' -H 'content-type: application/json' \
           -d '{ask}' $BOT_BOTTLE_MCP_URL | grep -c pending
         until test \"$(status)\" = 200; do sleep 0.1; done; echo granted"
    );
    let flags = ["--allow", "up.test:GET/size/**", "--name", NAME];
    let running = it.stage.spawn(&flags, &["sh", "-c", &script]);
    let id = wait_for("a request", SOON, || {
        let listed = it.env().run(&["requests", "--json"]);
        let listed: Vec<Value> = serde_json::from_str(&listed.stdout).ok()?;
        listed.first()?["id"].as_str().map(str::to_owned)
    });
    assert!(it.stage.upstream.seen().is_empty());
    it.env().run(&["approve", "--yes", &id]).success();
    let ran = running.finish(SOON);
    assert_eq!(ran.success(), "before 403\n1\ngranted\n", "{ran}");
    it.nothing_is_left();
}
