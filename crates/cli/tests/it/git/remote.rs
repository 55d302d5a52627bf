//! Upstreams by ssh and https, with credentials that stay outside.

use super::GitStage;
use bottle_testkit::{GitWeb, Ran, Sshd, TestEnv};
use std::{
    fmt::Write as _,
    process::{Command, Stdio},
};

const REFERENCE: &str = "refs/heads/agent/x";
const TOKEN: &str = "token-of-the-forge-51d7c2";

impl GitStage {
    /// `start`s an agent whose bottle has one repository, called `app`, and runs a script.
    fn start(&self, upstream: &str, rest: &str, script: &str) -> Ran {
        let push = format!("push: {{ refs: [\"{REFERENCE}\"], approval: allow }}");
        let mut yaml = format!("git:\n  - name: app\n    upstream: {upstream}\n    {push}\n");
        for line in rest.lines() {
            let _ = writeln!(yaml, "{line}");
        }
        self.env.bottle("dev", &yaml);
        let command = serde_json::json!(["sh", "-euc", GitStage::with_commit(script)]);
        self.env.agent("a", &format!("bottle: dev\nprovider: command\ncommand: {command}"));
        self.env.run(&["start", "a", "--yes"])
    }

    fn pushed(&self) -> bool {
        self.upstream.upstream(REFERENCE).is_some()
    }
}

const SCRIPT: &str = "git push -q origin HEAD:refs/heads/agent/x; GIT_TRACE=1 GIT_TRACE_CURL=1 GIT_TRACE_PACKET=1 git fetch; git rev-parse origin/agent/x HEAD; env";

#[test]
fn an_upstream_by_ssh_takes_a_key_that_the_bottle_never_has() {
    let stage = GitStage::new();
    let Some(sshd) = Sshd::start(stage.env.root(), stage.env.user()) else {
        println!("SKIPPED(no sshd): an upstream by ssh");
        return;
    };
    let url = sshd.url(stage.upstream.path());
    let known = format!("    known_hosts: {}", sshd.known_hosts.display());
    let keys = format!("    identity_file: {}\n{known}", sshd.identity.display());
    let ran = stage.start(&url, &keys, &format!("{SCRIPT}; git clone -q {url} again; ls again"));
    assert!(ran.success().ends_with("README\n"), "the upstream's own name leads to the door: {ran}");
    assert!(stage.pushed(), "{ran}");
    let text = std::fs::read_to_string(&sshd.identity).expect("a key");
    assert!(!ran.stdout.contains(&text) && !ran.stdout.contains("SSH_AUTH_SOCK"), "{ran}");
    // A host that has another key is not spoken to.
    std::fs::write(
        &sshd.known_hosts,
        std::fs::read_to_string(&sshd.known_hosts).expect("hosts").replace("AAAA", "AAAB"),
    )
    .expect("a file of ours");
    super::fetch::outdate(&stage);
    let ran = stage.start(&url, &keys, SCRIPT);
    assert!(ran.stderr.contains("the upstream cannot be reached"), "{ran}");
}

#[test]
fn an_upstream_by_ssh_takes_the_keys_of_an_agent() {
    let mut env = TestEnv::new(crate::stage::program());
    let socket = env.root().join("agent.sock");
    env.set("SSH_AUTH_SOCK", &socket.display().to_string());
    let stage = GitStage::on(env);
    let Some(sshd) = Sshd::start(stage.env.root(), stage.env.user()) else {
        println!("SKIPPED(no sshd): keys of an ssh agent");
        return;
    };
    let mut agent = Command::new("ssh-agent").args(["-D", "-a"]).arg(&socket).spawn().expect("ssh-agent starts");
    bottle_testkit::wait_until("the agent's socket", std::time::Duration::from_secs(10), || socket.exists());
    let added = Command::new("ssh-add").arg("-q").arg(&sshd.identity).env("SSH_AUTH_SOCK", &socket).status();
    assert!(added.expect("ssh-add runs").success());
    let known = format!("    known_hosts: {}", sshd.known_hosts.display());
    let ran = stage.start(&sshd.url(stage.upstream.path()), &known, SCRIPT);
    let _ = (agent.kill(), agent.wait());
    ran.success();
    assert!(stage.pushed(), "{ran}");
}

/// The agent waits for the mirror itself: nothing it does asks for one.
#[test]
fn a_mirror_that_is_not_there_is_made_before_anyone_asks() {
    let stage = GitStage::new();
    let Some(sshd) = Sshd::start(stage.env.root(), stage.env.user()) else {
        println!("SKIPPED(no sshd): a mirror made ahead");
        return;
    };
    let url = sshd.url(stage.upstream.path());
    let keys =
        format!("    identity_file: {}\n    known_hosts: {}\n", sshd.identity.display(), sshd.known_hosts.display());
    stage.env.bottle("dev", &format!("git:\n  - name: app\n    upstream: {url}\n{keys}"));
    stage.env.agent("a", "bottle: dev\nprovider: command\ncommand: [cat]");
    let mut waiting = stage.env.command(&["start", "a", "--yes"]);
    let waiting = waiting.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = waiting.spawn().expect("bot-bottle starts");
    let mirrors = stage.env.root().join("cache/bot-bottle/mirrors");
    bottle_testkit::wait_until("a mirror", std::time::Duration::from_secs(30), || {
        let mut mirrors = std::fs::read_dir(&mirrors).into_iter().flatten().flatten();
        mirrors.any(|mirror| mirror.path().join("mirror.git/HEAD").exists())
    });
    drop(child.stdin.take());
    let output = child.wait_with_output().expect("bot-bottle ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("note: a mirror of `app` is being made"), "{said}");
    assert!(stage.audited().is_empty(), "nobody has fetched: {:?}", stage.audited());
    // It is there now.
    let again = stage.env.run(&["start", "a", "--yes"]);
    assert!(!again.stderr.contains("mirror"), "{again}");
}

#[test]
fn an_upstream_by_https_takes_a_token_that_the_bottle_never_has() {
    for (scheme, sent) in [
        // x-access-token and the token, in base64.
        ("basic", "Basic eC1hY2Nlc3MtdG9rZW46dG9rZW4tb2YtdGhlLWZvcmdlLTUxZDdjMg==".to_owned()),
        ("bearer", format!("Bearer {TOKEN}")),
    ] {
        let mut env = TestEnv::new(crate::stage::program());
        env.set("FORGE_TOKEN", TOKEN);
        let stage = GitStage::on(env);
        let Some(web) = GitWeb::start(stage.env.root(), &stage.env.work(), &sent) else {
            println!("SKIPPED(no nginx or fcgiwrap): an upstream by https");
            return;
        };
        let receive = stage.upstream.path().join("config");
        let config = std::fs::read_to_string(&receive).expect("a configuration");
        std::fs::write(&receive, format!("{config}[http]\n\treceivepack = true\n")).expect("a file of ours");
        let ca = stage.env.write("config/git-ca.pem", web.authority().pem());
        let auth = format!("    auth: {{ scheme: {scheme}, secret: env:FORGE_TOKEN }}");
        let trust = format!("egress: {{ upstream_ca: {} }}", ca.display());
        let url = web.url("app.git");
        let ran = stage.start(&url, &format!("{auth}\n{trust}"), &format!("{SCRIPT}; git clone -q {url} again"));
        ran.success();
        assert!(stage.pushed(), "{ran}");
        assert!(!ran.stdout.contains(TOKEN) && !ran.stderr.contains(TOKEN), "{ran}");
        // Without it, and with one that the server does not know, git says why and no more.
        super::fetch::outdate(&stage);
        let mirrors = stage.env.root().join("cache/bot-bottle/mirrors");
        std::fs::remove_dir_all(mirrors).expect("there are mirrors");
        let ran = stage.start(&url, &trust, SCRIPT);
        assert!(ran.failure(128).contains("the upstream cannot be reached"), "{ran}");
        let found = Command::new("grep").args(["-rlF", "--", TOKEN]).arg(stage.env.root()).output().expect("grep runs");
        let found = String::from_utf8_lossy(&found.stdout).into_owned();
        assert!(found.lines().all(|line| line.contains("/nginx/")), "the token is on the disk: {found}");
    }
}

#[test]
fn a_token_that_the_upstream_refuses_is_read_anew() {
    let stage = GitStage::new();
    let Some(web) = GitWeb::start(stage.env.root(), &stage.env.work(), &format!("Bearer {TOKEN}")) else {
        println!("SKIPPED(no nginx or fcgiwrap): a token that is read anew");
        return;
    };
    let receive = stage.upstream.path().join("config");
    let config = std::fs::read_to_string(&receive).expect("a configuration");
    std::fs::write(&receive, format!("{config}[http]\n\treceivepack = true\n")).expect("a file of ours");
    let ca = stage.env.write("config/git-ca.pem", web.authority().pem());
    let used = stage.env.root().join("used").display().to_string();
    // Old at the start, new whenever it is asked for again.
    let command =
        format!("command:if [ -e {used} ]; then echo x >> {used}; echo {TOKEN}; else touch {used}; echo old-7f2c; fi");
    let auth = format!("    auth: {{ scheme: bearer, secret: {} }}", serde_json::json!(command));
    let ran = stage.start(&web.url("app.git"), &format!("{auth}\negress: {{ upstream_ca: {} }}", ca.display()), SCRIPT);
    ran.success();
    assert!(stage.pushed(), "{ran}");
    let asked = std::fs::read_to_string(&used).expect("the command ran");
    assert_eq!(asked, "x\n", "it is asked once, and not at every turn");
    assert!(!ran.stdout.contains(TOKEN) && !ran.stderr.contains(TOKEN), "{ran}");
}

#[test]
fn many_who_fetch_at_one_time_ask_the_upstream_a_few_times_at_most() {
    const CLONES: usize = 16;
    let stage = GitStage::new();
    let Some(web) = GitWeb::start(stage.env.root(), &stage.env.work(), &format!("Bearer {TOKEN}")) else {
        println!("SKIPPED(no nginx or fcgiwrap): fetches at one time");
        return;
    };
    let ca = stage.env.write("config/git-ca.pem", web.authority().pem());
    let auth = format!("    auth: {{ scheme: bearer, secret: \"command:echo {TOKEN}\" }}");
    // What is pushed makes the mirror old.
    let receive = stage.upstream.path().join("config");
    let config = std::fs::read_to_string(&receive).expect("a configuration");
    std::fs::write(&receive, format!("{config}[http]\n\treceivepack = true\n")).expect("a file of ours");
    let script = format!(
        "git push -q origin HEAD:{REFERENCE}; for n in $(seq {CLONES}); do git clone -q $GIT_GATE_URL/app c$n & done; wait; cat c*/README | grep -c hello"
    );
    let ran =
        stage.start(&web.url("app.git"), &format!("{auth}\negress: {{ upstream_ca: {} }}", ca.display()), &script);
    assert_eq!(ran.success(), format!("{CLONES}\n"));
    let log = std::fs::read_to_string(stage.env.root().join("nginx/access.log")).expect("a log");
    let fetches = log.lines().filter(|line| line.contains("/info/refs?service=git-upload-pack"));
    let asked = fetches.filter(|line| line.contains("\" 200 ")).count();
    // Before the push, behind it, and again where the machine is slow.
    assert!((2..=CLONES / 3).contains(&asked), "{asked}: {log}");
}
