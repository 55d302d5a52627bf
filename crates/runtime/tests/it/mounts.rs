//! What is mounted into a room, and what an agent can do with it on the host.

use crate::bench::{Bench, GIVEN, Maker, ORDINARY, makers, open_directory};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::{Command, Stdio},
};
use tempfile::TempDir;

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

/// A mount that is read-only stops no write to a named pipe: Landlock does.
#[test]
fn a_pipe_in_a_read_only_mount_takes_nothing_from_inside() {
    for maker in makers() {
        let given = open_directory();
        for name in ["ro", "rw"] {
            let directory = given.path().join(name);
            fs::create_dir(&directory).unwrap();
            rustix::fs::mknodat(rustix::fs::CWD, directory.join("pipe"), rustix::fs::FileType::Fifo, 0o666.into(), 0)
                .unwrap();
            fs::set_permissions(directory.join("pipe"), fs::Permissions::from_mode(0o666)).unwrap();
        }
        let at = |name: &str, to: &str| format!("{}:/data/{to}", given.path().join(name).display());
        let bench = Bench::new(maker).with(&["--mount", &at("ro", "ro"), "--mount", &format!("{}:rw", at("rw", "rw"))]);
        // Opened for both, a pipe waits for nobody.
        let script = "for at in ro rw; do (exec 3<>/data/$at/pipe) 2>/dev/null && echo $at; done; true";
        assert_eq!(bench.says(script), "rw", "{maker:?}");
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

/// ramfs knows no idmapped mounts. Whatever does not, the agent may do less there, never more.
#[test]
fn a_file_system_that_maps_no_owners_keeps_them_and_the_room_is_made() {
    if !as_root("writable mounts") {
        return;
    }
    let (given, bench) = owned_by(0);
    let script = "cd ~/w && stat -c %u . own && cat own; (echo x > made) 2>/dev/null || echo no; \
                  (echo x >> own) 2>/dev/null || echo no; cd open && echo mine > made && stat -c %u made";
    let room = bench.command(script);
    // In a mount namespace of its own, which goes with the process.
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-euc"]);
    command.arg("mount -t ramfs ramfs \"$0\"; cd \"$0\"; echo theirs > own; mkdir -m 777 open; chmod 755 .; cd /; \"$@\"; stat -c %u \"$0/open/made\"");
    command.arg(given.path()).arg(room.get_program()).args(room.get_args()).stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, format!("65534\n65534\ntheirs\nno\nno\n1000\n{GIVEN}\n"), "{output:?}");
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
