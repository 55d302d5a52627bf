//! What a container must not be able to, against things that are really there.

use super::{Backend, Fixture, NAME, SOON};
use crate::stage::{HOST, TOKEN};
use bottle_testkit::{
    Running,
    engine::{GATEWAY, METADATA},
    wait_until,
};
use serde_json::Value;
use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
};

/// Where an engine's own resolver is, in containers that have a network.
const RESOLVER: &str = "127.0.0.11";
/// Of the bottle beside it.
const SIBLING: &str = "sibling-aaaaa";

/// Answers in the network of the engine, on every address there.
fn canary(it: &Fixture) -> Running {
    it.env().write("canary/index.html", "canary sings");
    let home = it.env().root().join("canary").display().to_string();
    let canary = Running::start(it.engine().beside("busybox", &["httpd", "-f", "-p", "8099", "-h", &home]));
    for address in [METADATA, GATEWAY, "127.0.0.1", RESOLVER] {
        let url = format!("http://{address}:8099/");
        let sings = || it.engine().in_its_network(&["wget", "-q", "-O-", &url]).stdout.contains("canary sings");
        wait_until("the canary to be heard from a container of another kind", SOON, sings);
    }
    canary
}

pub(super) fn no_packet_leaves_by_any_way_that_containers_have(backend: Backend) {
    let Some(it) = Fixture::new(backend) else { return };
    let _canary = canary(&it);
    let listener = TcpListener::bind("0.0.0.0:0").expect("a listener of ours");
    let port = listener.local_addr().expect("its address").port();
    TcpStream::connect(("127.0.0.1", port)).expect("it is heard on this host");
    let mut targets: Vec<String> =
        [GATEWAY, METADATA, "127.0.0.1", RESOLVER, "172.17.0.1", "198.18.0.1"].map(|it| format!("{it}:8099")).into();
    targets.extend(["127.0.0.1", METADATA, GATEWAY].map(|it| format!("{it}:{port}")));
    let published = sibling(&it);
    targets.extend(["127.0.0.1", SIBLING, GATEWAY].map(|it| format!("{it}:{published}")));
    it.detached(&["--allow", HOST], "sleep 1000");
    for target in targets {
        let (host, port) = target.rsplit_once(':').expect("a port");
        let script = format!(
            "nc -w 2 {host} {port} </dev/null && echo REACHED; curl -s -m 5 -o /dev/null -w %{{http_code}} http://{target}/"
        );
        let ran = it.env().run(&["exec", NAME, "--", "sh", "-c", &script]);
        assert!(!ran.stdout.contains("REACHED") && !ran.stdout.contains("200"), "{target}: {ran}");
    }
    assert_eq!(it.exec("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '").success(), "lo\n");
    assert_eq!(it.exec("tail -n +2 /proc/net/route; tail -n +2 /proc/net/unix | grep / || true").success(), "");
    it.stop();
    it.env().run(&["stop", "--grace", "0", SIBLING]).success();
    it.nothing_is_left();
}

/// Starts a bottle that serves on a port, by which this host hears it as well.
fn sibling(it: &Fixture) -> u16 {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port").port();
    let flags = ["--detach", "--name", SIBLING, "--port", &port.to_string()];
    let serves = format!("mkdir /tmp/web && echo sings > /tmp/web/index.html && httpd -f -p {port} -h /tmp/web");
    it.stage.run(&flags, &["sh", "-c", &serves]).success();
    let sings = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.contains("sings").then_some(())
    };
    wait_until("the sibling to be heard on this host", SOON, || sings().is_some());
    port
}

pub(super) fn inspecting_it_shows_walls_and_no_secret(backend: Backend) {
    let Some(it) = Fixture::new(backend) else { return };
    let auth = format!("{HOST}=bearer:env:UP_TOKEN");
    let limits = ["--limit", "memory=256MiB", "--limit", "pids=100"];
    it.detached(&[&["--allow", HOST, "--auth", &auth][..], &limits].concat(), "sleep 1000");
    let text = it.engine().client(&["inspect", &it.containers()[0]]);
    assert!(!text.success().contains(TOKEN) && !text.stdout.contains("PRIVATE KEY"), "{text}");
    let all: Value = serde_json::from_str(&text.stdout).expect("JSON");
    let host = &all[0]["HostConfig"];
    for (key, expected) in [
        ("NetworkMode", Value::from("none")),
        ("ReadonlyRootfs", true.into()),
        ("Privileged", false.into()),
        ("AutoRemove", false.into()),
        ("Memory", (256 << 20).into()),
        ("PidsLimit", 100.into()),
    ] {
        assert_eq!(host[key], expected, "{key}");
    }
    for key in ["CapAdd", "Devices", "GroupAdd", "PortBindings"] {
        let none =
            host[key].as_array().is_none_or(Vec::is_empty) && host[key].as_object().is_none_or(|it| it.is_empty());
        assert!(none, "{key}: {host}");
    }
    let options = host["SecurityOpt"].to_string();
    assert!(options.contains("no-new-privileges") && !options.contains("unconfined"), "{host}");
    if matches!(backend, Backend::Docker | Backend::DockerStream | Backend::DockerSent) {
        assert_eq!((&host["CapDrop"], &host["PidMode"]), (&vec!["ALL"].into(), &"".into()));
        assert_eq!((&host["IpcMode"], &host["CgroupnsMode"]), (&"private".into(), &"private".into()));
        for masked in ["/proc/kcore", "/proc/keys", "/proc/kallsyms", "/sys"] {
            assert!(host["MaskedPaths"].as_array().is_some_and(|paths| paths.contains(&masked.into())), "{masked}");
        }
        assert!(host["ReadonlyPaths"].as_array().is_some_and(|paths| paths.contains(&"/proc/sys".into())), "{host}");
    } else {
        // Podman names each capability that it dropped, tells no path, and a private namespace in words of its own.
        let caps = |key: &str| all[0][key].as_array().is_none_or(Vec::is_empty);
        assert!(caps("EffectiveCaps") && caps("BoundingCaps"), "{text}");
        assert_eq!((&host["PidMode"], &host["UTSMode"]), (&"private".into(), &"private".into()));
        assert_ne!(host["IpcMode"], "host");
    }
    // Podman tells besides by which socket the container was asked for.
    for shown in [&all[0]["Mounts"], &host["Binds"], &host["Mounts"]] {
        assert!(!shown.to_string().contains("docker.sock"), "the engine's socket is in it: {shown}");
    }
    let exec = |script: &str| it.exec(script).success().to_owned();
    // The engine's own profile is on whatever runs in the container; what init starts has the bottle's besides.
    let filters = "grep Seccomp_filters /proc/self/status | tr -dc 0-9";
    let of_engine = it.engine().client(&["exec", &it.containers()[0], "sh", "-c", filters]);
    assert_eq!(of_engine.success(), "1");
    assert!(exec(filters).parse::<u32>().is_ok_and(|count| count > 1), "{}", exec(filters));
    let own = |kind: &str| exec(&format!("readlink /proc/self/ns/{kind}"));
    for kind in ["net", "pid", "ipc", "uts", "mnt"] {
        let host = std::fs::read_link(format!("/proc/self/ns/{kind}")).expect("our own namespace");
        assert_ne!(own(kind).trim(), host.display().to_string(), "{kind}");
    }
    let status = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | cut -f2 | sort -u | tr '\\n' ' '";
    assert_eq!(exec(status), "0000000000000000 1 2 ");
    let writes = "for d in / /bin /etc /usr /.bot-bottle /proc/sys/kernel /sys /home; do touch $d/x 2>/dev/null && echo $d; done; true";
    assert_eq!(exec(writes), "");
    let may = "for d in /tmp /var/tmp /run /dev/shm ~; do touch $d/x || echo $d; done; ls -A /.bot-bottle";
    assert_eq!(exec(may), "init\n");
    assert_eq!(exec("unshare -n true 2>/dev/null || unshare -U true 2>/dev/null || echo no"), "no\n");
    assert_eq!(exec("cat /proc/1/environ /proc/kallsyms 2>/dev/null | wc -c; kill -9 1; echo alive"), "0\nalive\n");
    assert_eq!(exec("ls -A /sys /proc/acpi 2>/dev/null | grep -v : | wc -w"), "0\n");
    it.stop();
    it.nothing_is_left();
}
