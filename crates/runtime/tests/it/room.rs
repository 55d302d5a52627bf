//! Rooms, looked at from inside: the example `room` makes one, in a process of one thread, and runs a script in it.
//! Every case runs as root (under a foreign host uid) and as an ordinary user, where the tests themselves are root.
//!
//! `cargo test -p bottle-runtime` builds the example first; with `--test it` it is used as it was last built.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::Path,
    process::{Command, Output, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};
use tempfile::TempDir;

#[path = "../../../init/image.rs"]
mod image;

/// The host uid that root gives to rooms here, and the one that plays the ordinary user.
const GIVEN: u32 = 0x7000_0fff;
const ORDINARY: u32 = 0x7000_0ffe;

/// Programs where every uid can execute them; built once.
fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<TempDir> = OnceLock::new();
    let directory = PROGRAMS.get_or_init(|| {
        let directory = open_directory();
        // The test's executable is TARGET/PROFILE/deps/it-HASH.
        let own = std::env::current_exe().unwrap();
        let init = image::build(own.ancestors().nth(3).unwrap()).unwrap();
        fs::copy(init, directory.path().join("init")).unwrap();
        fs::copy(own.ancestors().nth(2).unwrap().join("examples/room"), directory.path().join("room")).unwrap();
        directory
    });
    directory.path()
}

fn open_directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

/// Who makes a room.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Maker {
    Root,
    /// Already the uid of the test.
    Own,
    /// An ordinary user that root becomes.
    Ordinary,
}

fn makers() -> Vec<Maker> {
    if rustix::process::geteuid().is_root() { vec![Maker::Root, Maker::Ordinary] } else { vec![Maker::Own] }
}

/// A home to make rooms with, and the options for one.
struct Bench {
    maker: Maker,
    home: TempDir,
    options: Vec<String>,
}

impl Bench {
    fn new(maker: Maker) -> Bench {
        let home = open_directory();
        let owner = match maker {
            Maker::Root => Some(GIVEN),
            Maker::Ordinary => Some(ORDINARY),
            Maker::Own => None,
        };
        std::os::unix::fs::chown(home.path(), owner, owner).unwrap();
        Bench { maker, home, options: Vec::new() }
    }

    fn with(mut self, options: &[&str]) -> Bench {
        self.options.extend(options.iter().map(|option| (*option).to_owned()));
        self
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new(programs().join("room"));
        command.arg("--init").arg(programs().join("init")).arg("--home").arg(self.home.path());
        match self.maker {
            Maker::Root => {
                command.arg("--ids").arg(format!("{GIVEN}:{GIVEN}"));
            }
            Maker::Ordinary => {
                command.uid(ORDINARY).gid(ORDINARY);
            }
            Maker::Own => {}
        }
        command.args(&self.options).args(["--", "/bin/sh", "-c", script]).stdin(Stdio::null());
        command
    }

    fn run(&self, script: &str) -> Output {
        self.command(script).output().unwrap()
    }

    /// What the script prints, less the last line break.
    fn says(&self, script: &str) -> String {
        let output = self.run(script);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{:?}: `{script}` ended with {:?}: {error}", self.maker, output.status.code());
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }
}

/// Waits until `condition` holds.
fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::yield_now();
    }
}

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
fn mounts_are_read_only_unless_said_and_no_link_leads_them_astray() {
    for maker in makers() {
        let given = open_directory();
        fs::write(given.path().join("file"), "given\n").unwrap();
        fs::set_permissions(given.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let at = |target: &str| format!("{}:{target}", given.path().display());
        let bench =
            Bench::new(maker).with(&["--mount", &at("/data"), "--mount", &format!("{}:rw", at("/home/agent/w"))]);
        let script = "cat /data/file; touch /data/x 2>/dev/null || echo no; touch ~/w/y && echo yes";
        assert_eq!(bench.says(script), "given\nno\nyes", "{maker:?}");
        assert!(given.path().join("y").exists());

        // What an agent might leave in its home for the next run.
        let bench = Bench::new(maker);
        std::os::unix::fs::symlink("/etc", bench.home.path().join("trap")).unwrap();
        let bench = bench.with(&["--mount", &at("/home/agent/trap/x")]);
        let output = bench.run("true");
        assert_eq!(output.status.code(), Some(100));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains("mounting: /home/agent/trap/x"), "{error}");
        for target in ["/etc/x", "/proc", "/", "/usr/x", "/a/../etc", "relative"] {
            let output = Bench::new(maker).with(&["--mount", &at(target)]).run("true");
            assert_eq!(output.status.code(), Some(100), "{target} was taken");
        }
    }
}

/// What only root's rooms have: a mount that shows the owner's files as the agent's.
fn as_root(what: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        std::io::stderr().write_all(format!("SKIPPED({what}: only root maps owners)\n").as_bytes()).unwrap();
    }
    root
}

/// A directory of `owner` to mount, and a room of root's that mounts it writable at `~/w`.
fn owned_by(owner: u32) -> (TempDir, Bench) {
    let given = open_directory();
    std::os::unix::fs::chown(given.path(), Some(owner), Some(owner)).unwrap();
    let mount = format!("{}:/home/agent/w:rw", given.path().display());
    (given, Bench::new(Maker::Root).with(&["--mount", &mount]))
}

#[test]
fn what_root_mounts_writable_is_the_agents_inside_and_its_owners_outside() {
    if !as_root("writable mounts") {
        return;
    }
    for owner in [0, 1000, ORDINARY] {
        let (given, bench) = owned_by(owner);
        fs::write(given.path().join("old"), "old\n").unwrap();
        std::os::unix::fs::chown(given.path().join("old"), Some(owner), Some(owner)).unwrap();
        let script =
            "cd ~/w && stat -c %u:%g . old && echo new >> old && mkdir -p d && echo x > d/f && mv d/f f && cat old";
        assert_eq!(bench.says(script), "1000:1000\n1000:1000\nold\nnew", "{owner}");
        for name in ["old", "d", "f"] {
            let stat = fs::metadata(given.path().join(name)).unwrap();
            assert_eq!((stat.uid(), stat.gid()), (owner, owner), "{name}");
        }
    }
}

#[test]
fn what_root_mounts_read_only_stays_so_and_keeps_its_owner() {
    if !as_root("read-only mounts") {
        return;
    }
    let given = open_directory();
    let bench = Bench::new(Maker::Root).with(&["--mount", &format!("{}:/data", given.path().display())]);
    assert_eq!(bench.says("stat -c %u /data; touch /data/x 2>/dev/null || echo no"), "65534\nno");
}

#[test]
fn in_a_mounted_directory_the_files_of_others_are_not_the_agents() {
    if !as_root("writable mounts") {
        return;
    }
    let (given, bench) = owned_by(0);
    let foreign = given.path().join("foreign");
    fs::write(&foreign, "theirs\n").unwrap();
    fs::set_permissions(&foreign, fs::Permissions::from_mode(0o666)).unwrap();
    // Nor those of the uid that plays the agent on the host, or that it has inside.
    for owner in [ORDINARY, GIVEN, 1000] {
        std::os::unix::fs::chown(&foreign, Some(owner), Some(owner)).unwrap();
        let script = "cd ~/w && stat -c %u foreign; echo x 2>/dev/null >> foreign || echo no; \
                      chmod 777 foreign 2>/dev/null || echo no; rm -f foreign 2>/dev/null || echo no; cat foreign";
        assert_eq!(bench.says(script), "65534\nno\nno\nno\ntheirs", "{owner}");
    }
}

#[test]
fn what_is_mounted_on_a_mapped_mount_is_not_mounted_on_the_host() {
    if !as_root("writable mounts") {
        return;
    }
    let (given, bench) = owned_by(0);
    let inner = open_directory();
    fs::write(inner.path().join("inner"), "").unwrap();
    let bench = bench.with(&["--mount", &format!("{}:/home/agent/w/sub:rw", inner.path().display()), "--hang"]);
    let mut child = bench.command("ls ~/w/sub; cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let _init = lines.next().unwrap().unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "inner");
    assert_eq!(fs::read_dir(given.path().join("sub")).unwrap().count(), 0);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn no_set_id_bit_can_be_left_on_the_host_or_has_an_effect_inside() {
    const PYTHON: &str = "/usr/bin/python3";
    const SCRIPT: &str = r#"
import ctypes, os
os.umask(0)
libc = ctypes.CDLL(None, use_errno=True)
def fails(work):
    try: return work() == -1 or "done"
    except OSError: return True
def openat2(bits):
    how = (ctypes.c_uint64 * 3)(os.O_CREAT | os.O_WRONLY, bits | 0o755, 0)
    return libc.syscall(437, -100, b"by-openat2", how, 24)
fd = os.open("plain", os.O_CREAT | os.O_WRONLY, 0o755)
os.mkdir("directory", 0o6755)
for bits in (0o4000, 0o2000, 0o6000):
    for work in (
        lambda: os.chmod("plain", bits | 0o755),
        lambda: os.fchmod(fd, bits | 0o755),
        lambda: os.chmod("plain", bits | 0o755, dir_fd=os.open(".", os.O_RDONLY)),
        lambda: libc.syscall(452, -100, b"plain", bits | 0o755, 0),
        lambda: os.open("by-open", os.O_CREAT | os.O_WRONLY, bits | 0o755),
        lambda: os.open(".", os.O_TMPFILE | os.O_WRONLY, bits | 0o755),
        lambda: os.mknod("by-mknod", 0o100755 | bits),
        lambda: libc.creat(b"by-creat", bits | 0o755),
        lambda: openat2(bits),
    ): print(fails(work))
# Without O_CREAT the kernel does not look at the mode, and neither may the filter.
os.open("plain", os.O_RDONLY, 0o6777)
"#;
    for maker in makers() {
        let (given, bench) = match maker {
            Maker::Root => owned_by(0),
            Maker::Own | Maker::Ordinary => {
                let given = open_directory();
                fs::set_permissions(given.path(), fs::Permissions::from_mode(0o777)).unwrap();
                let mount = format!("{}:/home/agent/w:rw", given.path().display());
                (given, Bench::new(maker).with(&["--mount", &mount]))
            }
        };
        // One that was there before, root's own where root made the room.
        fs::copy("/usr/bin/id", given.path().join("id")).unwrap();
        fs::set_permissions(given.path().join("id"), fs::Permissions::from_mode(0o6755)).unwrap();
        let script = "cd ~/w && ./id -u && ./id -g && touch f && for m in u+s g+s 6755; do chmod $m f 2>/dev/null || echo no; done";
        assert_eq!(bench.says(script), "1000\n1000\nno\nno\nno", "{maker:?}");
        fs::remove_file(given.path().join("id")).unwrap();
        if Path::new(PYTHON).exists() {
            fs::write(bench.home.path().join("script.py"), SCRIPT).unwrap();
            let said = bench.says("cd ~/w && python3 ~/script.py | sort | uniq -c | xargs");
            assert_eq!(said, "27 True", "{maker:?}");
        } else {
            std::io::stderr().write_all(b"SKIPPED(no python on this machine)\n").unwrap();
        }
        for entry in fs::read_dir(given.path()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().mode() & 0o6000, 0, "{:?}", entry.file_name());
        }
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
