//! smolvm, as a program that is run: every argument list is made here, and every run has its time.
//!
//! It gets an environment of ours, nothing on its standard input, and its output goes to memory: a machine that it
//! leaves running keeps no pipe of ours open.

use super::{
    error::SmolvmError,
    machine::{Machine, Order},
    version::{FLOOR, Features, Version, names},
};
use crate::{backend::system::System, process};
use bottle_spec::machine_link;
use rustix::{
    fs::{MemfdFlags, memfd_create},
    process::{Pid, PidfdFlags, pidfd_open},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::File,
    io::{self, Read as _, Seek as _},
    iter,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// What does not start a machine is done at once; a busy machine takes longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// smolvm gives a machine 30 s to answer; making its disks comes before.
const START_PATIENCE: Duration = Duration::from_secs(120);
const MOST_OUTPUT: u64 = 1 << 20;
/// What it is asked before every machine.
const VERSION: &[&str] = &["--version"];
const HELP: &[&str] = &["machine", "create", "--help"];
/// Before the first that is to start warm, and what the answers must name.
const WARM: [(&[&str], &[&str]); 2] = [
    (&["machine", "start", "--help"], &["--branchable"]),
    (&["machine", "branch", "--help"], &["--from", "--name", "--label", "--freeze-source", "--no-wait-ready"]),
];

/// Where smolvm is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Smolvm {
    pub program: PathBuf,
    /// Where its libraries and the root of its machines are, where that is not beside it.
    #[serde(default)]
    pub libraries: Option<PathBuf>,
    #[serde(default)]
    pub rootfs: Option<PathBuf>,
}

/// What a run gave.
#[derive(Debug)]
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Smolvm {
    /// Which it is; an error where no bottle can be made with it.
    pub fn probe(&self) -> Result<Features, SmolvmError> {
        let version = self.version()?;
        if version < FLOOR {
            return Err(SmolvmError::Old(version));
        }
        let features = Features::of(version, &self.run("machine create --help", words(HELP), None, PATIENCE)?.stdout);
        if features.missing.is_empty() {
            Ok(features)
        } else {
            Err(SmolvmError::Lacks { version, missing: features.missing })
        }
    }

    /// As it says itself, whether or not it can be used.
    pub fn version(&self) -> Result<Version, SmolvmError> {
        let said = self.run("--version", words(VERSION), None, PATIENCE)?.stdout;
        said.parse().map_err(|()| SmolvmError::Version(first_line(&said)))
    }

    /// Whether it branches a running machine into others.
    pub(super) fn branches(&self) -> Result<bool, SmolvmError> {
        for (question, flags) in WARM {
            let help = self.run(&question.join(" "), words(question), None, PATIENCE)?;
            if help.code != 0 || flags.iter().any(|flag| !names(&help.stdout, flag)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn run(
        &self,
        what: &str,
        arguments: Vec<OsString>,
        state: Option<&Path>,
        patience: Duration,
    ) -> Result<Ran, SmolvmError> {
        self.run_by(Command::new(&self.program), what, arguments, state, patience)
    }

    fn run_by(
        &self,
        mut command: Command,
        what: &str,
        arguments: Vec<OsString>,
        state: Option<&Path>,
        patience: Duration,
    ) -> Result<Ran, SmolvmError> {
        let failed = |error| SmolvmError::Run(self.program.clone(), error);
        let (mut out, mut err) = (memory().map_err(failed)?, memory().map_err(failed)?);
        command.args(arguments).env_clear().current_dir("/").stdin(Stdio::null());
        command.stdout(out.try_clone().map_err(failed)?).stderr(err.try_clone().map_err(failed)?);
        // Where it looks for the programs that make file systems.
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", state.unwrap_or(Path::new("/nonexistent")));
        // Its own walls around the process that is the machine.
        command.env("SMOLVM_SECCOMP", "enforce").env("SMOLVM_LANDLOCK", "enforce");
        if let Some(libraries) = &self.libraries {
            command.env("SMOLVM_LIB_DIR", libraries);
        }
        if let Some(rootfs) = &self.rootfs {
            command.env("SMOLVM_AGENT_ROOTFS", rootfs);
        }
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => SmolvmError::Missing(self.program.clone()),
            _ => failed(error),
        })?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let held =
            pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())).transpose().map_err(|error| failed(error.into()))?;
        if let Some(held) = held
            && !process::ended(&held, patience).map_err(failed)?
        {
            let _ = process::kill_and_wait(&held, PATIENCE);
            let _ = child.wait();
            return Err(SmolvmError::Late { command: what.to_owned(), patience });
        }
        let status = child.wait().map_err(failed)?;
        let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(-1);
        Ok(Ran { code, stdout: text(&mut out).map_err(failed)?, stderr: text(&mut err).map_err(failed)? })
    }
}

impl Machine {
    pub(super) fn create(&self, order: &Order) -> Result<(), SmolvmError> {
        self.told("machine create", create(order), PATIENCE).map(drop)
    }

    /// With what nobody should have told it besides.
    #[cfg(test)]
    pub(super) fn create_with(&self, order: &Order, more: &[&str]) -> Result<(), SmolvmError> {
        let mut arguments = create(order);
        let command = arguments.iter().position(|it| it == "--").unwrap_or(arguments.len());
        arguments.splice(command..command, more.iter().map(OsString::from));
        self.told("machine create", arguments, PATIENCE).map(drop)
    }

    /// Returns when the machine has answered.
    pub(super) fn start(&self) -> Result<(), SmolvmError> {
        self.told("machine start", named("start", &self.name), START_PATIENCE).map(drop)
    }

    /// The same, as one that others can be branched from.
    pub(super) fn start_branchable(&self) -> Result<(), SmolvmError> {
        self.told("machine start", start_branchable(&self.name), START_PATIENCE).map(drop)
    }

    /// Makes this machine as a branch of `source`, in whose state it is, by way of `launcher`, and returns when it has
    /// answered. `source` stands still from then on.
    pub(super) fn branch_from(
        &self,
        source: &str,
        labels: &BTreeMap<String, String>,
        launcher: &Launcher<'_>,
    ) -> Result<(), SmolvmError> {
        let arguments = launcher.arguments(&self.smolvm, branch(source, &self.name, labels));
        let command = Command::new(launcher.program);
        let ran = self.smolvm.run_by(command, "machine branch", arguments, Some(&self.state), START_PATIENCE)?;
        self.judged("machine branch", ran).map(drop)
    }

    /// Has smolvm forget it, with its disks.
    pub(super) fn delete(&self) -> Result<(), SmolvmError> {
        let mut arguments = named("delete", &self.name);
        arguments.push("--force".into());
        self.told("machine delete", arguments, PATIENCE).map(drop)
    }

    /// The process that is the machine.
    pub(super) fn pid(&self) -> Result<Option<i32>, SmolvmError> {
        #[derive(Deserialize)]
        struct Status {
            pid: Option<i32>,
        }
        let said = self.told("machine status", status(&self.name), PATIENCE)?.stdout;
        let unreadable = |error: serde_json::Error| SmolvmError::Failed {
            command: "machine status".to_owned(),
            code: 0,
            message: format!("its answer cannot be read: {error}"),
        };
        serde_json::from_str::<Status>(&said).map(|status| status.pid).map_err(unreadable)
    }

    fn told(&self, what: &str, arguments: Vec<OsString>, patience: Duration) -> Result<Ran, SmolvmError> {
        let ran = self.smolvm.run(what, arguments, Some(&self.state), patience)?;
        self.judged(what, ran)
    }

    fn judged(&self, what: &str, ran: Ran) -> Result<Ran, SmolvmError> {
        if ran.code == 0 { Ok(ran) } else { Err(self.failure(what, ran.code, &ran.stderr)) }
    }

    /// Its exit code tells little: 1 is every error of its own.
    pub(super) fn failure(&self, what: &str, code: i32, said: &str) -> SmolvmError {
        let message = said.trim();
        let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
        if says(&["already exists"]) {
            SmolvmError::Exists
        } else if says(&["No space left on device", "database or disk is full"]) {
            SmolvmError::DiskFull(shown(message))
        } else if says(&["/dev/kvm", "KVM is not available", "kvm not available", "kvm permission denied", "KvmOpen"]) {
            SmolvmError::NoKvm
        } else if says(&["not running"]) {
            SmolvmError::NotRunning
        } else if says(&["vm not found: ", "machine not found: "]) || names_no_machine(message) {
            SmolvmError::NotFound
        } else if says(&["before the agent was ready"]) {
            SmolvmError::Died(self.last_words().unwrap_or_else(|| shown(message)))
        } else if says(&["did not become ready", "timed out", "timeout waiting"]) {
            SmolvmError::Boot(self.console().unwrap_or_else(|| shown(message)))
        } else {
            SmolvmError::Failed { command: what.to_owned(), code, message: shown(message) }
        }
    }

    /// The end of what the machine's kernel and smolvm's own init said.
    pub(super) fn console(&self) -> Option<String> {
        self.log("agent-console.log")
    }

    /// Of the process that was to become the machine: what its libraries said, and what the machine itself.
    fn last_words(&self) -> Option<String> {
        let both = ["agent-startup-error.log", "agent-console.log"].map(|name| self.log(name));
        let said: Vec<String> = both.into_iter().flatten().filter(|text| !text.trim().is_empty()).collect();
        (!said.is_empty()).then(|| said.join("\n"))
    }

    fn log(&self, name: &str) -> Option<String> {
        let own = end_of(&self.own_directory().join(name)).ok();
        let of_branch = || self.branch.as_ref()?.machines(&self.smolvm).find_map(|machine| machine.log(name));
        own.map(|text| shown(&text)).or_else(of_branch)
    }

    /// What smolvm has of it: logs, disks, sockets.
    pub(super) fn own_directory(&self) -> PathBuf {
        self.state.join(System::HERE.cache()).join("vms").join(Machine::id(&self.name))
    }
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

fn status(name: &str) -> Vec<OsString> {
    let mut arguments = named("status", name);
    arguments.push("--json".into());
    arguments
}

/// One of the commands that a machine's name is all to. Where its state is, `HOME` says.
fn named(verb: &str, name: &str) -> Vec<OsString> {
    vec!["machine".into(), verb.into(), "--name".into(), name.into()]
}

/// Runs a program that sees other directories in the places of some: our init, on the host.
#[derive(Debug)]
pub(super) struct Launcher<'a> {
    pub(super) program: &'a Path,
    /// What is seen, and where.
    pub(super) places: Vec<(PathBuf, PathBuf)>,
}

impl Launcher<'_> {
    fn arguments(&self, smolvm: &Smolvm, arguments: Vec<OsString>) -> Vec<OsString> {
        let pairs = self.places.iter().flat_map(|(source, place)| [source.into(), place.into()]);
        let before = iter::once(OsString::from(machine_link::WITHIN)).chain(pairs);
        let after = [OsString::from("--"), smolvm.program.clone().into()].into_iter().chain(arguments);
        before.chain(after).collect()
    }
}

fn start_branchable(name: &str) -> Vec<OsString> {
    let mut arguments = named("start", name);
    arguments.push("--branchable".into());
    arguments
}

/// Where it is now: the workload waits, and says so to nobody.
fn branch(source: &str, name: &str, labels: &BTreeMap<String, String>) -> Vec<OsString> {
    let mut arguments = named("branch", name);
    arguments.extend(["--from".into(), source.into(), "--freeze-source".into(), "--no-wait-ready".into()]);
    for (name, value) in labels {
        arguments.extend(["--label".into(), format!("{name}={value}").into()]);
    }
    arguments
}

fn create(order: &Order) -> Vec<OsString> {
    let mut arguments = named("create", &order.name);
    let mut pair = |flag: &str, value: OsString| arguments.extend([flag.into(), value]);
    pair("--image", order.image.clone().into());
    pair("--cpus", order.cpus.to_string().into());
    pair("--mem", order.memory_mib.to_string().into());
    for (name, value) in &order.labels {
        pair("--label", format!("{name}={value}").into());
    }
    for (host, inside, writable) in &order.volumes {
        pair("--volume", joined(host, inside, if *writable { "" } else { ":ro" }));
    }
    for (host, inside) in &order.sockets {
        pair("--mount-socket", joined(host, inside, ""));
    }
    if order.flags.user {
        pair("--user", "0:0".into());
    }
    if order.flags.stop_on_exit {
        arguments.push("--stop-on-exit".into());
    }
    arguments.push("--".into());
    arguments.extend(order.command.iter().map(OsString::from));
    arguments
}

/// As `machine 'NAME' not found`; an image or a file that is not found is something else.
fn names_no_machine(message: &str) -> bool {
    let after = message.rsplit_once("machine '").and_then(|(_, rest)| rest.split_once('\''));
    after.is_some_and(|(_, rest)| rest.starts_with(" not found"))
}

fn joined(host: &Path, inside: &str, end: &str) -> OsString {
    let mut text = host.as_os_str().to_owned();
    text.push(format!(":{inside}{end}"));
    text
}

fn memory() -> io::Result<File> {
    Ok(File::from(memfd_create(c"smolvm", MemfdFlags::CLOEXEC)?))
}

fn text(file: &mut File) -> io::Result<String> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(MOST_OUTPUT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn end_of(path: &Path) -> io::Result<String> {
    const END: u64 = 4096;
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(io::SeekFrom::Start(length.saturating_sub(END)))?;
    let mut bytes = Vec::new();
    file.take(END).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines.get(lines.len().saturating_sub(12)..).unwrap_or_default().join("\n"))
}

/// Of somebody else's text, what a terminal may be shown.
fn shown(text: &str) -> String {
    let plain = text.chars().map(|letter| if letter.is_control() && letter != '\n' { ' ' } else { letter });
    plain.take(2000).collect()
}

fn first_line(text: &str) -> String {
    shown(text.lines().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::{super::version::Flags, *};

    #[test]
    fn a_machine_is_told_whole_and_an_older_smolvm_what_it_knows() {
        let newest = Flags { label: true, user: true, stop_on_exit: true };
        let order = Order {
            name: "bottle".to_owned(),
            image: "/srv/image".into(),
            cpus: 2,
            memory_mib: 512,
            volumes: vec![
                ("/state/entry".into(), "/bot-bottle/entry".to_owned(), false),
                ("/state/home".into(), "/bot-bottle/home".to_owned(), true),
            ],
            sockets: vec![("/run/x/link".into(), "/bot-bottle/sockets/link".to_owned())],
            labels: BTreeMap::from([("bot-bottle.slug".to_owned(), "a-abcde".to_owned())]),
            command: vec!["/bot-bottle/entry/init".to_owned(), "machine".to_owned()],
            flags: newest,
        };
        let lines = |arguments: Vec<OsString>| {
            arguments.iter().map(|it| it.to_string_lossy().into_owned()).collect::<Vec<_>>().join("\n")
        };
        insta::assert_snapshot!("newest", lines(create(&order)));
        let flags = Flags { stop_on_exit: false, ..newest };
        insta::assert_snapshot!("since-1.14", lines(create(&Order { flags, ..order.clone() })));
        let flags = Flags { user: false, ..flags };
        insta::assert_snapshot!("since-1.8", lines(create(&Order { flags, ..order.clone() })));
        insta::assert_snapshot!("start", lines(named("start", "bottle")));
        insta::assert_snapshot!("status", lines(status("bottle")));
        insta::assert_snapshot!("version", lines(words(VERSION)));
        insta::assert_snapshot!("help", lines(words(HELP)));
        insta::assert_snapshot!("start-branchable", lines(start_branchable("source")));
        let smolvm = Smolvm { program: "/smolvm".into(), libraries: None, rootfs: None };
        let places = vec![("/state/home".into(), "/warm/home".into()), ("/run/x".into(), "/warm/sockets".into())];
        let launcher = Launcher { program: Path::new("/init"), places };
        let branched = launcher.arguments(&smolvm, branch("source", "a-abcde", &order.labels));
        insta::assert_snapshot!("branch", lines(branched));
    }

    #[test]
    fn what_smolvm_says_is_an_error_of_its_kind() {
        let smolvm = Smolvm { program: "/smolvm".into(), libraries: None, rootfs: None };
        let machine = Machine::of(&smolvm, Path::new("/nonexistent"), Path::new("/nonexistent"));
        let error = |message: &str| machine.failure("machine start", 1, message);
        let kind = |message: &str| match error(message) {
            SmolvmError::Exists => "exists",
            SmolvmError::NoKvm => "no kvm",
            SmolvmError::NotRunning => "not running",
            SmolvmError::NotFound => "not found",
            SmolvmError::DiskFull(_) => "disk full",
            SmolvmError::Boot(_) => "boot",
            SmolvmError::Died(_) => "died",
            SmolvmError::Failed { .. } => "failed",
            other => panic!("{other:?}"),
        };
        // Where not said otherwise the words are those of 1.32.2.
        let start = "Error: agent operation failed: start machine: ";
        for (message, expected) in [
            (
                "Error: config operation failed: create machine: machine 'm1' already exists or is being created",
                "exists",
            ),
            (
                &format!(
                    "{start}kvm permission denied: Cannot access /dev/kvm (permission denied).\nAdd your user to the 'kvm' \
                     group:"
                ),
                "no kvm",
            ),
            (&format!("{start}kvm not available: /dev/kvm does not exist"), "no kvm"),
            (
                &format!(
                    "{start}agent operation failed: monitor agent: Then log out and log back in for the change to take \
                     effect.); libkrun detail: build microVM: Internal error while starting microVM: \
                     KvmContext(KvmOpen(Error(13))) (boot process exited (code 1) before the agent was ready)"
                ),
                "no kvm",
            ),
            (
                "Error: agent operation failed: connect: machine 'b' is not running. Use 'smolvm machine start --name b' \
                 first.",
                "not running",
            ),
            ("Error: machine 'm1' is not running", "not running"),
            ("Error: config operation failed: machine status: machine 'c' not found", "not found"),
            ("Error: vm not found: b", "not found"),
            // Of a program or a file that smolvm lacks.
            ("Error: mkfs.ext4 not found - required for creating disks", "failed"),
            ("Error: storage operation failed: write disk tail: No space left on device (os error 28)", "disk full"),
            ("Error: database operation failed: database or disk is full", "disk full"),
            (
                &format!(
                    "{start}agent operation failed: monitor agent: agent did not become ready within 30 seconds: no boot \
                     progress for 30 seconds"
                ),
                "boot",
            ),
            // Of older ones.
            (&format!("{start}timed out waiting for the agent"), "boot"),
            (&format!("{start}boot process exited (code 1) before the agent was ready"), "died"),
        ] {
            assert_eq!(kind(message), expected, "{message}");
        }
        let other = error("Error: \u{1b}[31mno\u{1b}[0m").to_string();
        assert!(other.contains("failed with 1") && !other.contains('\u{1b}'), "{other}");
    }
}
