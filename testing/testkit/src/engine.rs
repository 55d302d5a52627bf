//! Container engines of the tests' own: Docker's daemon or Podman's service with everything in one directory, in a network
//! namespace of its own with a bridge and an address of the cloud's metadata service, and one image: a static busybox,
//! curl, git and the libraries that they take.
//!
//! Starting one takes seconds, so all tests that run at a time share it: the first starts it, the last ends it. Who uses
//! it holds a shared lock, which the kernel lets go of however a test dies.

pub mod image;
mod make;

pub use make::Make;

use crate::{Ran, Running, env::ORDINARY, wait::comes_within, wait_until};
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, File},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

const SOON: Duration = Duration::from_secs(60);

/// Every engine of the tests has it.
pub const IMAGE: &str = "bottle-test:1";
/// Of the engine's own network: the host's side of the bridge, and where clouds answer questions about a machine.
pub const GATEWAY: &str = "172.29.77.1";
pub const METADATA: &str = "169.254.169.254";

/// In use; dropping it ends the daemon where nobody else uses it.
#[derive(Debug)]
pub struct Engine {
    make: Make,
    directory: PathBuf,
    users: Option<File>,
}

impl Engine {
    /// `None`, with the reason printed, where none can be started.
    pub fn shared(make: Make) -> Option<Engine> {
        let there = |program: &str| {
            ["/usr/sbin", "/usr/bin", "/usr/local/bin"].iter().any(|it| Path::new(it).join(program).exists())
        };
        let missing = make.programs().iter().chain(&["busybox", "curl", "git", "ip"]).find(|program| !there(program));
        if !crate::env::is_root() || missing.is_some() {
            let why = missing.map_or("not root".to_owned(), |program| format!("no {program}"));
            #[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
            {
                println!("SKIPPED({why}): an engine; see scripts/install-test-needs");
            }
            return None;
        }
        let directory = std::env::temp_dir().join(make.directory());
        let starting = Starting::take(&directory);
        let users = File::create(beside(&directory, "users")).expect("a file of ours");
        flock(&users, FlockOperation::LockShared).expect("a lock of ours");
        let engine = Engine { make, directory, users: Some(users) };
        if !engine.answers() {
            engine.start();
        }
        drop(starting);
        Some(engine)
    }

    /// As `DOCKER_HOST` names it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.directory.join("docker.sock").display())
    }

    /// The engine's own client, to be given arguments.
    pub fn command(&self) -> Command {
        self.make.client(&self.directory, &self.host())
    }

    /// What it says.
    pub fn client(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command();
        command.args(arguments);
        Running::start(command).finish(SOON)
    }

    pub fn make(&self) -> Make {
        self.make
    }

    /// What a program of the engine's own image says that is run with the engine's own network.
    pub fn in_its_network(&self, command: &[&str]) -> Ran {
        // Podman's own limits are more than a machine may have to give.
        let fixed =
            ["run", "--rm", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=8192:8192", "--network", "host", IMAGE];
        self.client(&[&fixed[..], command].concat())
    }

    /// Containers that were made for bottles of this state directory.
    pub fn containers(&self, state: &Path) -> Vec<String> {
        let label = format!("label=bot-bottle.state={}", state.display());
        let listed = self.client(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &label]);
        listed.success().lines().map(str::to_owned).collect()
    }

    /// Volumes of the same.
    pub fn volumes(&self, state: &Path) -> Vec<String> {
        let label = format!("label=bot-bottle.state={}", state.display());
        let listed = self.client(&["volume", "ls", "--quiet", "--filter", &label]);
        listed.success().lines().map(str::to_owned).collect()
    }

    /// A program in the network that the engine's daemon is in.
    pub fn beside(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.daemon().expect("a daemon"))).arg("--").arg(program);
        command.args(arguments);
        command
    }

    fn answers(&self) -> bool {
        self.daemon().is_some() && self.client(&["image", "inspect", IMAGE]).code == Some(0)
    }

    /// The pid of a daemon that runs.
    fn daemon(&self) -> Option<u32> {
        let pid = fs::read_to_string(self.directory.join("pid")).ok()?.trim().parse().ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, state) = stat.split_once(") ")?;
        (name.ends_with(self.make.process()) && !state.starts_with(['Z', 'X'])).then_some(pid)
    }

    fn start(&self) {
        // What a daemon that was killed left there.
        let _ = fs::remove_dir_all(&self.directory);
        fs::create_dir_all(&self.directory).expect("a directory of ours");
        let at = |name: &str| self.directory.join(name).display().to_string();
        let log = File::create(at("log")).expect("a file of ours");
        let script = format!("ip link set lo up && ip addr add {METADATA}/32 dev lo && {}", self.make.serve(&at));
        let mut command = Command::new("unshare");
        // Its mounts are its own and end with it.
        command.args(["--net", "--mount", "--propagation", "slave", "sh", "-c", &script]);
        // Not of the test's group: it may outlive this test.
        command.process_group(0).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a descriptor")).stderr(log);
        let mut daemon = command.spawn().expect("unshare starts");
        let up = comes_within(SOON, || match daemon.try_wait() {
            Ok(Some(_)) => Some(false),
            _ => (self.client(&["version"]).code == Some(0)).then_some(true),
        });
        if up != Some(true) {
            panic!("the engine did not come up: {}", fs::read_to_string(at("log")).unwrap_or_default());
        }
        // The ordinary user of the tests is of the engine's group.
        let socket = at("docker.sock");
        chown(&socket, None, Some(ORDINARY)).expect("a socket of ours");
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o660)).expect("a socket of ours");
        let archive = image::pack(&self.directory).expect("the image");
        self.client(&["import", &archive, IMAGE]).success();
    }

    /// Only where nobody else uses it, and nobody can begin to meanwhile.
    fn end(&self) {
        if let Some(pid) = self.daemon().and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)) {
            // Podman's containers are nobody's children: they do not end with the service.
            if self.make == Make::Podman {
                let _ = self.client(&["rm", "--all", "--force", "--time", "0"]);
            }
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            wait_until("the engine to end", SOON, || self.daemon().is_none());
        }
        let _ = fs::remove_dir_all(&self.directory);
        let _ = fs::remove_file(beside(&self.directory, "users"));
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let starting = Starting::take(&self.directory);
        self.users = None;
        let alone = File::open(beside(&self.directory, "users"))
            .is_ok_and(|users| flock(&users, FlockOperation::NonBlockingLockExclusive).is_ok());
        if alone {
            self.end();
            starting.forget();
        }
    }
}

/// Held by whoever starts or ends the engine.
struct Starting {
    path: PathBuf,
    _held: File,
}

impl Starting {
    fn take(directory: &Path) -> Starting {
        let path = beside(directory, "starting");
        loop {
            let held = File::create(&path).expect("a file of ours");
            flock(&held, FlockOperation::LockExclusive).expect("a lock of ours");
            // The last user removes the file; who waited for it meanwhile waits for the next.
            let same = fs::metadata(&path).is_ok_and(|now| held.metadata().is_ok_and(|own| own.ino() == now.ino()));
            if same {
                return Starting { path, _held: held };
            }
        }
    }

    fn forget(self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn beside(directory: &Path, name: &str) -> PathBuf {
    directory.with_extension(name)
}
