//! A room as it is seen from inside, and its processes from outside.

use crate::bench::{Bench, GIVEN, Maker, ORDINARY, makers, wait_for};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
};

/// Script and the whole of what it must print.
const INSIDE: &[(&str, &str)] = &[
    ("id -u; id -g; id -un; id -G", "1000\n1000\nagent\n1000"),
    ("hostname; pwd; echo $HOME", "room-abcde\n/home/agent\n/home/agent"),
    // Capabilities, filters, privileges.
    (
        "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | sort -u | tr -d '\\t'",
        "CapAmb:0000000000000000\nCapBnd:0000000000000000\nCapEff:0000000000000000\nCapInh:0000000000000000\n\
         CapPrm:0000000000000000\nNoNewPrivs:1\nSeccomp:2",
    ),
    // Descriptors: three, and the one that lists them.
    ("ls /proc/self/fd | tr '\\n' ' '", "0 1 2 3"),
    // Nothing of the host's but its programs.
    ("ls -A / | tr '\\n' ' ' | sed 's/lib[0-9x]* //g'", "bin dev etc home opt proc run sbin tmp usr var"),
    (
        "ls -A /home /run /tmp /var/tmp /var/lib /var/log",
        "/home:\nagent\n\n/run:\n\n/tmp:\n\n/var/lib:\n\n/var/log:\n\n/var/tmp:",
    ),
    ("cat /etc/resolv.conf | head -1; cat /etc/passwd | wc -l", "nameserver 127.0.0.1\n3"),
    ("ls /etc/shadow /etc/ssh /etc/gitconfig /sys 2>&1 | grep -vc 'No such file'; true", "0"),
    // Read-only where it should be, writable where it should be.
    (
        "for d in / /usr /usr/bin /etc /opt /dev /var /proc/sys/kernel /home; do touch $d/x 2>/dev/null && echo $d; done; true",
        "",
    ),
    ("for d in /tmp /var/tmp /run /dev/shm /home/agent; do touch $d/x || echo $d; done; echo x > /dev/null", ""),
    ("mv /tmp 2>/dev/null; mkdir -p /tmp/a/b; echo 1 > /tmp/a/b/c; mv /tmp/a/b/c /tmp/c; cat /tmp/c", "1"),
    // Namespaces, mounts and raw sockets.
    ("unshare -U true 2>/dev/null || unshare -n true 2>/dev/null || echo no", "no"),
    ("mount -t tmpfs none /tmp 2>/dev/null || echo no", "no"),
    ("mknod /tmp/n c 1 3 2>/dev/null || echo no; mkfifo /tmp/f && echo yes", "no\nyes"),
    // /proc: nothing of init, nothing of the kernel's memory.
    ("cat /proc/kallsyms /proc/keys /proc/timer_list /proc/vmallocinfo /proc/slabinfo 2>/dev/null | wc -c", "0"),
    ("cat /proc/1/environ /proc/1/cmdline 2>/dev/null | wc -c; ls /proc/1/root 2>/dev/null || echo no", "0\nno"),
    ("kill -9 1 2>/dev/null; echo alive", "alive"),
    // The shell and ls; a pipe's other end may not be there yet.
    ("all=$(ls /proc); echo \"$all\" | grep -c '^[0-9]'", "2"),
    // Network: loopback alone.
    ("ls /sys/class/net 2>/dev/null; tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '", "lo"),
    ("cat /proc/net/if_inet6 | cut -d' ' -f1", "00000000000000000000000000000001"),
    ("tail -n +2 /proc/net/route | wc -l; tail -n +2 /proc/net/unix | wc -l", "0\n0"),
    // As programs expect it.
    (
        "cat /etc/timezone; readlink /etc/localtime; ls /dev/pts /dev/fd/0",
        "Etc/UTC\n/usr/share/zoneinfo/Etc/UTC\n/dev/fd/0\n\n/dev/pts:\nptmx",
    ),
    (
        "grep -c BEGIN /etc/bot-bottle/ca.pem; head -2 /etc/ssl/certs/ca-certificates.crt | cmp - /etc/bot-bottle/ca.pem 2>&1 | grep -c EOF",
        "1\n1",
    ),
    ("ulimit -c", "0"),
];

#[test]
fn a_room_is_as_it_should_be() {
    for maker in makers() {
        let bench = Bench::new(maker);
        for (script, expected) in INSIDE {
            assert_eq!(bench.says(script), *expected, "{maker:?}: {script}");
        }
    }
}

/// That the scripts above can fail: on the bare host most of them answer otherwise.
#[test]
fn the_bare_host_is_not_a_room() {
    let same = INSIDE.iter().filter(|(script, expected)| {
        // What would write or kill is left out.
        if script.contains("touch") || script.contains("kill") || script.contains("m") && script.contains("mount") {
            return false;
        }
        let output = Command::new("/bin/sh").args(["-c", script]).stdin(Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim_end() == *expected
    });
    assert!(same.count() < INSIDE.len() / 3);
}

/// What a single slip in the room's making would lose without anything else showing it: another wall holds in its place.
#[test]
fn every_wall_is_there_also_where_another_stands_before_it() {
    let own = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).unwrap().display().to_string();
    for maker in makers() {
        let bench = Bench::new(maker);
        let names = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
        let inside = bench.says(&format!("for it in {}; do readlink /proc/self/ns/$it; done", names.join(" ")));
        for (name, inside) in names.iter().zip(inside.lines()) {
            assert_ne!(inside, own(name), "{maker:?} shares a namespace with the host");
        }

        // mountinfo: id, parent, device, root, place, options, ...
        let mounts = bench.says("cat /proc/self/mountinfo");
        let mounts: Vec<(&str, Vec<&str>)> = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .map(|fields| (fields[4], fields[5].split(',').collect()))
            .collect();
        let has = |place: &str, option: &str| {
            let mut at = mounts.iter().filter(|(mounted, _)| *mounted == place).peekable();
            assert!(at.peek().is_some(), "nothing is mounted at {place}: {mounts:?}");
            at.all(|(_, options)| options.contains(&option))
        };
        for place in ["/", "/usr", "/dev", "/proc/sys", "/proc/fs"] {
            assert!(has(place, "ro"), "{maker:?}: {place} can be written to: {mounts:?}");
        }
        for (place, options) in &mounts {
            assert!(options.contains(&"nosuid"), "{maker:?}: {place} keeps set-id bits: {options:?}");
            let device = place.starts_with("/dev/") || place.starts_with("/proc/");
            assert!(device || options.contains(&"nodev"), "{maker:?}: {place} has devices: {options:?}");
        }
        for name in ["driver", "sysvipc"].into_iter().filter(|name| Path::new("/proc").join(name).exists()) {
            assert!(has(&format!("/proc/{name}"), "noexec"), "{maker:?}: /proc/{name} is not masked");
            assert_eq!(bench.says(&format!("ls /proc/{name}")), "", "{maker:?}");
        }
    }
}

#[test]
fn on_the_host_its_processes_are_never_roots() {
    for maker in makers() {
        let bench = Bench::new(maker).with(&["--hang"]);
        let mut child = bench.command("echo up; cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let init: u32 = lines.next().unwrap().unwrap().parse().unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "up");
        let status = fs::read_to_string(format!("/proc/{init}/status")).unwrap();
        let expected = match maker {
            Maker::Root => GIVEN,
            Maker::Ordinary => ORDINARY,
            Maker::Own => rustix::process::geteuid().as_raw(),
        };
        assert!(status.contains(&format!("\nUid:\t{expected}\t{expected}\t{expected}\t{expected}\n")), "{status}");
        // The room ends with its keeper, whatever the keeper's end.
        child.kill().unwrap();
        child.wait().unwrap();
        wait_for("the end of the room", || !Path::new(&format!("/proc/{init}")).exists());
    }
}

#[test]
fn an_exit_code_is_passed_on_and_what_cannot_run_has_a_shells() {
    for maker in makers() {
        let bench = Bench::new(maker);
        assert_eq!(bench.run("exit 7").status.code(), Some(7));
        assert_eq!(bench.run("kill -TERM $$").status.code(), Some(143));
        let mut command = bench.command("");
        let arguments: Vec<_> = command.get_args().take_while(|argument| *argument != "--").map(Into::into).collect();
        let run = |program: &str| {
            let mut other = Command::new(command.get_program());
            if maker == Maker::Ordinary {
                other.uid(ORDINARY).gid(ORDINARY);
            }
            other.args::<&Vec<std::ffi::OsString>, _>(&arguments).args(["--", program]).output().unwrap().status.code()
        };
        assert_eq!(run("no-such-program"), Some(127));
        assert_eq!(run("/etc/passwd"), Some(126));
        command.stdin(Stdio::null());
    }
}

#[test]
fn synthetic_addresses_reach_a_listener_that_knows_which() {
    for maker in makers() {
        let bench = Bench::new(maker).with(&["--transparent", "8443", "--serve-transparent"]);
        let said = bench.says("curl -sS --noproxy '*' --max-time 10 http://198.19.7.5:8443/");
        assert_eq!(said, "you wanted 198.19.7.5:8443", "{maker:?}");
        let refused = bench.says("curl -sS --noproxy '*' --max-time 10 http://198.19.7.5:8444/ 2>/dev/null || echo $?");
        assert_eq!(refused, "7", "{maker:?}");
    }
}

#[test]
fn a_terminal_has_its_size_and_is_the_sessions() {
    for maker in makers() {
        let bench = Bench::new(maker).with(&["--terminal"]);
        let said = bench.says("stty size; tty; test -t 0 && echo terminal; echo x > /dev/tty");
        assert_eq!(said, "33 99\r\n/dev/pts/0\r\nterminal\r\nx", "{maker:?}");
    }
}

#[test]
fn a_fork_bomb_stays_inside() {
    for maker in makers() {
        let bench = Bench::new(maker).with(&["--pids", "40"]);
        let output = bench.run("i=0; while [ $i -lt 100 ]; do sleep 30 & i=$((i+1)); done; echo all");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains("fork"), "{maker:?}: {error} {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn a_missing_source_is_named_and_nothing_is_left() {
    for maker in makers() {
        let bench = Bench::new(maker).with(&["--mount", "/no/such/place:/data"]);
        let output = bench.run("true");
        assert_eq!(output.status.code(), Some(100));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains("/no/such/place") && error.contains("No such file"), "{error}");
    }
}

/// The truststore by the only reader that counts.
#[test]
fn java_trusts_the_bottles_authority() {
    let Ok(path) = std::env::var("PATH") else { return };
    if !path.split(':').any(|directory| Path::new(directory).join("keytool").exists()) {
        std::io::stderr().write_all(b"SKIPPED(no java on this machine)\n").unwrap();
        return;
    }
    let maker = makers().remove(0);
    let script = "keytool -list -keystore /etc/bot-bottle/truststore.p12 -storepass changeit 2>/dev/null | \
                  grep -c trustedCertEntry; grep -c BEGIN /etc/ssl/certs/ca-certificates.crt";
    let said = Bench::new(maker).says(script);
    let counts: Vec<&str> = said.lines().collect();
    assert_eq!(counts.first(), counts.get(1));
    assert_ne!(counts, ["0", "0"]);
}

/// Programs that agents use, under the filter; those that this machine has.
#[test]
fn common_programs_run() {
    const SCRIPTS: &[(&str, &str, &str)] = &[
        (
            "/usr/bin/python3",
            "python3 -c 'import subprocess as s, ssl, threading; print(s.check_output([\"id\", \"-un\"]))'",
            "b'agent\\n'",
        ),
        ("/usr/bin/node", "node -e 'console.log(require(\"os\").userInfo().username, 6*7)'", "agent 42"),
        ("/usr/bin/gcc", "cd /tmp && echo 'int main(){return 42;}' > a.c && gcc a.c -o a; ./a; echo $?", "42"),
        (
            "/usr/bin/git",
            "git init -q /tmp/g && cd /tmp/g && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x && git log --format=%s",
            "x",
        ),
        ("/usr/bin/strace", "strace -o /dev/null true && echo traced", "traced"),
        (
            "/usr/bin/java",
            "cd /tmp && echo 'class A{public static void main(String[] a){System.out.println(6*7);}}' > A.java && java A.java",
            "42",
        ),
    ];
    for maker in makers() {
        for (program, script, expected) in SCRIPTS {
            if Path::new(program).exists() {
                assert_eq!(Bench::new(maker).says(script), *expected, "{maker:?}: {script}");
            }
        }
    }
}
