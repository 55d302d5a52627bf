//! Engines of a test's own, which go away while they have bottles and come back.

use super::{Backend, Fixture, NAME, SOON};
use bottle_testkit::wait_until;
use rustix::process::Signal;

const AWAY: &str = "no container engine answers at";

/// A bottle needs it for nothing until its end; what then stays behind is said, with what to do.
pub(super) fn bottles_outlive_an_engine_that_was_killed(backend: Backend) {
    let Some(it) = Fixture::own(backend, "") else { return };
    it.detached(&[], "sleep 1000");
    it.engine().end_daemon(Signal::KILL);
    assert_eq!(it.exec("curl -s -o /dev/null -w %{http_code} http://x.test/").success(), "403");
    assert!(it.env().run(&["list"]).success().contains("running"));
    let refused = it.stage.run(&[], &["true"]);
    assert!(refused.failure(4).contains(AWAY) && refused.stderr.contains("start it"), "{refused}");

    let stopped = it.env().run(&["stop", "--grace", "0", NAME]);
    assert!(stopped.failure(4).contains(AWAY) && stopped.stderr.contains("next: "), "{stopped}");
    assert!(it.env().run(&["list"]).success().contains("failed"));
    assert_eq!(it.env().run(&["exec", NAME, "--", "true"]).code, Some(2), "nothing of it runs any more");
    let tried = it.env().run(&["cleanup", "--yes"]);
    assert!(tried.failure(4).contains(AWAY) && tried.stderr.contains("next: "), "{tried}");

    it.engine().serve();
    it.env().run(&["cleanup", "--yes"]).success();
    it.comes_to_an_end();
}

/// With Docker's `--live-restore`; with Podman a container is nobody's but its own.
pub(super) fn bottles_go_on_over_a_restart_of_the_engine(backend: Backend) {
    let options = if backend == Backend::Docker { "--live-restore" } else { "" };
    let Some(it) = Fixture::own(backend, options) else { return };
    it.detached(&["--keep"], "sleep 1000");
    let before = it.containers();
    it.engine().end_daemon(Signal::TERM);
    assert_eq!(it.exec("echo alive > ~/said; cat ~/said").success(), "alive\n");
    it.engine().serve();
    assert_eq!(it.containers(), before);
    assert_eq!(it.exec("cat ~/said").success(), "alive\n");
    it.stop();
    assert_eq!(it.containers(), Vec::<String>::new());
    it.env().run(&["resume", "--detach", NAME]).success();
    assert_eq!(it.exec("cat ~/said").success(), "alive\n");
    it.stop();
    it.nothing_is_left();
}

/// Docker ends its containers when it ends itself, unless it was told otherwise: the bottle is over, and that is seen.
pub(super) fn a_bottle_that_its_engine_ends_is_seen_to_have_ended(backend: Backend) {
    if backend != Backend::Docker {
        return;
    }
    let Some(it) = Fixture::own(backend, "") else { return };
    it.detached(&["--keep"], "sleep 1000");
    it.engine().end_daemon(Signal::TERM);
    let state = || it.env().run(&["list"]).stdout;
    wait_until("its end to be seen", SOON, || !state().contains("running"));
    let gone = it.env().run(&["exec", NAME, "--", "true"]);
    assert!(gone.failure(2).contains("is running"), "{gone}");
    it.engine().serve();
    it.nothing_is_left();
}
