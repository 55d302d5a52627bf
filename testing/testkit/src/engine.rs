//! Container engines of the tests' own: Docker's daemon or Podman's service with everything in one directory, in a network
//! namespace of its own with a bridge and an address of the cloud's metadata service, and one image: a static busybox,
//! curl, git and the libraries that they take.
//!
//! Starting one takes seconds, so all tests that run at a time share it: the first starts it, the last ends it. Who uses
//! it holds a shared lock, which the kernel lets go of however a test dies.

mod apart;
pub mod image;
mod make;

use apart::Kind;
pub use make::Make;

use crate::{Ran, Running, env::ORDINARY, wait::comes_within, wait_until};
use rustix::{
    fs::{FlockOperation, flock},
    process::{Pid, Signal, kill_process},
};
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
/// Whom `--userns-remap` may name: a user and a group of every machine.
pub const REMAPPED: &str = "daemon";

/// Every engine of the tests has it.
pub const IMAGE: &str = "bottle-test:1";
/// Of the engine's own network: the host's side of the bridge, and where clouds answer questions about a machine.
pub const GATEWAY: &str = "172.29.77.1";
pub const METADATA: &str = "169.254.169.254";

/// In use; dropping it ends the daemon where nobody else uses it.
#[derive(Debug)]
pub struct Engine {
    make: Make,
    /// Where it is, and whose.
    kind: Kind,
    directory: PathBuf,
    users: Option<File>,
    /// Of one that is nobody else's: what holds its network and its mounts while no daemon runs.
    holder: Option<Running>,
    options: String,
}

impl Engine {
    /// `None`, with the reason printed, where none can be started.
    pub fn shared(make: Make) -> Option<Engine> {
        if !possible(make) {
            return None;
        }
        let directory = std::env::temp_dir().join(make.directory());
        let starting = Starting::take(&directory);
        let users = File::create(beside(&directory, "users")).expect("a file of ours");
        flock(&users, FlockOperation::LockShared).expect("a lock of ours");
        let engine =
            Engine { make, kind: Kind::Here, directory, users: Some(users), holder: None, options: String::new() };
        if !engine.answers() {
            engine.start();
        }
        drop(starting);
        Some(engine)
    }

    /// One of the caller's own, which may be ended and started again, with `options` for its daemon.
    pub fn own(make: Make, options: &str) -> Option<Engine> {
        if !possible(make) {
            return None;
        }
        let directory = tempfile::Builder::new().prefix("bb-engine-").tempdir().expect("a directory").keep();
        // As if this machine had said which users a daemon may map.
        let ids = directory.join("subid");
        fs::write(&ids, format!("{REMAPPED}:500000:65536\n")).expect("a file of ours");
        let ids = ids.display();
        let remap = format!("mount --bind {ids} /etc/subuid && mount --bind {ids} /etc/subgid");
        let prepare = match options.contains("--userns-remap") {
            true => format!("{} && {remap}", make.prepare()),
            false => make.prepare(),
        };
        Some(Engine::held(make, Kind::Here, directory, &["--net", "--mount"], &prepare, options))
    }

    /// With what holds its namespaces.
    fn held(make: Make, kind: Kind, directory: PathBuf, namespaces: &[&str], prepare: &str, options: &str) -> Engine {
        let mut command = Command::new("unshare");
        command.args(namespaces).args(["--propagation", "slave", "sh", "-c"]);
        command.arg(format!("{prepare} && exec sleep infinity"));
        let holder = Running::start(command);
        let ready = || fs::read_to_string(format!("/proc/{}/comm", holder.pid())).is_ok_and(|it| it == "sleep\n");
        wait_until("the engine's namespaces", SOON, ready);
        let engine = Engine { make, kind, directory, users: None, holder: Some(holder), options: options.to_owned() };
        engine.serve();
        engine.fill();
        engine
    }

    /// Sends the daemon a signal and waits until it has ended.
    pub fn end_daemon(&self, signal: Signal) {
        let Some(pid) = self.daemon().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) else { return };
        let _ = kill_process(pid, signal);
        wait_until("the engine to end", SOON, || self.daemon().is_none());
    }

    /// As `DOCKER_HOST` names it.
    pub fn host(&self) -> String {
        match self.kind {
            Kind::Far { port } => format!("tcp://127.0.0.1:{port}"),
            Kind::Here | Kind::Rootless => format!("unix://{}", self.directory.join("docker.sock").display()),
        }
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

    /// Where Docker's client keeps what `docker login` is told; everybody may read it.
    pub fn client_config(&self) -> PathBuf {
        let (directory, file) = (self.directory.clone(), self.directory.join("config.json"));
        for (path, mode) in [(&directory, 0o755), (&file, 0o644)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
        }
        directory
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

    /// Images of the same.
    pub fn images(&self, state: &Path) -> Vec<String> {
        let label = format!("label=bot-bottle.state={}", state.display());
        let listed = self.client(&["images", "--all", "--quiet", "--filter", &label]);
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
        self.serve();
        self.fill();
    }

    /// Starts the daemon with what there is. On a busy machine its own parts may be too late for it.
    pub fn serve(&self) {
        let up = (0..3).any(|_| self.daemon_comes_up());
        let socket = self.directory.join("docker.sock");
        assert!(up, "no engine: {}", fs::read_to_string(self.directory.join("log")).unwrap_or_default());
        if self.kind != Kind::Here {
            return;
        }
        // The ordinary user of the tests is of the engine's group.
        chown(&socket, None, Some(ORDINARY)).expect("a socket of ours");
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o660)).expect("a socket of ours");
    }

    fn daemon_comes_up(&self) -> bool {
        let at = |name: &str| self.directory.join(name).display().to_string();
        let log = File::options().create(true).append(true).open(at("log")).expect("a file of ours");
        let script = format!("{} {}", self.serving(&at), self.options);
        let mut command = match &self.holder {
            Some(holder) => {
                let mut command = Command::new("nsenter");
                let of = |kind: &str| format!("/proc/{}/ns/{kind}", holder.pid());
                command.args([format!("--net={}", of("net")), format!("--mount={}", of("mnt"))]);
                command.args(["--", "sh", "-c", &script]);
                command
            }
            None => {
                let mut command = Command::new("unshare");
                let script = format!("{} && {script}", self.make.prepare());
                // Its mounts are its own and end with it.
                command.args(["--net", "--mount", "--propagation", "slave", "sh", "-c", &script]);
                command
            }
        };
        // Not of the test's group: it may outlive this test.
        command.process_group(0).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a descriptor")).stderr(log);
        let mut daemon = command.spawn().expect("the daemon starts");
        let up = comes_within(SOON, || match daemon.try_wait() {
            Ok(Some(_)) => Some(false),
            _ => (self.client(&["version"]).code == Some(0)).then_some(true),
        });
        if up.is_none() {
            let _ = daemon.kill();
        }
        // One that ends later, by whomever, is nobody's zombie.
        std::thread::spawn(move || daemon.wait());
        up == Some(true)
    }

    fn fill(&self) {
        let archive = image::pack(&self.directory).expect("the image");
        self.client(&["import", &archive, IMAGE]).success();
    }

    /// Only where nobody else uses it, and nobody can begin to meanwhile.
    fn end(&self) {
        // Those that are nobody's children do not end with the daemon, and not with one that was killed.
        if self.daemon().is_none() && self.holder.is_some() {
            self.daemon_comes_up();
        }
        if self.make == Make::Podman {
            let _ = self.client(&["rm", "--all", "--force", "--time", "0"]);
        } else if self.holder.is_some() {
            let listed = self.client(&["ps", "--all", "--quiet"]).stdout;
            let _ = self.client(&[&["rm", "--force"][..], &listed.lines().collect::<Vec<_>>()].concat());
        }
        self.end_daemon(Signal::TERM);
        self.end_of_rootless();
        let _ = fs::remove_dir_all(&self.directory);
        let _ = fs::remove_file(beside(&self.directory, "users"));
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.holder.is_some() {
            return self.end();
        }
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

/// Whether one can be started here; the reason is printed where not.
fn possible(make: Make) -> bool {
    let there = |program: &str| {
        ["/usr/sbin", "/usr/bin", "/usr/local/bin"].iter().any(|it| Path::new(it).join(program).exists())
    };
    let missing = make.programs().iter().chain(&["busybox", "curl", "git", "ip"]).find(|program| !there(program));
    let why = match missing {
        Some(program) => format!("no {program}"),
        None if !crate::env::is_root() => "not root".to_owned(),
        None => return true,
    };
    skipped(&why);
    false
}

#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn skipped(why: &str) {
    println!("SKIPPED({why}): an engine; see scripts/install-test-needs");
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
