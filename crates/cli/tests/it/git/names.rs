//! Repositories under the names that tools know them by.

use super::GitStage;
use bottle_testkit::{GitRepository, GitWeb, Ran, TestEnv};
use std::{fmt::Write as _, path::Path, process::Command};

const SENT: &str = "Bearer t0";

/// Repositories of `github.com` and `git.example.test`, behind a server that the plan says is there.
struct Forge {
    /// Ends before its files go.
    web: GitWeb,
    stage: GitStage,
    acme: std::path::PathBuf,
}

impl Forge {
    fn new() -> Option<Forge> {
        let mut env = TestEnv::new(crate::stage::program());
        env.set("FORGE_TOKEN", "t0");
        let stage = GitStage::on(env);
        let acme = stage.env.work().join("acme");
        std::fs::create_dir(&acme).expect("a directory of ours");
        let Some(web) = GitWeb::start(stage.env.root(), &stage.env.work(), SENT) else {
            println!("SKIPPED(no nginx or fcgiwrap): names of a forge");
            return None;
        };
        Some(Forge { web, stage, acme })
    }

    fn repository(&self, name: &str) -> GitRepository {
        GitRepository::new(&self.acme, name, self.stage.env.user())
    }

    /// A bottle in which the repositories of these upstreams are listed.
    fn run(&self, listed: &[(&str, &str)], rest: &str, script: &str) -> Ran {
        let ca = self.stage.env.write("config/git-ca.pem", self.web.authority().pem());
        let mut yaml = String::from("git:\n");
        for (name, upstream) in listed {
            let auth = "auth: { scheme: bearer, secret: env:FORGE_TOKEN }";
            let _ = writeln!(yaml, "  - {{ name: {name}, upstream: \"{upstream}\", {auth} }}");
        }
        let address = self.web.address();
        let resolve = format!("{{ github.com: \"{address}\", git.example.test: \"{address}\" }}");
        let _ = writeln!(yaml, "egress: {{ upstream_ca: {}, resolve: {resolve} }}\n{rest}", ca.display());
        self.stage.env.bottle("dev", &yaml);
        let command = serde_json::json!(["sh", "-euc", script]);
        self.stage.env.agent("a", &format!("bottle: dev\nprovider: command\ncommand: {command}"));
        self.stage.env.run(&["start", "a", "--yes"])
    }
}

const LIBRARY: &str = "https://github.com/acme/lib.git";

#[test]
fn a_repository_whose_name_begins_with_a_listed_one_is_another_one() {
    let Some(forge) = Forge::new() else { return };
    let (lib, two) = (forge.repository("lib"), forge.repository("lib-two"));
    lib.commit("which", "the one\n", "x");
    two.commit("which", "the other\n", "x");
    let all = [("lib", LIBRARY), ("two", "https://github.com/acme/lib-two.git")];
    let script = "git clone -q https://github.com/acme/lib-two.git a; git clone -q git@github.com:acme/lib-two b
        git clone -q https://github.com/acme/lib c; cat a/which b/which c/which";
    let ran = forge.run(&all, "", script);
    assert_eq!(ran.success(), "the other\nthe other\nthe one\n");
    for url in
        ["https://github.com/acme/lib-two.git", "git@github.com:acme/lib-two.git", "https://github.com/acme/library"]
    {
        let ran = forge.run(&all[..1], "", &format!("git clone {url} x"));
        let error = ran.failure(128);
        let name = url.rsplit(['/', ':']).next().unwrap_or_default();
        let told = error.lines().find(|line| line.starts_with("fatal: remote error:")).unwrap_or_default();
        assert!(
            told.contains(&format!("no repository `https://github.com/acme/{name}` here; it serves: lib.")),
            "{ran}"
        );
        assert!(told.contains("`ask_operator`") && told.contains("under `git:` in the bottle's manifest"), "{ran}");
    }
}

#[test]
fn submodules_that_are_listed_come_along_and_others_fail_with_one_line() {
    let Some(forge) = Forge::new() else { return };
    let (app, lib) = (forge.repository("app"), forge.repository("lib"));
    lib.commit("inner", "of the submodule\n", "x");
    let head = lib.git(&["rev-parse", "HEAD"]);
    std::fs::create_dir(forge.acme.join("app-work/sub")).expect("a directory of ours");
    app.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{head},sub")]);
    app.commit(
        ".gitmodules",
        "[submodule \"sub\"]\n\tpath = sub\n\turl = git@github.com:acme/lib.git\n",
        "with a submodule",
    );
    let application = "https://git.example.test/acme/app.git";
    let script = format!("git clone -q --recurse-submodules {application} x; cat x/sub/inner");
    let ran = forge.run(&[("app", application), ("lib", LIBRARY)], "", &script);
    assert_eq!(ran.success(), "of the submodule\n");
    let ran = forge.run(&[("app", application)], "", &script);
    assert!(
        ran.failure(1)
            .contains("no repository `github.com:acme/lib.git` here; it serves: app. Your operator can list it"),
        "{ran}"
    );
}

#[test]
fn go_cargo_and_npm_get_their_dependencies_by_git() {
    let Some(forge) = Forge::new() else { return };
    let lib = forge.repository("lib");
    for (file, text) in [
        ("go.mod", "module github.com/acme/lib\n\ngo 1.18\n"),
        ("lib.go", "package lib\n\nconst Name = \"by git\"\n"),
        ("Cargo.toml", "[package]\nname = \"lib\"\nversion = \"0.1.0\"\nedition = \"2021\"\n"),
        ("src/lib.rs", "pub const NAME: &str = \"by git\";\n"),
        ("package.json", "{ \"name\": \"lib\", \"version\": \"1.0.0\", \"main\": \"index.js\" }\n"),
        ("index.js", "module.exports = \"by git\";\n"),
    ] {
        lib.commit(file, text, "x");
    }
    let toolchain = Command::new("rustc").args(["--print", "sysroot"]).output().map(|output| output.stdout);
    let toolchain = String::from_utf8(toolchain.unwrap_or_default()).unwrap_or_default();
    let rust = format!("mounts:\n  - {}:/rust\n", toolchain.trim());
    let go = "mkdir g; cd g; go mod init example.test/app 2>/dev/null; export GOPRIVATE=github.com/acme GOFLAGS=-mod=mod
        go get github.com/acme/lib@main 2>&1
        printf 'package main\\nimport \"github.com/acme/lib\"\\nfunc main() { println(lib.Name) }\\n' > main.go; go run . 2>&1";
    let cargo = "export PATH=/rust/bin:$PATH; mkdir -p c/src; cd c; echo 'fn main() { println!(\"{}\", lib::NAME) }' > src/main.rs
        printf '[package]\\nname = \"app\"\\nversion = \"0.1.0\"\\nedition = \"2021\"\\n[dependencies]\\nlib = { git = \"URL\" }\\n' > Cargo.toml
        cargo metadata --format-version 1 | grep -o '\"name\":\"lib\"' | head -1; cat $(find ~/.cargo/git/checkouts -name lib.rs)";
    let npm = "mkdir n; cd n; npm init -y >/dev/null; npm install --no-audit --no-fund --silent git+https://git.example.test/acme/lib.git
        node -e 'console.log(require(\"lib\"))'";
    let other = "https://git.example.test/acme/lib.git";
    for (program, upstream, script) in [
        ("/usr/bin/go", LIBRARY, go.to_owned()),
        ("/rust", LIBRARY, cargo.replace("URL", LIBRARY)),
        ("/rust", other, cargo.replace("URL", "ssh://git@git.example.test/acme/lib.git")),
        ("/usr/bin/npm", other, npm.to_owned()),
    ] {
        let is_rust = program == "/rust";
        if if is_rust { toolchain.is_empty() } else { !Path::new(program).exists() } {
            println!("SKIPPED(no {program}): its dependencies by git");
            continue;
        }
        let ran = forge.run(&[("lib", upstream)], if is_rust { &rust } else { "" }, &script);
        assert!(ran.success().contains("by git"), "{program}: {ran}");
        assert!(forge.stage.audited().iter().all(|line| line == "allow git fetch of lib"), "{program}");
    }
}
