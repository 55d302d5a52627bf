//! Push: refs, what is searched, and what upstream says.

use super::GitStage;
use bottle_testkit::{GitRepository, Ran, TestEnv};
use std::{collections::BTreeSet, os::unix::fs::PermissionsExt as _, path::Path};

const ALLOW: [&str; 2] = ["--push", "app=refs/heads/agent/*:allow"];
/// A token of a kind that the scanner knows, put together so that this file holds none.
fn token() -> String {
    ["gh", "p_", "q7Lm2XvTz9RkB4nYcW8sHdJ3fGpA6u", "1Gj56z"].concat()
}

/// What this process makes files without.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").expect("our own status");
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:")).expect("a umask");
    u32::from_str_radix(umask.trim(), 8).expect("octal digits")
}

/// With which modes there are objects, each once.
fn modes(repository: &Path) -> Vec<u32> {
    let (mut modes, mut waiting) = (BTreeSet::new(), vec![repository.join("objects")]);
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory").map(|it| it.expect("an entry")) {
            let metadata = entry.metadata().expect("its metadata");
            if metadata.is_dir() {
                waiting.push(entry.path());
            } else {
                modes.insert(metadata.permissions().mode() & 0o777);
            }
        }
    }
    modes.into_iter().collect()
}

impl GitStage {
    /// A clone at `x` with a commit, then `script`.
    #[track_caller]
    pub(super) fn pushing(&self, flags: &[&str], script: &str) -> Ran {
        self.shell(flags, &GitStage::with_commit(script))
    }

    pub(crate) fn with_commit(script: &str) -> String {
        format!(
            "git config --global user.name Agent; git config --global user.email agent@example.test
             git config --global init.defaultBranch main; git config --global advice.detachedHead false
             git clone -q $GIT_GATE_URL/app x; cd x; echo new > new; git add new; git commit -qm 'a new file'
             {script}"
        )
    }
}

#[test]
fn a_branch_that_is_listed_is_pushed_upstream_and_fetched_again() {
    for stage in [GitStage::new(), GitStage::on(TestEnv::ordinary(crate::stage::program()))] {
        let script = "git push origin HEAD:refs/heads/agent/x; git rev-parse HEAD
                      echo more > more; git add more; git commit -qm more; git push -q origin HEAD:refs/heads/agent/x
                      git ls-remote origin refs/heads/agent/x | cut -f1; git rev-parse HEAD; git fetch -q
                      git rev-parse origin/agent/x; git push origin HEAD:refs/heads/agent/x";
        let ran = stage.pushing(&ALLOW, script);
        assert_eq!(modes(stage.upstream.path()), [0o444 & !umask()], "others read it as before");
        let lines: Vec<&str> = ran.success().lines().collect();
        let [first, listed, second, fetched] = lines[..] else { panic!("{ran}") };
        assert!(listed == second && fetched == second && first != second, "{ran}");
        assert_eq!(stage.upstream.upstream("refs/heads/agent/x").as_deref(), Some(second));
        assert!(ran.stderr.contains("remote: refs/heads/agent/x: 3 new objects were searched"), "{ran}");
        assert!(ran.stderr.contains("Everything up-to-date"), "{ran}");
        let audited = stage.audited();
        let pushes = audited.iter().filter(|line| line.starts_with("allow git push to app refs/heads/agent/x from "));
        assert_eq!(pushes.count(), 2, "{audited:?}");
        assert_eq!(audited.iter().filter(|line| line.ends_with("the upstream took it")).count(), 2, "{audited:?}");
    }
}

#[test]
fn a_repository_with_long_names_is_pushed_to_and_searched_as_well() {
    let stage = GitStage::new();
    let long = GitRepository::with_format(&stage.env.work(), "long", stage.env.user(), "sha256");
    let git = format!("long={}", long.path().display());
    let flags = ["--git", &git, "--push", "long=refs/heads/agent/*:allow"];
    let script = |change: &str, to: &str| {
        format!(
            "cd ..; git clone -q $GIT_GATE_URL/long y; cd y; {change}; git add -A; git commit -qm x
             git push -q origin HEAD:refs/heads/agent/{to}; git rev-parse HEAD"
        )
    };
    let ran = stage.pushing(&[&ALLOW[..], &flags].concat(), &script("echo fine > f", "x"));
    assert_eq!(long.upstream("refs/heads/agent/x").as_deref(), Some(ran.success().trim()));
    assert_eq!(ran.success().trim().len(), 64);
    let ran = stage.pushing(&[&ALLOW[..], &flags].concat(), &script(&format!("echo {} > s", token()), "y"));
    assert!(ran.failure(1).contains("this would leave: github"), "{ran}");
}

#[test]
fn everything_else_is_refused_each_ref_with_its_reason() {
    let stage = GitStage::new();
    let head = stage.upstream.upstream("main");
    stage.upstream.git(&["push", "-q", &stage.upstream.path().display().to_string(), "HEAD:refs/heads/agent/old"]);
    stage.upstream.own();
    let only = "only refs/heads/agent/* may be pushed";
    for (refs, reference, reason) in [
        ("HEAD:main", "main", only),
        ("HEAD:refs/tags/v1", "v1", only),
        ("HEAD:refs/notes/x", "refs/notes/x", only),
        ("HEAD:refs/replace/x", "refs/replace/x", ""),
        (":refs/heads/agent/old", "agent/old", "refs may not be deleted"),
        ("+HEAD~1^{tree}:refs/heads/agent/t", "agent/t", ""),
    ] {
        let ran = stage.pushing(&ALLOW, &format!("git push origin '{refs}'"));
        let error = ran.failure(1);
        let line = error.lines().find(|line| line.contains("rejected")).unwrap_or_else(|| panic!("{ran}"));
        assert!(line.contains(reference) && line.contains(reason), "{ran}");
    }
    let force = "git checkout -q --orphan other; git commit -qm other; git push -f origin HEAD:refs/heads/agent/old";
    let ran = stage.pushing(&ALLOW, force);
    assert!(ran.failure(1).contains("this would lose commits; force is not allowed"), "{ran}");
    assert_eq!(stage.upstream.upstream("main"), head);
    assert_eq!(stage.upstream.upstream("refs/heads/agent/old"), head);
    assert_eq!(stage.upstream.upstream("refs/tags/v1"), None);
    let ran = stage.pushing(&[], "git push origin HEAD:refs/heads/agent/x");
    assert!(ran.failure(128).contains("nothing may be pushed to app"), "{ran}");
}

#[test]
fn one_ref_that_is_refused_stops_an_atomic_push_and_no_other() {
    let stage = GitStage::new();
    let refs = "HEAD:refs/heads/agent/a HEAD:main";
    let ran = stage.pushing(&ALLOW, &format!("git push --atomic origin {refs}"));
    assert!(ran.failure(1).contains("atomic"), "{ran}");
    assert_eq!(stage.upstream.upstream("refs/heads/agent/a"), None);
    let ran = stage.pushing(&ALLOW, &format!("git push -o ci.skip origin {refs} || git push origin {refs}"));
    assert!(ran.failure(1).contains("main -> main (only") || ran.stderr.contains("HEAD -> main (only"), "{ran}");
    assert!(ran.stderr.contains("does not support push options"), "{ran}");
    assert!(stage.upstream.upstream("refs/heads/agent/a").is_some());
}

#[test]
fn a_secret_is_found_wherever_it_is() {
    let stage = GitStage::new();
    let token = token();
    let push = "git push origin HEAD:refs/heads/agent/x";
    let script = [
        // In a commit in the middle, and gone at the tip.
        format!("echo {token} > s; git add s; git commit -qm one; git rm -q s; git commit -qm two; {push}"),
        format!("git commit -q --allow-empty -m 'use {token}'; {push}"),
        format!("git -c user.name={token} commit -q --allow-empty -m x; {push}"),
        format!("touch {token}; git add .; git commit -qm x; {push}"),
        format!("git push origin HEAD:refs/heads/agent/{token}"),
        format!(
            "git checkout -qb side HEAD~1; echo {token} > s; git add s; git commit -qm side; git checkout -q main; git merge -q -s ours side; {push}"
        ),
        format!("echo {token} | gzip | base64 > s; git add s; git commit -qm x; {push}"),
    ];
    for script in script {
        let ran = stage.pushing(&ALLOW, &script);
        let error = ran.failure(1);
        assert!(error.contains("this would leave: github"), "{script}: {ran}");
        assert!(
            !error.replace(&script, "").contains(token.get(8..).unwrap_or_default()) || script.contains("agent/gh")
        );
        assert!(stage.audited().iter().any(|line| line.ends_with("[secret]")), "{script}");
    }
    assert_eq!(stage.upstream.git(&["ls-remote", &stage.upstream.path().display().to_string()]).lines().count(), 2);
    let mut env = TestEnv::new(crate::stage::program());
    env.set("OWN", "correct horse battery staple");
    let stage = GitStage::on(env);
    // Its parts alone: the command line of a bottle may not hold it.
    let script = format!("printf '%s %s' 'correct horse' 'battery staple' > s; git add s; git commit -qm x; {push}");
    let ran = stage.pushing(&[&ALLOW[..], &["--protect", "env:OWN"]].concat(), &script);
    assert!(ran.failure(1).contains("known-secret"), "{ran}");
}

#[test]
fn a_rule_that_is_exempt_finds_nothing_in_pushes_and_an_unknown_one_is_a_mistake() {
    let stage = GitStage::new();
    let upstream = stage.upstream.path().display();
    let bottle = |exempt: &str| {
        let push = format!("{{ refs: [\"refs/heads/agent/*\"], approval: allow, exempt: [{exempt}] }}");
        stage.env.bottle("dev", &format!("git:\n  - {{ name: app, upstream: {upstream}, push: {push} }}\n"));
        let script =
            format!("echo {} > s; git add s; git commit -qm x; git push origin HEAD:refs/heads/agent/x", token());
        let command = serde_json::json!(["sh", "-euc", GitStage::with_commit(&script)]);
        stage.env.agent("a", &format!("bottle: dev\nprovider: command\ncommand: {command}"));
        stage.env.run(&["start", "a", "--yes"])
    };
    let refused = bottle("");
    let error = refused.failure(1);
    let rule = error.split("found ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a rule").to_owned();
    assert!(bottle("githup-token").failure(3).contains("is no rule of the scanner"));
    bottle(&rule).success();
}

#[test]
fn a_canary_in_a_push_freezes_the_bottle() {
    let stage = GitStage::new();
    let script =
        "cp ~/.aws/credentials .; git add .; git commit -qm x; git push origin HEAD:refs/heads/agent/x || sleep 60";
    let mut arguments =
        stage.arguments(&[&ALLOW[..], &["--name", "thief-kqzmb"]].concat(), &GitStage::with_commit(script));
    arguments.insert(1, "--detach".to_owned());
    stage.env.run(&arguments).success();
    let frozen = || stage.env.run(&["list"]).stdout.contains("frozen");
    bottle_testkit::wait_until("the bottle to freeze", std::time::Duration::from_secs(30), frozen);
    assert_eq!(stage.upstream.upstream("refs/heads/agent/x"), None);
    stage.env.run(&["thaw", "thief-kqzmb"]).success();
    stage.env.run(&["stop", "--grace", "0", "thief-kqzmb"]);
}

#[test]
fn what_upstream_refuses_reaches_the_agent_in_its_own_words() {
    let stage = GitStage::new();
    stage.upstream.hook("pre-receive", "#!/bin/sh\necho 'not on a Friday' >&2\nexit 1\n");
    let ran = stage.pushing(&ALLOW, "git push origin HEAD:refs/heads/agent/x");
    let error = ran.failure(1);
    assert!(
        error.contains("remote: not on a Friday") && error.contains("upstream: pre-receive hook declined"),
        "{ran}"
    );
    assert_eq!(stage.upstream.upstream("refs/heads/agent/x"), None);
    assert!(stage.audited().iter().any(|line| line.ends_with("did not take it")));
}
