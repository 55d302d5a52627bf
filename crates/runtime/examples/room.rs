//! Makes a room, runs one command in it and ends with its exit code: for the tests of the namespace backend, and for
//! looking around in a room by hand. There is no gate here; the doors that are asked for answer nothing.
//!
//! `room --init IMAGE --home DIR [--workspace DIR] [--ids UID:GID] [--mount SOURCE:TARGET[:rw]] [--transparent PORT]
//! [--pids N] [--env NAME=VALUE] [--terminal] [--serve-transparent] [--hang] -- COMMAND...`

use bottle_runtime::{
    backend::{namespace, room::RoomSpec, roots},
    provision::{self, Given},
    socket::Link,
};
use bottle_spec::{
    door::Door,
    init_link::{InitStart, InitToKeeper, KeeperToInit, Probe, Spawn, WindowSize},
    plan::{Backend, Image, Limits, Mount, Plan, PlannedProvider, Workspace},
    policy::EgressPolicy,
    slug::Slug,
    topology::Topology,
};
use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    io::{self, Read, Write},
    net::TcpListener,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    process::ExitCode,
    time::Instant,
};

#[derive(Debug, Default)]
struct Arguments {
    init: PathBuf,
    home: PathBuf,
    workspace: Option<PathBuf>,
    ids: Option<(u32, u32)>,
    mounts: Vec<Mount>,
    doors: Vec<Door>,
    pids: Option<u32>,
    env: BTreeMap<String, String>,
    terminal: bool,
    serve: bool,
    hang: bool,
    timing: bool,
    command: Vec<String>,
}

fn main() -> ExitCode {
    let answer = arguments().and_then(|arguments| run(&arguments));
    match answer {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                text.push_str(&format!(": {error}"));
                cause = error.source();
            }
            let _ = writeln!(io::stderr(), "room: {text}");
            ExitCode::from(100)
        }
    }
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut given = std::env::args().skip(1);
    let mut arguments = Arguments::default();
    while let Some(name) = given.next() {
        let mut value = || given.next().ok_or(format!("{name} needs a value"));
        match name.as_str() {
            "--init" => arguments.init = value()?.into(),
            "--home" => arguments.home = value()?.into(),
            "--workspace" => arguments.workspace = Some(value()?.into()),
            "--ids" => {
                let text = value()?;
                let (uid, gid) = text.split_once(':').ok_or("UID:GID")?;
                arguments.ids = Some((uid.parse()?, gid.parse()?));
            }
            "--mount" => arguments.mounts.push(mount(&value()?)?),
            "--transparent" => arguments.doors.push(Door::Transparent { port: value()?.parse()? }),
            "--pids" => arguments.pids = Some(value()?.parse()?),
            "--env" => {
                let text = value()?;
                let (name, value) = text.split_once('=').ok_or("NAME=VALUE")?;
                arguments.env.insert(name.to_owned(), value.to_owned());
            }
            "--terminal" => arguments.terminal = true,
            "--serve-transparent" => arguments.serve = true,
            "--hang" => arguments.hang = true,
            "--timing" => arguments.timing = true,
            "--" => arguments.command = given.by_ref().collect(),
            other => return Err(format!("what is {other}?").into()),
        }
    }
    Ok(arguments)
}

fn mount(text: &str) -> Result<Mount, Box<dyn Error>> {
    let (paths, writable) = text.strip_suffix(":rw").map_or((text, false), |paths| (paths, true));
    let (source, target) = paths.split_once(':').ok_or("SOURCE:TARGET")?;
    Ok(Mount { source: source.into(), target: target.into(), writable })
}

fn run(arguments: &Arguments) -> Result<u8, Box<dyn Error>> {
    let image = fs::read(&arguments.init)?;
    let plan = plan(arguments);
    let slug: Slug = "room-abcde".parse()?;
    let trust_anchor_pem = include_str!("../tests/it/anchor.pem");
    let pieces = provision::system(&Given { plan: &plan, trust_anchor_pem, image: &roots::image_trust(&Image::Host) });
    let spec = RoomSpec {
        slug: &slug,
        plan: &plan,
        home: &arguments.home,
        workspace: arguments.workspace.as_deref(),
        guards: &[],
        pieces: &pieces,
        init_image: &image,
        doors: &arguments.doors,
        host_ids: arguments.ids,
        cgroup: None,
    };
    let begun = Instant::now();
    let room = namespace::create(&spec)?;
    let created = begun.elapsed();
    let writable = spec.writable();
    let mut link = Link::new(room.link);
    // A port that is free here: the canary of a keeper would listen there.
    let canary = TcpListener::bind("127.0.0.1:0")?;
    let probe = Probe { doors: Vec::new(), canary_port: canary.local_addr()?.port() };
    link.send(&KeeperToInit::Start(InitStart { writable, pids: arguments.pids, probe }), &[])?;
    match link.receive()? {
        InitToKeeper::Probed { failures } if failures.is_empty() => {}
        other => return Err(format!("init said {other:?}").into()),
    }
    if arguments.timing {
        writeln!(io::stderr(), "created {created:?} probed {:?}", begun.elapsed())?;
    }
    if arguments.serve {
        serve(room.listeners)?;
    }
    if arguments.hang {
        writeln!(io::stdout(), "{}", room.pid)?;
    }
    let code = spawn(&mut link, arguments, &plan)?;
    link.send(&KeeperToInit::Stop { grace: 0 }, &[])?;
    Ok(code)
}

fn spawn(link: &mut Link, arguments: &Arguments, plan: &Plan) -> Result<u8, Box<dyn Error>> {
    let tty = arguments.terminal.then_some(WindowSize { rows: 33, columns: 99 });
    let order = Spawn { id: 1, argv: plan.command.clone(), env: plan.env.clone(), cwd: "/home/agent".into(), tty };
    let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
    let streams: [BorrowedFd<'_>; 3] = [input.as_fd(), output.as_fd(), error.as_fd()];
    link.send(&KeeperToInit::Spawn(order), if tty.is_some() { &[] } else { &streams })?;
    loop {
        match link.receive()? {
            InitToKeeper::Spawned { .. } => {
                if let Some(master) = link.descriptor() {
                    copy_terminal(master)?;
                }
            }
            InitToKeeper::SpawnFailed { code, message, .. } => {
                writeln!(io::stderr(), "room: {message}")?;
                return Ok(code);
            }
            InitToKeeper::Exited { code, .. } => return Ok(code),
            other => return Err(format!("init said {other:?}").into()),
        }
    }
}

/// Until the program closes its end, which reads as an error on the master.
fn copy_terminal(master: OwnedFd) -> io::Result<()> {
    let mut master = fs::File::from(master);
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = master.read(&mut bytes) {
        io::stdout().write_all(bytes.get(..count).unwrap_or_default())?;
    }
    Ok(())
}

/// Answers each connection with the address that it was made to.
fn serve(listeners: Vec<(Door, OwnedFd)>) -> io::Result<()> {
    for (_, listener) in listeners {
        let listener = TcpListener::from(listener);
        listener.set_nonblocking(false)?;
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.local_addr().and_then(|address| {
                    // To close with something unread is to reset, and curl may lose the answer.
                    let _ = stream.read(&mut [0; 4096])?;
                    let body = format!("you wanted {address}\n");
                    write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
                });
            }
        });
    }
    Ok(())
}

fn plan(arguments: &Arguments) -> Plan {
    let mut env = arguments.env.clone();
    env.entry("PATH".into()).or_insert_with(|| "/usr/local/bin:/usr/bin:/bin".into());
    env.entry("HOME".into()).or_insert_with(|| "/home/agent".into());
    Plan {
        agent: "room".into(),
        bottle: None,
        backend: Backend::Namespace,
        topology: Topology::Socket,
        provider: PlannedProvider::named("command"),
        command: arguments.command.clone(),
        prompt: String::new(),
        skills: Vec::new(),
        files: Vec::new(),
        image: Image::Host,
        image_id: None,
        env,
        mounts: arguments.mounts.clone(),
        workspace: Workspace::None,
        git: Vec::new(),
        egress: EgressPolicy::default(),
        secrets: Vec::new(),
        supervise: false,
        wait: Plan::WAIT,
        canaries: false,
        limits: Limits::default(),
        ports: Vec::new(),
        machine: None,
        notices: Vec::new(),
    }
}
