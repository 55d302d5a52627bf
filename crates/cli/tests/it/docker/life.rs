//! What its user does with it.

use super::{Dock, NAME, SOON};
use crate::{
    screen::{Screen, resize},
    stage::{HOST, TOKEN},
};
use bottle_testkit::{engine::IMAGE, wait_until};
use std::fs;

#[test]
fn a_command_runs_in_the_image_and_reaches_what_is_allowed_alone() {
    Dock::for_each_user(|dock| {
        let env = &dock.stage.env;
        let ran = dock.stage.run(&[], &["sh", "-c", "echo out; echo err >&2; ls /bin/busybox; pwd; exit 9"]);
        assert_eq!(ran.code, Some(9), "{ran}");
        assert!(ran.stdout == "out\n/bin/busybox\n/home/agent\n" && ran.stderr.contains("err"), "{ran}");
        assert_eq!(dock.stage.run(&[], &["no-such-program"]).code, Some(127));

        let auth = format!("{HOST}=bearer:env:UP_TOKEN");
        let script = "curl -s https://up.test/echo-headers; curl -s -o /dev/null -w ' %{http_code}' https://no.test/";
        let without = format!("unset http_proxy https_proxy HTTPS_PROXY ALL_PROXY all_proxy; {script}");
        for script in [script, &without] {
            let ran = dock.stage.run(&["--allow", HOST, "--auth", &auth], &["sh", "-c", script]);
            assert!(!ran.stdout.contains(TOKEN), "the echo of a secret came back: {ran}");
            let seen = dock.stage.upstream.take_seen();
            let header = |seen: &bottle_testkit::Seen| {
                seen.headers.iter().any(|(name, value)| name == "authorization" && value.contains(TOKEN))
            };
            assert!(seen.len() == 1 && seen.iter().all(header), "{seen:?} {ran}");
            assert!(ran.stdout.ends_with(" 403") || ran.stdout.ends_with(" 000"), "{ran}");
        }
        assert!(env.bottles().is_empty(), "`run` keeps nothing");
        assert_eq!(dock.containers(), Vec::<String>::new());
    });
}

#[test]
fn stop_and_resume_find_home_and_workspace_again() {
    Dock::for_each_user(|dock| {
        let env = &dock.stage.env;
        env.write("work/given", "by the user");
        dock.detached(&["--keep", "--workspace", "copy"], "sleep 1000");
        assert_eq!(dock.exec("cat given; echo mine > made; echo home > ~/kept; pwd"), "by the user/workspace\n");
        let first = dock.containers();
        env.run(&["stop", "--grace", "1", NAME]).success();
        assert!(env.run(&["list"]).success().contains("stopped"));
        assert_eq!(dock.containers(), Vec::<String>::new(), "a stopped bottle has no container");
        assert!(!env.state().join("bottles").join(NAME).join("room").exists());
        assert_eq!(env.run(&["resume", "--detach", NAME]).success(), format!("{NAME}\n"));
        assert_eq!(
            dock.exec("cat made ~/kept; curl -s -o /dev/null -w %{http_code} http://x.test/"),
            "mine\nhome\n403"
        );
        assert!(dock.containers().len() == 1 && dock.containers() != first);
        env.run(&["stop", "--grace", "0", NAME]).success();
    });
}

/// What the name stands for later is another image; the bottle runs on with its own.
#[test]
fn a_bottle_keeps_the_image_that_it_began_with() {
    let Some(dock) = Dock::new() else { return };
    let tag = format!("bottle-test-moving:{}", std::process::id());
    let build = |line: &str| {
        let container = format!("bottle-test-{}", std::process::id());
        dock.engine.client(&["create", "--name", &container, IMAGE, "true"]).success();
        let change = format!("ENV WHICH={line}");
        dock.engine.client(&["commit", "--change", &change, &container, &tag]).success();
        dock.engine.client(&["rm", &container]).success();
    };
    build("one");
    dock.detached(&["--keep", "--image", &tag], "echo $WHICH; sleep 1000");
    wait_until("the variable", SOON, || dock.stage.env.run(&["logs", NAME]).stdout.contains("one"));
    dock.stage.env.run(&["stop", "--grace", "0", NAME]).success();
    build("two");
    dock.stage.env.run(&["resume", "--detach", NAME]).success();
    let now = dock.engine.client(&["inspect", "--format", "{{.Image}} {{.Config.Env}}", &dock.containers()[0]]);
    assert!(now.success().contains("WHICH=one"), "{now}");
    dock.stage.env.run(&["stop", "--grace", "0", NAME]).success();
    dock.nothing_is_left();
    dock.engine.client(&["rmi", "--force", &tag]).success();
}

#[test]
fn exec_cp_and_the_terminal_work_as_elsewhere() {
    let Some(dock) = Dock::new() else { return };
    let env = &dock.stage.env;
    dock.detached(&["--keep"], "sleep 1000");
    let ran = env.run(&["exec", NAME, "--", "sh", "-c", "echo out; echo err >&2; exit 9"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(9), "out\n", "err\n"), "{ran}");

    let file = env.write("given", "from the host");
    let inside = |path: &str| format!("{NAME}:/home/agent/{path}");
    env.run(&["cp", &file.display().to_string(), &inside("in")]).success();
    assert_eq!(dock.exec("cat in; mkdir d; echo back > d/f; ln -s /etc/passwd d/bad"), "from the host");
    let copy = env.work().join("copy");
    let ran = env.run(&["cp", &inside("d"), &copy.display().to_string()]);
    assert!(ran.stderr.contains("bad"), "{ran}");
    assert_eq!(fs::read_to_string(copy.join("f")).expect("it was copied"), "back\n");

    let mut screen = Screen::open(env, &["exec", "--tty", NAME, "--", "sh"]);
    screen.types("stty size; tty\r");
    screen.shows("24 80");
    screen.shows("/dev/pts/");
    resize(&screen.keys, 33, 101);
    wait_until("the new size", SOON, || {
        screen.types("stty size\r");
        screen.text().contains("33 101")
    });
    screen.types("exit 7\r");
    assert_eq!(screen.ends(), Some(7));
    env.run(&["stop", "--grace", "0", NAME]).success();
    dock.nothing_is_left();
}

#[test]
fn what_cannot_be_is_said_before_anything_is_made() {
    let Some(mut dock) = Dock::new() else { return };
    let run = |dock: &Dock, flags: &[&str]| dock.stage.run(flags, &["true"]);
    for (flags, code, says) in [
        (&["--image", "host"][..], 2, "name an image that the engine has"),
        (&["--image", "no-such-image:1"], 4, "docker pull no-such-image:1"),
        (&["--workspace", "mount"], 2, "use `--workspace clone` or `--workspace copy`"),
        (&["--mount", "/tmp:/data:rw"], 2, "make the mount read-only"),
        (&["--image", "dockerfile:Dockerfile"], 2, "docker build"),
        (&["--image", "docker-archive:image.tar"], 2, "docker load"),
        (&["--backend", "kubernetes"], 4, "use `namespace`"),
        (&["--backend", "namespace"], 2, "`backend: docker`"),
    ] {
        let ran = run(&dock, flags);
        assert!(ran.failure(code).contains(says), "{flags:?}: {ran}");
    }
    let nowhere = dock.stage.env.root().join("nowhere.sock").display().to_string();
    for (host, says) in
        [("tcp://127.0.0.1:2375", "unix:///PATH"), (&format!("unix://{nowhere}"), "systemctl start docker")]
    {
        dock.stage.env.set("DOCKER_HOST", host);
        let ran = run(&dock, &[]);
        assert!(ran.failure(4).contains(says), "{host}: {ran}");
        assert!(dock.stage.env.run(&["doctor"]).stdout.contains("no `--backend docker`"));
    }
    dock.stage.env.set("DOCKER_HOST", &dock.engine.host());
    assert!(dock.stage.env.run(&["doctor"]).stdout.contains("ok       engine"));
    assert!(dock.stage.env.bottles().is_empty());
    dock.nothing_is_left();
}
