//! The same conversations in a container, by clients that its image has: nothing of this host's is shown there.
//!
//! The program itself builds the image, of a Dockerfile as a user would write it: what npm installed, with the
//! libraries of this host, on the tests' image.

use super::{AgentStage, CLAUDE, CODEX, Kind, script, told_to};
use crate::tools::cache;
use bottle_testkit::{
    Engine, Machines, Running, TestEnv,
    engine::{IMAGE, Make, image},
    env::PATIENCE,
};
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

/// A client as npm installs it.
#[derive(Debug, Clone, Copy)]
struct Client {
    kind: Kind,
    /// Its package, and the one with the program for this kind of machine.
    packages: [&'static str; 2],
    /// What `bin` of the first says.
    program: &'static str,
    /// What of this host it needs besides, each with its libraries.
    takes: &'static [&'static str],
}

/// With the one processor that a machine in an emulated machine can have.
const LIMITS: &str = "limits: { cpus: 1, memory: 2GiB }\n";
const MACHINE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };

/// It looks for a shell of this name.
const OF_CLAUDE: Client = Client {
    kind: CLAUDE,
    packages: ["@anthropic-ai/claude-code", "@anthropic-ai/claude-code-linux-MACHINE"],
    program: "bin/claude.exe",
    takes: &["/bin/bash"],
};
const OF_CODEX: Client = Client {
    kind: CODEX,
    packages: ["@openai/codex", "@openai/codex-linux-MACHINE"],
    program: "bin/codex.js",
    takes: &["/bin/bash", "/usr/bin/node"],
};

impl Client {
    /// The directory of a Dockerfile.
    fn context(self, env: &TestEnv) -> PathBuf {
        let context = env.root().join("client");
        self.install(&context.join("root"));
        env.write("client/Dockerfile", format!("FROM {IMAGE}\nCOPY root /\n"));
        context
    }

    /// Into a root file system.
    fn install(self, root: &Path) {
        let modules = root.join("usr/lib/node_modules");
        for package in self.packages {
            let package = package.replace("MACHINE", MACHINE);
            let to = modules.join(&package);
            fs::create_dir_all(to.parent().expect("a scope")).expect("a directory of ours");
            // Hundreds of megabytes.
            tool("cp", &["-a", "--reflink=auto", &text(&modules_of_npm().join(&package)), &text(&to)]);
            let programs = [to.join("claude"), to.join(self.program)];
            programs.iter().for_each(|it| image::libraries(it, root).expect("its libraries"));
        }
        for program in self.takes {
            image::libraries(Path::new(program), root).expect("its libraries");
            image::copy(program, root).expect("a program of this host");
        }
        fs::create_dir_all(root.join("usr/bin")).expect("a directory of ours");
        let program = format!("../lib/node_modules/{}/{}", self.packages[0], self.program);
        symlink(program, root.join("usr/bin").join(self.kind.name)).expect("a link of ours");
        // A script of npm's asks for it.
        symlink("/bin/busybox", root.join("usr/bin/env")).expect("a link of ours");
    }

    /// As its package says.
    fn version(self) -> String {
        let package = fs::read_to_string(modules_of_npm().join(self.packages[0]).join("package.json"));
        let package: Value = serde_json::from_str(&package.expect("a package of npm's")).expect("JSON");
        package["version"].as_str().expect("a version").to_owned()
    }
}

fn modules_of_npm() -> PathBuf {
    cache().expect("the tests' cache").join("npm/node_modules")
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn tool(program: &str, arguments: &[&str]) {
    let mut command = Command::new(program);
    command.args(arguments);
    Running::start(command).finish(PATIENCE).success();
}

/// Its version, and everything that a bottle has for its agent.
fn works(client: Client, make: Make) {
    let kind = client.kind;
    let Some(mut stage) = AgentStage::new(kind, script(kind)) else { return };
    let Some(engine) = Engine::shared(make) else { return };
    let context = client.context(&stage.env);
    stage.env.set("PATH", "/usr/local/bin:/usr/bin:/bin");
    stage.env.set("DOCKER_HOST", &engine.host());
    stage.env.set("BOT_BOTTLE_BACKEND", "docker");
    stage.env.set("BOT_BOTTLE_IMAGE", &format!("dockerfile:{}", context.display()));
    let ran = stage.env.spawn(&["run", "--yes", "--", kind.name, "--version"]).finish(super::PATIENCE);
    assert!(ran.success().contains(&client.version()), "{ran}");
    assert!(ran.stderr.contains("building the image of"), "{ran}");
    told_to(kind, &stage);
    stage.env.run(&["cleanup", "--all", "--yes"]).success();
    assert_eq!(engine.containers(&stage.env.state()), Vec::<String>::new());
}

/// The same in a machine, whose image is a directory with it. In the emulated machine: `cargo xtask emulated smolmachines
/// in_a_machine`.
fn works_in_a_machine(client: Client) {
    let kind = client.kind;
    if !modules_of_npm().join(client.packages[0]).exists() {
        println!("SKIPPED(no {}): see scripts/install-test-needs", kind.name);
        return;
    }
    let mut stage = AgentStage::of(kind, script(kind), TestEnv::ordinary(crate::stage::program()), LIMITS);
    Machines::install(&mut stage.env);
    client.install(&stage.env.root().join("image"));
    stage.env.set("PATH", "/usr/local/bin:/usr/bin:/bin");
    println!("version");
    let limits = ["--limit", "cpus=1", "--limit", "memory=2GiB"];
    let words = [&["run", "--yes"][..], &limits, &["--", kind.name, "--version"]].concat();
    let ran = stage.env.spawn(&words).finish(super::PATIENCE);
    assert!(ran.success().contains(&client.version()), "{ran}");
    println!("conversation");
    told_to(kind, &stage);
    stage.env.run(&["cleanup", "--all", "--yes"]).success();
}

#[test]
fn claude_code_in_a_machine() {
    works_in_a_machine(OF_CLAUDE);
}

#[test]
fn codex_in_a_machine() {
    works_in_a_machine(OF_CODEX);
}

#[test]
fn claude_code_in_dockers() {
    works(OF_CLAUDE, Make::Docker);
}

#[test]
fn codex_in_dockers() {
    works(OF_CODEX, Make::Docker);
}

#[test]
fn claude_code_in_podmans() {
    works(OF_CLAUDE, Make::Podman);
}

#[test]
fn codex_in_podmans() {
    works(OF_CODEX, Make::Podman);
}
