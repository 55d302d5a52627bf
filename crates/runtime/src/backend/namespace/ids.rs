//! Who the room's processes are: uid and gid 1000 inside; outside, the caller, or the unprivileged ids that root gives.

use super::error::{During, Failure, RoomError, Step};
use rustix::process::{Gid, Uid};
use std::{fs, io};

/// The agent's uid and gid inside every bottle.
pub(super) const AGENT: u32 = 1000;

/// Writes the maps of a child's user namespace. Runs in the keeper.
pub(super) fn map(pid: i32, host_ids: Option<(u32, u32)>) -> Result<(), RoomError> {
    let failed = |source: io::Error| RoomError::IdMap { hint: hint(&source), source };
    let write = |file: &str, text: &str| fs::write(format!("/proc/{pid}/{file}"), text).map_err(failed);
    let (uid, gid) = match host_ids {
        Some(ids) => ids,
        None => {
            // The kernel wants this before an ordinary user may map a group: else dropping a group could gain access.
            write("setgroups", "deny")?;
            (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
        }
    };
    write("uid_map", &format!("{AGENT} {uid} 1"))?;
    write("gid_map", &format!("{AGENT} {gid} 1"))
}

/// Maps one uid and gid of a child's user namespace, `inside`, to those of the host, `outside`. Runs in the keeper, as
/// root.
pub(super) fn map_one(pid: i32, inside: (u32, u32), outside: (u32, u32)) -> io::Result<()> {
    fs::write(format!("/proc/{pid}/uid_map"), format!("{} {} 1", inside.0, outside.0))?;
    fs::write(format!("/proc/{pid}/gid_map"), format!("{} {} 1", inside.1, outside.1))
}

fn hint(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "/proc must be mounted, and show this process's children".to_owned(),
        _ => "check that no security module forbids user namespaces to this program".to_owned(),
    }
}

/// Becomes the agent's uid and gid. Runs in the child, where root's own ids are not mapped at all. `foreign`: they
/// differ from the keeper's.
pub(super) fn take_on(foreign: bool) -> Result<(), Failure> {
    if !foreign {
        // They are the keeper's own, seen from inside; setgroups is denied, and so its groups stay. They give access
        // to no more than the mounts show.
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(AGENT), Gid::from_raw(AGENT));
    rustix::thread::set_thread_groups(&[]).during(Step::TakeIds, "groups")?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).during(Step::TakeIds, "gid")?;
    // Capabilities over the namespaces survive this: the kernel drops them only on leaving uid 0 *of the namespace*.
    rustix::thread::set_thread_res_uid(uid, uid, uid).during(Step::TakeIds, "uid")
}
