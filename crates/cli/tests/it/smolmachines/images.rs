//! Machines of images that nobody unpacked: from a registry, and from an archive.

use super::{LIMITS, SOON, Yard};
use bottle_testkit::{
    ImageRegistry, Running,
    engine::{Engine, IMAGE, Make},
};
use std::{fs, path::Path, process::Command};

const SCRIPT: [&str; 3] = ["sh", "-c", "echo $OF_THE_IMAGE $PATH; ls /bin/busybox; id -u >/dev/null && echo fine"];

#[test]
fn an_image_is_pulled_and_unpacked_once() {
    let yard = Yard::new();
    let Some(registry) = ImageRegistry::start(yard.stage.env.root(), false) else { return };
    registry.push("team/tools", "1", &yard.machines.packed(&yard.stage.env), true);
    let image = format!("{}/team/tools:1", registry.address);
    let first = yard.run(&["--image", &image], &SCRIPT);
    assert_eq!(first.success(), "yes /home/agent/.local/bin:/usr/bin:/bin\n/bin/busybox\nfine\n", "{first}");
    assert!(first.stderr.contains("pulled "), "{first}");
    // Nothing is unpacked again.
    let roots = || {
        let images = yard.stage.env.root().join("cache/bot-bottle/images");
        let directories = fs::read_dir(images).expect("images").flatten().filter(|it| it.path().is_dir());
        directories.map(|it| (it.file_name(), it.metadata().and_then(|it| it.modified()).ok())).collect::<Vec<_>>()
    };
    let before = roots();
    assert_eq!(before.len(), 1, "{before:?}");
    let again = yard.run(&["--image", &image], &SCRIPT);
    assert!(again.code == Some(0) && !again.stderr.contains("pulled "), "{again}");
    assert_eq!(roots(), before);
    yard.nothing_is_left();
}

#[test]
fn an_archive_is_unpacked_and_another_machines_is_refused() {
    let yard = Yard::new();
    let env = &yard.stage.env;
    let Some(registry) = ImageRegistry::start(env.root(), false) else { return };
    registry.push("image", "1", &yard.machines.packed(env), false);
    let pulled = env.run(&["pull", &format!("{}/image:1", registry.address), "--json"]);
    let pulled: serde_json::Value = serde_json::from_str(pulled.success()).expect("JSON");
    let archive = format!("oci-archive:{}", pulled["archive"].as_str().expect("a path"));
    let ran = yard.run(&["--image", &archive], &SCRIPT);
    assert!(ran.success().starts_with("yes "), "{ran}");
    let broken = env.write("broken.tar", "this is no archive");
    let refused = yard.run(&["--image", &format!("docker-archive:{}", broken.display())], &SCRIPT);
    assert!(refused.code == Some(4) && refused.stderr.contains("next:"), "{refused}");
    let pack = format!("smolmachine:{}", broken.display());
    let refused = yard.run(&["--image", &pack], &SCRIPT);
    assert!(refused.code == Some(4) && refused.stderr.contains("smolvm pack create --image"), "{refused}");
    let elsewhere = yard.run(&["--backend", "docker", "--image", &pack], &SCRIPT);
    assert!(elsewhere.stderr.contains("an image for the smolmachines backend alone"), "{elsewhere}");
    yard.nothing_is_left();
}

#[test]
fn what_an_engine_makes_of_a_dockerfile_is_fetched_from_it_once() {
    let mut yard = Yard::of_stand_ins();
    let nowhere = format!("unix://{}/no.sock", yard.stage.env.root().display());
    yard.stage.env.set("DOCKER_HOST", &nowhere);
    yard.stage.env.write("work/made/Dockerfile", format!("FROM {IMAGE}\nENV OF_THE_IMAGE=built\nRUN echo ran >/ran\n"));
    let shell = |yard: &Yard, script: &str| {
        yard.run(&["--workspace", "none", "--image", "dockerfile:made"], &["sh", "-c", script])
    };
    let without = shell(&yard, "true");
    assert!(without.failure(4).contains("the image cannot be had"), "{without}");
    let mut made = false;
    for make in [Make::Docker, Make::Podman] {
        let Some(engine) = Engine::shared(make) else { continue };
        made = true;
        yard.stage.env.set("DOCKER_HOST", &engine.host());
        let first = shell(&yard, "echo $OF_THE_IMAGE; cat /ran; ls /usr/bin/curl");
        assert_eq!(first.success(), "built\nran\n/usr/bin/curl\n", "{first}");
        assert!(first.stderr.contains("fetching the image"), "{first}");
        let again = shell(&yard, "cat /ran");
        assert!(again.success() == "ran\n" && !again.stderr.contains("fetching"), "{again}");
        let images = yard.stage.env.root().join("cache/bot-bottle/images");
        fs::remove_dir_all(images).expect("a cache of ours");
    }
    assert!(made || !bottle_testkit::env::is_root(), "an engine could be had");
    yard.nothing_is_left();
}

#[test]
fn a_pack_of_smolvms_is_unpacked_once_and_smolvm_is_not_asked_to() {
    let yard = Yard::of_stand_ins();
    let Some(path) = yard.machines.pack(&yard.stage.env) else { return };
    let image = format!("smolmachine:{}", path.display());
    for _ in 0..2 {
        let ran = yard.run(&["--image", &image], &SCRIPT);
        assert_eq!(ran.success(), "yes /home/agent/.local/bin:/usr/bin:/bin\n/bin/busybox\nfine\n", "{ran}");
    }
    let calls = yard.machines.take_calls().join("\n");
    assert!(!calls.contains("--from") && !calls.contains("pack"), "{calls}");
    let mut bytes = fs::read(&path).expect("a file of ours");
    let at = bytes.len() / 3;
    bytes[at] ^= 1;
    // Another image by its manifest, or the same one: what is unpacked is still what the manifest's digest says.
    let other = yard.stage.env.write("other.smolmachine", &bytes);
    fs::remove_dir_all(yard.stage.env.root().join("cache/bot-bottle/images")).expect("a cache of ours");
    let ran = yard.run(&["--image", &format!("smolmachine:{}", other.display())], &SCRIPT);
    assert!(ran.code == Some(4) && ran.stderr.contains("cannot be unpacked"), "{ran}");
    yard.nothing_is_left();
}

/// With the real smolvm, which starts a machine of its own for it: `cargo xtask emulated smolmachines smolvm_itself_packed`.
#[test]
fn what_smolvm_itself_packed_is_an_image() {
    let yard = Yard::new();
    let env = &yard.stage.env;
    if !yard.machines.are_real() {
        return println!("SKIPPED(no real machine: run `cargo xtask emulated smolmachines smolvm_itself_packed`)");
    }
    let packed = env.root().join("packed");
    fs::create_dir(&packed).expect("a directory of ours");
    let (home, out) = (packed.join("home"), packed.join("out"));
    for directory in [&home, &out] {
        fs::create_dir(directory).expect("a directory of ours");
        std::os::unix::fs::chown(directory, Some(env.user()), Some(env.user())).expect("root may give it away");
    }
    let unpacked = env.root().join("image");
    println!("pack");
    let user = env.user().to_string();
    let program = yard.machines.program();
    let mut pack = Command::new("setpriv");
    pack.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--"]).arg(&program);
    pack.args(["pack", "create", "--cpus", "1", "--mem", "512", "--storage", "2", "--image"]).arg(&unpacked).arg("-o");
    pack.arg(out.join("key")).env("HOME", &home);
    for (variable, beside) in [("SMOLVM_LIB_DIR", "lib"), ("SMOLVM_AGENT_ROOTFS", "rootfs")] {
        pack.env(variable, program.with_file_name(beside));
    }
    let packed = Running::start(pack).finish(SOON * 5);
    assert_eq!(packed.code, Some(0), "{packed}");
    println!("run");
    let image = format!("smolmachine:{}", out.join("key.smolmachine").display());
    let ran = yard.run(&["--image", &image], &["sh", "-c", "ls /bin/busybox /usr/bin/curl"]);
    assert_eq!(ran.success(), "/bin/busybox\n/usr/bin/curl\n", "{ran}");
    yard.nothing_is_left();
}

/// What a start does about images: what it reads and writes where they are kept, counted by its calls, and what it has
/// the registry send.
#[derive(Debug, Default, PartialEq, Eq)]
struct Work {
    read: u64,
    written: u64,
    /// Files, directories and links, and what gets another name.
    made: usize,
    blobs: usize,
}

impl Work {
    /// Of a start of `image`; `None` where nobody may be traced.
    fn of(yard: &Yard, registry: &ImageRegistry, image: &str) -> Option<Work> {
        let calls = yard.stage.env.write("work/calls", "");
        let mut command = yard.stage.env.program_of_host("strace");
        // Of the program's own thread alone, which is the one that has to do with images.
        command.args(["-y", "-s", "0", "-e", "trace=desc,file", "-o"]).arg(&calls).arg(yard.stage.env.program());
        let flags = [&LIMITS[..], &["--image", image]].concat();
        command.args(yard.stage.arguments(&flags, &SCRIPT));
        let before = registry.blobs_sent();
        let ran = Running::start(command).finish(2 * SOON);
        if ran.stderr.contains("ptrace") && ran.code != Some(0) {
            println!("SKIPPED(no ptrace here): the image work of a start, counted");
            return None;
        }
        ran.success();
        let calls = fs::read_to_string(calls).expect("a file of ours");
        assert!(calls.contains("/bot-bottle/images/"), "the calls that are counted were seen: {calls}");
        Some(Work { blobs: registry.blobs_sent() - before, ..Work::in_calls(&calls) })
    }

    fn in_calls(calls: &str) -> Work {
        let mut work = Work::default();
        // A lock is opened by whoever looks.
        for line in calls.lines().filter(|line| line.contains("/bot-bottle/images") && !line.contains(".lock")) {
            let Some((call, result)) = line.split_once('(').zip(line.rsplit_once(" = ")) else { continue };
            // What failed changed nothing.
            if result.1.starts_with('-') {
                continue;
            }
            let result: u64 =
                result.1.split(|c: char| !c.is_ascii_digit()).next().and_then(|it| it.parse().ok()).unwrap_or(0);
            let starts = |names: &[&str]| names.iter().any(|name| call.0.starts_with(name));
            if starts(&["read", "pread", "preadv"]) && !call.0.starts_with("readlink") {
                work.read += result;
            } else if starts(&["write", "pwrite", "copy_file_range", "sendfile", "splice"]) {
                work.written += result;
            } else if line.contains("O_CREAT") || starts(&["mkdir", "symlink", "link", "rename", "mknod"]) {
                work.made += 1;
            }
        }
        work
    }
}

#[test]
fn a_second_start_does_no_image_work() {
    let yard = Yard::of_stand_ins();
    let Some(registry) = ImageRegistry::start(yard.stage.env.root(), false) else { return };
    if !Path::new("/usr/bin/strace").exists() {
        println!("SKIPPED(no strace): the image work of a start, counted; see scripts/install-test-needs");
        return;
    }
    let layer = yard.machines.packed(&yard.stage.env);
    let size = layer.len() as u64;
    registry.push("team/tools", "1", &layer, false);
    let image = format!("{}/team/tools:1", registry.address);
    let Some(first) = Work::of(&yard, &registry, &image) else { return };
    // The configuration and the layer come, are kept in an archive, read again, and unpacked.
    assert_eq!(first.blobs, 2, "{first:?}");
    assert!(first.written >= 2 * size - size / 10 && first.read >= size && first.made > 10, "{size}: {first:?}");
    let again = Work::of(&yard, &registry, &image).expect("it could be traced before");
    // What stays is a look at what the archive has: names, manifest and configuration.
    assert!(again.read < 64 << 10 && again.read < size / 10, "{size}: {again:?}");
    assert_eq!(again, Work { read: again.read, ..Work::default() });
    yard.nothing_is_left();
}
