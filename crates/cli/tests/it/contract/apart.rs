//! Engines that share no files with this machine: one that sees none, one that maps users, one of an ordinary user.
//! Nobody says so; what travels is told by what the engine says of itself.

use super::{Fixture, NAME, SOON};
use crate::{
    crash::signal,
    gate::pid_of,
    stage::{Stage, TOKEN},
};
use bottle_testkit::{
    Engine, ImageRegistry, Running, Sshd,
    engine::{IMAGE, Make},
    image_registry::{PASSWORD, USER},
    wait_until,
};
use rustix::process::Signal;
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

#[test]
fn an_engine_that_sees_no_file_of_this_machine_makes_the_same_bottle() {
    let Some(engine) = Engine::far() else { return };
    let it = Fixture::apart(engine, Stage::ordinary());
    a_whole_life(&it);
}

#[test]
fn an_engine_that_maps_users_makes_the_same_bottle_and_maps_them() {
    let Some(engine) = Engine::remapped() else { return };
    let it = Fixture::apart(engine, Stage::new());
    a_whole_life(&it);
    it.detached(&[], "sleep 1000");
    let map = it.exec("cat /proc/self/uid_map");
    assert_eq!(map.success().split_whitespace().collect::<Vec<_>>(), ["0", "500000", "65536"]);
    it.stop();
    it.nothing_is_left();
}

#[test]
fn a_podman_without_root_makes_the_same_bottle() {
    without_root(Make::Podman);
}

#[test]
fn a_docker_without_root_makes_the_same_bottle() {
    without_root(Make::Docker);
}

fn without_root(make: Make) {
    let Some(engine) = Engine::rootless(make) else { return };
    let it = Fixture::apart(engine, Stage::ordinary());
    a_whole_life(&it);
    it.detached(&[], "sleep 1000");
    let map = it.exec("cat /proc/self/uid_map");
    assert!(map.success().contains("600000"), "its users are not this machine's: {map}");
    it.stop();
    it.nothing_is_left();
}

/// The way there is the user's own `ssh`, which goes by the files of whoever the system says that this is: in a mount
/// namespace it says so.
#[test]
fn an_engine_behind_ssh_makes_the_same_bottle() {
    let Some(engine) = Engine::far() else { return };
    let mut it = Fixture::apart(engine, Stage::new());
    let there = format!("DOCKER_HOST={}", it.engine().host());
    let Some(sshd) = Sshd::start_with(it.env().root(), it.env().user(), &there) else {
        println!("SKIPPED(no sshd): an engine behind ssh; see scripts/install-test-needs");
        return;
    };
    let root = it.env().root().to_owned();
    it.env().write("home/.ssh/config", sshd.client_config("far"));
    // Not below the environment's root: what has that mounted counts as the bottle's.
    let users = tempfile::NamedTempFile::new().expect("a file of ours");
    fs::write(&users, format!("root:x:0:0::{}:/bin/sh\n", root.join("home").display())).expect("a file of ours");
    let mut held = Command::new("unshare");
    held.args(["--mount", "--propagation", "slave", "sh", "-c"]);
    held.arg(format!("mount --bind {} /etc/passwd && exec sleep infinity", users.path().display()));
    let held = Running::start(held);
    let is_there = || fs::read_to_string(format!("/proc/{}/comm", held.pid())).is_ok_and(|it| it == "sleep\n");
    wait_until("a mount namespace", SOON, is_there);
    let (program, itself) = (it.env().program().to_owned(), root.join("bin/itself"));
    fs::rename(&program, &itself).expect("a file of ours");
    let enter = format!(
        "#!/bin/sh\nexec nsenter --mount=/proc/{}/ns/mnt sh -c 'cd \"$0\" && exec \"$@\"' \"$PWD\" {} \"$@\"\n",
        held.pid(),
        itself.display()
    );
    fs::write(&program, enter).expect("a file of ours");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a file of ours");
    it.stage.env.set("DOCKER_HOST", "ssh://nowhere");
    let refused = it.stage.run(&[], &["true"]);
    assert!(refused.failure(4).contains("no container engine answers at ssh://nowhere"), "{refused}");
    assert!(refused.stderr.contains("; see what `ssh -o BatchMode=yes nowhere docker version` says"), "{refused}");
    it.stage.env.set("DOCKER_HOST", "ssh://far");
    // Every question is a connection of its own there: as short as it can be.
    it.env().write("work/given", "by the user");
    it.detached(&["--keep", "--workspace", "copy", "--allow", "up.test"], "sleep 1000");
    assert_eq!(
        it.exec("cat given && echo mine > made && curl -sS https://up.test/echo/a >&2").success(),
        "by the user"
    );
    assert_eq!(it.stage.upstream.take_seen().len(), 1);
    it.stop();
    let made = it.env().state().join("bottles").join(NAME).join("agent/workspace/made");
    assert_eq!(fs::read_to_string(made).expect("it came back"), "mine\n");
    it.nothing_is_left();
}

/// From the first start to a keeper that is killed.
fn a_whole_life(it: &Fixture) {
    let env = it.env();
    env.write("work/given", "by the user");
    env.write("work/deep/er/file", "far down");
    env.write("data/read", "for reading");
    let mount = format!("{}:/data", env.root().join("data").display());
    let flags = ["--keep", "--workspace", "copy", "--mount", &mount, "--allow", "up.test:GET/echo/**"];
    it.detached(&[&flags[..], &["--auth", "up.test=bearer:env:UP_TOKEN"]].concat(), "sleep 1000");
    nothing_of_this_machine_is_mounted(it);
    env.bottle("plain", "{}\n");
    env.write("config/bot-bottle/agents/mine.md", "---\nbottle: plain\ncommand: [true]\n---\n\nBe kind.\n");
    let shown = env.run(&["preflight", "mine", "--workspace", "none"]);
    assert!(shown.success().contains("files are sent to the engine"), "{shown}");
    let within = format!("{}:/home/agent/data", env.root().join("data").display());
    let refused = it.stage.run(&["--mount", &within], &["true"]);
    assert!(refused.failure(4).contains("/home/agent/data is in the agent's home"), "{refused}");

    // What it was given, and whose it is.
    assert_eq!(it.exec("cat given deep/er/file /data/read").success(), "by the userfar downfor reading");
    let own = "stat -c %U . ~ given deep deep/er/file | sort -u; (echo x > /data/x) 2>/dev/null || echo read-only";
    assert_eq!(it.exec(own).success(), "agent\nread-only\n");
    let walls = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | cut -f2 | sort -u | tr '\\n' ' '";
    assert_eq!(it.exec(walls).success(), "0000000000000000 1 2 ");
    let writes = "for d in / /bin /etc /usr /.bot-bottle /home; do touch $d/x 2>/dev/null && echo $d; done; \
                  for d in /tmp /var/tmp /run /dev/shm ~ /workspace; do touch $d/x || echo $d; done; rm ~/x x";
    assert_eq!(it.exec(writes).success(), "");

    // Its doors.
    let echo = it.exec("curl -sS https://up.test/echo/a");
    let echo: Value = serde_json::from_str(echo.success()).expect("the upstream's echo");
    assert_eq!(echo["target"], "/echo/a");
    let seen = it.stage.upstream.take_seen();
    assert_eq!(seen[0].header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    // By names, as programs look for them that know of no proxy.
    let plain = it
        .exec("curl -sS --noproxy '*' https://up.test/echo/b && echo && grep -q $(hostname) /etc/hosts && echo named");
    assert!(plain.success().contains("/echo/b") && plain.stdout.ends_with("\nnamed\n"), "{plain}");
    it.stage.upstream.take_seen();
    for url in ["https://up.test/other", "https://else.test/", "http://192.0.2.1/"] {
        assert_ne!(it.exec(&format!("curl -sSf --max-time 10 {url}")).code, Some(0), "{url}");
    }
    assert!(it.stage.upstream.seen().is_empty());
    let secret = it.exec(&format!("grep -rs {TOKEN} /etc /run /tmp ~ /workspace /proc/self/environ; true"));
    assert_eq!(secret.success(), "");

    // Files while it runs, into it and out of it.
    it.exec("echo mine > made; echo home > ~/kept; chmod 755 made; ln -s /etc/passwd link; mkfifo pipe").success();
    let file = env.write("handed", "from this machine");
    env.run(&["cp", &file.display().to_string(), &format!("{NAME}:/workspace/deep/put")]).success();
    assert_eq!(it.exec("cat deep/put; stat -c %U deep/put").success(), "from this machineagent\n");
    it.exec("ln -s /workspace ~/trap").success();
    for (at, code) in [("/home/agent/trap", 4), ("/home/agent/none/x", 4), ("/etc/x", 2), ("/workspace/../x", 2)] {
        let refused = env.run(&["cp", &file.display().to_string(), &format!("{NAME}:{at}")]);
        assert_eq!(refused.code, Some(code), "{at}: {refused}");
    }
    let to = env.work().join("out");
    env.run(&["cp", &format!("{NAME}:/workspace/made"), &to.display().to_string()]).success();
    assert_eq!(fs::read_to_string(&to).expect("it was copied"), "mine\n");
    let changed = env.run(&["diff", NAME, "--name-only"]);
    assert!(changed.success().contains("made") && changed.stdout.contains("deep/put"), "{changed}");

    // Its end, and what is here then: also what nobody has asked for before.
    it.exec("echo last > last").success();
    env.run(&["stop", "--grace", "1", NAME]).success();
    let agent = env.state().join("bottles").join(NAME).join("agent");
    let here = |name: &str| fs::read_to_string(agent.join(name)).unwrap_or_default();
    assert_eq!((here("workspace/made").as_str(), here("home/kept").as_str()), ("mine\n", "home\n"));
    assert_eq!(here("workspace/last"), "last\n");
    let mode = |name: &str| fs::symlink_metadata(agent.join(name)).expect("it came").permissions().mode();
    assert_eq!((mode("workspace/made") & 0o7777, mode("workspace/link") & 0o170_000), (0o755, 0o120_000));
    assert!(!agent.join("workspace/pipe").exists());
    assert!(it.containers().is_empty(), "a stopped bottle has nothing in the engine");
    assert!(it.engine().volumes(&env.state()).is_empty() && it.engine().images(&env.state()).is_empty());
    let names: Vec<_> = fs::read_dir(&agent).expect("a directory").flatten().map(|it| it.file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains("coming")), "{names:?}");

    // Again, until its keeper is gone.
    env.run(&["resume", "--detach", NAME]).success();
    assert_eq!(it.exec("cat made ~/kept deep/put; stat -c %U made").success(), "mine\nhome\nfrom this machineagent\n");
    signal(pid_of(&it.stage, "keeper").expect("a keeper"), Signal::KILL).expect("our own keeper");
    wait_until("its end to be seen", SOON, || env.run(&["list"]).stdout.contains("failed"));
    assert!(!it.engine().volumes(&env.state()).is_empty(), "its work is not lost by itself");
    it.nothing_is_left();
}

fn nothing_of_this_machine_is_mounted(it: &Fixture) {
    let shown = it.engine().client(&["inspect", &it.containers()[0]]);
    let shown: Value = serde_json::from_str(shown.success()).expect("JSON");
    let mounts = shown[0]["Mounts"].as_array().expect("a list");
    assert!(mounts.len() >= 2 && mounts.iter().all(|it| it["Type"] != "bind"), "{mounts:?}");
    assert_eq!(shown[0]["HostConfig"]["ReadonlyRootfs"], true);
    assert_eq!(shown[0]["HostConfig"]["NetworkMode"], "none");
}

/// What an agent did is with the engine; when that goes away, so is the way to it, and nothing is lost.
#[test]
fn work_that_is_with_an_engine_that_went_away_is_not_lost() {
    let Some(engine) = Engine::far() else { return };
    let it = Fixture::apart(engine, Stage::ordinary());
    let env = it.env();
    env.write("work/given", "by the user");
    it.detached(&["--keep", "--workspace", "copy"], "sleep 1000");
    it.exec("echo mine > made; echo home > ~/kept").success();
    it.engine().end_daemon(Signal::KILL);
    wait_until("its end to be seen", SOON, || env.run(&["list"]).stdout.contains("failed"));
    let to = env.work().join("out").display().to_string();
    let tried = env.run(&["cp", &format!("{NAME}:/workspace/made"), &to]);
    assert!(
        tried.failure(4).contains("no container engine answers") && tried.stderr.contains("next: start"),
        "{tried}"
    );
    it.engine().serve();
    env.run(&["cp", &format!("{NAME}:/workspace/made"), &to]).success();
    assert_eq!(fs::read_to_string(&to).expect("it was copied"), "mine\n");
    env.run(&["cp", &format!("{NAME}:/home/agent/kept"), &to]).success();
    assert_eq!(fs::read_to_string(&to).expect("it was copied"), "home\n");
    it.nothing_is_left();
}

#[test]
fn an_image_is_pulled_by_the_engine_where_its_name_says_from_where() {
    let Some(engine) = Engine::far() else { return };
    let mut it = Fixture::apart(engine, Stage::ordinary());
    let Some(registry) = ImageRegistry::start(it.env().root(), true) else { return };
    let image = format!("{}/team/image:one", registry.address);
    let login = it.engine().client(&["login", "--username", USER, "--password", PASSWORD, &registry.address]);
    login.success();
    for arguments in [&["tag", IMAGE, &image][..], &["push", &image], &["rmi", &image]] {
        it.engine().client(arguments).success();
    }
    let refused = it.stage.run(&["--image", &image], &["true"]);
    assert!(refused.failure(4).contains("cannot pull"), "nobody logged in: {refused}");
    let config = it.engine().client_config();
    it.stage.env.set("DOCKER_CONFIG", &config.display().to_string());
    let ran = it.stage.run(&["--image", &image], &["sh", "-c", "echo it runs"]);
    assert_eq!(ran.success(), "it runs\n");
    assert!(ran.stderr.contains(&format!("the engine pulls {image}")), "{ran}");
    assert!(ran.stderr.contains(&format!("pulled {image}: sha256:")), "{ran}");
    let again = it.stage.run(&["--image", &image], &["true"]);
    assert!(again.success().is_empty() && !again.stderr.contains("pull"), "{again}");
    let unsaid = it.stage.run(&["--image", "no-such-image:1"], &["true"]);
    assert!(unsaid.failure(4).contains("nothing is pulled"), "{unsaid}");
    it.nothing_is_left();
}
