//! From a finished launch to a bottle that is kept: every task that goes on until its end is started here.
//!
//! Invariant: what the launch made is taken whole or not at all.

use super::{
    KeeperError, KeeperParts,
    bottle::{Bottle, Ended},
    control,
    egress_gate::KeptGate,
    freeze::Freezer,
    gate,
    git_gate::KeptGitGate,
    init,
    kept::Keeping,
    making::{self, Making},
    notices::{KeptNotices, Notices},
    output::Output,
    ports,
    queue::Queue,
    renewal::Refresher,
    supervise::{self, KeptSuperviseGate},
    teardown::{Contained, Remains},
    terminal::Terminal,
};
use crate::{
    audit_log::Notes,
    backend::smolmachines::Machine,
    journal::{Journal, Step},
    protocol::LaunchRequest,
    store::BottleDir,
};
use std::{io, os::fd::OwnedFd, path::PathBuf, rc::Rc};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::spawn_local,
};

/// Records of the git gate that may wait for the gate that writes them.
const RECORDS: usize = 64;

/// Everything that the launch made, taken out of its hands.
pub(super) struct Made {
    room: making::MadeRoom,
    gate: gate::Gate,
    brief: gate::Brief,
    recipe: gate::Recipe,
    git: Option<(gate::Gate, gate::Brief)>,
    git_recipe: gate::Recipe,
    supervise: Option<OwnedFd>,
    supervise_recipe: gate::Recipe,
    notifier_recipe: gate::Recipe,
    agent: init::Program,
    control: std::os::unix::net::UnixListener,
    ports: Vec<(u16, std::net::TcpListener)>,
    cgroup: Option<PathBuf>,
    container: Option<Contained>,
    machine: Option<Machine>,
    cwd: String,
}

impl Made {
    pub(super) fn take(making: Making<'_>) -> Result<Made, KeeperError> {
        let (recipe, git_recipe, cwd) = (making.recipe(), making.git_recipe(), making.cwd());
        let supervise_recipe = making.supervise_recipe();
        let notifier_recipe = making.notifier_recipe();
        let container = making.container.clone().map(|container| Contained {
            container,
            bottle: making.bottle.clone(),
            program: making.parts.program.clone(),
            // What goes with the bottle need not come back.
            comes_back: !making.request.ephemeral,
        });
        let machine = making.machine.clone();
        match making {
            Making {
                room: Some(room),
                gate: Some(gate),
                brief: Some(brief),
                git,
                git_brief,
                supervise,
                agent: Some(agent),
                control: Some(control),
                ports,
                cgroup,
                ..
            } => {
                let git = git.zip(git_brief);
                Ok(Made {
                    room,
                    gate,
                    brief,
                    recipe,
                    git,
                    git_recipe,
                    supervise,
                    supervise_recipe,
                    notifier_recipe,
                    agent,
                    control,
                    ports,
                    cgroup,
                    container,
                    machine,
                    cwd,
                })
            }
            _ => Err(KeeperError::Setup(io::Error::other("a step left nothing behind"))),
        }
    }
}

/// A bottle that runs, in the hands of the tasks that keep it.
pub(super) struct Running {
    pub(super) remains: Remains,
    pub(super) shared: Rc<Bottle>,
    pub(super) exit: watch::Receiver<Option<u8>>,
    pub(super) clients: tokio::task::JoinHandle<io::Result<()>>,
}

impl Running {
    #[expect(clippy::too_many_arguments, reason = "the one place where everything meets")]
    pub(super) fn start(
        made: Made,
        request: &LaunchRequest,
        parts: &KeeperParts,
        bottle: &BottleDir,
        stops: mpsc::Sender<u32>,
        ended: watch::Receiver<Option<Ended>>,
        code: watch::Receiver<Option<u8>>,
        journal: &Journal,
    ) -> io::Result<Running> {
        let Made { room, gate, brief, recipe, git, git_recipe, agent, control, ports, cgroup, container, cwd, .. } =
            made;
        let machine = made.machine;
        let (supervise, supervise_recipe) = (made.supervise, made.supervise_recipe);
        let refresher = Refresher::new(parts.refresh, request.refresh_env.clone());
        refresher.keep_fresh(&request.secrets);
        let run_as = brief.run_as();
        let (mut journal, mut git_journal) = (journal.second()?, journal.second()?);
        let log = brief.audit.as_ref().ok_or_else(|| io::Error::other("a gate has an audit log"))?;
        let notes = Notes::keep(log.try_clone()?, bottle.audit());
        let freezer = Freezer::new(bottle, &room.init);
        let (sentinels, end) = oneshot::channel();
        let follower = freezer.clone();
        spawn_local(async move {
            if let Err(error) = follower.follow_sentinels(end).await {
                tracing::error!(%error, "sentinels are not followed");
            }
        });
        let (records, to_record) = mpsc::channel(RECORDS);
        let opened = Queue::open(bottle.requests(), request.plan.egress.clone(), records.clone());
        let (queue, ends) = opened.map_err(io::Error::other)?;
        let keeping = Keeping::new(brief, recipe, freezer.clone(), refresher.clone());
        let gate = KeptGate::keep(gate, keeping, notes, to_record, Rc::clone(&queue), ends, move |id| {
            // The gate ends with its keeper in any case.
            let _ = journal.done(Step::Gate, vec![making::gate_thing(id)]);
        });
        let supervise = match supervise {
            Some(listener) => {
                let told = supervise::Told {
                    bottle: bottle.slug.clone(),
                    git: request.plan.git.clone(),
                    secrets: request.plan.secrets.clone(),
                    wait: request.plan.wait,
                    run_as,
                };
                Some(KeptSuperviseGate::keep(listener, told, supervise_recipe, Rc::clone(&queue))?)
            }
            None => None,
        };
        let bell = watch::Sender::new(0);
        let bells = bell.subscribe();
        let notices = Notices {
            bottle: bottle.slug.clone(),
            requests: bottle.requests(),
            targets: request.notify.clone(),
            secrets: if request.notify.is_far() { request.secrets.clone() } else { Vec::new() },
            run_as,
            recipe: made.notifier_recipe,
            queue: Rc::clone(&queue),
            pushes: request.plan.git.iter().any(|repository| repository.push.is_some()),
        };
        let notices = KeptNotices::keep(notices, bell);
        let git = git.map(|(gate, brief)| {
            let keeping = Keeping::new(brief, git_recipe, freezer.clone(), refresher);
            KeptGitGate::keep(gate, keeping, records, queue.granted(), move |id| {
                let _ = git_journal.done(Step::Gate, vec![making::git_gate_thing(id)]);
            })
        });
        let (id, init) = (agent.id, Rc::clone(&room.init));
        let terminal = agent.terminal.map(|master| Terminal::new(master, id, init)).transpose()?;
        if let Some(terminal) = &terminal {
            let output = Output::open(&bottle.output())?;
            let (terminal, exit) = (Rc::clone(terminal), agent.exit.clone());
            spawn_local(async move { terminal.pump(exit, Some(output)).await });
        }
        let shared = Rc::new(Bottle {
            slug: bottle.slug.clone(),
            init: Rc::clone(&room.init),
            init_pid: room.id.pid,
            gate: Rc::clone(&gate.seen),
            freezer,
            queue,
            agent: agent.id,
            terminal,
            env: request.plan.env.clone(),
            cwd,
            stops,
            ended,
            code,
            bells,
        });
        let ports = ports
            .into_iter()
            .map(|(port, listener)| spawn_local(ports::serve(listener, port, Rc::clone(&room.init))))
            .collect();
        let clients = spawn_local(control::serve(control, Rc::clone(&shared)));
        let runtime = bottle.runtime.clone();
        let remains =
            Remains { room, gate, git, supervise, notices, ports, cgroup, container, machine, sentinels, runtime };
        Ok(Running { remains, shared, exit: agent.exit, clients })
    }
}
