//! A bottle's life as its user leads it: run, joined, left, looked into, stopped and resumed.

use super::{Backend, Fixture, NAME, SOON};
use crate::{
    screen::{Screen, resize},
    stage::HOST,
};
use bottle_testkit::{Running, TestEnv, wait_for, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::symlink,
    process::Stdio,
};

pub(super) fn a_command_runs_and_its_code_is_told(backend: Backend) {
    Fixture::for_each_user(backend, |it| {
        let ran = it.stage.run(&[], &["sh", "-c", "echo out; echo err >&2; ls /bin/busybox; pwd; exit 9"]);
        assert_eq!(ran.code, Some(9), "{ran}");
        assert!(ran.stdout == "out\n/bin/busybox\n/home/agent\n" && ran.stderr.contains("err"), "{ran}");
        assert_eq!(it.stage.run(&[], &["no-such-program"]).code, Some(127));
        assert!(it.env().bottles().is_empty(), "`run` keeps nothing");
        assert_eq!(it.containers(), Vec::<String>::new());
    });
}

pub(super) fn exec_keeps_stdout_stderr_and_the_exit_code_apart(backend: Backend) {
    Fixture::for_each_user(backend, |it| {
        it.detached(&[], "sleep 1000");
        let ran = it.exec("echo out; echo err >&2; test $(id -u) != 0; exit 9");
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(9), "out\n", "err\n"), "{ran}");
        // The host's programs are run as a user that these know; in an image nobody is known but whom we name.
        let uid = it.exec("id -u");
        assert!(backend != Backend::Namespace || uid.success() == "1000\n", "{uid}");
        let mut command = it.env().command(&["exec", NAME, "--", "sha256sum"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("exec starts");
        child.stdin.take().expect("a pipe").write_all(&vec![b'x'; 3 << 20]).expect("exec reads");
        let output = child.wait_with_output().expect("exec ends");
        assert!(output.stdout.starts_with(b"3bea8a9a"), "{}", String::from_utf8_lossy(&output.stdout));
        assert_eq!(it.env().run(&["exec", NAME, "--", "no-such-program"]).code, Some(127));
        // What it leaves running does not hold up its end.
        assert_eq!(it.exec("sleep 1000 & echo done").success(), "done\n");
        it.stop();
        assert_eq!(it.env().run(&["exec", NAME, "--", "true"]).code, Some(2));
    });
}

pub(super) fn a_terminal_is_left_joined_and_resized(backend: Backend) {
    let Some(it) = Fixture::new(backend) else { return };
    let mut first = Screen::open(it.env(), &["run", "--name", NAME, "--", "sh"]);
    first.types("stty size; echo before-$((6*7))\r");
    first.shows("24 80");
    first.shows("before-42");
    first.types("\x10\x11");
    first.shows("runs on");
    assert_eq!(first.ends(), Some(0));

    let mut second = Screen::open(it.env(), &["attach", NAME]);
    second.shows("before-42");
    resize(&second.keys, 33, 101);
    wait_until("the new size", SOON, || {
        second.types("stty size\r");
        second.text().contains("33 101")
    });
    second.types("exit 7\r");
    assert_eq!(second.ends(), Some(7));
    it.comes_to_an_end();
}

pub(super) fn exec_with_a_terminal_hangs_up_with_its_client(backend: Backend) {
    let Some(it) = Fixture::new(backend) else { return };
    it.detached(&[], "sleep 1000");
    let mut screen = Screen::open(it.env(), &["exec", "--tty", NAME, "--", "sh"]);
    screen.types("tty; exec sleep 4242\r");
    screen.shows("/dev/pts/");
    let sleeps = || it.exec("grep -sq '[4]242' /proc/[0-9]*/cmdline").code == Some(0);
    wait_until("the program to run", SOON, sleeps);
    screen.program.kill().expect("our own child");
    screen.program.wait().expect("our own child");
    drop(screen);
    wait_until("the program to be hung up on", SOON, || !sleeps());
    it.stop();
    it.nothing_is_left();
}

pub(super) fn stop_and_resume_find_home_and_workspace_again(backend: Backend) {
    Fixture::for_each_user(backend, |it| {
        let env = it.env();
        env.write("work/given", "by the user");
        env.write("work/.gitignore", "secret\n");
        env.write("work/secret", "");
        it.detached(&["--keep", "--workspace", "copy"], "echo up-$PWD; sleep 1000");
        it.exec("cat given && ! test -e secret && echo mine > made && echo home > ~/kept").success();
        wait_until("the agent's output", SOON, || env.run(&["logs", NAME]).stdout.contains("up-/workspace"));
        assert_eq!(env.run(&["resume", NAME]).code, Some(2), "it runs");
        let first = it.containers();
        env.run(&["stop", "--grace", "1", NAME]).success();
        assert!(env.run(&["list"]).success().contains("stopped"));
        assert_eq!(it.containers(), Vec::<String>::new(), "a stopped bottle has no container");
        assert!(!env.state().join("bottles").join(NAME).join("room").exists());
        assert!(!env.work().join("made").exists(), "a copy was asked for");
        assert_eq!(env.run(&["resume", "--detach", NAME]).success(), format!("{NAME}\n"));
        let status = "curl -s -o /dev/null -w %{http_code} http://x.test/";
        assert_eq!(it.exec(&format!("cat made ~/kept; {status}")).success(), "mine\nhome\n403");
        assert!(first.is_empty() || it.containers() != first, "another container");
        it.stop();
    });
}

pub(super) fn files_are_copied_in_and_out_through_no_link(backend: Backend) {
    let Some(it) = Fixture::new(backend) else { return };
    let env = it.env();
    let outside = env.write("outside/victim", "safe");
    it.detached(&["--keep"], "sleep 1000");
    let file = env.write("given", "from the host");
    let inside = |path: &str| format!("{NAME}:/home/agent/{path}");
    env.run(&["cp", &file.display().to_string(), &inside("tree")]).success();
    let script = format!(
        "cat ~/tree; rm ~/tree; mkdir -p ~/tree/deep; echo x > ~/tree/deep/f; ln -s {} ~/tree/bad; ln -s deep ~/tree/good; \
                          ln -s {} ~/trap",
        outside.display(),
        outside.parent().expect("a directory").display()
    );
    assert_eq!(it.exec(&script).success(), "from the host");
    it.stop();
    let copy = env.work().join("copy");
    let ran = env.run(&["cp", &inside("tree"), &copy.display().to_string()]);
    assert!(ran.success().is_empty() && ran.stderr.contains("bad"), "{ran}");
    assert_eq!(fs::read_to_string(copy.join("deep/f")).expect("it was copied"), "x\n");
    assert!(copy.join("good").is_symlink() && !copy.join("bad").is_symlink());
    assert_eq!(env.run(&["cp", &inside("trap/victim"), "."]).code, Some(4));
    assert_eq!(env.run(&["cp", &file.display().to_string(), &inside("trap/victim")]).code, Some(4));
    assert_eq!(fs::read_to_string(&outside).expect("still there"), "safe");
    assert_eq!(env.run(&["cp", &format!("{NAME}:/etc/passwd"), "."]).code, Some(2));
    it.nothing_is_left();
}

pub(super) fn a_port_is_published_on_the_loopback_and_only_while_the_bottle_runs(backend: Backend) {
    let Some(it) = Fixture::new(backend) else { return };
    let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port").port();
    it.detached(&["--port", &port.to_string()], &format!("busybox nc -ll -p {port} -e sh -c 'head -c 6; echo -back'"));
    let ask = || {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).ok()?;
        socket.write_all(b"bottle").ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        (!answer.is_empty()).then_some(answer)
    };
    assert_eq!(wait_for("an answer", SOON, ask), "bottle-back\n");
    let second = it.env().run(&["run", "--port", &port.to_string(), "--", "true"]);
    assert!(second.failure(4).contains(&port.to_string()), "{second}");
    it.stop();
    assert_eq!(ask(), None);
    it.nothing_is_left();
}

pub(super) fn signals_reach_the_agent_and_a_dead_launcher_ends_it(backend: Backend) {
    Fixture::for_each_user(backend, |it| {
        let env = it.env();
        let up = |env: &TestEnv| env.run(&["list"]).stdout.contains("running");
        for signal in [Signal::INT, Signal::TERM] {
            let script = "trap 'echo caught; exit 3' INT TERM; echo ready; while :; do sleep 0.05; done";
            let log = env.work().join("log");
            let output = File::create(&log).expect("a file of ours");
            let mut command = env.command(&["run", "--", "sh", "-c", script]);
            let mut launcher = command.stdin(Stdio::null()).stdout(output).spawn().expect("run starts");
            let said = |word: &str| fs::read_to_string(&log).is_ok_and(|text| text.contains(word));
            wait_until("the trap to be set", SOON, || said("ready"));
            let pid = i32::try_from(launcher.id()).ok().and_then(Pid::from_raw).expect("a pid");
            kill_process(pid, signal).expect("our own child");
            let ended = wait_for("the launcher to end", SOON, || launcher.try_wait().expect("our own child"));
            assert!(ended.code() == Some(3) && said("caught"), "{signal:?}: {ended}");
            it.comes_to_an_end();
        }
        let mut launcher = env.spawn(&["run", "--", "sh", "-c", "trap '' TERM HUP; sleep 1000; sleep 1000"]);
        wait_until("the bottle to run", SOON, || up(env));
        launcher.kill();
        it.comes_to_an_end();
    });
}

pub(super) fn cleanup_follows_no_link_and_opens_what_was_locked(backend: Backend) {
    Fixture::for_each_user(backend, |it| {
        let env = it.env();
        let outside = env.write("outside/kept", "safe");
        it.detached(&["--keep"], "sleep 1000");
        let script = format!(
            "cd; ln -s {} link; mkdir -p a/b/c locked/in; touch locked/in/f 'a/b/c/new\nline'; chmod 000 locked; \
             chmod 500 a/b; mkfifo pipe",
            outside.parent().expect("a directory").display()
        );
        it.exec(&script).success();
        it.stop();
        // Unlike the agent, someone on this host may lay a link in the place of a directory.
        let agent = env.state().join("bottles").join(NAME).join("agent");
        if fs::rename(&agent, env.root().join("moved")).is_ok() {
            symlink(outside.parent().expect("a directory"), &agent).expect("a link of ours");
        }
        env.run(&["cleanup", "--yes", NAME]).success();
        assert_eq!(fs::read_to_string(&outside).expect("still there"), "safe");
        assert!(!env.run(&["list"]).stdout.contains(NAME));
    });
}

pub(super) fn a_bottle_ends_when_its_time_is_over(backend: Backend) {
    let Some(it) = Fixture::ordinary(backend) else { return };
    let ran = it.env().spawn(&["run", "--stop-after", "1s", "--", "sleep", "1000"]).finish(SOON);
    assert!(ran.code.is_some_and(|code| code > 128), "{ran}");
    assert_eq!(it.env().run(&["run", "--stop-after", "1000s", "--", "true"]).code, Some(0));
    it.nothing_is_left();
}

pub(super) fn many_at_once_all_come_up_and_go(backend: Backend) {
    let Some(it) = Fixture::new(backend) else { return };
    // An engine starts them one after the other.
    let bottles = if backend == Backend::Namespace { 50 } else { 20 };
    let curl = ["curl", "-sSf", "-o", "/dev/null", "https://up.test/echo"];
    let started: Vec<Running> = (0..bottles).map(|_| it.stage.spawn(&["--allow", HOST], &curl)).collect();
    for running in started {
        running.finish(2 * SOON).success();
    }
    assert_eq!(it.stage.upstream.seen().len(), bottles);
    it.comes_to_an_end();
}
