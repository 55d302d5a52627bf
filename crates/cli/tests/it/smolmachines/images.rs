//! Machines of images that nobody unpacked: from a registry, and from an archive.

use super::Yard;
use bottle_testkit::ImageRegistry;
use std::fs;

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
    let refused = yard.run(&["--image", "dockerfile:."], &SCRIPT);
    assert!(refused.stderr.contains("docker save"), "{refused}");
    yard.nothing_is_left();
}
