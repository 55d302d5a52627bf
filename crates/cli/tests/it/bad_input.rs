//! What cannot be: one clear error with the next step, the right exit code, and nothing left behind.

use crate::stage;
use bottle_testkit::{Ran, TestEnv, wait::comes_within};
use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

const USAGE: i32 = 2;
const MANIFEST: i32 = 3;
const HOST: i32 = 4;

fn env() -> TestEnv {
    let env = TestEnv::ordinary(stage::program());
    env.bottle("good", "image: host\n");
    env.agent("good", "bottle: good\nprovider: command\ncommand: [\"true\"]");
    env
}

/// Says `word`, gives the code, and leaves nothing.
#[track_caller]
fn refused(env: &TestEnv, ran: &Ran, code: i32, word: &str) {
    assert!(ran.failure(code).contains(word), "no `{word}` in: {ran}");
    assert!(ran.stdout.is_empty(), "an error on standard output: {ran}");
    let gone = comes_within(Duration::from_secs(5), || env.leftovers().is_empty().then_some(()));
    assert!(gone.is_some(), "{:#?}", env.leftovers());
}

#[test]
fn mistakes_in_manifests_are_told_with_file_line_and_hint() {
    let env = env();
    env.bottle("typo", "image: host\negres: {}\nlimits: { memry: 1GiB }\n");
    env.agent("typo", "bottle: typo\nprovider: command\ncommand: [\"true\"]");
    let ran = env.run(&["start", "typo", "--yes"]);
    refused(&env, &ran, MANIFEST, "typo.yaml:2");
    assert!(ran.stderr.contains("egress") && ran.stderr.contains("memory"), "both mistakes, both hints: {ran}");
}

#[test]
fn what_is_not_there_is_named() {
    let env = env();
    env.agent("lost", "bottle: nowhere\nprovider: command\ncommand: [\"true\"]");
    refused(&env, &env.run(&["start", "lost", "--yes"]), MANIFEST, "nowhere");
    refused(&env, &env.run(&["start", "nobody", "--yes"]), MANIFEST, "nobody");
    refused(
        &env,
        &env.run(&["run", "--auth", "a.test=bearer:env:NOT_SET", "--allow", "a.test", "--", "true"]),
        HOST,
        "NOT_SET",
    );
}

#[test]
fn an_unknown_backend_or_flag_is_usage() {
    let env = env();
    let ran = env.run(&["run", "--backend", "bottles-of-glass", "--", "true"]);
    assert!([Some(USAGE), Some(MANIFEST)].contains(&ran.code), "{ran}");
    assert!(ran.stderr.contains("namespace"), "the backends there are: {ran}");
    refused(&env, &env.run(&["run", "--no-such-flag", "--", "true"]), USAGE, "no-such-flag");
    refused(&env, &env.run(&["no-such-verb"]), USAGE, "no-such-verb");
}

#[test]
fn hostile_names_are_no_names() {
    let env = env();
    for name in ["../good", "good/../../x", "a b", "\u{1b}[31mred", "-rf", "", "a\nb"] {
        let ran = env.run(&["start", "--yes", "--", name]);
        assert!([Some(USAGE), Some(MANIFEST)].contains(&ran.code), "{name:?}: {ran}");
        assert!(!ran.stderr.contains('\u{1b}'), "an escape reached the terminal: {ran}");
        assert!(env.leftovers().is_empty(), "{name:?}");
    }
    for host in ["http://a.test", "a.test\r\nX: y", "127.0.0.1", "a b", "*"] {
        let ran = env.run(&["run", "--allow", host, "--", "true"]);
        assert!([Some(USAGE), Some(MANIFEST)].contains(&ran.code), "{host:?}: {ran}");
    }
}

#[test]
fn a_state_directory_that_cannot_be_written_is_told() {
    if !bottle_testkit::env::is_root() {
        println!("SKIPPED(not root): a directory of another user");
        return;
    }
    let env = env();
    let state = env.root().join("state");
    std::os::unix::fs::chown(&state, Some(0), Some(0)).expect("root may take a directory");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).expect("root may open it");
    refused(&env, &env.run(&["run", "--", "true"]), HOST, "XDG_STATE_HOME");
}

#[test]
fn a_name_that_is_taken_is_told() {
    let env = env();
    env.run(&["run", "--keep", "--name", "twice-abcde", "--", "true"]).success();
    let ran = env.run(&["run", "--keep", "--name", "twice-abcde", "--", "true"]);
    assert!(ran.failure(USAGE).contains("twice-abcde"), "{ran}");
    assert_eq!(env.bottles(), ["twice-abcde"]);
}

/// Something of the host's in `/run` is what the self-probe must not find.
#[test]
fn a_bottle_that_is_not_tight_starts_no_agent() {
    let env = env();
    let started = env.write("work/out/before", "").with_file_name("started");
    let out = format!("{}:/out:rw", env.work().join("out").display());
    let leak = format!("{}:/run/leak", env.work().join("out").display());
    let run = |mounts: &[&str]| env.run(&[&["run"], mounts, &["--", "touch", "/out/started"]].concat());
    refused(&env, &run(&["--mount", &out, "--mount", &leak]), HOST, "not tight");
    assert!(!started.exists(), "the agent ran");
    run(&["--mount", &out]).success();
    assert!(started.exists(), "without the leak it runs");
}

#[test]
fn a_program_that_is_not_there_has_the_shells_code() {
    let env = env();
    refused(&env, &env.run(&["run", "--", "no-such-program"]), 127, "no-such-program");
    assert_eq!(env.run(&["run", "--", "sh", "-c", "exit 42"]).code, Some(42));
    assert_eq!(env.run(&["run", "--", "sh", "-c", "kill -9 $$"]).code, Some(128 + 9));
}

#[test]
fn a_host_that_forbids_user_namespaces_is_told_what_to_do() {
    if !bottle_testkit::env::is_root() {
        println!("SKIPPED(not root): the limit on namespaces is root's to set");
        return;
    }
    let env = env();
    // In a user namespace of its own the limit can be set to none without touching the machine's.
    let command = env.command(&["run", "--", "true"]);
    let mut shell = std::process::Command::new("unshare");
    shell.args(["--user", "--map-root-user", "--mount-proc", "--fork", "--pid", "sh", "-c"]);
    shell.arg("echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all \"$0\" run -- true");
    shell.arg(env.program()).env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.current_dir(env.root());
    let ran = bottle_testkit::Running::start(shell).finish(bottle_testkit::env::PATIENCE);
    if ran.stderr.contains("max_user_namespaces: ") {
        println!("SKIPPED(the limit cannot be set here)");
        return;
    }
    assert_eq!(ran.code, Some(HOST), "{ran}");
    assert!(ran.stderr.contains("namespace"), "{ran}");
}
