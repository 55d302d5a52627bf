//! A workspace that is a clone: what the agent gets of the user's repository, and that nothing of it is touched.

use crate::{screen::SOON, stage::Stage};
use bottle_testkit::{TestEnv, wait_until};
use std::{path::Path, process::Stdio};

#[track_caller]
fn sh(env: &TestEnv, at: &Path, script: &str) -> String {
    let mut command = env.program_of_host("sh");
    let output = command.args(["-c", script]).current_dir(at).stdin(Stdio::null()).output().expect("a shell");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// A repository with something of everything. Whatever git could run says so in `pwned`.
const GIVEN: &str = r#"
exec >/dev/null
git init -q -b main $FORMAT . && git config user.name u && git config user.email u@h
printf '*.o\ntarget\nkept.log\n' > .gitignore
printf '*.bin filter=evil\n' > .gitattributes
mkdir -p deep/er target && echo 1 > text && echo x > deep/er/f && echo gone > gone && echo log > kept.log && echo b > a.bin
ln -s text link && echo run > tool && chmod +x tool && printf 'a\nb' > "$(printf 'new\nline')"
git add . && git add -f kept.log && git commit -qm one && git tag v1 && git branch other
echo stashed > text && git stash -q && git config remote.origin.url https://user:password@example.com/x
mkdir sub && (cd sub && git init -q . && git -c user.name=u -c user.email=u@h commit -q --allow-empty -m s)
git -c advice.addEmbeddedRepo=false add sub && git commit -qm submodule
echo 2 > text && git add text && echo 3 >> text && rm gone && echo new > untracked && echo o > x.o && echo t > target/t
chmod +x deep/er/f && echo c >> a.bin && truncate -s 65M big && mkdir repo && (cd repo && git init -q . && echo r > r)
for hook in pre-commit post-commit reference-transaction post-checkout post-index-change pre-push; do
    printf '#!/bin/sh\necho %s >> "%s/pwned"\n' $hook "$PWD/../home" > .git/hooks/$hook; chmod +x .git/hooks/$hook
done
git config core.fsmonitor "echo fsmonitor >> $PWD/../home/pwned; false"
git config filter.evil.clean "echo clean >> $PWD/../home/pwned; cat" && git config filter.evil.smudge "echo smudge >> $PWD/../home/pwned; cat"
git config filter.evil.required true
"#;

/// Everything of the repository but its objects, and the work tree.
const STATE: &str = "{ git -c core.fsmonitor=false for-each-ref --format='%(refname) %(objectname)'; \
                     find . -path ./.git/objects -prune -o -type f -print | sort | xargs -d '\\n' sha256sum; \
                     find . -path ./.git/objects -prune -o -print | sort; } 2>&1";

/// Lines of one that the other has not.
fn changed<'a>(before: &'a str, after: &'a str) -> Vec<&'a str> {
    let (old, new): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    let gone = old.iter().filter(|line| !new.contains(line));
    gone.chain(new.iter().filter(|line| !old.contains(line))).copied().collect()
}

/// What the agent is shown of [`GIVEN`]: no stash, no remote with its password, no filter, nothing that is ignored.
const SEEN: &str = "\
Not committed when seen-kqzmb was given this repository|bot-bottle
submodule|u
one|u
refs/heads/main
refs/remotes/origin/main
refs/remotes/origin/other
v1
2
3
new
log
2
3
a.bin
deep
kept.log
link
new
line
sub
text
tool
untracked
0
23
 a.bin     | 1 +
 deep/er/f | 0
 gone      | 1 -
 text      | 3 ++-
 untracked | 1 +
 5 files changed, 4 insertions(+), 2 deletions(-)
refs/heads/*:refs/heads/bottle/seen-kqzmb/*
origin/main
";

fn sees(stage: &Stage, flags: &[&str], script: &str) -> String {
    let ran = stage.run(&[&["--workspace", "clone"], flags].concat(), &["sh", "-c", script]);
    assert_eq!(ran.code, Some(0), "{ran}");
    ran.stdout
}

#[test]
fn an_agent_has_a_clone_with_what_is_not_committed_and_the_repository_is_as_it_was() {
    Stage::for_each_user(|stage| {
        let env = &stage.env;
        let (work, pwned) = (env.work(), env.root().join("home/pwned"));
        sh(env, &work, &format!("export FORMAT=; {GIVEN}"));
        let _ = std::fs::remove_file(&pwned);
        let before = sh(env, &work, STATE);
        let script = "git log --format='%s|%an' && git status --porcelain && git branch -a --format='%(refname)' && \
                      git tag && cat text untracked kept.log link && test -x tool && test -x deep/er/f && ls && \
                      git stash list; git config --list | grep -c -e password -e evil; git cat-file --batch-all-objects \
                      --batch-check | wc -l; git show --stat --format= HEAD | cat; git config remote.origin.push; \
                      git rev-parse --abbrev-ref '@{upstream}'; ls .git/hooks; git fsck 2>&1";
        let seen = sees(stage, &["--name", "seen-kqzmb"], script);
        assert_eq!(seen, SEEN);
        assert!(!pwned.exists(), "{}", std::fs::read_to_string(&pwned).unwrap_or_default());
        assert_eq!(sh(env, &work, STATE), before, "something of the repository was touched");
    });
}

#[test]
fn the_users_repository_is_the_clones_origin() {
    Stage::for_each_user(|stage| {
        let env = &stage.env;
        sh(env, &env.work(), &format!("export FORMAT=; {GIVEN} rm -rf .git/hooks; git config --unset core.fsmonitor"));
        let before = sh(env, &env.work(), STATE);
        let script = "git fetch -q && git ls-remote origin | cut -f 2 && \
                      git rev-parse -q --verify origin/bottle/ours-kqzmb/given >/dev/null && git clone -q $GIT_GATE_URL/workspace /tmp/x";
        let seen = sees(stage, &["--name", "ours-kqzmb"], script);
        assert_eq!(seen, "HEAD\nrefs/heads/bottle/ours-kqzmb/given\nrefs/heads/main\nrefs/heads/other\nrefs/tags/v1\n");
        assert_eq!(changed(&before, &sh(env, &env.work(), STATE)), [""; 0]);
    });
}

/// What the agent pushes comes to the user's repository as branches under the bottle's name, and nowhere else.
#[test]
fn pushes_come_to_the_users_repository_under_the_bottles_name() {
    Stage::for_each_user(|stage| {
        let env = &stage.env;
        let pwned = env.root().join("home/pwned");
        sh(env, &env.work(), &format!("export FORMAT=; {GIVEN}"));
        let _ = std::fs::remove_file(&pwned);
        let state = format!("{STATE} | grep -v -e bottle/push-kqzmb -e './.git/.*refs/heads/bottle$'");
        let before = sh(env, &env.work(), &state);
        let script = "git config user.name a && git config user.email a@b && echo mine >> text && git commit -qam mine && \
                      git push -q && git checkout -q -b topic && echo more >> text && git commit -qam more && \
                      git push -q origin topic && git commit -q --amend -m amended && git push -q --force origin topic && \
                      { git push origin HEAD:refs/heads/main 2>&1 | grep -c rejected; \
                        git push origin HEAD:refs/heads/bottle/other-kqzmb/x 2>&1 | grep -c rejected; \
                        git push origin --delete refs/heads/other 2>&1 | grep -c rejected; \
                        git push origin HEAD:refs/tags/v2 2>&1 | grep -c rejected; }";
        let seen = sees(stage, &["--name", "push-kqzmb"], script);
        assert_eq!(seen, "1\n1\n1\n1\n");
        let script =
            "git -c core.fsmonitor=false for-each-ref --format='%(refname) %(contents:subject)' refs/heads/bottle";
        let expected = "refs/heads/bottle/push-kqzmb/main mine\nrefs/heads/bottle/push-kqzmb/topic amended\n";
        assert_eq!(sh(env, &env.work(), script), expected);
        assert_eq!(changed(&before, &sh(env, &env.work(), &state)), [""; 0]);
        assert!(!pwned.exists(), "{}", std::fs::read_to_string(&pwned).unwrap_or_default());
    });
}

#[test]
fn a_repository_is_cloned_unasked_and_so_is_no_other_directory() {
    let stage = Stage::ordinary();
    let env = &stage.env;
    assert_eq!(stage.run(&[], &["sh", "-c", "pwd; ls /workspace 2>/dev/null"]).stdout, "/home/agent\n");
    sh(env, &env.work(), "git init -q . && echo x > f");
    assert_eq!(stage.run(&[], &["sh", "-c", "pwd; ls"]).success(), "/workspace\nf\n");
    assert_eq!(stage.run(&["--workspace", "none"], &["pwd"]).success(), "/home/agent\n");
    // Nobody has said who the user is, and the agent commits all the same.
    let ran = stage.run(&[], &["git", "commit", "-q", "--allow-empty", "-m", "x"]);
    assert_eq!(ran.success(), "", "{ran}");
}

/// How repositories can be, what makes one so, and what `git log` and `git status` say of it inside.
const KINDS: &[(&str, &str, &str)] = &[
    ("SHA-256", "git init -q --object-format=sha256 . && echo x > f && git add f && git commit -qm one", "one\n"),
    (
        "nothing committed",
        "git init -q -b new . && echo x > f",
        "Not committed when kind-kqzmb was given this repository\n",
    ),
    ("nothing at all", "git init -q -b new .", "Not committed when kind-kqzmb was given this repository\n"),
    ("detached", "git init -q . && echo x > f && git add f && git commit -qm one && git checkout -q --detach", "one\n"),
    (
        "shallow",
        "git init -q ../home/o && (cd ../home/o && for n in 1 2 3; do git commit -q --allow-empty -m $n; done) && \
         git clone -q --depth 2 file://$PWD/../home/o .",
        "3\n2\n",
    ),
    (
        "a linked work tree",
        "git init -q ../home/o && (cd ../home/o && echo x > f && git add f && git commit -qm one && \
         git worktree add -q -b away ../../work)",
        "one\n",
    ),
    (
        "sparse",
        "git init -q . && mkdir a b && echo x > a/f && echo x > b/f && git add . && git commit -qm one && \
         git sparse-checkout set a && test ! -e b",
        "one\n",
    ),
    (
        "in a conflict",
        "git init -q -b main . && echo x > f && git add f && git commit -qm one && git checkout -q -b o && echo o > f && \
         git commit -qam o && git checkout -q main && echo m > f && git commit -qam m && ! git merge -q o >/dev/null",
        "Not committed when kind-kqzmb was given this repository\nm\none\n",
    ),
];

#[test]
fn repositories_of_every_kind_are_cloned() {
    for (kind, script, expected) in KINDS {
        let stage = Stage::ordinary();
        let env = &stage.env;
        let identity = "git config --global user.name u; git config --global user.email u@h; git config --global init.defaultBranch master";
        let said = sh(env, &env.work(), &format!("{identity}; ({script}) || echo failed"));
        assert_eq!(said, "", "{kind}");
        let before = sh(env, &env.work(), STATE);
        let seen = sees(&stage, &["--name", "kind-kqzmb"], "git log --format=%s && git status --porcelain && git fsck");
        assert_eq!(seen, *expected, "{kind}");
        assert_eq!(changed(&before, &sh(env, &env.work(), STATE)), [""; 0], "{kind}");
    }
}

#[test]
fn a_clone_is_compared_and_applied_and_its_ref_goes_with_it() {
    Stage::for_each_user(|stage| {
        let env = &stage.env;
        sh(env, &env.work(), &format!("export FORMAT=; {GIVEN} rm -r .git/hooks; git config --unset core.fsmonitor"));
        let script = "echo mine >> text && git commit -qam 'in the bottle' && echo made > made && rm kept.log";
        sees(stage, &["--keep", "--name", "kept-kqzmb"], script);
        let refs = "git for-each-ref --format='%(refname)' refs/heads/bottle";
        assert_eq!(sh(env, &env.work(), refs), "refs/heads/bottle/kept-kqzmb/given\n");
        assert_eq!(env.run(&["diff", "--name-only"]).success(), "kept.log\nmade\ntext\n");
        env.run(&["apply", "--yes"]).success();
        assert_eq!(
            sh(env, &env.work(), "cat text made; ls kept.log 2>/dev/null; git log --format=%s"),
            "2\n3\nmine\nmade\nsubmodule\none\n"
        );
        env.run(&["cleanup", "--all", "--yes"]).success();
        assert_eq!(sh(env, &env.work(), refs), "");
    });
}

#[test]
fn what_is_no_repository_is_not_cloned_and_nothing_stays_of_the_attempt() {
    let stage = Stage::ordinary();
    let env = &stage.env;
    let ran = stage.run(&["--workspace", "clone"], &["true"]);
    assert!(ran.failure(4).contains("--workspace copy") || ran.stderr.contains("not a git repository"), "{ran}");
    sh(
        env,
        &env.work(),
        "git init -q -b bottle . && git -c user.name=u -c user.email=u@h commit -q --allow-empty -m one",
    );
    let ran = stage.run(&["--workspace", "clone"], &["true"]);
    assert!(ran.failure(4).contains("bottle"), "a branch of that name is in the way: {ran}");
    assert_eq!(sh(env, &env.work(), "git for-each-ref --format='%(refname)'"), "refs/heads/bottle\n");
}

#[test]
fn a_crash_in_the_middle_leaves_nothing_in_the_repository_that_cleanup_does_not_find() {
    let stage = Stage::ordinary();
    let env = &stage.env;
    sh(
        env,
        &env.work(),
        "git init -q . && git -c user.name=u -c user.email=u@h commit -q --allow-empty -m one && echo x > f",
    );
    let before = sh(env, &env.work(), STATE);
    let mut running = stage.spawn(&["--name", "dead-kqzmb", "--hold-at", "workspace.done"], &["true"]);
    let refs = "git for-each-ref --format='%(refname)' refs/heads/bottle";
    wait_until("the clone", SOON, || sh(env, &env.work(), refs) == "refs/heads/bottle/dead-kqzmb/given\n");
    let journal = env.state().join("bottles/dead-kqzmb/journal");
    let held =
        || std::fs::read_to_string(&journal).is_ok_and(|text| text.contains("workspace") && text.contains("done"));
    wait_until("the step to be done", SOON, held);
    let metadata = std::fs::read_to_string(env.state().join("bottles/dead-kqzmb/metadata.json")).expect("its metadata");
    let keeper =
        metadata.split("\"pid\":").nth(1).and_then(|text| text.split([',', '}']).next()).expect("a pid").trim();
    std::process::Command::new("kill").args(["-9", keeper]).status().expect("kill");
    running.kill();
    wait_until("it to be dead", SOON, || env.run(&["list"]).stdout.contains("failed"));
    env.run(&["cleanup", "--yes"]).success();
    assert_eq!(changed(&before, &sh(env, &env.work(), STATE)), [""; 0]);
}
