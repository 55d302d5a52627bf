//! Tells the operator that something waits: by a bell to whoever sits at the bottle's terminal, and by a process that
//! is started for each notification, sends it and ends.
//!
//! Invariants: what a request says goes on unread; nothing here holds up a request or its answer; however much an agent
//! asks, there is one such process at a time, [`GAP`] lies between two of them, and one that takes long is ended.

use super::{
    gate::{Gate, GateChildError, Recipe},
    queue::Queue,
};
use crate::sys;
use bottle_spec::{
    gate_link::{HeldSecret, KeeperToGate},
    notify::{NotifyStart, Targets},
    operator::{DECISION, REQUEST, is_id},
    slug::Slug,
};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, spawn_local},
    time::{sleep, timeout},
};

/// What comes meanwhile is told together.
const GAP: Duration = Duration::from_secs(10);
/// The longest that a notification may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Requests that one notification tells of; the others are counted.
const TOLD: usize = 5;
/// Bytes of a request.
const MAX_REQUEST: u64 = 64 << 10;
/// Requests that wait to be told of.
const FRESH: usize = 64;

/// What is told, of what, and to whom.
pub(crate) struct Notices {
    pub(crate) bottle: Slug,
    /// Where requests and answers are.
    pub(crate) requests: PathBuf,
    pub(crate) targets: Targets,
    pub(crate) secrets: Vec<HeldSecret>,
    pub(crate) run_as: Option<(u32, u32)>,
    pub(crate) recipe: Recipe,
    pub(crate) queue: Rc<Queue>,
    /// Whether the git gate may ask: it puts its requests there without a word to us.
    pub(crate) pushes: bool,
}

/// Notices that are given until this ends.
#[derive(Debug)]
pub(crate) struct KeptNotices {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl KeptNotices {
    /// `bell` counts the times to ring.
    pub(crate) fn keep(notices: Notices, bell: watch::Sender<u64>) -> KeptNotices {
        // A user has few of these watches, so that a bottle without pushes takes none.
        let watched = notices.pushes.then(|| watch_directory(&notices.requests)).transpose();
        let events = watched.unwrap_or_else(|error| {
            tracing::warn!(%error, "nobody is told of pushes that wait");
            None
        });
        let (end, ending) = oneshot::channel();
        KeptNotices { end, task: spawn_local(notices.give(events, bell, ending)) }
    }

    pub(crate) async fn end(self) {
        let _ = self.end.send(());
        let _ = self.task.await;
    }
}

impl Notices {
    async fn give(self, events: Option<AsyncFd<OwnedFd>>, bell: watch::Sender<u64>, mut ending: oneshot::Receiver<()>) {
        let (fresh, to_tell) = mpsc::channel(FRESH);
        let rings = self.targets.bell;
        let (requests, queue) = (self.requests.clone(), Rc::clone(&self.queue));
        let (stop, stopped) = oneshot::channel();
        let telling = self.targets.is_far().then(|| spawn_local(self.tell(to_tell, stopped)));
        let mut known = BTreeSet::new();
        loop {
            // Those that came before the first look as well.
            let waiting = waiting(&requests);
            let came = waiting.iter().filter(|id| !known.contains(*id)).cloned().collect::<Vec<String>>();
            if !came.is_empty() && rings {
                bell.send_modify(|times| *times += 1);
            }
            for id in came {
                // Where so many wait already, one more is but counted.
                let _ = fresh.try_send(id);
            }
            known = waiting;
            tokio::select! {
                () = queue.asked() => {}
                changed = changed(events.as_ref()) => if changed.is_err() { break },
                _ = &mut ending => break,
            }
        }
        drop((fresh, stop));
        if let Some(events) = events {
            // As with sentinels, the kernel takes its time.
            drop(tokio::task::spawn_blocking(|| drop(events.into_inner())));
        }
        if let Some(telling) = telling {
            let _ = telling.await;
        }
    }

    /// Sends what is to be told, until nobody is left to say so.
    async fn tell(self, mut to_tell: mpsc::Receiver<String>, mut stopped: oneshot::Receiver<()>) {
        while let Some(first) = to_tell.recv().await {
            let mut ids = vec![first];
            ids.extend(std::iter::from_fn(|| to_tell.try_recv().ok()));
            // Some may have been answered while they waited here.
            let waiting = waiting(&self.requests);
            ids.retain(|id| waiting.contains(id));
            let texts: Vec<String> = ids.iter().take(TOLD).filter_map(|id| self.text(id)).collect();
            if texts.is_empty() {
                continue;
            }
            let more = ids.len() - texts.len();
            tokio::select! {
                sent = self.send(texts, more) => if let Err(error) = sent {
                    tracing::warn!(%error, "a notification was not sent");
                },
                _ = &mut stopped => return,
            }
            tokio::select! {
                () = sleep(GAP) => {}
                _ = &mut stopped => return,
            }
        }
    }

    async fn send(&self, requests: Vec<String>, more: usize) -> Result<(), GateChildError> {
        let gate = Gate::start(&self.recipe)?;
        let start = NotifyStart {
            bottle: self.bottle.clone(),
            targets: self.targets.clone(),
            secrets: self.secrets.clone(),
            requests,
            more,
            run_as: self.run_as,
        };
        let ends = gate.ends()?;
        // Ended with it where whoever waits for this waits no more.
        let mut child = Ending(Some(gate));
        let Some(gate) = &child.0 else { return Ok(()) };
        gate.send(&KeeperToGate::Notify(Box::new(start)), &[]).await?;
        let _ = timeout(PATIENCE, ends).await;
        child.0.take().map_or(Ok(()), Gate::kill)
    }

    fn text(&self, id: &str) -> Option<String> {
        let mut text = String::new();
        let file = File::open(self.requests.join(format!("{id}{REQUEST}"))).ok()?;
        file.take(MAX_REQUEST + 1).read_to_string(&mut text).ok()?;
        (text.len() as u64 <= MAX_REQUEST).then_some(text)
    }
}

fn watch_directory(requests: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    inotify::add_watch(&events, requests, WatchFlags::MOVED_TO)?;
    sys::watch(events, Interest::READABLE)
}

/// Comes when something is new in the directory.
async fn changed(events: Option<&AsyncFd<OwnedFd>>) -> io::Result<()> {
    let Some(events) = events else { return std::future::pending().await };
    let mut ready = events.readable().await?;
    // What happened does not matter: a look tells what is there now.
    let mut bytes = [0; 4096];
    while matches!(rustix::io::read(events.get_ref(), &mut bytes[..]), Ok(1..)) {}
    ready.clear_ready();
    Ok(())
}

/// Kills what it holds when it goes.
struct Ending(Option<Gate>);

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.take().map(Gate::kill) {
            tracing::warn!(%error, "a notifier could not be ended");
        }
    }
}

/// The ids of the requests without an answer.
fn waiting(requests: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(requests).into_iter().flatten().flatten();
    let names: BTreeSet<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let ids = names.iter().filter_map(|name| name.strip_suffix(REQUEST)).filter(|id| is_id(id));
    ids.filter(|id| !names.contains(&format!("{id}{DECISION}"))).map(str::to_owned).collect()
}
