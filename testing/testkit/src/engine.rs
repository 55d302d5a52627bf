//! A container engine of the tests' own: Docker's daemon with everything in one directory, in a network namespace of its
//! own with a bridge and an address of the cloud's metadata service, and one image: a static busybox, curl and the
//! libraries that it takes.
//!
//! Starting one takes seconds, so all tests that run at a time share it: the first starts it, the last ends it. Who uses
//! it holds a shared lock, which the kernel lets go of however a test dies.

use crate::{Ran, Running, env::ORDINARY, wait::comes_within, wait_until};
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, File},
    io,
    os::unix::{
        fs::{MetadataExt as _, chown, symlink},
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
    directory: PathBuf,
    users: Option<File>,
}

impl Engine {
    /// `None`, with the reason printed, where none can be started.
    pub fn shared() -> Option<Engine> {
        let there = |program: &str| {
            ["/usr/sbin", "/usr/bin", "/usr/local/bin"].iter().any(|it| Path::new(it).join(program).exists())
        };
        let missing = ["dockerd", "docker", "busybox", "curl", "ip"].into_iter().find(|program| !there(program));
        if !crate::env::is_root() || missing.is_some() {
            let why = missing.map_or("not root".to_owned(), |program| format!("no {program}"));
            #[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
            {
                println!("SKIPPED({why}): an engine; see scripts/install-test-needs");
            }
            return None;
        }
        let directory = std::env::temp_dir().join("bot-bottle-test-engine");
        let starting = Starting::take(&directory);
        let users = File::create(beside(&directory, "users")).expect("a file of ours");
        flock(&users, FlockOperation::LockShared).expect("a lock of ours");
        let engine = Engine { directory, users: Some(users) };
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

    /// Docker's own client.
    pub fn client(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", self.host()).env("DOCKER_CONFIG", &self.directory).args(arguments);
        Running::start(command).finish(SOON)
    }

    /// Containers that were made for bottles of this state directory.
    pub fn containers(&self, state: &Path) -> Vec<String> {
        let label = format!("label=bot-bottle.state={}", state.display());
        let listed = self.client(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &label]);
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
        (name.ends_with("(dockerd") && !state.starts_with(['Z', 'X'])).then_some(pid)
    }

    fn start(&self) {
        // What a daemon that was killed left there.
        let _ = fs::remove_dir_all(&self.directory);
        fs::create_dir_all(&self.directory).expect("a directory of ours");
        let at = |name: &str| self.directory.join(name).display().to_string();
        let log = File::create(at("log")).expect("a file of ours");
        let script = format!(
            "ip link set lo up && ip addr add {METADATA}/32 dev lo && exec dockerd --data-root {} --exec-root {} \
             --pidfile {} --host unix://{} --bip {GATEWAY}/24 --iptables=false --ip6tables=false --ip-forward=false \
             --ip-masq=false --userland-proxy=false",
            at("data"),
            at("exec"),
            at("pid"),
            at("docker.sock"),
        );
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
            panic!("dockerd did not come up: {}", fs::read_to_string(at("log")).unwrap_or_default());
        }
        // The ordinary user of the tests is of the engine's group.
        chown(at("docker.sock"), None, Some(ORDINARY)).expect("a socket of ours");
        self.import().expect("the image");
    }

    fn import(&self) -> io::Result<()> {
        let root = self.directory.join("image");
        root_file_system(&root)?;
        let archive = self.directory.join("image.tar");
        let (root, archive) = (root.display().to_string(), archive.display().to_string());
        Running::start(command("tar", &["-C", &root, "-cf", &archive, "."])).finish(SOON).success();
        self.client(&["import", &archive, IMAGE]).success();
        Ok(())
    }
    /// Only where nobody else uses it, and nobody can begin to meanwhile.
    fn end(&self) {
        if let Some(pid) = self.daemon().and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            wait_until("dockerd to end", SOON, || self.daemon().is_none());
        }
        let _ = fs::remove_dir_all(&self.directory);
        let _ = fs::remove_file(beside(&self.directory, "users"));
    }
}

/// A static busybox with its applets, curl, and the libraries that it takes.
pub(crate) fn root_file_system(root: &Path) -> io::Result<()> {
    for name in ["bin", "usr/bin", "etc", "lib64"] {
        fs::create_dir_all(root.join(name))?;
    }
    fs::copy("/bin/busybox", root.join("bin/busybox"))?;
    let applets = Running::start(command("busybox", &["--list"])).finish(SOON);
    for applet in applets.success().lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    fs::copy("/usr/bin/curl", root.join("usr/bin/curl"))?;
    let libraries = Running::start(command("ldd", &["/usr/bin/curl"])).finish(SOON);
    for path in libraries.success().split_ascii_whitespace().filter(|word| word.starts_with('/')) {
        let target = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(target.parent().expect("a library has a directory"))?;
        fs::copy(path, target)?;
    }
    // What a program written in Rust takes besides.
    for path in ["/lib/x86_64-linux-gnu/libgcc_s.so.1", "/lib/aarch64-linux-gnu/libgcc_s.so.1"] {
        if Path::new(path).exists() {
            fs::copy(path, root.join(path.trim_start_matches('/')))?;
        }
    }
    Ok(())
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

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}
