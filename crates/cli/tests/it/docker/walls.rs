//! What a container must not be able to, against things that are really there.

use super::{Dock, NAME, SOON};
use crate::stage::{HOST, TOKEN};
use bottle_testkit::{
    Running,
    engine::{GATEWAY, IMAGE, METADATA},
    wait_until,
};
use serde_json::Value;
use std::net::TcpListener;

/// Answers in the network of the engine, on every address there.
fn canary(dock: &Dock) -> Running {
    dock.stage.env.write("canary/index.html", "canary sings");
    let home = dock.stage.env.root().join("canary").display().to_string();
    let canary = Running::start(dock.engine.beside("busybox", &["httpd", "-f", "-p", "8099", "-h", &home]));
    let sings = || {
        let url = format!("http://{METADATA}:8099/");
        let ran = dock.engine.client(&["run", "--rm", "--network", "host", IMAGE, "wget", "-q", "-O-", &url]);
        ran.stdout.contains("canary sings")
    };
    wait_until("the canary to be heard from a container of another kind", SOON, sings);
    canary
}

#[test]
fn no_packet_leaves_by_any_way_that_containers_have() {
    let Some(dock) = Dock::new() else { return };
    let _canary = canary(&dock);
    let listener = TcpListener::bind("0.0.0.0:0").expect("a listener of ours");
    let port = listener.local_addr().expect("its address").port();
    let mut targets: Vec<String> = [GATEWAY, METADATA, "127.0.0.1", "127.0.0.11", "172.17.0.1", "198.18.0.1"]
        .map(|it| format!("{it}:8099"))
        .into();
    targets.extend(["127.0.0.1", METADATA, GATEWAY].map(|it| format!("{it}:{port}")));
    dock.detached(&["--allow", HOST], "sleep 1000");
    for target in targets {
        let (host, port) = target.rsplit_once(':').expect("a port");
        let script = format!(
            "nc -w 2 {host} {port} </dev/null && echo REACHED; curl -s -m 5 -o /dev/null -w %{{http_code}} http://{target}/"
        );
        let ran = dock.stage.env.run(&["exec", NAME, "--", "sh", "-c", &script]);
        assert!(!ran.stdout.contains("REACHED") && !ran.stdout.contains("200"), "{target}: {ran}");
    }
    assert_eq!(dock.exec("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '"), "lo\n");
    assert_eq!(dock.exec("tail -n +2 /proc/net/route; tail -n +2 /proc/net/unix"), "");
    dock.stage.env.run(&["stop", "--grace", "0", NAME]).success();
    dock.nothing_is_left();
}

#[test]
fn inspecting_it_shows_walls_and_no_secret() {
    let Some(dock) = Dock::new() else { return };
    let auth = format!("{HOST}=bearer:env:UP_TOKEN");
    let limits = ["--limit", "memory=256MiB", "--limit", "pids=100"];
    dock.detached(&[&["--allow", HOST, "--auth", &auth][..], &limits].concat(), "sleep 1000");
    let text = dock.engine.client(&["inspect", &dock.containers()[0]]);
    assert!(!text.success().contains(TOKEN) && !text.stdout.contains("PRIVATE KEY"), "{text}");
    let all: Value = serde_json::from_str(&text.stdout).expect("JSON");
    let host = &all[0]["HostConfig"];
    for (key, expected) in [
        ("NetworkMode", Value::from("none")),
        ("ReadonlyRootfs", true.into()),
        ("Privileged", false.into()),
        ("CapAdd", Value::Null),
        ("CapDrop", vec!["ALL"].into()),
        ("AutoRemove", true.into()),
        ("Memory", (256 << 20).into()),
        ("PidsLimit", 100.into()),
        ("PidMode", "".into()),
        ("IpcMode", "private".into()),
    ] {
        assert_eq!(host[key], expected, "{key}");
    }
    assert!(host["SecurityOpt"].to_string().contains("no-new-privileges"), "{host}");
    assert!(!text.stdout.contains("docker.sock"), "the engine's socket is in it");
    let status = dock.exec("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | cut -f2 | sort -u | tr '\\n' ' '");
    assert_eq!(status, "0000000000000000 1 2 ");
    let writes = "for d in / /bin /etc /usr /.bot-bottle /proc/sys/kernel /sys /home; do touch $d/x 2>/dev/null && echo $d; done; true";
    assert_eq!(dock.exec(writes), "");
    assert_eq!(
        dock.exec("for d in /tmp /var/tmp /run /dev/shm ~; do touch $d/x || echo $d; done; ls -A /.bot-bottle"),
        "init\n"
    );
    assert_eq!(dock.exec("unshare -n true 2>/dev/null || unshare -U true 2>/dev/null || echo no"), "no\n");
    assert_eq!(
        dock.exec("cat /proc/1/environ /proc/kallsyms 2>/dev/null | wc -c; kill -9 1; echo alive"),
        "0\nalive\n"
    );
    dock.stage.env.run(&["stop", "--grace", "0", NAME]).success();
    dock.nothing_is_left();
}

/// The engine would start them beside init, with none of what init puts on all that it starts.
#[test]
fn an_image_starts_nothing_of_its_own() {
    let Some(dock) = Dock::new() else { return };
    let tag = format!("bottle-test-eager:{}", std::process::id());
    let container = format!("bottle-test-eager-{}", std::process::id());
    dock.engine.client(&["create", "--name", &container, IMAGE, "true"]).success();
    let changes =
        ["ENTRYPOINT [\"/bin/sh\",\"-c\",\"touch /home/agent/entry\"]", "CMD [\"cmd\"]", "VOLUME /data", "USER 0"];
    let mut commit = vec!["commit"];
    changes.iter().for_each(|change| commit.extend(["--change", change]));
    dock.engine.client(&[&commit[..], &[&container, &tag]].concat()).success();
    dock.engine.client(&["rm", &container]).success();
    // A health check cannot be committed; the container's own setting is what counts.
    dock.detached(&["--image", &tag], "sleep 1000");
    assert_eq!(
        dock.exec("ls -A ~ | grep entry; touch /data/x 2>/dev/null || echo read-only; test $(id -u) != 0"),
        "read-only\n"
    );
    let health = dock.engine.client(&["inspect", "--format", "{{.Config.Healthcheck.Test}}", &dock.containers()[0]]);
    assert_eq!(health.success(), "[NONE]\n");
    let volumes = || dock.engine.client(&["volume", "ls", "--quiet"]).stdout.lines().count();
    let before = volumes();
    dock.stage.env.run(&["stop", "--grace", "0", NAME]).success();
    wait_until("the volume to be gone", SOON, || volumes() < before);
    dock.nothing_is_left();
    dock.engine.client(&["rmi", "--force", &tag]).success();
}
