//! Images and containers as an engine has them.

use super::{Backend, Fixture, NAME, SOON};
use crate::gate::pid_of;
use bottle_testkit::{engine::IMAGE, wait_until};
use rustix::process::{Signal, kill_process};
use std::fs;

/// Commits a container of the tests' image with these changes, as `NAME:PID`.
fn commit(it: &Fixture, name: &str, changes: &[&str]) -> String {
    let (tag, container) = (format!("{name}:{}", std::process::id()), format!("{name}-{}", std::process::id()));
    it.engine().client(&["create", "--name", &container, IMAGE, "true"]).success();
    let changes: Vec<&str> = changes.iter().flat_map(|change| ["--change", *change]).collect();
    it.engine().client(&[&["commit"], &changes[..], &[&container, &tag]].concat()).success();
    it.engine().client(&["rm", &container]).success();
    tag
}

/// What the name stands for later is another image; the bottle runs on with its own.
pub(super) fn a_bottle_keeps_the_image_that_it_began_with(backend: Backend) {
    let Some(it) = Fixture::new(backend) else { return };
    let name = "bottle-test-moving";
    let tag = commit(&it, name, &["ENV WHICH=one"]);
    it.detached(&["--keep", "--image", &tag], "echo $WHICH; sleep 1000");
    wait_until("the variable", SOON, || it.env().run(&["logs", NAME]).stdout.contains("one"));
    it.stop();
    commit(&it, name, &["ENV WHICH=two"]);
    it.env().run(&["resume", "--detach", NAME]).success();
    let now = it.engine().client(&["inspect", "--format", "{{.Image}} {{.Config.Env}}", &it.containers()[0]]);
    assert!(now.success().contains("WHICH=one"), "{now}");
    it.stop();
    it.nothing_is_left();
    it.engine().client(&["rmi", "--force", &tag]).success();
}

/// The engine would start them beside init, with none of what init puts on all that it starts.
pub(super) fn an_image_starts_nothing_of_its_own(backend: Backend) {
    let Some(it) = Fixture::new(backend) else { return };
    let entry = "ENTRYPOINT [\"/bin/sh\",\"-c\",\"touch /home/agent/entry\"]";
    let tag = commit(&it, "bottle-test-eager", &[entry, "CMD [\"cmd\"]", "VOLUME /data", "USER 0"]);
    let volumes = || it.engine().client(&["volume", "ls", "--quiet", "--filter", "dangling=false"]).stdout;
    // A health check cannot be committed; the container's own setting is what counts.
    it.detached(&["--image", &tag], "sleep 1000");
    let script = "ls -A ~ | grep entry; touch /data/x 2>/dev/null || echo read-only; test $(id -u) != 0";
    assert_eq!(it.exec(script).success(), "read-only\n");
    let health = it.engine().client(&["inspect", "--format", "{{.Config.Healthcheck.Test}}", &it.containers()[0]]);
    assert_eq!(health.success(), "[NONE]\n");
    let mounts = "{{range .Mounts}}{{if eq .Type \"volume\"}}{{.Name}} {{end}}{{end}}";
    let of_it = it.engine().client(&["inspect", "--format", mounts, &it.containers()[0]]);
    let of_it: Vec<String> = of_it.success().split_whitespace().map(str::to_owned).collect();
    assert!(!of_it.is_empty() && of_it.iter().all(|name| volumes().contains(name)), "{of_it:?}");
    it.stop();
    let all = || it.engine().client(&["volume", "ls", "--quiet"]).stdout;
    wait_until("the volumes to be gone", SOON, || of_it.iter().all(|name| !all().contains(name)));
    it.nothing_is_left();
    it.engine().client(&["rmi", "--force", &tag]).success();
}

/// A container that was made and not started yet does not end with its keeper.
pub(super) fn a_container_whose_bottle_is_gone_is_found_by_its_label(backend: Backend) {
    let Some(it) = Fixture::new(backend) else { return };
    let state = it.env().state();
    let make = |slug: &str, state: &str| {
        let labels = [format!("bot-bottle.slug={slug}"), format!("bot-bottle.state={state}")];
        let made = it.engine().client(&["create", "--label", &labels[0], "--label", &labels[1], IMAGE, "true"]);
        made.success().trim().to_owned()
    };
    it.detached(&[], "sleep 1000");
    let lost = make("lost-abcde", &state.display().to_string());
    let foreign = make("lost-abcde", "/somebody/elses");
    let ran = it.env().run(&["cleanup", "--yes"]);
    assert!(ran.success().contains(&format!("lost-abcde: container {lost}")), "{ran}");
    assert_eq!(it.containers().len(), 1, "the bottle that runs stays");
    assert_eq!(it.exec("echo alive").success(), "alive\n");
    let others = it.engine().client(&["ps", "--all", "--quiet", "--no-trunc"]);
    assert!(others.success().contains(&foreign), "another's container stays");
    it.engine().client(&["rm", &foreign]).success();

    // The state is gone under a keeper that died.
    let keeper = pid_of(&it.stage, "keeper").expect("a keeper");
    kill_process(keeper, Signal::STOP).expect("our own keeper");
    fs::remove_dir_all(state.join("bottles").join(NAME)).expect("state of ours");
    let ran = it.env().run(&["cleanup", "--yes"]);
    assert!(ran.success().contains(NAME), "{ran}");
    assert_eq!(it.containers(), Vec::<String>::new());
    kill_process(keeper, Signal::KILL).expect("our own keeper");
    it.nothing_is_left();
}
