//! The gate's egress door in a process of its own (the example `path`): on the host, unconfined, with everything on or
//! without scanning; and a proxy by the same libraries that does nothing but intercept. What counts there is the
//! difference. Where valgrind is installed, instructions are counted besides, which no load on the machine changes.

use super::{
    load::{Load, Measured},
    rivals::{Contender, HOST, apart},
    table::Table,
};
use crate::build;
use anyhow::{Context, Result, ensure};
use bottle_testkit::TlsUpstream;
use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

pub(super) fn program() -> Result<PathBuf> {
    build::example("bottle-gate", "path", &["bottle-gate/unscanned"])
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Everything,
    Unscanned,
    Bare,
}

impl Way {
    fn word(self) -> &'static str {
        match self {
            Way::Everything => "everything",
            Way::Unscanned => "unscanned",
            Way::Bare => "bare",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Way::Everything => "its door alone",
            Way::Unscanned => "the same, without scanning",
            Way::Bare => "bare hyper and rustls",
        }
    }
}

pub(super) struct Door {
    way: Way,
    child: Child,
    address: SocketAddr,
    directory: tempfile::TempDir,
}

impl Door {
    pub(super) fn start(program: &Path, way: Way, upstream: &TlsUpstream) -> Result<Door> {
        Door::by(Command::new(program), way, upstream)
    }

    fn by(mut command: Command, way: Way, upstream: &TlsUpstream) -> Result<Door> {
        let directory = tempfile::tempdir()?;
        let ca = directory.path().join("upstream.pem");
        fs::write(&ca, upstream.authority().pem())?;
        command.arg(way.word()).arg(upstream.address().to_string()).arg(&ca).arg(directory.path());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("its output")?).read_line(&mut line)?;
        let address = line.trim().parse().with_context(|| format!("the door said {line:?}"))?;
        Ok(Door { way, child, address, directory })
    }

    /// Lets it end by itself.
    fn end(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        ensure!(self.child.wait()?.success(), "the door failed");
        Ok(())
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Contender for Door {
    fn name(&self) -> &'static str {
        self.way.name()
    }

    fn pid(&self) -> Option<u32> {
        Some(self.child.id())
    }

    fn drive(&self, load: &Load) -> Result<Measured> {
        let ca = self.directory.path().join("ca.pem");
        let load = Load { proxy: Some(self.address), host: HOST.to_owned(), port: 443, ca, ..load.clone() };
        apart(&load, Some(self.directory.path()))
    }
}

/// Instructions in user space for each request, and for each new tunnel with its first; `None` without valgrind.
pub(super) fn instructions(program: &Path, upstream: &TlsUpstream) -> Result<Option<Table>> {
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("SKIPPED(no valgrind): instructions are not counted");
        return Ok(None);
    }
    let mut table = Table::new("Instructions in user space", &["way", "1 KB request", "new tunnel with one"]);
    for way in [Way::Everything, Way::Unscanned, Way::Bare] {
        let mut row = vec![way.name().to_owned()];
        for (few, many, fresh) in [(200, 1200, false), (20, 120, true)] {
            let counted = |requests| counted(program, way, upstream, requests, fresh);
            let each = counted(many)?.saturating_sub(counted(few)?) / (many - few) as u64;
            row.push(format!("{each}"));
        }
        table.row(row);
    }
    Ok(Some(table))
}

/// All instructions of a door that answered so many requests.
fn counted(program: &Path, way: Way, upstream: &TlsUpstream, requests: usize, fresh: bool) -> Result<u64> {
    let directory = tempfile::tempdir()?;
    let out = directory.path().join("callgrind.out");
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--tool=callgrind", &format!("--callgrind-out-file={}", out.display())]).arg(program);
    let door = Door::by(command, way, upstream)?;
    door.drive(&Load {
        proxy: None,
        address: upstream.address(),
        host: HOST.to_owned(),
        port: upstream.port(),
        path: "/1k".to_owned(),
        ca: PathBuf::new(),
        concurrency: 1,
        requests,
        fresh,
    })?;
    door.end()?;
    let text = fs::read_to_string(&out)?;
    let summary = text.lines().find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")));
    summary.and_then(|count| count.trim().parse().ok()).context("valgrind counted nothing")
}
