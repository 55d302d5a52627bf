//! The kill switch: everything of a bottle stops where it is, and may go on later.
//!
//! Frozen means: the gate refuses whatever is asked and breaks off what is under way, every process inside is stopped,
//! and nothing new is run inside. Three can freeze: the operator's command, the gate (a canary was about to leave), and
//! a *sentinel*: a file named `freeze` in the runtime directory (all bottles) or in the bottle's own (this one), which
//! anything that can write a file can make. While a sentinel is there, only its removal thaws.
//!
//! Invariants: the processes are stopped only after the gate has said that it is frozen, unless it is gone or does not
//! say so within [`GATE_PATIENCE`]; a gate that is started while the bottle is frozen starts frozen.

use super::init::Init;
use crate::{protocol::FrozenBy, store::BottleDir, sys};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::{
    fs::{self, File},
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    rc::Rc,
    time::Duration,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{oneshot, watch},
    task::spawn_local,
    time::timeout,
};

/// Both of the sentinel in the runtime directory and in a bottle's own.
const SENTINEL: &str = "freeze";

/// A gate that does not answer may be as hostile as what it serves; the processes stop all the same.
const GATE_PATIENCE: Duration = Duration::from_secs(1);

/// What is known of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GateIs {
    Serving,
    Frozen,
    /// Nothing leaves, and the next one starts as the bottle is.
    Gone,
}

impl GateIs {
    fn thawed(self) -> GateIs {
        if self == GateIs::Frozen { GateIs::Serving } else { self }
    }
}

/// One bottle's switch. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Freezer {
    state: Rc<watch::Sender<Option<FrozenBy>>>,
    gate: Rc<watch::Sender<GateIs>>,
    init: Rc<Init>,
    sentinels: [PathBuf; 2],
    /// There while it is frozen, for `list`.
    mark: PathBuf,
}

impl Freezer {
    pub(crate) fn new(bottle: &BottleDir, init: &Rc<Init>) -> Freezer {
        let freezer = Freezer {
            state: Rc::new(watch::Sender::new(None)),
            gate: Rc::new(watch::Sender::new(GateIs::Serving)),
            init: Rc::clone(init),
            sentinels: sentinels(bottle),
            mark: bottle.frozen_mark(),
        };
        freezer.heed_sentinels();
        freezer
    }

    pub(crate) fn frozen(&self) -> Option<FrozenBy> {
        *self.state.borrow()
    }

    /// For the gate's attendant.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<FrozenBy>> {
        self.state.subscribe()
    }

    /// The first cause stays.
    pub(crate) fn freeze(&self, by: FrozenBy) {
        let news = self.state.send_if_modified(|state| {
            let news = state.is_none();
            state.get_or_insert(by);
            news
        });
        if news {
            tracing::warn!(?by, "frozen");
            // Only the list would not show it.
            let _ = File::create(&self.mark);
            spawn_local(self.clone().stop_processes());
        }
    }

    async fn stop_processes(self) {
        let mut gate = self.gate.subscribe();
        if timeout(GATE_PATIENCE, gate.wait_for(|gate| *gate != GateIs::Serving)).await.is_err() {
            tracing::error!("the gate does not say that it is frozen");
        }
        // Thawed meanwhile, they are not stopped.
        if self.frozen().is_some() {
            self.init.freeze(true);
        }
    }

    pub(crate) fn gate_is(&self, gate: GateIs) {
        self.gate.send_replace(gate);
    }

    /// `false` = a sentinel is still there, whose path is given by [`Freezer::sentinel`].
    pub(crate) fn thaw(&self) -> bool {
        if self.sentinel().is_some() {
            return false;
        }
        if self.state.send_if_modified(|state| state.take().is_some()) {
            tracing::warn!("thawed");
            // What it said of the freeze that is over does not count for the next.
            self.gate.send_if_modified(|gate| std::mem::replace(gate, gate.thawed()) == GateIs::Frozen);
            let _ = fs::remove_file(&self.mark);
            self.init.freeze(false);
        }
        true
    }

    pub(crate) fn sentinel(&self) -> Option<&PathBuf> {
        self.sentinels.iter().find(|path| path.symlink_metadata().is_ok())
    }

    fn heed_sentinels(&self) {
        if self.sentinel().is_some() {
            self.freeze(FrozenBy::Sentinel);
        } else if self.frozen() == Some(FrozenBy::Sentinel) {
            self.thaw();
        }
    }

    /// Follows the sentinels until `end` comes or its sender goes.
    pub(crate) async fn follow_sentinels(self, mut end: oneshot::Receiver<()>) -> io::Result<()> {
        let watched = self.watch_directories()?;
        loop {
            // One that came between the first look and the watch.
            self.heed_sentinels();
            let mut ready = tokio::select! {
                ready = watched.readable() => ready?,
                _ = &mut end => {
                    // The kernel lets go of watches at its leisure: 15 ms that the end of a bottle need not wait for.
                    drop(tokio::task::spawn_blocking(|| drop(watched.into_inner())));
                    return Ok(());
                }
            };
            // What happened does not matter: a look tells what is there now.
            let mut events = [0; 4096];
            while matches!(rustix::io::read(watched.get_ref(), &mut events[..]), Ok(1..)) {}
            ready.clear_ready();
        }
    }

    fn watch_directories(&self) -> io::Result<AsyncFd<OwnedFd>> {
        let notify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let changes = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM;
        for directory in self.sentinels.iter().filter_map(|path| path.parent()) {
            inotify::add_watch(&notify, directory, changes)?;
        }
        sys::watch(notify, Interest::READABLE)
    }
}

fn sentinels(bottle: &BottleDir) -> [PathBuf; 2] {
    let own = bottle.runtime.join(SENTINEL);
    let all = bottle.runtime.parent().map_or_else(|| own.clone(), |runtime| runtime.join(SENTINEL));
    [all, own]
}

/// Whether a bottle that starts now starts frozen.
pub(crate) fn has_sentinel(bottle: &BottleDir) -> bool {
    sentinels(bottle).iter().any(|path| path.symlink_metadata().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::AsyncLink;
    use bottle_spec::init_link::KeeperToInit;
    use std::os::unix::net::UnixStream;

    /// Runs with a freezer, its init, and what init hears.
    fn with(run: impl AsyncFnOnce(Freezer, Rc<Init>, AsyncLink)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let directory = tempfile::tempdir().unwrap();
            let (ours, theirs) = UnixStream::pair().unwrap();
            let init = Rc::new(Init::new(ours).unwrap());
            let (state, runtime) = (directory.path().join("state"), directory.path().join("run"));
            let bottle = BottleDir { slug: "tester-abcde".parse().unwrap(), state, runtime };
            run(Freezer::new(&bottle, &init), init, AsyncLink::new(theirs).unwrap()).await;
        });
    }

    /// Until everything that can go on has.
    async fn settled() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn processes_stop_only_after_the_gate_has() {
        with(async |freezer, init, mut heard| {
            for _ in 0..2 {
                freezer.freeze(FrozenBy::Operator);
                settled().await;
                init.signal(7, 0);
                freezer.gate_is(GateIs::Frozen);
                assert!(matches!(heard.receive().await.unwrap(), KeeperToInit::Signal { id: 7, .. }));
                assert!(matches!(heard.receive().await.unwrap(), KeeperToInit::Freeze(true)));
                // Its word is good for one freeze.
                assert!(freezer.thaw());
                assert!(matches!(heard.receive().await.unwrap(), KeeperToInit::Freeze(false)));
            }
        });
    }

    #[test]
    fn they_stop_without_a_gate_and_with_one_that_says_nothing() {
        with(async |freezer, _init, mut heard| {
            freezer.freeze(FrozenBy::Operator);
            assert!(matches!(heard.receive().await.unwrap(), KeeperToInit::Freeze(true)));
            assert!(freezer.thaw());
            assert!(matches!(heard.receive().await.unwrap(), KeeperToInit::Freeze(false)));
            freezer.gate_is(GateIs::Gone);
            freezer.freeze(FrozenBy::Operator);
            settled().await;
            // Before the patience with a gate that is there is over.
            let soon = timeout(GATE_PATIENCE / 2, heard.receive()).await;
            assert!(matches!(soon, Ok(Ok(KeeperToInit::Freeze(true)))));
        });
    }

    #[test]
    fn what_is_thawed_before_the_gate_has_answered_is_not_stopped() {
        with(async |freezer, init, mut heard| {
            freezer.freeze(FrozenBy::Operator);
            settled().await;
            assert!(freezer.thaw());
            freezer.gate_is(GateIs::Frozen);
            settled().await;
            init.signal(7, 0);
            assert!(matches!(heard.receive().await.unwrap(), KeeperToInit::Freeze(false)));
            assert!(matches!(heard.receive().await.unwrap(), KeeperToInit::Signal { id: 7, .. }));
        });
    }
}
