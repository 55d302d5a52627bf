//! Everything around the probe: the upstream, the traps, what is planted on the host, a sibling bottle, and the two
//! ways to run it.

use super::{
    Part,
    judge::{self, ALLOWED, DENIED},
};
use anyhow::{Context, Result, bail, ensure};
use bottle_probe::{Field, Limits, Report};
use bottle_spec::door::{LOOPBACK_NET, SYNTHETIC_NET};
use bottle_testkit::{
    Engine, Machines, OpenProxy, Running, TestEnv, TlsUpstream, Traps,
    engine::IMAGE,
    env::{ORDINARY, leftovers},
    open_proxy::{Destination, Names},
    wait::comes_within,
    wait_until,
};
use rustix::io::{FdFlags, fcntl_setfd};
use std::{
    fmt,
    fs::{self, File},
    os::unix::{fs::PermissionsExt, fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tempfile::NamedTempFile;

/// One run of all the cases may take this long.
const PATIENCE: Duration = Duration::from_secs(300);
const LIMITS: Limits = Limits { pids: 256, memory: 256 << 20, memory_enforced: false, disk: 4 << 30 };

/// Who starts the bottle, and who runs the control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum User {
    Root,
    Ordinary,
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            User::Root => "as root",
            User::Ordinary => "as an ordinary user",
        })
    }
}

pub(super) struct Arena {
    user: User,
    /// Whether an engine makes the bottles, and sees to their limits.
    engine: bool,
    /// What each bottle is a machine of. A real one has the memory that it is given.
    machines: Option<Machines>,
    upstream: TlsUpstream,
    plain: TlsUpstream,
    proxy: OpenProxy,
    /// A process of the host that holds the secret in its arguments, as no process of ours may.
    talker: Running,
    field: Field,
    secret: String,
    /// Kept open, and handed on to the control by mistake.
    leak: File,
    /// Whether a bottle's processes are known from here by what they have mounted: not those of another kernel, and not where
    /// nothing of this machine is.
    seen: bool,
    _traps: Traps,
    _planted: Vec<NamedTempFile>,
    /// Dropped last: by then nothing of the above may be left.
    env: TestEnv,
}

/// What bottles are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rooms<'a> {
    Namespaces,
    Containers { engine: &'a Engine, topology: &'a str },
    Machines,
}

impl Arena {
    pub(super) fn set(program: &Path, probe: &Path, user: User, rooms: Rooms<'_>, part: Part) -> Result<Arena> {
        let mut env = match user {
            User::Root => TestEnv::new(program),
            User::Ordinary => TestEnv::ordinary(program),
        };
        let (nonce, secret) = (word("nonce")?, word("secret")?);
        env.set("PROBE_TOKEN", &secret);
        let mut machines = None;
        match rooms {
            Rooms::Namespaces => {}
            Rooms::Containers { engine, topology } => {
                env.set("DOCKER_HOST", &engine.host());
                env.set("BOT_BOTTLE_BACKEND", "docker");
                env.set("BOT_BOTTLE_IMAGE", IMAGE);
                env.set("BOT_BOTTLE_TOPOLOGY", topology);
            }
            Rooms::Machines => machines = Some(Machines::install(&mut env)),
        }
        let hosts = [ALLOWED, DENIED];
        let handler = judge::handler(&nonce, &secret);
        let upstream = TlsUpstream::options(&hosts).handler(handler.clone()).start();
        let plain = TlsUpstream::options(&hosts).plain().handler(handler).start();
        let destination = Destination { tls: upstream.address(), plain: plain.address() };
        let names: Names = hosts.iter().map(|host| ((*host).to_owned(), destination)).collect();
        let proxy = OpenProxy::start(names).context("the proxy of the control")?;
        let field_directory = env.root().join("field");
        fs::create_dir(&field_directory)?;
        fs::copy(probe, field_directory.join("probe")).context("the probe is to be had")?;
        let socket = env.root().join("host.sock");
        let name = format!("bot-bottle-{nonce}");
        let traps = Traps::set(&nonce, &socket, &name).context("the traps")?;
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o777))?;
        let (planted, outside) = planted(&env, user, &nonce)?;
        let talker = talker(&env, user, &name, &secret);
        let field = Field {
            bare: false,
            part,
            by_engine: matches!(rooms, Rooms::Containers { .. }),
            synthetic: if matches!(rooms, Rooms::Namespaces) { SYNTHETIC_NET.0 } else { LOOPBACK_NET.0 },
            allowed_host: ALLOWED.to_owned(),
            denied_host: DENIED.to_owned(),
            upstream: upstream.address(),
            canary_tcp: traps.tcp,
            canary_tcp6: traps.tcp6,
            canary_udp: traps.udp,
            canary_udp6: traps.udp6,
            proxy: ([127, 0, 0, 1], 8888).into(),
            planted,
            nonce,
            secret_reversed: secret.chars().rev().collect(),
            unix_socket: socket,
            abstract_socket: name,
            host_process: talker.pid(),
            sibling_port: free_port()?,
            limits: LIMITS,
        };
        // As a careless user keeps it; only the control is run beside it.
        env.write("work/.env", format!("PROBE_TOKEN={secret}\n"));
        let leak = File::open("/dev/null")?;
        Ok(Arena {
            env,
            engine: matches!(rooms, Rooms::Containers { .. }),
            machines,
            user,
            upstream,
            plain,
            proxy,
            talker,
            field,
            secret,
            leak,
            seen: !matches!(rooms, Rooms::Machines | Rooms::Containers { topology: "sent", .. }),
            _traps: traps,
            _planted: outside,
        })
    }

    /// The control. It must run where the traps are, with the secret as a careless user has it.
    pub(super) fn on_the_bare_host(&self) -> Result<Vec<Report>> {
        let field = Field { bare: true, by_engine: false, proxy: self.proxy.address(), ..self.field.clone() };
        let path = self.write_field("bare.json", &field)?;
        let probe = self.env.root().join("field/probe");
        let mut listener = Command::new(&probe);
        listener.args(["listen", &field.sibling_port.to_string(), "300"]);
        let listener = Running::start(listener);
        wait_until("the control's sibling", Duration::from_secs(10), || {
            std::net::TcpStream::connect(("127.0.0.1", field.sibling_port)).is_ok()
        });
        let mut command = Command::new(&probe);
        command.arg("run").arg(path).current_dir(self.env.work());
        command.env("PROBE_TOKEN", &self.secret).env("SSH_AUTH_SOCK", &field.unix_socket);
        if self.user == User::Ordinary && bottle_testkit::env::is_root() {
            command.uid(ORDINARY).gid(ORDINARY);
        }
        fcntl_setfd(&self.leak, FdFlags::empty())?;
        let control = Running::start(command);
        fcntl_setfd(&self.leak, FdFlags::CLOEXEC)?;
        let reports = reports(control);
        drop(listener);
        // What the control did there is no trespass.
        self.upstream.take_seen();
        self.plain.take_seen();
        reports
    }

    pub(super) fn in_a_bottle(&self) -> Result<Vec<Report>> {
        ensure!(self.talker.pid() != 0, "the host process is gone");
        let real = self.machines.as_ref().is_some_and(Machines::are_real);
        let field = Field {
            limits: Limits { memory_enforced: self.engine || real || memory_enforced(), ..LIMITS },
            ..self.field.clone()
        };
        self.write_field("field.json", &field)?;
        self.manifests(&field)?;
        let mut sibling = self.env.spawn(&["start", "sibling", "--yes"]);
        let up = comes_within(Duration::from_secs(60), || match sibling.ended() {
            Some(_) => Some(false),
            None => self.listens("sibling").then_some(true),
        });
        if up != Some(true) {
            sibling.kill();
            bail!("the sibling bottle did not come up: {}", sibling.finish(Duration::from_secs(5)));
        }
        let held = reports(self.env.spawn(&["start", "probe", "--yes"]));
        for bottle in self.env.bottles() {
            // Both have ended or are ended here; what is left behind is found when the environment is dropped.
            let _ = self.env.run(&["stop", &bottle]);
        }
        drop(sibling);
        held
    }

    /// Requests that reached the upstream and should not have.
    pub(super) fn trespasses(&self) -> Vec<String> {
        let seen = self.upstream.seen().into_iter().chain(self.plain.seen());
        let why = |seen: bottle_testkit::Seen| {
            judge::trespass(&seen, &self.secret)
                .map(|why| format!("{} {} {} ({why})", seen.method, seen.host, seen.target))
        };
        seen.filter_map(why).collect()
    }

    /// Whether the program of a bottle of that agent runs.
    fn listens(&self, agent: &str) -> bool {
        if !self.seen {
            let bottles = self.env.bottles();
            let Some(slug) = bottles.iter().find(|slug| slug.starts_with(agent)) else { return false };
            let listening = format!(":{:04X} 00000000:0000 0A", self.field.sibling_port);
            return self.env.run(&["exec", slug, "--", "cat", "/proc/net/tcp"]).stdout.contains(&listening);
        }
        let ours = leftovers::processes(&self.env.root().to_string_lossy());
        self.env.bottles().iter().any(|slug| slug.starts_with(agent))
            && ours.iter().any(|(_, line)| line.starts_with("/field/probe listen"))
    }

    fn write_field(&self, name: &str, field: &Field) -> Result<PathBuf> {
        let path = self.env.root().join("field").join(name);
        fs::write(&path, serde_json::to_vec_pretty(field)?)?;
        Ok(path)
    }

    fn manifests(&self, field: &Field) -> Result<()> {
        let ca = self.env.write("config/upstream-ca.pem", self.upstream.authority().pem());
        let mount = format!("{}:/field", self.env.root().join("field").display());
        let egress = format!(
            "egress:\n  routes:\n    - host: {ALLOWED}\n      methods: [GET, POST]\n      paths: [/public/**]\n      \
             auth: {{ scheme: bearer, secret: env:PROBE_TOKEN }}\n  upstream_ca: {}\n  \
             resolve: {{ {ALLOWED}: \"{}\" }}\n",
            ca.display(),
            self.upstream.address(),
        );
        // One in an emulated machine can have no more than one processor.
        let cpus = if self.machines.is_some() { ", cpus: 1" } else { "" };
        let limits = format!("limits: {{ pids: {}, memory: {}MiB{cpus} }}\n", LIMITS.pids, LIMITS.memory >> 20);
        self.env.bottle("arena", &format!("image: host\nmounts: [\"{mount}\"]\n{limits}{egress}"));
        let quiet = if self.machines.is_some() { limits.as_str() } else { "" };
        self.env.bottle("quiet", &format!("image: host\nmounts: [\"{mount}\"]\n{quiet}"));
        self.env.agent("probe", "bottle: arena\nprovider: command\ncommand: [/field/probe, run, /field/field.json]");
        let listen = format!("[/field/probe, listen, \"{}\", \"280\"]", field.sibling_port);
        self.env.agent("sibling", &format!("bottle: quiet\nprovider: command\ncommand: {listen}"));
        Ok(())
    }
}

fn reports(run: Running) -> Result<Vec<Report>> {
    let ran = run.finish(PATIENCE);
    ensure!(ran.code == Some(0), "the probe ended with {ran}");
    ran.stdout.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// Files that stand for a user's data, readable by whoever runs the control.
fn planted(env: &TestEnv, user: User, nonce: &str) -> Result<(Vec<PathBuf>, Vec<NamedTempFile>)> {
    let mut paths = vec![env.write("home/.ssh/id_ed25519", nonce), env.write("work/notes.txt", nonce)];
    let mut outside = Vec::new();
    for directory in ["/dev/shm", "/var/tmp", "/tmp"] {
        let file = tempfile::Builder::new().prefix("bb-planted-").tempfile_in(directory)?;
        fs::write(file.path(), nonce)?;
        paths.push(file.path().to_owned());
        outside.push(file);
    }
    if user == User::Ordinary && bottle_testkit::env::is_root() {
        for path in &paths {
            chown(path, Some(ORDINARY), Some(ORDINARY))?;
        }
    }
    Ok((paths, outside))
}

/// A process with the secret in its arguments and the trap's name besides, by which the probe knows it.
fn talker(env: &TestEnv, user: User, name: &str, secret: &str) -> Running {
    let mut command = Command::new(env.root().join("field/probe"));
    command.args(["idle", name, secret]).env("PROBE_TOKEN", secret);
    if user == User::Ordinary && bottle_testkit::env::is_root() {
        command.uid(ORDINARY).gid(ORDINARY);
    }
    Running::start(command)
}

/// Whether a cgroup v2 with a memory controller is there to be delegated.
fn memory_enforced() -> bool {
    fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").is_ok_and(|text| text.contains("memory"))
        && bottle_testkit::env::is_root()
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn word(kind: &str) -> Result<String> {
    let mut bytes = [0; 16];
    std::io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut bytes)?;
    Ok(format!("{kind}{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
}
