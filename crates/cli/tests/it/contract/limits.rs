//! How much of the machine a bottle may take.

use super::{Backend, Fixture};

pub(super) fn processes_are_bounded(backend: Backend) {
    Fixture::for_each_user(backend, |it| {
        // Counted by the shell itself: there may be no process left to count with.
        let script = "sh -c 'i=0; while test $i -lt 80; do sleep 600 & i=$((i+1)); done' 2>/dev/null; \
                      set -- /proc/[0-9]*; echo $#";
        let ran = it.stage.run(&["--limit", "pids=40"], &["sh", "-c", script]);
        let count: u32 = ran.stdout.trim().parse().unwrap_or(u32::MAX);
        assert!((20..=41).contains(&count), "{ran}");
    });
}

pub(super) fn what_is_in_memory_is_bounded(backend: Backend) {
    let Some(it) = Fixture::new(backend) else { return };
    // Half of the memory, for each place.
    let script = "for at in /tmp /var/tmp /dev/shm; do dd if=/dev/zero of=$at/x bs=1M count=40 2>/dev/null; \
                  test $(stat -c %s $at/x) -le 33554432 || echo $at; rm $at/x; done; echo tried";
    let ran = it.stage.run(&["--limit", "memory=64MiB"], &["sh", "-c", script]);
    assert_eq!(ran.success(), "tried\n", "{ran}");
    it.nothing_is_left();
}
