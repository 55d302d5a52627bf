//! A workspace that is mounted: what the host would run of it cannot be changed from inside, by none of the tricks that
//! change it on a bare directory.

use crate::stage::Stage;
use bottle_testkit::{TestEnv, wait_until};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

/// A name, what is tried in the directory, and the file that then says `evil`.
const TRICKS: &[(&str, &str, &str)] = &[
    ("a hook", "mkdir -p .git/hooks; echo evil > .git/hooks/pre-commit", ".git/hooks/pre-commit"),
    ("the configuration", "echo evil >> .git/config", ".git/config"),
    ("the configuration by git", "git config core.fsmonitor evil", ".git/config"),
    ("renamed over", "echo evil > c; mv -f c .git/config", ".git/config"),
    ("removed and made anew", "rm -f .git/config; echo evil > .git/config", ".git/config"),
    ("exchanged", "echo evil > c; python3 -c \"$EXCHANGE\" c .git/config", ".git/config"),
    ("by a hard link", "ln .git/config alias; echo evil >> alias", ".git/config"),
    ("by another way there", "cd .git/objects; echo evil >> ../config", ".git/config"),
    ("through /proc", "echo evil >> /proc/self/root$PWD/.git/config", ".git/config"),
    ("unmounted", "umount -l .git/config; echo evil >> .git/config", ".git/config"),
    ("its parent replaced", "cp -r .git g; echo evil > g/config; mv .git o && mv -T g .git", ".git/config"),
    ("its parent exchanged", "cp -r .git g; echo evil > g/config; python3 -c \"$EXCHANGE\" g .git", ".git/config"),
    ("its parent a link", "cp -r .git g; echo evil > g/config; mv .git o; ln -s g .git", ".git/config"),
    ("hooks replaced", "mkdir h; echo evil > h/x; rm -rf .git/hooks; mv -T h .git/hooks", ".git/hooks/x"),
    ("hooks a link", "mkdir h; echo evil > h/x; rm -rf .git/hooks; ln -s ../h .git/hooks", ".git/hooks/x"),
    ("another common directory", "echo evil > .git/commondir", ".git/commondir"),
    ("a configuration of the work tree", "echo evil > .git/config.worktree", ".git/config.worktree"),
    ("attributes", "mkdir -p .git/info; echo evil > .git/info/attributes", ".git/info/attributes"),
    (
        "attributes, info replaced",
        "mv .git/info i; mkdir .git/info; echo evil > .git/info/attributes",
        ".git/info/attributes",
    ),
    ("of a submodule", "echo evil >> .git/modules/sub/config", ".git/modules/sub/config"),
    (
        "hooks of a submodule",
        "mkdir -p .git/modules/sub/hooks; echo evil > .git/modules/sub/hooks/x",
        ".git/modules/sub/hooks/x",
    ),
    (
        "modules replaced",
        "mv .git/modules m; mkdir -p .git/modules/sub; echo evil > .git/modules/sub/config",
        ".git/modules/sub/config",
    ),
    ("the pointer of a submodule", "echo 'gitdir: evil' > sub/.git", "sub/.git"),
    ("the pointer of a submodule, replaced", "mv sub s; mkdir sub; echo evil > sub/.git", "sub/.git"),
    ("of a linked work tree", "echo evil > .git/worktrees/w/commondir", ".git/worktrees/w/commondir"),
    ("of a repository within", "mkdir -p in/ner/.git/hooks; echo evil > in/ner/.git/hooks/x", "in/ner/.git/hooks/x"),
    (
        "a repository within, replaced",
        "mv in i; mkdir -p in/ner/.git; echo evil > in/ner/.git/config",
        "in/ner/.git/config",
    ),
    ("where hooksPath leads", "mkdir -p tools/hooks; echo evil > tools/hooks/x", "tools/hooks/x"),
    ("agents of the project", "mkdir -p .bot-bottle; echo evil > .bot-bottle/x", ".bot-bottle/x"),
    ("VS Code", "mkdir -p .vscode; echo evil > .vscode/tasks.json", ".vscode/tasks.json"),
    ("VS Code, made anew", "rmdir .vscode; mkdir .vscode; echo evil > .vscode/tasks.json", ".vscode/tasks.json"),
    ("IDEA", "mkdir -p .idea; echo evil > .idea/x", ".idea/x"),
    ("Claude Code", "mkdir -p .claude; echo evil > .claude/settings.json", ".claude/settings.json"),
    ("Claude Code, there before", "echo evil > .cursor/mcp.json", ".cursor/mcp.json"),
    ("MCP servers", "rm -rf .mcp.json; echo evil > .mcp.json", ".mcp.json"),
    ("direnv", "rm -rf .envrc; echo evil > .envrc", ".envrc"),
    ("npm", "rm -rf .npmrc; echo evil > .npmrc", ".npmrc"),
    ("a development container", "mkdir -p .devcontainer; echo evil > .devcontainer/x", ".devcontainer/x"),
    ("husky", "echo evil >> .husky/pre-commit", ".husky/pre-commit"),
];

/// renameat2(2) with RENAME_EXCHANGE.
const EXCHANGE: &str = "import ctypes, os, sys; a, b = map(os.fsencode, sys.argv[1:]); \
                        ctypes.CDLL(None).renameat2(-100, a, -100, b, 2)";

/// A repository with a submodule, a linked work tree and another repository in it. Everything in it belongs to the user.
fn repository(env: &TestEnv, at: &Path) {
    let script = "git init -q -b main . && git config user.name u && git config user.email u@h && rm -rf .git/hooks && \
                  git config core.hooksPath tools/hooks && \
                  git init -q -b main in/ner && mkdir -p .git/modules && git init -q -b main --separate-git-dir .git/modules/sub sub && \
                  mkdir -p .git/worktrees/w .cursor .husky && echo ../.. > .git/worktrees/w/commondir && \
                  echo {} > .cursor/mcp.json && echo : > .husky/pre-commit && echo given > f && \
                  printf 'in\\nsub\\n' > .gitignore && git add . && git commit -qm one";
    assert_eq!(sh(env, at, &format!("({script}) || echo failed")), "");
}

#[track_caller]
fn sh(env: &TestEnv, at: &Path, script: &str) -> String {
    let mut command = env.program_of_host("sh");
    command.args(["-c", script]).current_dir(at).env("EXCHANGE", EXCHANGE).stdin(Stdio::null());
    let output = command.output().expect("a shell");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn is_evil(root: &Path, file: &str) -> bool {
    fs::read_to_string(root.join(file)).is_ok_and(|text| text.contains("evil"))
}

fn names(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root).expect("a directory of ours");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

#[test]
fn on_a_bare_directory_every_trick_works() {
    let env = TestEnv::ordinary(crate::stage::program());
    repository(&env, &env.work());
    for (name, script, file) in TRICKS {
        if *name == "unmounted" {
            continue;
        }
        let copy = env.root().join("home/copy");
        sh(&env, env.root(), "rm -rf home/copy && cp -a work home/copy");
        assert!(!is_evil(&copy, file), "{name}");
        let said = sh(&env, &copy, script);
        assert!(is_evil(&copy, file), "{name}: {said}");
    }
}

#[test]
fn what_the_host_would_run_cannot_be_changed_from_inside() {
    Stage::for_each_user(|stage| {
        let env = &stage.env;
        repository(env, &env.work());
        let tricks: String = TRICKS
            .iter()
            .map(|(name, script, _)| format!("(cd /workspace; {script}) 2>/dev/null; : {name}\n"))
            .collect();
        let tricks = format!("export EXCHANGE='{EXCHANGE}'\n{tricks}");
        let ran = stage.run(&["--workspace", "mount"], &["sh", "-c", &tricks]);
        for (name, script, file) in TRICKS {
            assert!(!is_evil(&env.work(), file), "{name}: `{script}` wrote {file}\n{ran}");
        }
        let left =
            sh(env, &env.work(), "ls -d .envrc .vscode .claude .git/commondir .git/config.worktree tools 2>/dev/null");
        assert_eq!(left, "", "guards stayed behind");
    });
}

#[test]
fn what_the_host_would_run_of_a_writable_mount_cannot_be_changed_either() {
    Stage::for_each_user(|stage| {
        let env = &stage.env;
        let data = env.root().join("home/data");
        sh(env, env.root(), "mkdir home/data");
        repository(env, &data);
        let of_repositories = |file: &str| file.contains(".git/") || file == "sub/.git" || file.starts_with(".cursor");
        let tricks: Vec<_> = TRICKS.iter().filter(|(_, _, file)| of_repositories(file)).collect();
        assert!(tricks.len() > 20);
        let script: String =
            tricks.iter().map(|(_, script, _)| format!("(cd /data; {script}) 2>/dev/null\n")).collect();
        let script = format!("export EXCHANGE='{EXCHANGE}'\n{script}\necho fine > /data/own; ls -d /data/.idea");
        let mount = format!("{}:/data:rw", data.display());
        let ran = stage.run(&["--workspace", "none", "--mount", &mount], &["sh", "-c", &script]);
        for (name, script, file) in tricks {
            assert!(!is_evil(&data, file), "{name}: `{script}` wrote {file}\n{ran}");
        }
        assert!(data.join("own").exists() && !ran.stdout.contains(".idea"), "{ran}");
        assert_eq!(sh(env, &data, "ls -d .git/commondir .git/config.worktree 2>/dev/null"), "", "guards stayed behind");
    });
}

/// The kernel takes a mount away where the host renames over what it is on: it is at least told.
#[test]
fn a_guarded_file_that_the_host_replaces_is_told() {
    let stage = Stage::ordinary();
    let env = &stage.env;
    repository(env, &env.work());
    let arguments =
        ["run", "--detach", "--keep", "--name", "gone-kqzmb", "--workspace", "mount", "--", "sleep", "1000"];
    env.run(&arguments).success();
    let inside = |script: &str| env.run(&["exec", "gone-kqzmb", "--", "sh", "-c", script]).code;
    assert_ne!(inside("echo evil >> /workspace/.git/config"), Some(0));
    assert_eq!(sh(env, &env.work(), "git config user.name other"), "");
    assert_eq!(
        inside("echo '# evil' >> /workspace/.git/config"),
        Some(0),
        "docs/workspace.md says that this is not held"
    );
    let shown = env.run(&["diff", "gone-kqzmb", "--name-only"]);
    assert!(shown.success().lines().any(|line| line == ".git/config"), "{shown}");
    env.run(&["stop", "--grace", "0", "gone-kqzmb"]).success();
    env.run(&["cleanup", "--all", "--yes"]).success();
}

#[test]
fn an_agent_commits_in_a_mounted_repository_and_sees_nothing_of_its_guards() {
    Stage::for_each_user(|stage| {
        let env = &stage.env;
        repository(env, &env.work());
        let before = names(&env.work());
        let script = "git status --porcelain && echo changed > f && git add -A && git commit -qm two && \
                      git log --format=%s && git status --porcelain && git gc -q && git fsck";
        let ran = stage.run(&["--workspace", "mount"], &["sh", "-c", script]);
        assert_eq!(ran.success(), "two\none\n");
        assert_eq!(names(&env.work()), before);
        assert_eq!(sh(env, &env.work(), "git status --porcelain; git log --format=%s"), "two\none\n");
    });
}

/// Who goes first must not take the mounts of who goes on from under them: to remove what they are on is enough.
#[test]
fn the_guards_of_one_bottle_outlive_another_and_a_crash() {
    let stage = Stage::ordinary();
    let env = &stage.env;
    repository(env, &env.work());
    let start = |name: &str| {
        let arguments = ["run", "--detach", "--name", name, "--workspace", "mount", "--", "sleep", "1000"];
        env.run(&arguments).success().to_owned()
    };
    start("one-kqzmb");
    start("two-kqzmb");
    env.run(&["stop", "--grace", "0", "one-kqzmb"]).success();
    let script = "mkdir -p /workspace/.vscode; echo evil > /workspace/.vscode/tasks.json";
    env.run(&["exec", "two-kqzmb", "--", "sh", "-c", script]);
    assert!(!is_evil(&env.work(), ".vscode/tasks.json"));
    let metadata = fs::read_to_string(env.state().join("bottles/two-kqzmb/metadata.json")).expect("its metadata");
    let keeper =
        metadata.split("\"pid\":").nth(1).and_then(|text| text.split([',', '}']).next()).expect("a pid").trim();
    Command::new("kill").args(["-9", keeper]).status().expect("kill");
    wait_until("it to be dead", crate::screen::SOON, || env.run(&["list"]).stdout.contains("failed"));
    assert!(env.work().join(".vscode").exists());
    env.run(&["cleanup", "--yes"]).success();
    assert!(!env.work().join(".vscode").exists() && !env.work().join(".git/commondir").exists());
    assert!(env.work().join(".cursor/mcp.json").exists(), "the user's own");
}

#[test]
fn a_guarded_name_that_is_a_link_is_refused() {
    let stage = Stage::ordinary();
    let env = &stage.env;
    sh(env, &env.work(), "mkdir d && ln -s d .claude");
    let ran = stage.run(&["--workspace", "mount"], &["true"]);
    assert!(ran.failure(4).contains(".claude of the working directory is a link"), "{ran}");
    assert_eq!(names(&env.work()), [".claude", "d"]);
}

#[test]
fn what_no_mount_could_hold_is_told_at_the_end_and_by_diff() {
    let stage = Stage::ordinary();
    let env = &stage.env;
    repository(env, &env.work());
    let script = "mkdir -p x/y && git init -q x/y && git -C x/y config core.fsmonitor evil && mkdir -p z/.vscode && \
                  echo evil > z/.vscode/tasks.json && echo harmless > z/f";
    let ran = stage.run(&["--workspace", "mount", "--keep", "--name", "deep-kqzmb"], &["sh", "-c", script]);
    ran.success();
    for path in ["x/y/.git/config", "z/.vscode/tasks.json"] {
        assert!(ran.stderr.contains(path), "{path} is not told: {ran}");
    }
    assert!(!ran.stderr.contains("z/f") && !ran.stderr.contains("in/ner"), "{ran}");
    let shown = env.run(&["diff", "deep-kqzmb", "--name-only"]);
    assert!(shown.success().lines().any(|line| line == "z/.vscode/tasks.json"), "{shown}");
    assert!(!shown.stdout.contains("z/f"), "{shown}");
    let quiet = stage.run(&["--workspace", "mount"], &["sh", "-c", "echo more >> f"]);
    assert!(quiet.success().is_empty() && !quiet.stderr.contains("warning"), "{quiet}");
    env.run(&["cleanup", "--all", "--yes"]).success();
}
