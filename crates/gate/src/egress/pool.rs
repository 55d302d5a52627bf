//! Connections to upstreams that wait for their next request.
//!
//! Invariants: a pool belongs to one policy, and what is on its way when that goes does not come back to it. What is kept
//! is bounded: in number, for each origin and in all, and in time.

use super::{authority::Origin, flow::Sent, line::Line};
use hyper::client::conn::http2;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::Context,
    time::Duration,
};
use tokio::time::Instant;

/// Idle connections, for each origin and in all.
const IDLE_PER_ORIGIN: usize = 32;
const IDLE: usize = 512;
/// Shorter than what servers commonly allow.
const IDLE_TIME: Duration = Duration::from_secs(55);

#[derive(Default)]
pub(crate) struct Pool(Mutex<HashMap<Arc<Origin>, Kept>>);

#[derive(Default)]
struct Kept {
    /// The one used last comes last, and goes first.
    lines: Vec<(Line, Instant)>,
    /// Taken by all requests at once, and when it last was.
    shared: Option<(http2::SendRequest<Sent>, Instant)>,
}

impl Pool {
    /// A connection over HTTP/1.1 that has not been closed meanwhile.
    pub(crate) fn line(&self, origin: &Origin, cx: &mut Context<'_>) -> Option<Line> {
        let mut origins = self.origins();
        let kept = origins.get_mut(origin)?;
        while let Some((mut line, _)) = kept.lines.pop() {
            if line.is_open(cx) {
                return Some(line);
            }
        }
        None
    }

    /// The origin's connection over HTTP/2, where there is one.
    pub(crate) fn shared(&self, origin: &Origin) -> Option<http2::SendRequest<Sent>> {
        let mut origins = self.origins();
        let kept = origins.get_mut(origin)?;
        let (sender, used) = kept.shared.as_mut().filter(|(sender, _)| !sender.is_closed())?;
        *used = Instant::now();
        Some(sender.clone())
    }

    pub(crate) fn share(&self, origin: &Arc<Origin>, sender: http2::SendRequest<Sent>) {
        self.origins().entry(Arc::clone(origin)).or_default().shared = Some((sender, Instant::now()));
    }

    /// Nothing more goes by the connection over HTTP/2 that there was.
    pub(crate) fn forget(&self, origin: &Origin) {
        if let Some(kept) = self.origins().get_mut(origin) {
            kept.shared = None;
        }
    }

    fn keep(&self, origin: Arc<Origin>, line: Line) {
        let mut origins = self.origins();
        let all: usize = origins.values().map(|kept| kept.lines.len()).sum();
        let kept = origins.entry(origin).or_default();
        if all < IDLE && kept.lines.len() < IDLE_PER_ORIGIN {
            kept.lines.push((line, Instant::now()));
        }
    }

    /// Closes what has been idle for too long; whether anything is left.
    pub(crate) fn reap(&self) -> bool {
        let mut origins = self.origins();
        origins.retain(|_, kept| {
            kept.lines.retain(|(_, since)| since.elapsed() < IDLE_TIME);
            kept.shared.take_if(|(sender, used)| sender.is_closed() || used.elapsed() >= IDLE_TIME);
            !kept.lines.is_empty() || kept.shared.is_some()
        });
        !origins.is_empty()
    }

    /// Connections over HTTP/1.1 that are idle.
    pub(crate) fn idle(&self) -> usize {
        self.origins().values().map(|kept| kept.lines.len()).sum()
    }

    fn origins(&self) -> MutexGuard<'_, HashMap<Arc<Origin>, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} origins)", self.origins().len())
    }
}

/// Where a line is given back.
#[derive(Debug)]
pub(crate) struct Home {
    pool: Weak<Pool>,
    origin: Arc<Origin>,
}

impl Home {
    pub(crate) fn new(pool: &Arc<Pool>, origin: &Arc<Origin>) -> Home {
        Home { pool: Arc::downgrade(pool), origin: Arc::clone(origin) }
    }

    pub(crate) fn keep(self, line: Line) {
        if let Some(pool) = self.pool.upgrade() {
            pool.keep(self.origin, line);
        }
    }
}
