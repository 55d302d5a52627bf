//! Clone and fetch.

use super::GitStage;
use bottle_testkit::{GitRepository, TestEnv, env};

#[test]
fn a_repository_is_cloned_and_fetched_under_all_its_names() {
    for stage in [GitStage::new(), GitStage::on(TestEnv::ordinary(crate::stage::program()))] {
        let path = stage.upstream.path().display().to_string();
        let script = format!(
            "git clone -q $GIT_GATE_URL/app one; cat one/README; git -C one remote -v | head -1
             git clone -q file://{path} two; cat two/README; git -C two fetch -q {path}
             git clone -q $GIT_GATE_URL/app.git four; git -C four fetch -q; git -C four rev-parse HEAD"
        );
        let ran = stage.shell(&[], &script);
        let head = stage.upstream.upstream("main").expect("main is there");
        let remote = "origin\tgit://127.0.0.1:9418/app (fetch)";
        assert_eq!(ran.success(), format!("hello\n{remote}\nhello\n{head}\n"));
        let audited = stage.audited();
        assert_eq!(audited.len(), 5, "{audited:?}");
        assert!(audited.iter().all(|line| line == "allow git fetch of app"), "{audited:?}");
    }
}

#[test]
fn what_is_not_listed_fails_with_one_line_that_says_what_to_do() {
    let stage = GitStage::new();
    for (url, name) in [
        ("$GIT_GATE_URL/other", "other"),
        ("git@github.com:acme/app.git", "github.com:acme/app.git"),
        ("ssh://git@github.com/acme/app", "git@github.com/acme/app"),
        ("$GIT_GATE_URL/../../etc", "../../etc"),
        ("$GIT_GATE_URL//etc/passwd", "/etc/passwd"),
    ] {
        let ran = stage.shell(&[], &format!("git clone {url} x"));
        let error = ran.failure(128);
        let line =
            error.lines().find(|line| line.starts_with("fatal: remote error:")).unwrap_or_else(|| panic!("{error}"));
        assert!(
            line.contains(&format!(
                "no repository `{name}` here; it serves: app. Your operator can list it under `git:`"
            )),
            "{line}"
        );
    }
    assert!(stage.audited().iter().all(|line| line.ends_with("[unlisted_repository]")));
}

#[test]
fn other_services_are_refused() {
    let stage = GitStage::new();
    let ran = stage.shell(&[], "git archive --remote=$GIT_GATE_URL/app HEAD");
    assert!(ran.failure(128).contains("serves fetch and push, and nothing else"), "{ran}");
    let ran = stage
        .shell(&[], "printf 'nonsense of some length' | timeout 5 bash -c 'cat >/dev/tcp/127.0.0.1/9418'; echo fine");
    assert_eq!(ran.success(), "fine\n");
}

#[test]
fn shallow_partial_and_sha256_repositories_work() {
    let stage = GitStage::new();
    stage.upstream.commit("a/b", "text\n", "the second");
    let ran = stage.shell(
        &[],
        "git clone -q --depth 1 $GIT_GATE_URL/app shallow; git -C shallow rev-list --count HEAD
         git clone -q --filter=blob:none --no-checkout $GIT_GATE_URL/app partial
         git -C partial rev-list --objects --missing=print HEAD | grep -c '^?'
         git -C partial checkout -q; cat partial/a/b
         git -C shallow fetch -q --unshallow; git -C shallow rev-list --count HEAD",
    );
    assert_eq!(ran.success(), "1\n2\ntext\n2\n");
    let other = GitRepository::with_format(&stage.env.work(), "long", stage.env.user(), "sha256");
    let git = format!("long={}", other.path().display());
    let ran = stage.shell(&["--git", &git], "git clone -q $GIT_GATE_URL/long x; git -C x rev-parse HEAD");
    assert_eq!(ran.success().trim().len(), 64);
}

#[test]
fn what_upstream_has_since_is_fetched_and_an_upstream_that_is_gone_leaves_a_warning() {
    let stage = GitStage::new();
    let clone = "git clone $GIT_GATE_URL/app x; git -C x log --format=%s";
    assert_eq!(stage.shell(&[], clone).success(), "the first\n");
    let moved = stage.upstream.path().with_extension("gone");
    std::fs::rename(stage.upstream.path(), &moved).expect("a directory of ours");
    std::fs::create_dir(stage.upstream.path()).expect("a directory of ours");
    outdate(&stage);
    let ran = stage.shell(&[], clone);
    assert_eq!(ran.success(), "the first\n");
    assert!(ran.stderr.contains("remote: warning: the upstream cannot be reached"), "{ran}");
    std::fs::remove_dir(stage.upstream.path()).expect("it is empty");
    std::fs::rename(&moved, stage.upstream.path()).expect("a directory of ours");
    stage.upstream.commit("later", "x", "the second");
    outdate(&stage);
    let ran = stage.shell(&[], clone);
    assert_eq!(ran.success(), "the second\nthe first\n");
    assert!(!ran.stderr.contains("warning"), "{ran}");
}

/// As if the last refresh were long ago.
pub(super) fn outdate(stage: &GitStage) {
    let mirrors = stage.env.root().join("cache/bot-bottle/mirrors");
    for mirror in std::fs::read_dir(mirrors).expect("there are mirrors").flatten() {
        // Fails where nothing was refreshed.
        let _ = std::fs::remove_file(mirror.path().join("refreshed"));
    }
}

#[test]
fn no_git_door_where_there_is_no_repository() {
    let stage = GitStage::new();
    let ran = stage.env.run(&["run", "--", "sh", "-c", "git ls-remote git://127.0.0.1:9418/app; ls /etc/gitconfig"]);
    let error = ran.failure(2);
    assert!(error.contains("Connection refused") && error.contains("No such file"), "{ran}");
    if !env::is_root() {
        println!("SKIPPED(not root): the same for a bottle that root starts");
    }
}

#[test]
fn the_same_is_served_over_http() {
    let stage = GitStage::new();
    let allow = ["--push", "app=refs/heads/agent/*:allow"];
    let script = "cd ..; git clone -q http://127.0.0.1:9418/app h; cd h
        for n in $(seq 100); do git commit -q --allow-empty -m $n; done; head -c 1200000 /dev/urandom > big; git add big
        git commit -qm big; git push -q origin HEAD:refs/heads/agent/h; git rev-parse HEAD
        git clone -q -c protocol.version=0 -b agent/h http://127.0.0.1:9418/app.git old; git -C old rev-parse HEAD
        git -C ../x fetch -q http://127.0.0.1:9418/app agent/h; git -C ../x rev-parse FETCH_HEAD
        git push http://127.0.0.1:9418/app HEAD:main 2>&1 | grep rejected
        git ls-remote http://127.0.0.1:9418/other 2>&1 | head -1
        curl -s -o /dev/null -w '%{http_code}\\n' http://127.0.0.1:9418/app/HEAD
        curl -s -o /dev/null -w '%{http_code}\\n' -d x http://127.0.0.1:9418/app/git-upload-archive";
    let ran = stage.pushing(&allow, script);
    let lines: Vec<&str> = ran.success().lines().collect();
    let [pushed, old, fetched, rejected, unlisted, dumb, archive] = lines[..] else { panic!("{ran}") };
    assert!(pushed == old && pushed == fetched, "{ran}");
    assert!(rejected.contains("only refs/heads/agent/* may be pushed"), "{ran}");
    assert!(unlisted.contains("remote: the git gate serves no repository `other` here"), "{ran}");
    assert_eq!((dumb, archive), ("404", "404"));
    assert_eq!(stage.upstream.upstream("refs/heads/agent/h").as_deref(), Some(pushed));
}
