//! A bottle's life as its user leads it: joined, left, looked into, stopped and resumed.

use crate::{
    screen::{SOON, Screen, resize},
    stage::Stage,
};
use bottle_testkit::{TestEnv, wait_for, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::symlink,
    process::Stdio,
};

const NAME: &str = "life-kqzmb";

/// A bottle named [`NAME`] in the background, which is stopped and taken away in the end.
fn detached(env: &TestEnv, flags: &[&str], script: &str) {
    let fixed = ["run", "--detach", "--name", NAME];
    let arguments = [&fixed[..], flags, &["--", "sh", "-c", script]].concat();
    assert_eq!(env.run(&arguments).success(), format!("{NAME}\n"));
}

#[track_caller]
fn nothing_is_left(env: &TestEnv) {
    env.run(&["cleanup", "--all", "--yes"]).success();
    wait_until("nothing to be left", SOON, || env.leftovers().is_empty());
}

#[test]
fn exec_keeps_stdout_stderr_and_the_exit_code_apart() {
    Stage::for_each_user(|stage| {
        let env = &stage.env;
        detached(env, &[], "sleep 1000");
        let ran = env.run(&["exec", NAME, "--", "sh", "-c", "echo out; echo err >&2; id -u; exit 9"]);
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(9), "out\n1000\n", "err\n"), "{ran}");
        let mut command = env.command(&["exec", NAME, "--", "sha256sum"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("exec starts");
        child.stdin.take().expect("a pipe").write_all(&vec![b'x'; 3 << 20]).expect("exec reads");
        let output = child.wait_with_output().expect("exec ends");
        assert!(output.stdout.starts_with(b"3bea8a9a"), "{}", String::from_utf8_lossy(&output.stdout));
        assert_eq!(env.run(&["exec", NAME, "--", "no-such-program"]).code, Some(127));
        // What it leaves running does not hold up its end.
        assert_eq!(env.run(&["exec", NAME, "--", "sh", "-c", "sleep 1000 & echo done"]).success(), "done\n");
        env.run(&["stop", "--grace", "0", NAME]).success();
        assert_eq!(env.run(&["exec", NAME, "--", "true"]).code, Some(2));
        nothing_is_left(env);
    });
}

#[test]
fn a_terminal_is_left_joined_and_resized() {
    let env = TestEnv::new(crate::stage::program());
    let mut first = Screen::open(&env, &["run", "--name", NAME, "--", "sh"]);
    first.types("stty size; echo before-$((6*7))\r");
    first.shows("24 80");
    first.shows("before-42");
    first.types("\x10\x11");
    first.shows("runs on");
    assert_eq!(first.ends(), Some(0));

    let mut second = Screen::open(&env, &["attach", NAME]);
    second.shows("before-42");
    resize(&second.keys, 33, 101);
    wait_until("the new size", SOON, || {
        second.types("stty size\r");
        second.text().contains("33 101")
    });
    second.types("exit 7\r");
    assert_eq!(second.ends(), Some(7));
    wait_until("nothing to be left", SOON, || env.leftovers().is_empty());
}

#[test]
fn exec_with_a_terminal_hangs_up_with_its_client() {
    let env = TestEnv::new(crate::stage::program());
    detached(&env, &[], "sleep 1000");
    let mut screen = Screen::open(&env, &["exec", "--tty", NAME, "--", "sh"]);
    screen.types("tty; exec sleep 4242\r");
    screen.shows("/dev/pts/");
    let sleeps = || env.run(&["exec", NAME, "--", "pgrep", "-f", "^sleep 4242"]).code == Some(0);
    wait_until("the program to run", SOON, sleeps);
    screen.program.kill().expect("our own child");
    screen.program.wait().expect("our own child");
    drop(screen);
    wait_until("the program to be hung up on", SOON, || !sleeps());
    env.run(&["stop", "--grace", "0", NAME]).success();
    nothing_is_left(&env);
}

#[test]
fn stop_and_resume_find_home_and_workspace_again() {
    Stage::for_each_user(|stage| {
        let env = &stage.env;
        fs::write(env.work().join("given"), "by the user").expect("a file of ours");
        fs::write(env.work().join(".gitignore"), "secret\n").expect("a file of ours");
        fs::write(env.work().join("secret"), "").expect("a file of ours");
        detached(env, &["--keep", "--workspace", "copy"], "echo up-$PWD; sleep 1000");
        let script = "cat given && ! test -e secret && echo mine > made && echo home > ~/kept";
        env.run(&["exec", NAME, "--", "sh", "-c", script]).success();
        wait_until("the agent's output", SOON, || env.run(&["logs", NAME]).stdout.contains("up-/workspace"));
        assert_eq!(env.run(&["resume", NAME]).code, Some(2), "it runs");
        env.run(&["stop", "--grace", "1", NAME]).success();
        assert!(env.run(&["list"]).success().contains("stopped"));
        assert!(!env.work().join("made").exists(), "a copy was asked for");
        assert_eq!(env.run(&["resume", "--detach", NAME]).success(), format!("{NAME}\n"));
        let ran = env.run(&["exec", NAME, "--", "sh", "-c", "cat made ~/kept"]);
        assert_eq!(ran.success(), "mine\nhome\n");
        env.run(&["stop", "--grace", "0", NAME]).success();
        nothing_is_left(env);
    });
}

#[test]
fn files_are_copied_in_and_out_through_no_link() {
    let env = TestEnv::new(crate::stage::program());
    let outside = env.write("outside/victim", "safe");
    detached(&env, &["--keep"], "sleep 1000");
    let file = env.write("given", "from the host");
    let inside = |path: &str| format!("{NAME}:/home/agent/{path}");
    env.run(&["cp", &file.display().to_string(), &inside("tree")]).success();
    let script = format!(
        "cat ~/tree; rm ~/tree; mkdir ~/tree; echo x > ~/tree/f; ln -s {} ~/tree/bad; ln -s f ~/tree/good; \
                          ln -s {} ~/trap",
        outside.display(),
        outside.parent().expect("a directory").display()
    );
    assert_eq!(env.run(&["exec", NAME, "--", "sh", "-c", &script]).success(), "from the host");
    env.run(&["stop", "--grace", "0", NAME]).success();
    let copy = env.work().join("copy");
    let ran = env.run(&["cp", &inside("tree"), &copy.display().to_string()]);
    assert!(ran.success().is_empty() && ran.stderr.contains("bad"), "{ran}");
    assert!(copy.join("f").exists() && copy.join("good").is_symlink() && !copy.join("bad").is_symlink());
    assert_eq!(env.run(&["cp", &inside("trap/victim"), "."]).code, Some(4));
    assert_eq!(env.run(&["cp", &file.display().to_string(), &inside("trap/victim")]).code, Some(4));
    assert_eq!(fs::read_to_string(&outside).expect("still there"), "safe");
    assert_eq!(env.run(&["cp", &format!("{NAME}:/etc/passwd"), "."]).code, Some(2));
    nothing_is_left(&env);
}

#[test]
fn a_port_is_published_on_the_loopback_and_only_while_the_bottle_runs() {
    let env = TestEnv::new(crate::stage::program());
    let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port").port();
    let serve = format!(
        "python3 -c 'import socket; s = socket.create_server((\"127.0.0.1\", {port})); \
         [c.sendall(c.recv(9)[::-1]) or c.close() for c, _ in iter(s.accept, 0)]'"
    );
    detached(&env, &["--port", &port.to_string()], &serve);
    let ask = || {
        let mut socket = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
        socket.write_all(b"bottle").ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        (!answer.is_empty()).then_some(answer)
    };
    assert_eq!(wait_for("an answer", SOON, ask), "elttob");
    let second = env.run(&["run", "--port", &port.to_string(), "--", "true"]);
    assert!(second.failure(4).contains(&port.to_string()), "{second}");
    env.run(&["stop", "--grace", "0", NAME]).success();
    assert_eq!(ask(), None);
    nothing_is_left(&env);
}

#[test]
fn signals_reach_the_agent_and_a_dead_launcher_ends_it() {
    Stage::for_each_user(|stage| {
        let env = &stage.env;
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
            wait_until("nothing to be left", SOON, || env.leftovers().is_empty());
        }
        let mut launcher = env.spawn(&["run", "--", "sh", "-c", "trap '' TERM HUP; sleep 1000; sleep 1000"]);
        wait_until("the bottle to run", SOON, || up(env));
        launcher.kill();
        wait_until("nothing to be left", SOON, || env.leftovers().is_empty());
    });
}

#[test]
fn cleanup_follows_no_link_and_opens_what_was_locked() {
    Stage::for_each_user(|stage| {
        let env = &stage.env;
        let outside = env.write("outside/kept", "safe");
        detached(env, &["--keep"], "sleep 1000");
        let script = format!(
            "cd; ln -s {} link; mkdir -p a/b/c locked/in; touch locked/in/f 'a/b/c/new\nline'; chmod 000 locked; \
             chmod 500 a/b; mkfifo pipe",
            outside.parent().expect("a directory").display()
        );
        env.run(&["exec", NAME, "--", "sh", "-c", &script]).success();
        env.run(&["stop", "--grace", "0", NAME]).success();
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

#[test]
fn a_bottle_ends_when_its_time_is_over() {
    let stage = Stage::ordinary();
    let ran = stage.env.spawn(&["run", "--stop-after", "1s", "--", "sleep", "1000"]).finish(SOON);
    assert!(ran.code.is_some_and(|code| code > 128), "{ran}");
    assert_eq!(stage.env.run(&["run", "--stop-after", "1000s", "--", "true"]).code, Some(0));
    nothing_is_left(&stage.env);
}

/// The key is in the memory of keeper and gate alone: what a bottle trusted is of no use to anybody after it.
#[test]
fn an_authority_ends_with_its_run() {
    let stage = Stage::ordinary();
    let env = &stage.env;
    let show = "cat \"$SSL_CERT_FILE\" | head -n 20";
    let first = env.run(&["run", "--no-canaries", "--keep", "--name", NAME, "--", "sh", "-c", show]);
    let first = first.success();
    assert!(first.contains("BEGIN CERTIFICATE"), "{first}");
    let second = env.run(&["resume", NAME]);
    let second = second.success();
    assert_ne!(first, second, "a resumed bottle has another authority");
    let found = std::process::Command::new("grep")
        .args(["-rlE", "--exclude-dir=bin", "PRIVATE KEY"])
        .arg(env.root())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "a key was written down");
    nothing_is_left(env);
}
