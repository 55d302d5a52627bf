//! The requests of one bottle, read again when its directory changed.

use crate::commands::requests::{of_bottle, on_screen};
use bottle_runtime::store::BottleDir;
use bottle_tui::event::Request;
use std::{
    fs,
    time::{Duration, SystemTime},
};

/// A change this young may have another behind it that has the same time: the kernel's clock for files is a coarse one.
const SETTLED: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// When the directory was changed, as far as it was read since; `None` = to be read anew.
    read: Option<SystemTime>,
    requests: Vec<Request>,
}

impl Waiting {
    /// Those whose time is not over.
    pub(super) fn requests(&mut self, bottle: &BottleDir, now: u64) -> Vec<Request> {
        let changed = fs::metadata(bottle.requests()).and_then(|metadata| metadata.modified()).ok();
        if changed.is_none() || changed != self.read {
            // Before it is read, so that what changes meanwhile is found by the next look.
            let settled = |changed: &SystemTime| changed.elapsed().is_ok_and(|age| age > SETTLED);
            self.read = changed.filter(settled);
            self.requests = of_bottle(bottle).iter().map(on_screen).collect();
        }
        self.requests.iter().filter(|request| request.expires > now).cloned().collect()
    }
}
