//! A container as data: what the engine is told to make. A pure function of the [`ContainerSpec`] and of what was
//! staged, so that tests read it without an engine.

use super::{sent, staging::Staged};
use crate::{
    backend::room::{Bounds, FROZEN, HOME, MASKED_DIRECTORIES, MASKED_FILES, RoomSpec, relative, scratch_bounds},
    engine_address::EngineAddress,
    journal::Container,
};
use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount,
    MountBindOptions, MountBindOptionsPropagationEnum, MountType, ResourcesUlimits,
};
use bottle_spec::{machine_link::STREAM, plan::Workspace, slug::Slug, topology::Topology};
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

/// Whose bottle it is: the name, and the directory of state that it belongs to.
pub(super) const SLUG: &str = "bot-bottle.slug";
pub(super) const STATE: &str = "bot-bottle.state";
/// The container that something was made for.
pub(super) const CONTAINER: &str = "bot-bottle.container";

/// Where the container finds init and its socket.
pub(super) const ENTRY: &str = "/.bot-bottle";

/// What a container is made of, besides its room.
#[derive(Debug, Clone, Copy)]
pub struct ContainerSpec<'a> {
    pub room: RoomSpec<'a>,
    pub container: &'a Container,
    /// All bottles of this directory are ours: by it `cleanup` finds a container whose bottle is gone.
    pub state: &'a Path,
    /// A directory of the bottle's, on a file system that programs may be run from; made here, removed by whoever ends
    /// the bottle.
    pub staging: &'a Path,
    /// The bottle's directory of sockets, with a short path.
    pub runtime: &'a Path,
    /// This program, which carries where no socket leads into the container.
    pub program: &'a Path,
}

impl Container {
    /// The container of a bottle. Names of bottles are drawn per state directory, those of containers per engine.
    pub fn of(engine: &EngineAddress, slug: &Slug, state: &Path) -> Container {
        let digest = Sha256::digest(state.as_os_str().as_encoded_bytes());
        let short: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Container { engine: engine.clone(), name: format!("bot-bottle-{slug}-{short}"), sent: false }
    }
}

/// The uid and gid of all that runs in it, in the container, and here too unless its files are sent.
pub(super) fn ids(room: &RoomSpec<'_>) -> (u32, u32) {
    if room.plan.topology == Topology::Sent {
        let id = sent::agent(room.slug);
        return (id, id);
    }
    let own = || (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    room.host_ids.unwrap_or_else(own)
}

/// By which it is found where nothing else is known of it.
pub(super) fn labels(spec: &ContainerSpec<'_>) -> HashMap<String, String> {
    let state = spec.state.to_string_lossy().into_owned();
    HashMap::from([
        (SLUG.to_owned(), spec.room.slug.to_string()),
        (STATE.to_owned(), state),
        (CONTAINER.to_owned(), spec.container.name.clone()),
    ])
}

pub(super) fn body(spec: &ContainerSpec<'_>, image: &str, staged: &Staged) -> ContainerCreateBody {
    let (uid, gid) = ids(&spec.room);
    let text = |text: &str| text.to_owned();
    let (streams, link) = match spec.room.plan.topology {
        Topology::Socket => (false, format!("{ENTRY}/link")),
        Topology::Stream | Topology::Sent => (true, text(STREAM)),
    };
    ContainerCreateBody {
        hostname: Some(spec.room.slug.to_string()),
        user: Some(format!("{uid}:{gid}")),
        image: Some(image.to_owned()),
        entrypoint: Some(vec![format!("{ENTRY}/init"), link]),
        cmd: Some(Vec::new()),
        working_dir: Some(text("/")),
        tty: Some(false),
        // Whoever is attached first is the carrier: when it is gone, nobody can speak to init any more.
        attach_stdin: Some(streams),
        attach_stdout: Some(streams),
        attach_stderr: Some(streams),
        open_stdin: Some(streams),
        stdin_once: Some(streams),
        // The engine would run it beside init, outside of the confinement that init puts on all it starts.
        healthcheck: Some(HealthConfig { test: Some(vec![text("NONE")]), ..HealthConfig::default() }),
        labels: Some(labels(spec)),
        host_config: Some(host(spec, staged)),
        ..ContainerCreateBody::default()
    }
}

fn host(spec: &ContainerSpec<'_>, staged: &Staged) -> HostConfig {
    let limits = &spec.room.plan.limits;
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let texts = |all: &[&str]| Some(all.iter().map(|text| (*text).to_owned()).collect());
    let memory = limits.memory.map(signed);
    let is_sent = spec.room.plan.topology == Topology::Sent;
    HostConfig {
        network_mode: Some("none".to_owned()),
        cap_drop: texts(&["ALL"]),
        security_opt: texts(&["no-new-privileges:true"]),
        readonly_rootfs: Some(true),
        privileged: Some(false),
        ipc_mode: Some("private".to_owned()),
        // The bottle's uid has no rights on this host, and its files belong to it here as they do inside. Those that were
        // sent belong to whomever the engine makes of them.
        userns_mode: (!is_sent).then(|| "host".to_owned()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        // As the engine does by itself where a container has a network of its own.
        sysctls: Some(HashMap::from([("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned())])),
        masked_paths: Some(masked()),
        readonly_paths: Some(FROZEN.iter().map(|name| format!("/proc/{name}")).collect()),
        // Where no file of ours can be laid over the engine's.
        dns: if is_sent { texts(&["127.0.0.1"]) } else { None },
        dns_options: if is_sent { texts(&["timeout:2", "attempts:2"]) } else { None },
        dns_search: if is_sent { texts(&["."]) } else { None },
        extra_hosts: is_sent.then(|| vec![format!("{}:127.0.0.1", spec.room.slug)]),
        mounts: Some(if is_sent { sent::volumes(spec) } else { mounts(spec, staged) }),
        tmpfs: Some(tmpfs(spec)),
        shm_size: Some(signed(scratch_bounds(*limits).bytes)),
        memory,
        memory_swap: memory,
        nano_cpus: limits.cpu_millis.map(|millis| i64::from(millis) * 1_000_000),
        pids_limit: limits.pids.map(i64::from),
        ulimits: Some(vec![ResourcesUlimits { name: Some("core".to_owned()), soft: Some(0), hard: Some(0) }]),
        // What init writes is for its keeper, and kept nowhere.
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        // An engine that is started again takes such containers away, those that still run as well.
        auto_remove: Some(false),
        init: Some(false),
        ..HostConfig::default()
    }
}

/// Of `/proc` what the namespace backend masks, and all of `/sys`, which that does not have.
fn masked() -> Vec<String> {
    let of_proc = MASKED_FILES.iter().chain(&MASKED_DIRECTORIES).map(|name| format!("/proc/{name}"));
    of_proc.chain(["/proc/interrupts", "/proc/timer_stats", "/sys"].map(str::to_owned)).collect()
}

/// A place in memory that belongs to the agent, under its own uid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scratch {
    pub(super) target: &'static str,
    pub(super) bytes: u64,
    pub(super) inodes: u64,
    pub(super) mode: &'static str,
    pub(super) owner: (u32, u32),
}

pub(super) fn scratch(spec: &ContainerSpec<'_>) -> [Scratch; 3] {
    let owner = ids(&spec.room);
    let Bounds { bytes: large, inodes } = scratch_bounds(spec.room.plan.limits);
    [("/tmp", large, "1777"), ("/var/tmp", large, "1777"), ("/run", large.min(64 << 20), "755")]
        .map(|(target, bytes, mode)| Scratch { target, bytes, inodes, mode, owner })
}

fn tmpfs(spec: &ContainerSpec<'_>) -> HashMap<String, String> {
    let options = |place: Scratch| {
        let Scratch { target, bytes, inodes, mode, owner: (uid, gid) } = place;
        let options = format!("rw,exec,nosuid,nodev,size={bytes},nr_inodes={inodes},mode={mode},uid={uid},gid={gid}");
        (target.to_owned(), options)
    };
    scratch(spec).map(options).into()
}

fn mounts(spec: &ContainerSpec<'_>, staged: &Staged) -> Vec<Mount> {
    let room = &spec.room;
    let mut mounts = vec![bind(&staged.entry, Path::new(ENTRY), true)];
    mounts.extend(staged.files.iter().map(|(source, target)| bind(source, target, true)));
    mounts.push(bind(room.home, Path::new(HOME), false));
    if let Some(workspace) = room.workspace {
        mounts.push(bind(workspace, Path::new(Workspace::TARGET), false));
    }
    // Read-only, whatever the plan says: a writable one needs guards, and is refused before there is a plan.
    for mount in room.plan.mounts.iter().filter(|mount| relative(&mount.target).is_some()) {
        mounts.push(bind(&mount.source, &mount.target, true));
    }
    mounts
}

/// A bind that fails where the source is not there, in place of making it.
fn bind(source: &Path, target: &Path, read_only: bool) -> Mount {
    let text = |path: &Path| Some(PathBuf::from(path).to_string_lossy().into_owned());
    Mount {
        typ: Some(MountType::BIND),
        source: text(source),
        target: text(target),
        read_only: Some(read_only),
        bind_options: Some(MountBindOptions {
            propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
            ..MountBindOptions::default()
        }),
        ..Mount::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bottle_spec::{
        plan::{Backend, Image, Limits, Plan, PlannedProvider},
        policy::EgressPolicy,
    };
    use std::collections::BTreeMap;

    fn plan() -> Plan {
        let mount = |source: &str, target: &str| bottle_spec::plan::Mount {
            source: source.into(),
            target: target.into(),
            writable: true,
        };
        Plan {
            agent: "a".into(),
            bottle: None,
            backend: Backend::Docker,
            topology: Topology::Socket,
            provider: PlannedProvider::named("command"),
            command: vec!["true".into()],
            prompt: "a secret prompt".into(),
            skills: Vec::new(),
            files: Vec::new(),
            image: Image::Reference("debian:bookworm".into()),
            image_id: Some("sha256:0".into()),
            env: BTreeMap::from([("TOKEN".into(), "bot-bottle-placeholder-TOKEN".into())]),
            mounts: vec![mount("/srv/data", "/data"), mount("/srv/etc", "/etc/x")],
            workspace: Workspace::None,
            git: Vec::new(),
            egress: EgressPolicy::default(),
            secrets: Vec::new(),
            supervise: false,
            wait: Plan::WAIT,
            canaries: false,
            limits: Limits { cpu_millis: Some(1500), memory: Some(1 << 30), pids: Some(64), disk: None },
            ports: Vec::new(),
            machine: None,
            notices: Vec::new(),
        }
    }

    fn made() -> ContainerCreateBody {
        made_of(plan())
    }

    fn made_of(plan: Plan) -> ContainerCreateBody {
        let slug: Slug = "a-abcde".parse().unwrap();
        let container = Container::of(&EngineAddress::Socket("/run/docker.sock".into()), &slug, Path::new("/state"));
        let room = RoomSpec {
            slug: &slug,
            plan: &plan,
            home: Path::new("/state/home"),
            workspace: Some(Path::new("/state/workspace")),
            guards: &[],
            pieces: &[],
            init_image: &[],
            doors: &[],
            host_ids: Some((70_000, 70_001)),
            cgroup: None,
        };
        let staging = Path::new("/state/room");
        let (runtime, program) = (Path::new("/run/bottle"), Path::new("/usr/bin/bot-bottle"));
        let spec = ContainerSpec { room, container: &container, state: Path::new("/state"), staging, runtime, program };
        let staged = Staged {
            entry: "/state/room/entry".into(),
            files: vec![("/state/room/files/0".into(), "/etc/passwd".into())],
        };
        body(&spec, "sha256:0", &staged)
    }

    #[test]
    fn only_home_and_workspace_are_writable_and_the_engines_socket_is_not_there() {
        let host = made().host_config.unwrap();
        let mounts = host.mounts.unwrap();
        let writable: Vec<_> =
            mounts.iter().filter(|it| it.read_only != Some(true)).filter_map(|it| it.target.as_deref()).collect();
        assert_eq!(writable, ["/home/agent", "/workspace"]);
        let targets: Vec<_> = mounts.iter().filter_map(|it| it.target.as_deref()).collect();
        assert_eq!(targets, ["/.bot-bottle", "/etc/passwd", "/home/agent", "/workspace", "/data"]);
        assert!(mounts.iter().all(|it| it.source.as_deref().is_some_and(|source| !source.contains(".sock"))));
        assert!(host.binds.is_none() && host.devices.is_none() && host.group_add.is_none() && host.cap_add.is_none());
    }

    #[test]
    fn nothing_of_the_agents_is_told_to_the_engine() {
        let made = made();
        let text = serde_json::to_string(&made).unwrap();
        assert!(!text.contains("secret") && !text.contains("placeholder"), "{text}");
        assert_eq!((made.env, made.user.as_deref()), (None, Some("70000:70001")));
    }

    #[test]
    fn limits_are_in_the_engines_units() {
        let host = made().host_config.unwrap();
        assert_eq!((host.nano_cpus, host.pids_limit), (Some(1_500_000_000), Some(64)));
        assert_eq!((host.memory, host.memory_swap), (Some(1 << 30), Some(1 << 30)), "no swap besides");
        assert!(host.tmpfs.unwrap()["/tmp"].contains("size=536870912"));
    }

    #[test]
    fn by_the_stream_nothing_is_mounted_but_what_is_read_and_whoever_is_attached_is_alone() {
        let of = |topology| made_of(Plan { topology, ..plan() });
        let (socket, stream) = (of(Topology::Socket), of(Topology::Stream));
        assert_eq!(socket.entrypoint.as_deref(), Some(&["/.bot-bottle/init".into(), "/.bot-bottle/link".into()][..]));
        assert_eq!(stream.entrypoint.as_deref(), Some(&["/.bot-bottle/init".into(), "stream".into()][..]));
        assert_eq!((socket.open_stdin, socket.attach_stdout), (Some(false), Some(false)));
        assert_eq!((stream.open_stdin, stream.stdin_once, stream.tty), (Some(true), Some(true), Some(false)));
        assert_eq!(stream.host_config, socket.host_config, "its walls are the same");
    }

    #[test]
    fn a_name_is_of_one_state_directory() {
        let slug: Slug = "a-abcde".parse().unwrap();
        let name = |state: &str| {
            Container::of(&EngineAddress::Socket("/run/docker.sock".into()), &slug, Path::new(state)).name
        };
        assert_ne!(name("/home/a/state"), name("/home/b/state"));
        assert_eq!(name("/home/a/state"), name("/home/a/state"));
    }
}
