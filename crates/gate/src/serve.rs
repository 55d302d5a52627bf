//! The gate's life: start, confine, serve the doors, obey the keeper, end.
//!
//! Invariant: everything is read and checked before [`confine`], and nothing is served before it. The gate ends when
//! the keeper's link does, and when a door's task ends for whatever reason: a gate that serves some of its doors is
//! worse than one that is started again.

use crate::{
    audit::{
        Audit, AuditError, hex,
        sign::{KeyError, Signer},
    },
    ca::{CaError, Issuer},
    confine::{ConfineError, confine},
    door_listener::DoorListener,
    egress::{Egress, EgressError, Parts, Questions},
    host_files::{self, HostFileError},
    link::{self, Link, LinkError, Received},
    resolver::Resolver,
    synthetic::Names,
    vault::Vault,
};
use bottle_policy::Rules;
use bottle_spec::{
    door::Door,
    event::{AuditEvent, FrozenBy},
    gate_link::{GateToKeeper, KeeperToGate},
    policy::EgressPolicy,
    secret::SecretRef,
};
use hickory_resolver::TokioResolver;
use rustls::RootCertStore;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    fmt::Write,
    fs::File,
    io,
    net::UdpSocket,
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinSet};

#[derive(Debug, thiserror::Error)]
pub enum GateError {
    #[error("the link to the keeper failed")]
    Link(#[source] LinkError),
    #[error("the egress door could not be set up")]
    Egress(#[source] EgressError),
    #[error("the policy injects `{0}`, which did not come with it")]
    SecretMissing(SecretRef),
    #[error("`upstream_ca` is read when the gate starts; restart the bottle to change it")]
    UpstreamCa,
    #[error("could not read what the gate needs from the host")]
    HostFile(#[source] HostFileError),
    #[error("the bottle's authority is not usable")]
    Authority(#[source] CaError),
    #[error("the key that signs the audit log is not usable")]
    AuditKey(#[source] KeyError),
    #[error("the audit log cannot be written, so nothing may leave")]
    Audit(#[source] AuditError),
    #[error("{doors} doors and an audit log came with {descriptors} descriptors")]
    Descriptors { doors: usize, descriptors: usize },
    #[error("this gate does not serve the door {0:?}")]
    UnknownDoor(Door),
    #[error("could not take over the door {door:?}")]
    Door {
        door: Door,
        #[source]
        source: io::Error,
    },
    #[error("could not take over the listener for metrics")]
    Metrics(#[source] io::Error),
    #[error("could not start the event loop")]
    EventLoop(#[source] io::Error),
    #[error("the gate could not confine itself")]
    Confine(#[source] ConfineError),
    #[error("a door's task ended")]
    DoorEnded,
}

/// Serves one bottle's doors until the keeper drains the gate or goes. Confines the process for good; to be called by
/// a process of one thread that does nothing else. Returns in error after telling the keeper why.
pub fn serve(link: UnixStream) -> Result<(), GateError> {
    // While the keeper still makes the room.
    let host = HostFiles::read();
    let received = link::receive_start(&link).map_err(GateError::Link);
    let ready = received.and_then(|received| {
        let run_as = received.start.run_as;
        let prepared = prepare(received, host?)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(GateError::EventLoop)?;
        confine(run_as).map_err(GateError::Confine)?;
        Ok((prepared, runtime))
    });
    match ready {
        Ok((prepared, runtime)) => runtime.block_on(prepared.run(link)),
        Err(err) => {
            link::send_failed(&link, chain(&err));
            Err(err)
        }
    }
}

/// What is the same whatever the gate is told to serve.
struct HostFiles {
    roots: RootCertStore,
    resolver: TokioResolver,
}

impl HostFiles {
    fn read() -> Result<HostFiles, GateError> {
        let resolver = host_files::resolver().map_err(GateError::HostFile)?;
        Ok(HostFiles { roots: host_files::system_roots(), resolver })
    }
}

/// A gate with all it needs, not yet serving.
struct Prepared {
    gate: Gate,
    doors: Vec<(Door, OwnedFd)>,
    metrics: Option<OwnedFd>,
    questions: mpsc::UnboundedReceiver<GateToKeeper>,
    decoder: bottle_spec::wire::Decoder,
}

/// A gate that serves.
struct Gate {
    vault: Vault,
    audit: Audit,
    names: Names,
    egress: Arc<Egress>,
    operator: Questions,
    /// Of the policy that the gate started with.
    policy_digest: String,
    secrets: BTreeSet<SecretRef>,
    /// The ports whose connections a transparent door takes; the keeper opened them for the first policy.
    transparent: BTreeSet<u16>,
    /// Read at the start; a policy that names other files needs a new gate.
    upstream_ca: Vec<PathBuf>,
    upstream_roots: RootCertStore,
}

fn prepare(received: Received, host: HostFiles) -> Result<Prepared, GateError> {
    let Received { start, descriptors, decoder } = received;
    let counts = GateError::Descriptors { doors: start.doors.len(), descriptors: descriptors.len() };
    if descriptors.len() != start.doors.len().saturating_add(1 + usize::from(start.metrics)) {
        return Err(counts);
    }
    let mut descriptors = descriptors;
    let metrics = if start.metrics { descriptors.pop() } else { None };
    let mut descriptors = descriptors.into_iter();
    let log = File::from(descriptors.next().ok_or(counts)?);
    let doors = start.doors.iter().copied().zip(descriptors).collect();

    let ports = start.doors.iter().filter_map(|door| match door {
        Door::Transparent { port } => Some(*port),
        _ => None,
    });
    let transparent = ports.collect();
    let secrets = start.secrets.iter().map(|secret| secret.source.clone()).collect();
    require_secrets(&start.policy, &secrets)?;
    let upstream_ca = start.policy.upstream_ca.clone();
    let upstream_roots = host_files::upstream_roots(host.roots, &upstream_ca).map_err(GateError::HostFile)?;
    let policy_digest = digest(&start.policy);
    let signer = Signer::new(&start.audit_key).map_err(GateError::AuditKey)?;
    let audit = Audit::resume(log, &start.bottle, signer, &start.audit_head).map_err(GateError::Audit)?;
    let names = Names::within(&start.policy, start.synthetic);
    let (keeper, questions) = mpsc::unbounded_channel();
    let operator = Questions::new(start.bottle.as_str(), keeper.clone(), Duration::from_secs(start.wait.into()));
    let vault = Vault::new(start.secrets, keeper);
    let egress = Egress::new(Parts {
        policy: start.policy,
        issuer: Issuer::new(&start.authority).map_err(GateError::Authority)?,
        vault: vault.clone(),
        audit: audit.clone(),
        names: names.clone(),
        resolver: host.resolver,
        upstream_roots: upstream_roots.clone(),
        canaries: start.canaries,
        supervised: start.supervised,
        questions: operator.clone(),
        frozen: start.frozen,
    });
    let egress = egress.map_err(GateError::Egress)?;
    let gate = Gate {
        vault,
        audit,
        names,
        egress,
        operator,
        policy_digest,
        secrets,
        transparent,
        upstream_ca,
        upstream_roots,
    };
    Ok(Prepared { gate, doors, metrics, questions, decoder })
}

/// A route whose secret is not at hand would only fail later, at the agent.
fn require_secrets(policy: &EgressPolicy, secrets: &BTreeSet<SecretRef>) -> Result<(), GateError> {
    let named = policy.routes.iter().filter_map(|route| route.auth.as_ref()).map(|auth| &auth.secret);
    let proxy = policy.upstream_proxy.as_ref().and_then(|proxy| proxy.auth.as_ref());
    let missing = named.chain(proxy).find(|secret| !secrets.contains(secret));
    missing.map_or(Ok(()), |secret| Err(GateError::SecretMissing(secret.clone())))
}

impl Prepared {
    async fn run(self, link: UnixStream) -> Result<(), GateError> {
        let Prepared { gate, doors, metrics, mut questions, decoder } = self;
        let mut link = Link::new(link, decoder).map_err(GateError::Link)?;
        let started = gate.begin(doors, metrics);
        let mut tasks = match started {
            Ok(tasks) => tasks,
            Err(err) => {
                let message = chain(&err);
                link.send(&GateToKeeper::Failed { message }).await.map_err(GateError::Link)?;
                return Err(err);
            }
        };
        link.send(&GateToKeeper::Ready).await.map_err(GateError::Link)?;
        let ended = gate.obey(&mut link, &mut questions, &mut tasks).await;
        // No more connections, whatever ended it.
        tasks.shutdown().await;
        let ended = match ended {
            Ok(End::Drain(grace)) => tokio::select! {
                () = gate.egress.drain(grace) => Ok(End::Drain(grace)),
                // What is under way may need a secret anew; and without a keeper, or told to drain twice, it waits no
                // longer.
                ended = gate.obey(&mut link, &mut questions, &mut tasks) => ended,
            },
            ended => ended,
        };
        gate.audit.record_signed(AuditEvent::GateStopped).map_err(GateError::Audit)?;
        if let Some(head) = gate.audit.noted().borrow().clone() {
            // Whether there is a keeper left to note it is not ours to say.
            let _ = link.send(&GateToKeeper::Noted(head)).await;
        }
        ended.map(|_| ())
    }
}

/// How a gate ends in order.
enum End {
    Drain(Duration),
    KeeperGone,
}

impl Gate {
    /// Starts a task for each door, and one for the scrapers.
    fn begin(&self, doors: Vec<(Door, OwnedFd)>, metrics: Option<OwnedFd>) -> Result<JoinSet<()>, GateError> {
        let policy = self.policy_digest.clone();
        self.audit.record_signed(AuditEvent::GateStarted { policy }).map_err(GateError::Audit)?;
        let resolver = Resolver::new(self.names.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&self.egress).pulse());
        for (door, descriptor) in doors {
            self.open(door, descriptor, &resolver, &mut tasks)?;
        }
        if let Some(descriptor) = metrics {
            let listener = UnixListener::from(descriptor);
            listener.set_nonblocking(true).map_err(GateError::Metrics)?;
            let listener = tokio::net::UnixListener::from_std(listener).map_err(GateError::Metrics)?;
            let egress = Arc::clone(&self.egress);
            tasks.spawn(async move { report(egress.serve_metrics(listener).await) });
        }
        Ok(tasks)
    }

    fn open(
        &self,
        door: Door,
        descriptor: OwnedFd,
        resolver: &Resolver,
        tasks: &mut JoinSet<()>,
    ) -> Result<(), GateError> {
        let failed = |source| GateError::Door { door, source };
        if door.is_datagram() {
            let socket = UdpSocket::from(descriptor);
            socket.set_nonblocking(true).map_err(failed)?;
            let socket = tokio::net::UdpSocket::from_std(socket).map_err(failed)?;
            tasks.spawn(resolver.clone().serve_udp(socket));
            return Ok(());
        }
        let listener = DoorListener::adopt(descriptor).map_err(failed)?;
        let egress = Arc::clone(&self.egress);
        match door {
            Door::Proxy => drop(tasks.spawn(async move { report(egress.serve_proxy(listener).await) })),
            Door::Transparent { port } => {
                tasks.spawn(async move { report(egress.serve_transparent(listener, port).await) });
            }
            Door::ResolverTcp => drop(tasks.spawn(resolver.clone().serve_tcp(listener))),
            Door::ResolverUdp | Door::Git | Door::Supervise => return Err(GateError::UnknownDoor(door)),
        }
        Ok(())
    }

    /// Does what the keeper says until there is nothing more to do.
    async fn obey(
        &self,
        link: &mut Link,
        questions: &mut mpsc::UnboundedReceiver<GateToKeeper>,
        tasks: &mut JoinSet<()>,
    ) -> Result<End, GateError> {
        let mut noted = self.audit.noted();
        noted.mark_changed();
        loop {
            let message = tokio::select! {
                message = link.next() => message,
                Ok(()) = noted.changed() => {
                    if let Some(head) = noted.borrow_and_update().clone() {
                        // Of a keeper that is gone, `next` tells.
                        let _ = link.send(&GateToKeeper::Noted(head)).await;
                    }
                    continue;
                }
                () = self.audit.due() => {
                    if let Err(error) = self.audit.checkpoint() {
                        tracing::error!(%error, "no checkpoint could be written to the audit log");
                    }
                    continue;
                }
                Some(question) = questions.recv() => {
                    link.send(&question).await.map_err(GateError::Link)?;
                    continue;
                }
                Some(_) = tasks.join_next() => return Err(GateError::DoorEnded),
            };
            match message {
                Err(LinkError::Closed) => return Ok(End::KeeperGone),
                Err(err) => return Err(GateError::Link(err)),
                Ok(KeeperToGate::Drain { seconds }) => return Ok(End::Drain(Duration::from_secs(seconds.into()))),
                Ok(KeeperToGate::Freeze { frozen, canaries }) => {
                    let answer = self.freeze(frozen, canaries);
                    link.send(&answer).await.map_err(GateError::Link)?;
                }
                Ok(KeeperToGate::Secret { source, value }) => self.vault.deliver(&source, value),
                Ok(KeeperToGate::Policy(policy)) => {
                    let answer = self.reload(*policy);
                    link.send(&answer).await.map_err(GateError::Link)?;
                }
                Ok(KeeperToGate::Record { id, event }) => {
                    let result = self.record(&event);
                    link.send(&GateToKeeper::Recorded { id, result }).await.map_err(GateError::Link)?;
                }
                Ok(KeeperToGate::Asked { id, result }) => self.operator.asked(&id, result),
                Ok(KeeperToGate::Decided(decision)) => self.operator.decided(&decision),
                Ok(KeeperToGate::Granted(_)) => {}
                Ok(
                    KeeperToGate::Start(_)
                    | KeeperToGate::StartGit(_)
                    | KeeperToGate::StartSupervise(_)
                    | KeeperToGate::Notify(_)
                    | KeeperToGate::Recorded { .. },
                ) => {
                    return Err(GateError::Link(LinkError::StartedTwice));
                }
            }
        }
    }

    fn freeze(&self, frozen: bool, canaries: u64) -> GateToKeeper {
        if frozen {
            self.egress.freeze(FrozenBy::Operator)
        } else {
            self.egress.thaw(canaries)
        }
        GateToKeeper::Frozen(self.egress.is_frozen())
    }

    /// What was decided elsewhere: by the git gate, or about the agent's requests. Of such a kind, or it is not written.
    fn record(&self, event: &str) -> Result<u64, String> {
        let event: AuditEvent = serde_json::from_str(event).map_err(|_| "this is no event".to_owned())?;
        let metrics = &self.egress.metrics;
        match &event {
            AuditEvent::Git(event) => metrics.git(event),
            AuditEvent::GitEnded(event) => metrics.git_ended(event.taken),
            AuditEvent::Finding(event) => metrics.found(event.action),
            AuditEvent::Decided(_) | AuditEvent::GrantEnded { .. } => {}
            _ => return Err("this is no event of another gate".to_owned()),
        }
        self.audit.record(event).map_err(|error| chain(&error))
    }

    /// Takes a new policy, or keeps the one in force: also where the change cannot be written to the audit log.
    fn reload(&self, policy: EgressPolicy) -> GateToKeeper {
        let checked = self.check(&policy);
        let event = AuditEvent::PolicyReloaded { policy: digest(&policy), accepted: checked.is_ok() };
        let recorded = self.audit.record(event).map(drop).map_err(GateError::Audit);
        let taken = checked
            .and(recorded)
            .and_then(|()| self.egress.reload(policy.clone(), self.upstream_roots.clone()).map_err(GateError::Egress));
        match taken {
            Ok(()) => {
                self.names.follow(&policy);
                GateToKeeper::PolicyApplied { accepted: true, message: self.doorless(&policy) }
            }
            Err(err) => GateToKeeper::PolicyApplied { accepted: false, message: chain(&err) },
        }
    }

    /// What to say of ports that the policy allows and no transparent door serves: the listeners of a bottle are opened
    /// when it starts.
    fn doorless(&self, policy: &EgressPolicy) -> String {
        let allowed = policy.ports();
        let new: Vec<String> = allowed.difference(&self.transparent).map(u16::to_string).collect();
        if new.is_empty() {
            return String::new();
        }
        format!(
            "port {} is reached through the proxy alone; restart the bottle for programs that ask no proxy",
            new.join(", ")
        )
    }

    fn check(&self, policy: &EgressPolicy) -> Result<(), GateError> {
        if policy.upstream_ca != self.upstream_ca {
            return Err(GateError::UpstreamCa);
        }
        require_secrets(policy, &self.secrets)?;
        let valid = Rules::new(policy.clone()).map(drop);
        valid.map_err(|faults| GateError::Egress(EgressError::Policy(faults)))
    }
}

/// The end of a door's task ends the gate; why it ended is known here alone.
fn report(ended: io::Result<()>) {
    if let Err(err) = ended {
        tracing::error!(%err, "a door failed");
    }
}

/// SHA-256 of the policy's JSON, in hex.
fn digest(policy: &EgressPolicy) -> String {
    // A policy came as JSON and goes back into it; an empty text would only make the digest say nothing.
    let json = serde_json::to_vec(policy).unwrap_or_default();
    hex(&Sha256::digest(json))
}

/// An error with all its causes, for the keeper to show.
pub(crate) fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(err) = cause {
        let _ = write!(text, ": {err}");
        cause = err.source();
    }
    text
}
