//! Images that are made of what the user has: built, imported, loaded, installed into; and found again.

use super::{Backend, Fixture};
use bottle_testkit::{Ran, Running, engine::IMAGE, env::PATIENCE};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::{Path, PathBuf},
    process::Command,
};

fn tool(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments);
    Running::start(command).finish(PATIENCE).success().to_owned()
}

/// A shell in a bottle of this image. What is told while it is made is in standard error.
#[track_caller]
fn shell(it: &Fixture, image: &str, script: &str) -> Ran {
    it.stage.run(&["--workspace", "none", "--image", image], &["sh", "-c", script])
}

pub(super) fn an_image_is_built_and_found_again(backend: Backend) {
    Fixture::for_each_user(backend, |it| {
        let env = it.env();
        let mark = format!("{}-{}", std::process::id(), env.user());
        let text = format!("FROM {IMAGE} AS one\nENV WHICH=built-{mark}\nCOPY . /given\nRUN echo ran > /ran\n");
        env.write("work/made/Dockerfile", &text);
        env.write("work/made/kept", "kept");
        env.write("work/made/secret.key", "secret");
        env.write("work/made/.dockerignore", "*.key\n");
        let script = "echo $WHICH; cat /ran; ls /given";
        let made = shell(it, "dockerfile:made", script);
        assert_eq!(made.success(), format!("built-{mark}\nran\nDockerfile\nkept\n"), "{made}");
        assert!(made.stderr.contains("building the image of"), "{made}");
        let again = shell(it, "dockerfile:made/Dockerfile", script);
        assert!(again.success() == made.stdout && !again.stderr.contains("building"), "{again}");
        env.write("work/made/kept", "changed");
        let third = shell(it, "dockerfile:made", "cat /given/kept");
        assert!(third.success() == "changed" && third.stderr.contains("building"), "{third}");

        // What the plan holds is the id.
        env.bottle("dev", "image: dockerfile:../../../work/made\n");
        env.agent("mine", "bottle: dev\ncommand: [\"true\"]");
        env.write("work/made/Dockerfile", format!("{text}RUN echo broken-words; exit 3\n"));
        let broken = shell(it, "dockerfile:made", "true");
        assert!(broken.failure(4).contains("broken-words") && broken.stderr.contains("failed:"), "{broken}");
        assert!(env.bottles().is_empty());
        let cache = env.root().join("cache/bot-bottle");
        assert_eq!(fs::read_dir(cache.join("images")).expect("the place for what is packed").count(), 0);
        // The mirrors of repositories are beside it.
        let mode = fs::metadata(cache).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    });
}

pub(super) fn a_root_keeps_its_owners(backend: Backend) {
    let Some(it) = Fixture::new(backend) else { return };
    let root = root(it.env().work());
    let ran = shell(&it, "dir:root", "stat -c '%u:%g %a' /owned; readlink /bin/sh; cat /owned; ls /pipe");
    assert_eq!(ran.success(), "12345:54 640\nbusybox\n/pipe\n", "{ran}");
    assert!(ran.stderr.contains("importing"), "{ran}");
    let again = shell(&it, &format!("dir:{}", root.display()), "true");
    assert!(again.code == Some(0) && !again.stderr.contains("importing"), "{again}");
    it.nothing_is_left();
}

/// A root with nothing but a shell, and a file of somebody else's.
fn root(work: PathBuf) -> PathBuf {
    let root = work.join("root");
    fs::create_dir_all(root.join("bin")).expect("a directory of ours");
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox");
    for name in ["sh", "cat", "stat", "readlink", "ls", "true"] {
        symlink("busybox", root.join("bin").join(name)).expect("a link of ours");
    }
    fs::write(root.join("owned"), "").expect("a file of ours");
    tool("chmod", &["640", &root.join("owned").display().to_string()]);
    chown(root.join("owned"), Some(12_345), Some(54)).expect("root may give a file away");
    tool("mkfifo", &[&root.join("pipe").display().to_string()]);
    root
}

pub(super) fn archives_of_both_kinds_are_loaded(backend: Backend) {
    let Some(it) = Fixture::new(backend) else { return };
    let saved = it.env().work().join("saved.tar");
    it.engine().client(&["save", "--output", &saved.display().to_string(), IMAGE]).success();
    let ran = shell(&it, "docker-archive:saved.tar", "ls /usr/bin/curl");
    assert_eq!(ran.success(), "/usr/bin/curl\n", "{ran}");
    let again = shell(&it, "docker-archive:saved.tar", "true");
    assert!(again.code == Some(0) && !again.stderr.contains("loading"), "{again}");

    let root = root(it.env().work());
    let archive = oci(it.env().work(), &root);
    let ran = shell(&it, "oci-archive:oci.tar", "echo $WHICH; stat -c %u /owned");
    assert_eq!(ran.success(), "oci\n12345\n", "{ran}");
    assert!(ran.stderr.contains("loading"), "{ran}");
    let again = shell(&it, &format!("oci-archive:{}", archive.display()), "true");
    assert!(again.code == Some(0) && !again.stderr.contains("loading"), "{again}");
    let none = it.env().write("work/none.tar", "no archive at all");
    assert!(shell(&it, &format!("oci-archive:{}", none.display()), "true").failure(4).contains("is no OCI archive"));
    assert_eq!(shell(&it, &format!("docker-archive:{}", none.display()), "true").code, Some(4));
    it.nothing_is_left();
}

/// As the image-spec has it, of one layer.
fn oci(work: PathBuf, root: &Path) -> PathBuf {
    let layout = work.join("oci");
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("a directory of ours");
    let keep = |from: &Path| {
        let digest = tool("sha256sum", &[&from.display().to_string()]);
        let digest = digest.split_whitespace().next().expect("a digest").to_owned();
        fs::rename(from, blobs.join(&digest)).expect("a file of ours");
        format!("sha256:{digest}")
    };
    let write = |value: &Value| {
        let path = work.join("blob");
        fs::write(&path, value.to_string()).expect("a file of ours");
        keep(&path)
    };
    let layer = work.join("layer.tar");
    tool("tar", &["-C", &root.display().to_string(), "-cf", &layer.display().to_string(), "."]);
    let layer = keep(&layer);
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = write(&json!({ "architecture": arch, "os": "linux", "config": { "Env": ["WHICH=oci"] },
        "rootfs": { "type": "layers", "diff_ids": [layer] } }));
    let of = |digest: &str, kind: &str| {
        let size = fs::metadata(blobs.join(digest.trim_start_matches("sha256:"))).expect("a blob").len();
        json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest, "size": size })
    };
    let manifest = write(&json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": of(&config, "config.v1+json"), "layers": [of(&layer, "layer.v1.tar")] }));
    let index = json!({ "schemaVersion": 2, "manifests": [of(&manifest, "manifest.v1+json")] });
    fs::write(layout.join("index.json"), index.to_string()).expect("a file of ours");
    fs::write(layout.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").expect("a file of ours");
    let archive = work.join("oci.tar");
    tool("tar", &["-C", &layout.display().to_string(), "-cf", &archive.display().to_string(), "."]);
    archive
}

pub(super) fn a_providers_client_is_installed(backend: Backend) {
    let Some(mut it) = Fixture::new(backend) else { return };
    it.stage.env.set("BOT_BOTTLE_IMAGE", &format!("provider:{IMAGE}"));
    let mark = std::process::id();
    let client = format!(
        "program: hello\ninstall: printf '#!/bin/sh\\necho hello-{mark}' > /bin/hello && chmod 755 /bin/hello\n"
    );
    it.env().write("config/bot-bottle/providers/greeter.yaml", client);
    it.env().bottle("dev", "");
    it.env().agent("mine", "bottle: dev\nprovider: greeter");
    let start = || it.env().run(&["start", "mine", "--yes", "--workspace", "none"]);
    let ran = start();
    assert_eq!(ran.success(), format!("hello-{mark}\n"), "{ran}");
    assert!(ran.stderr.contains(&format!("installing in {IMAGE}")), "{ran}");
    let again = start();
    assert!(again.code == Some(0) && !again.stderr.contains("installing"), "{again}");
    it.nothing_is_left();
}
