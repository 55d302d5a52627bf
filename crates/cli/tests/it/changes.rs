//! `diff` and `apply`: what a bottle did in its copy comes to the working directory, and nothing that the host would run
//! comes with it.

use crate::stage::Stage;
use bottle_testkit::{Ran, TestEnv};
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::{Command, Stdio},
};

/// A name of this environment's own: tests run side by side.
fn bottle(env: &TestEnv) -> String {
    let root = env.root().to_string_lossy().into_owned();
    let letters = root.bytes().rev().take(5).map(|byte| char::from(b'a' + byte % 26));
    format!("copy-{}", letters.collect::<String>())
}

/// A shell of the user's; what it says on both outputs.
#[track_caller]
fn sh(env: &TestEnv, at: &Path, script: &str) -> String {
    let mut command = env.program_of_host("sh");
    let output = command.args(["-c", script]).current_dir(at).stdin(Stdio::null()).output().expect("a shell");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// A repository of the user's, and what a bottle makes of its copy with `script`.
fn bottled(env: &TestEnv, script: &str) {
    let given = "git init -q -b main . && git config user.name u && git config user.email u@h && \
                 printf '1\\n2\\n3\\n' > text && printf 'a\\0b' > binary && echo gone > gone && mkdir -p deep/er empty && \
                 echo x > deep/er/f && echo run > tool && ln -s text link && printf 'target\\n*.o\\n' > .gitignore && \
                 mkdir target && echo built > target/out && git add . && git commit -qm one && echo untracked > new";
    assert_eq!(sh(env, &env.work(), given), "");
    let ran = env.run(&["run", "--keep", "--name", &bottle(env), "--workspace", "copy", "--", "sh", "-c", script]);
    ran.success();
}

fn diff(env: &TestEnv, flags: &[&str]) -> Ran {
    env.run(&[&["diff", bottle(env).as_str()], flags].concat())
}

fn apply(env: &TestEnv, flags: &[&str]) -> Ran {
    env.run(&[&["apply", bottle(env).as_str()], flags].concat())
}

fn copy(env: &TestEnv) -> std::path::PathBuf {
    env.state().join("bottles").join(bottle(env)).join("agent/workspace")
}

const WORK: &str = "printf '1\\nzwei\\n3\\n' > text && printf 'a\\0c' > binary && rm gone && rm -r deep && \
                    chmod +x tool && mkdir -p src/sub && echo 'fn' > src/sub/lib.rs && ln -sfn new link && \
                    mkdir target && echo built > target/out && echo x > y.o && rm new && mkdir new && echo d > new/d && \
                    git add -A && git -c user.name=a -c user.email=a@b commit -qm 'in the bottle'";

#[test]
fn what_the_bottle_did_comes_to_the_directory_and_git_reads_the_patch() {
    Stage::for_each_user(|stage| {
        let env = &stage.env;
        bottled(env, WORK);
        let changed = "binary\ndeep/er/f\ngone\nlink\nnew\nnew/d\nsrc/sub/lib.rs\ntext\ntool\n";
        assert_eq!(diff(env, &["--name-only"]).success(), changed);
        assert!(diff(env, &["--stat"]).success().contains("executable now"), "{}", diff(env, &["--stat"]));
        let json = diff(env, &["--json"]);
        assert!(json.success().contains(r#""on_host": "clean""#) && !json.stdout.contains("conflict"), "{json}");

        // git's own opinion of the patch, in which what has no lines is only named.
        let patch = diff(env, &[]);
        env.write("patch", patch.success());
        sh(env, env.root(), "cp -a work home/other");
        let other = env.root().join("home/other");
        assert_eq!(sh(env, &other, "git apply ../../patch"), "");
        assert_eq!(sh(env, &other, "cat text new/d; test -x tool && readlink link"), "1\nzwei\n3\nd\nnew\n");

        let before =
            sh(env, &env.work(), "git rev-parse HEAD && git diff --cached --stat && ls .git && cat .git/config");
        let check = apply(env, &["--check"]);
        assert!(check.success().is_empty() && check.stderr.contains("modified  text"), "{check}");
        assert!(env.work().join("gone").exists(), "--check did something");
        let nobody = apply(env, &[]);
        assert!(nobody.failure(2).contains("--yes"), "{nobody}");
        assert_eq!(apply(env, &["--yes"]).success(), format!("9 changes applied to {}\n", env.work().display()));
        let same = format!("diff -r --no-dereference -x .git -x target -x y.o -x empty . {}", copy(env).display());
        let seen = Command::new("sh").args(["-c", &same]).current_dir(env.work()).output().expect("diff");
        assert_eq!(String::from_utf8_lossy(&seen.stdout), "");
        let after =
            sh(env, &env.work(), "git rev-parse HEAD && git diff --cached --stat && ls .git && cat .git/config");
        assert_eq!(before, after, "the repository's own was touched");
        assert_eq!(
            sh(env, &env.work(), "ls -a | grep bot-bottle; ls -d deep 2>/dev/null; find . ! -user $(id -u)"),
            ""
        );
        // Again there is nothing to do.
        assert!(apply(env, &["--yes"]).success().is_empty());
        env.run(&["cleanup", "--all", "--yes"]).success();
    });
}

/// Everything in the bottle's copy that could make the host run something, or reach something else.
const HOSTILE: &str = r#"
mkdir -p .git/hooks && printf '#!/bin/sh\ntouch %s/pwned\n' "$ROOT" > .git/hooks/pre-commit && chmod +x .git/hooks/pre-commit
printf '#!/bin/sh\ntouch %s/pwned\n' "$ROOT" > m && chmod +x m
git config core.fsmonitor "touch $ROOT/pwned; false"
git config core.pager "touch $ROOT/pwned"
git config diff.external "touch $ROOT/pwned"
git config core.hooksPath "$PWD/.git/hooks"
git config core.sshCommand "touch $ROOT/pwned"
git config filter.x.clean "touch $ROOT/pwned; cat"
git config filter.x.smudge "touch $ROOT/pwned; cat"
git config alias.status "!touch $ROOT/pwned"
git config gpg.program "touch $ROOT/pwned"
git config include.path "$PWD/evil"
echo '* filter=x' > .gitattributes
printf '[submodule "x"]\n\tpath = x\n\turl = ext::sh -c touch%% %s/pwned\n' "$ROOT" > .gitmodules
mkdir -p .vscode .idea .claude .devcontainer .cursor .husky sub/.vscode .bot-bottle/agents .cargo
for f in .vscode/tasks.json .idea/x .claude/settings.json .devcontainer/devcontainer.json .cursor/mcp.json .husky/x \
    sub/.vscode/x .bot-bottle/agents/x.md .cargo/config.toml .mcp.json .envrc .npmrc x.code-workspace .pre-commit-config.yaml
do echo evil > $f; done
mkdir -p nested/.git .GIT .Git/hooks 'git~1' && echo evil > nested/.git/config && echo evil > .GIT/config && echo evil > 'git~1/config'
echo 'gitdir: /evil' > sub/.git
ln -s / out; ln -s ../.. up; mkdir -p a/b && ln -s ../../top a/b/g && ln -s g/../../.. a/b/sly; ln -s .git/hooks hooks
ln text hard; mkfifo fifo; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("sock")'
echo x > "$(printf 'new\nline')"; echo x > "$(printf 'esc\033[31m')"; echo x > "$(printf 'bad\377')"
rm .gitignore && ln -s /dev/zero .gitignore; mkfifo .ignore; mkdir -p deep2 && ln -s /dev/zero deep2/.gitignore
truncate -s 1T sparse; mkdir closed && echo x > closed/f && chmod 000 closed; echo x > shut && chmod 000 shut
echo '#!/bin/sh' > harmless.sh && chmod 755 harmless.sh
rm -rf deep && ln -s / deep
"#;

#[test]
fn nothing_that_this_host_would_run_is_applied_or_run() {
    Stage::for_each_user(|stage| {
        let env = &stage.env;
        bottled(env, &format!("ROOT={}; {HOSTILE} true", env.root().join("home").display()));
        let pwned = env.root().join("home/pwned");
        for flags in [&[][..], &["--stat"], &["--json"], &["--name-only"]] {
            let ran = diff(env, flags);
            ran.success();
            assert!(!ran.stderr.contains('\u{1b}'), "{ran}");
        }
        let ran = apply(env, &["--yes"]);
        assert_eq!(ran.code, Some(5), "{ran}");
        assert!(!pwned.exists(), "something was run");
        let work = env.work();
        for gone in [
            ".gitattributes",
            ".gitmodules",
            ".vscode",
            ".idea",
            ".claude",
            ".devcontainer",
            ".cursor",
            ".husky",
            "sub",
            ".bot-bottle",
            ".cargo",
            ".mcp.json",
            ".envrc",
            ".npmrc",
            "x.code-workspace",
            ".pre-commit-config.yaml",
            "nested",
            ".GIT",
            ".Git",
            "git~1",
            "out",
            "up",
            "hooks",
            "fifo",
            "sock",
            "new\nline",
            "sparse",
            "a/b/sly",
            ".git/hooks/pre-commit",
        ] {
            assert!(work.join(gone).symlink_metadata().is_err(), "{gone} was applied: {ran}");
        }
        for there in ["harmless.sh", "hard", "m"] {
            assert!(work.join(there).exists(), "{there} was not applied: {ran}");
        }
        assert!(work.join("deep/er/f").exists() || !work.join("deep").is_symlink(), "{ran}");
        assert!(!work.join(".gitignore").is_symlink(), "{ran}");
        // After a look, one by one.
        assert_eq!(apply(env, &["--yes", "--take", ".envrc"]).code, Some(5));
        assert_eq!(fs::read_to_string(work.join(".envrc")).expect("it was named"), "evil\n");
        for never in ["out", "git~1", "nested"] {
            let ran = apply(env, &["--yes", "--take", never]);
            assert!(ran.code != Some(0) && work.join(never).symlink_metadata().is_err(), "{ran}");
        }
        // As a control: git does run what the copy holds, if it is let.
        let status = format!("git -c safe.directory='*' -C {} status", copy(env).display());
        let _ = Command::new("sh").args(["-c", &status]).env("HOME", "/nonexistent").output().expect("git");
        assert!(pwned.exists(), "the control shows nothing");
        env.run(&["cleanup", "--all", "--yes"]).success();
    });
}

#[test]
fn what_changed_on_the_host_meanwhile_is_never_written_over() {
    let stage = Stage::ordinary();
    let env = &stage.env;
    bottled(
        env,
        "echo bottle > text; echo bottle > fresh; mkdir d && echo bottle > d/f; rm gone; echo bottle > deep/er/f",
    );
    let work = env.work();
    let unchanged = |what: &str| {
        assert_eq!(apply(env, &["--check"]).code, Some(4), "{what}");
        let ran = apply(env, &["--yes"]);
        assert!(ran.failure(4).contains("--leave"), "{what}: {ran}");
        assert!(work.join("gone").exists() || what == "gone", "{what}: half applied");
    };
    fs::write(work.join("text"), "mine").expect("ours");
    unchanged("modified on both sides");
    assert_eq!(fs::read_to_string(work.join("text")).expect("ours"), "mine");
    fs::write(work.join("text"), "1\n2\n3\n").expect("ours");
    fs::write(work.join("fresh"), "mine").expect("ours");
    unchanged("made on both sides");
    fs::remove_file(work.join("fresh")).expect("ours");
    fs::write(work.join("d"), "mine").expect("ours");
    unchanged("a file where a directory is to be");
    fs::remove_file(work.join("d")).expect("ours");
    fs::write(work.join("gone"), "mine").expect("ours");
    unchanged("changed here, deleted there");
    fs::write(work.join("gone"), "gone\n").expect("ours");
    // A directory that is a link by now is not gone through.
    let outside = env.root().join("home/outside");
    fs::create_dir(&outside).expect("ours");
    fs::write(outside.join("f"), "x\n").expect("ours");
    fs::rename(work.join("deep/er"), env.root().join("home/er")).expect("ours");
    symlink(&outside, work.join("deep/er")).expect("ours");
    unchanged("a link in the way");
    assert_eq!(fs::read_to_string(outside.join("f")).expect("ours"), "x\n");
    let ran = apply(env, &["--yes", "--leave", "deep"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert_eq!(fs::read_to_string(work.join("text")).expect("applied"), "bottle\n");
    assert!(!work.join("gone").exists() && work.join("d/f").exists());
    env.run(&["cleanup", "--all", "--yes"]).success();
}

#[test]
fn an_apply_that_was_broken_off_is_found_and_modes_are_the_users() {
    let stage = Stage::ordinary();
    let env = &stage.env;
    bottled(env, "echo more >> text; chmod 600 text; echo x > made");
    let text = env.work().join("text");
    fs::set_permissions(&text, fs::Permissions::from_mode(0o640)).expect("ours");
    let beside = env.work().join(".bot-bottle-apply");
    fs::create_dir(&beside).expect("ours");
    let ran = apply(env, &["--yes"]);
    assert!(ran.failure(4).contains(".bot-bottle-apply is there"), "{ran}");
    fs::remove_dir(&beside).expect("ours");
    // Without a name: the only one of this directory.
    env.run(&["apply", "--yes"]).success();
    assert_eq!(fs::metadata(&text).expect("ours").permissions().mode() & 0o777, 0o640);
    assert_eq!(env.run(&["apply", "--yes", "--take", "nothing"]).code, Some(2));
    env.run(&["cleanup", "--all", "--yes"]).success();
    assert_eq!(env.run(&["diff"]).code, Some(2));
    assert_eq!(env.run(&["diff", "gone-kqzmb"]).code, Some(2));
}

/// A bottle that runs swaps a directory for a link to something of the host's, as fast as it can.
#[test]
fn a_directory_swapped_for_a_link_leads_nobody_out() {
    let stage = Stage::ordinary();
    let env = &stage.env;
    let outside = env.write("home/outside/f", "SECRET\n");
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o644)).expect("ours");
    assert_eq!(sh(env, &env.work(), "mkdir swap && echo given > swap/f"), "");
    let name = bottle(env);
    let script = format!(
        "import os\nos.symlink({:?}, 'link')\nopen('swap/f', 'w').write('mine\\n')\n\
         while True:\n os.rename('swap', 'away'); os.rename('link', 'swap'); os.rename('swap', 'link'); os.rename('away', 'swap')",
        outside.parent().expect("a directory")
    );
    let arguments = ["run", "--detach", "--name", &name, "--workspace", "copy", "--", "python3", "-c", &script];
    env.run(&arguments).success();
    // The control: who follows links is led out before long.
    let seen = || fs::read_to_string(copy(env).join("swap/f")).is_ok_and(|text| text == "SECRET\n");
    bottle_testkit::wait_until("a reader that follows links to be led out", crate::screen::SOON, seen);
    for _ in 0..40 {
        let shown = diff(env, &[]);
        assert!(!shown.stdout.contains("SECRET"), "{shown}");
        let _ = apply(env, &["--yes", "--leave", "link"]);
        let _ = apply(env, &["--yes"]);
    }
    let here = fs::read_to_string(env.work().join("swap/f")).unwrap_or_default();
    assert!(here != "SECRET\n" && !env.work().join("swap").is_symlink() && !env.work().join("link").is_symlink());
    assert!(outside.exists(), "it was removed through the link");
    env.run(&["stop", "--grace", "0", &name]).success();
}
