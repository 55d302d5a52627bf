//! What the program says, word for word: status, stdout and stderr of everything that needs no bottle.

use bottle_testkit::TestEnv;
use std::fs;

fn env() -> TestEnv {
    TestEnv::new(env!("CARGO_BIN_EXE_bot-bottle"))
}

/// The call and all that came of it, with the environment's own paths left out.
fn said(env: &TestEnv, arguments: &[&str]) -> String {
    let ran = env.run(arguments);
    let shown: Vec<String> = arguments.iter().map(|argument| format!("{argument:?}")).collect();
    let code = ran.code.map_or_else(|| "a signal".to_owned(), |code| code.to_string());
    let text = format!("$ {}\nstatus: {code}\n--- stdout\n{}--- stderr\n{}", shown.join(" "), ran.stdout, ran.stderr);
    let root = env.root().display().to_string();
    let real = fs::canonicalize(env.root()).map(|path| path.display().to_string()).unwrap_or_else(|_| root.clone());
    text.replace(&real, "[root]").replace(&root, "[root]")
}

/// A bottle and agents that name it.
fn stocked() -> TestEnv {
    let mut env = env();
    env.set("API_KEY", "sk-ant-verysecret");
    env.bottle(
        "dev",
        "egress:\n  routes:\n    - host: api.test\n      methods: [GET]\n      auth: { header: x-api-key, secret: env:API_KEY }\n\
         limits: { pids: 64 }\nenv: { LANG: C }\n",
    );
    env.agent("reviewer", "bottle: dev\ncommand: [sh, -c, 'echo hello']");
    env
}

#[test]
fn an_unknown_key() {
    let env = stocked();
    env.bottle("dev", "egres: { routes: [] }\nlimits: { memory: 4G }\n");
    env.agent("reviewer", "bottle: dev\nprovider: cluade");
    insta::assert_snapshot!(said(&env, &["start", "reviewer", "--yes"]));
}

#[test]
fn an_unknown_agent_and_an_unknown_bottle() {
    let env = stocked();
    env.agent("lost", "bottle: dve\ncommand: [true]");
    insta::assert_snapshot!([said(&env, &["start", "reviwer"]), said(&env, &["start", "lost"])].join("\n"));
}

#[test]
fn an_agent_where_there_are_none() {
    insta::assert_snapshot!(said(&env(), &["start", "reviewer"]));
}

#[test]
fn hostile_names() {
    let env = stocked();
    let names = ["../../etc/passwd", "-rf", "a\u{1b}[31m", "a\u{202e}b", ""];
    let all: Vec<String> = names.iter().map(|name| said(&env, &["start", "--yes", "--", name])).collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn a_missing_secret() {
    let env = env();
    let by_variable = ["run", "--allow", "a.test", "--auth", "a.test=bearer:env:TOKEN", "--", "true"];
    let by_file = ["run", "--allow", "a.test", "--auth", "a.test=bearer:file:/nonexistent/token", "--", "true"];
    let by_command =
        ["run", "--allow", "a.test", "--auth", "a.test=basic:command:echo secret >&2; exit 3", "--", "true"];
    insta::assert_snapshot!([said(&env, &by_variable), said(&env, &by_file), said(&env, &by_command)].join("\n"));
}

#[test]
fn a_secret_in_the_wrong_place() {
    let env = stocked();
    let source = ["run", "--allow", "a.test", "--auth", "a.test=bearer:sk-ant-verysecret", "--", "true"];
    let inside =
        ["run", "--allow", "a.test", "--auth", "a.test=bearer:env:API_KEY", "--", "curl", "-H", "x: sk-ant-verysecret"];
    let passed = [
        "run",
        "--allow",
        "a.test",
        "--auth",
        "a.test=bearer:env:API_KEY",
        "--env",
        "KEY=sk-ant-verysecret",
        "--",
        "env",
    ];
    for call in [&source[..], &inside, &passed] {
        let ran = env.run(call);
        assert_eq!(ran.code, Some(2), "{ran}");
        assert!(!ran.stderr.contains("verysecret"), "{ran}");
    }
}

#[test]
fn an_unknown_backend_and_one_not_built() {
    let mut env = env();
    let flag = said(&env, &["run", "--backend", "dokcer", "--", "true"]);
    env.set("BOT_BOTTLE_BACKEND", "kubernetes");
    env.set("BOT_BOTTLE_IMAGE", "debian:13");
    insta::assert_snapshot!([flag, said(&env, &["run", "--", "true"])].join("\n"));
}

#[test]
fn every_bad_flag_at_once() {
    let call = [
        "run",
        "--allow",
        "https://a.test",
        "--allow",
        "1.2.3.4",
        "--auth",
        "b.test=bearer:env:T",
        "--resolve",
        "c.test",
        "--mount",
        "/:/proc",
        "--port",
        "0",
        "--workspace",
        "elsewhere",
        "--image=-x",
        "--env",
        "A",
        "--",
        "true",
    ];
    insta::assert_snapshot!(said(&env(), &call));
}

#[test]
fn a_state_that_cannot_be_kept() {
    let mut env = env();
    let file = env.write("file", "");
    env.set("XDG_STATE_HOME", &file.join("state").display().to_string());
    insta::assert_snapshot!(said(&env, &["run", "--", "true"]));
}

#[test]
fn nobody_to_ask() {
    let env = stocked();
    insta::assert_snapshot!(said(&env, &["start", "reviewer"]));
    assert!(env.bottles().is_empty());
}

#[test]
fn the_preflight() {
    let env = stocked();
    let empty = said(&env, &["run", "--dry-run", "--", "sh", "-c", "echo \u{1b}[31mred"]);
    insta::assert_snapshot!([said(&env, &["preflight", "reviewer", "--name", "reviewer-abcde"]), empty].join("\n"));
}

#[test]
fn a_projects_agent_is_not_trusted_unasked() {
    let env = stocked();
    let mut env = env;
    env.set("LANG", "C");
    fs::create_dir_all(env.work().join(".bot-bottle/agents")).expect("a project");
    fs::create_dir_all(env.work().join(".bot-bottle/bottles")).expect("a project");
    fs::write(env.work().join(".bot-bottle/agents/mole.md"), "---\nbottle: wide\ncommand: [true]\n---\n")
        .expect("an agent");
    fs::write(env.work().join(".bot-bottle/bottles/wide.yaml"), "egress: { routes: [{ host: a.test }] }\n")
        .expect("a bottle");
    insta::assert_snapshot!(said(&env, &["start", "mole", "--yes"]));
}

#[test]
fn init_never_overwrites_and_what_it_writes_is_sound() {
    let env = env();
    let first = said(&env, &["init"]);
    let agent = env.root().join("config/bot-bottle/agents/example.md");
    fs::write(&agent, "mine").expect("a change");
    let second = said(&env, &["init"]);
    assert_eq!(fs::read_to_string(&agent).expect("kept"), "mine");
    fs::remove_file(&agent).expect("gone");
    env.run(&["init"]).success();
    env.run(&["preflight", "example"]).success();
    insta::assert_snapshot!([first, second].join("\n"));
}

#[test]
fn the_policy_is_asked() {
    let env = stocked();
    let check = |method: &str, url: &str| said(&env, &["policy", "check", "--bottle", "dev", "--method", method, url]);
    let all = [
        check("GET", "https://api.test/x?y=1"),
        check("POST", "https://api.test/x"),
        check("GET", "http://api.test/x"),
        check("GET", "https://evil.test/"),
        check("GET", "https://api.test:8443/"),
        check("GET", "ftp://api.test/"),
        said(&env, &["policy", "check", "--allow", "a.test/x/**", "--json", "https://a.test/x/../y"]),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn schemas_completions_and_man_pages_are_printed() {
    let env = env();
    for of in ["agent", "bottle"] {
        let text = env.run(&["schema", of]).success().to_owned();
        assert!(text.trim_start().starts_with('{') && text.contains("additionalProperties"), "{text}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(env.run(&["completions", shell]).success().contains("bot-bottle"));
    }
    assert!(env.run(&["man"]).success().contains(".TH bot-bottle"));
    assert!(env.run(&["man", "run"]).success().contains("allow"));
    let help = env.run(&["--help"]);
    assert!(!help.success().contains("keeper"), "hidden verbs stay hidden: {help}");
}
