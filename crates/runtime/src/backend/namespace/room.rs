//! The room as the keeper sees it: what to make, what came of it, what went wrong.

use bottle_spec::{door::Door, plan::Plan, slug::Slug};
use std::{
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
};

/// What a room is made of. All paths are absolute and on the host.
#[derive(Debug, Clone, Copy)]
pub struct RoomSpec<'a> {
    /// Also the room's host name.
    pub slug: &'a Slug,
    /// Its image, mounts, time zone (`TZ` in `env`) and limits are used here.
    pub plan: &'a Plan,
    /// Becomes `/home/agent`, writable; it belongs to `host_ids` where those are given.
    pub home: &'a Path,
    /// Becomes `/workspace`, writable.
    pub workspace: Option<&'a Path>,
    /// The bottle's own certificate authority, PEM.
    pub trust_anchor_pem: &'a str,
    /// The static executable that becomes PID 1.
    pub init_image: &'a [u8],
    /// Listeners to open inside, in this order.
    pub doors: &'a [Door],
    /// The host uid and gid that the room's processes run under. `Some` exactly when root makes the room; else they
    /// are the caller's own.
    pub host_ids: Option<(u32, u32)>,
    /// A cgroup v2 directory, made by the caller, that the room's processes are put into.
    pub cgroup: Option<&'a Path>,
}

/// A room whose init runs and has not been told anything yet. Dropping it closes the link, which ends the room.
#[derive(Debug)]
pub struct Room {
    /// Init, as the host numbers it.
    pub pid: i32,
    pub pidfd: OwnedFd,
    /// Speaks `bottle_spec::init_link`.
    pub link: UnixStream,
    /// In the order of [`RoomSpec::doors`]: bound, and listening where the door takes connections.
    pub listeners: Vec<(Door, OwnedFd)>,
}

#[derive(Debug, thiserror::Error)]
pub enum RoomError {}

/// Makes a room and starts its init. The caller must be a process of one thread.
pub fn create(_spec: &RoomSpec<'_>) -> Result<Room, RoomError> {
    loop {}
}

/// The directories inside a room that programs may write to: `InitStart::writable`.
pub fn writable(_spec: &RoomSpec<'_>) -> Vec<String> {
    Vec::new()
}
