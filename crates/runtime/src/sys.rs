//! The unsafe calls of the keeper: telling tokio that a descriptor stays open while it is watched, and the kernel that
//! code is not needed for now.

#![expect(
    unsafe_code,
    reason = "the calls are unsafe for descriptors that close early, and for memory that is written"
)]

use rustix::mm::{Advice, madvise};
use std::{ffi::c_void, fs, io, os::fd::OwnedFd, ptr::with_exposed_provenance_mut};
use tokio::io::{Interest, unix::AsyncFd};

/// Watches a descriptor (made non-blocking here) in the running tokio reactor.
pub(crate) fn watch(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    rustix::io::ioctl_fionbio(&descriptor, true)?;
    // SAFETY: an `OwnedFd` keeps its descriptor open, and always gives the same one, until it is dropped; `AsyncFd`
    // deregisters before it drops it.
    let watched = unsafe { AsyncFd::register_with_interest(descriptor, interest) };
    watched.map_err(io::Error::from)
}

/// Gives back the pages of code that are mapped; those that run again are mapped again, from the page cache. Gives the
/// number of bytes that code may take up.
pub(crate) fn let_go_of_code() -> io::Result<usize> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let mut all = 0_usize;
    for (start, length) in maps.lines().filter_map(code) {
        // SAFETY: the mapping is of a file, private, and neither writable nor (as `code` sees to) ever was: what is
        // dropped is what the file holds, and the next access reads it again.
        unsafe { madvise(with_exposed_provenance_mut::<c_void>(start), length, Advice::LinuxDontNeed) }?;
        all = all.saturating_add(length);
    }
    Ok(all)
}

/// Start and length, where a line of `/proc/PID/maps` (proc_pid_maps(5)) is one of code out of a file: linkers make
/// that a segment of its own, into which the loader relocates nothing.
fn code(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    if fields.next()? != "r-xp" || fields.nth(2)? == "0" {
        return None;
    }
    let start = usize::from_str_radix(start, 16).ok()?;
    Some((start, usize::from_str_radix(end, 16).ok()?.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_let_go_of_and_runs_on() {
        // Code that nothing runs: what runs is mapped again at once, and maybe more of it than before.
        let (file, length) = (fs::File::open("/proc/self/exe").unwrap(), 1 << 20);
        let access = rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::EXEC;
        // SAFETY: a new mapping, at a place that the kernel finds.
        let start =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), length, access, rustix::mm::MapFlags::PRIVATE, &file, 0) };
        let start = start.unwrap();
        // SAFETY: it is as long, may be read, and nobody writes to it or takes it away.
        let bytes = unsafe { std::slice::from_raw_parts(start.cast::<u8>().cast_const(), length) };
        assert!(bytes.iter().step_by(4096).any(|it| *it != 0), "each page is looked at");
        let resident = || {
            let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
            let mut lines = smaps.lines();
            lines.find(|line| code(line).is_some_and(|(at, _)| at == start.addr())).expect("the mapping");
            let rss = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
            rss.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
        };
        assert!(resident() > 0);
        assert!(let_go_of_code().unwrap() >= length);
        assert_eq!(resident(), 0);
    }

    #[test]
    fn only_code_of_files_counts() {
        let exe = "55d0c0a00000-55d0c0a02000 r-xp 00001000 fe:00 77 /usr/bin/true";
        assert_eq!(code(exe), Some((0x55d0_c0a0_0000, 0x2000)));
        for other in
            [exe.replace("r-xp", "rwxp"), exe.replace("r-xp", "r--p"), exe.replace(" 77 ", " 0 "), String::new()]
        {
            assert_eq!(code(&other), None, "{other}");
        }
    }
}
