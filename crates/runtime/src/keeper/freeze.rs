//! The kill switch: everything of a bottle stops where it is, and may go on later.
//!
//! Frozen means: the gate refuses whatever is asked and breaks off what is under way, every process inside is stopped,
//! and nothing new is run inside. Three can freeze: the operator's command, the gate (a canary was about to leave), and
//! a *sentinel*: a file named `freeze` in the runtime directory (all bottles) or in the bottle's own (this one), which
//! anything that can write a file can make. While a sentinel is there, only its removal thaws.
//!
//! Invariant: the gate hears of it before the processes do, and a gate that is started while the bottle is frozen
//! starts frozen.

use super::init::Init;
use crate::{protocol::FrozenBy, store::BottleDir, sys};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::{
    fs::{self, File},
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    rc::Rc,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{oneshot, watch},
};

/// Both of the sentinel in the runtime directory and in a bottle's own.
const SENTINEL: &str = "freeze";

/// One bottle's switch. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Freezer {
    state: Rc<watch::Sender<Option<FrozenBy>>>,
    init: Rc<Init>,
    sentinels: [PathBuf; 2],
    /// There while it is frozen, for `list`.
    mark: PathBuf,
}

impl Freezer {
    pub(crate) fn new(bottle: &BottleDir, init: &Rc<Init>) -> Freezer {
        let freezer = Freezer {
            state: Rc::new(watch::Sender::new(None)),
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
            self.init.freeze(true);
        }
    }

    /// `false` = a sentinel is still there, whose path is given by [`Freezer::sentinel`].
    pub(crate) fn thaw(&self) -> bool {
        if self.sentinel().is_some() {
            return false;
        }
        if self.state.send_if_modified(|state| state.take().is_some()) {
            tracing::warn!("thawed");
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
