//! A container engine of the bench's own: Docker's daemon with everything in one directory, without a bridge and
//! without firewall rules, and one image with nothing in it but a static busybox. Needs root and `dockerd`.

use anyhow::{Context, Result, ensure};
use bottle_testkit::wait_until;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

const SOON: Duration = Duration::from_secs(60);

/// Stops with its value.
pub(super) struct Engine {
    daemon: Child,
    directory: tempfile::TempDir,
}

impl Engine {
    pub(super) const IMAGE: &str = "bench";

    /// `None` where there is no engine to start.
    pub(super) fn start() -> Result<Option<Engine>> {
        let busybox = Path::new("/bin/busybox");
        let there = Command::new("dockerd").arg("--version").stdout(Stdio::null()).status().is_ok();
        if !there || !busybox.exists() || !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED(docker run: no dockerd, no busybox or not root; scripts/install-bench-needs)");
            return Ok(None);
        }
        let directory = tempfile::tempdir()?;
        let at = |name: &str| directory.path().join(name);
        let log = fs::File::create(at("log"))?;
        let daemon = Command::new("dockerd")
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("exec"))
            .arg("--pidfile")
            .arg(at("pid"))
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs", "--host"])
            .arg(format!("unix://{}", at("docker.sock").display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("dockerd cannot be started")?;
        let engine = Engine { daemon, directory };
        wait_until("dockerd to answer", SOON, || {
            let mut info = engine.client();
            info.arg("info").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
        });
        engine.import(busybox)?;
        Ok(Some(engine))
    }

    /// What is measured.
    pub(super) fn run(&self) -> Command {
        let mut command = self.client();
        command.args(["run", "--rm", "--pull", "never", "--network", "none", Engine::IMAGE, "/bin/true"]);
        command
    }

    fn client(&self) -> Command {
        let mut command = Command::new("docker");
        command.arg("--host").arg(self.host());
        command
    }

    /// As `DOCKER_HOST` names it.
    pub(super) fn host(&self) -> String {
        format!("unix://{}", self.path("docker.sock").display())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn import(&self, busybox: &Path) -> Result<()> {
        let bin = self.path("root/bin");
        fs::create_dir_all(&bin)?;
        fs::copy(busybox, bin.join("busybox"))?;
        std::os::unix::fs::symlink("busybox", bin.join("true"))?;
        let archive = self.path("root.tar");
        let packed = Command::new("tar").arg("-C").arg(self.path("root")).arg("-cf").arg(&archive).arg(".").status()?;
        ensure!(packed.success(), "the image cannot be packed");
        let imported = self.client().arg("import").arg(&archive).arg(Engine::IMAGE).stdout(Stdio::null()).status()?;
        ensure!(imported.success(), "the image cannot be imported");
        Ok(())
    }
}

impl Drop for Engine {
    /// As the daemon ends by itself: it takes its containers, its helpers and its mounts along.
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.daemon.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.daemon.wait();
    }
}
