//! Images from a real registry, without an engine.

use crate::stage::program;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bottle_testkit::{
    ImageRegistry, TestEnv,
    image_registry::{PASSWORD, USER},
};
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path, process::Command};

fn pulled(env: &TestEnv, image: &str) -> Value {
    serde_json::from_str(env.run(&["pull", image, "--json"]).success()).expect("JSON")
}

/// Digests of blobs by what tar and sha256sum say, and the index.
fn unpacked(archive: &Path, into: &Path) -> (BTreeMap<String, u64>, Value) {
    fs::create_dir_all(into).expect("a directory of ours");
    let tar = Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(into).status().expect("tar runs");
    assert!(tar.success());
    let blobs = fs::read_dir(into.join("blobs/sha256")).expect("blobs").flatten();
    let blobs = blobs.map(|blob| {
        let sum = Command::new("sha256sum").arg(blob.path()).output().expect("sha256sum runs");
        let sum = String::from_utf8_lossy(&sum.stdout).split(' ').next().unwrap_or_default().to_owned();
        assert_eq!(blob.file_name().to_str(), Some(&*sum), "a blob is what its name says");
        (format!("sha256:{sum}"), blob.metadata().expect("a file").len())
    });
    let index = fs::read_to_string(into.join("index.json")).expect("an index");
    (blobs.collect(), serde_json::from_str(&index).expect("JSON"))
}

#[test]
fn an_image_is_pulled_once_and_kept_by_its_digest() {
    let env = TestEnv::ordinary(program());
    let Some(registry) = ImageRegistry::start(env.root(), false) else { return };
    // Longer than one piece of what comes, and no multiple of a block of tar.
    let mut layer: Vec<u8> =
        (0..3_000_001u32).map(|it| (it.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0]).collect();
    for (tag, in_an_index) in [("one", false), ("many", true)] {
        layer.push(1);
        let pushed = registry.push("team/image", tag, &layer, in_an_index);
        let image = format!("{}/team/image:{tag}", registry.address);
        let first = pulled(&env, &image);
        assert_eq!(first["digest"].as_str(), Some(&*pushed.digest), "of this machine's platform: {first}");
        let archive = Path::new(first["archive"].as_str().expect("a path"));
        let (blobs, index) = unpacked(archive, &env.root().join(tag));
        for (digest, size) in &pushed.blobs {
            assert_eq!(blobs.get(digest).copied(), u64::try_from(*size).ok());
        }
        assert_eq!(index["manifests"][0]["digest"].as_str(), Some(&*pushed.digest));
        assert_eq!(index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"].as_str(), Some(&*image));
    }
    // The same image under its digest is there, and nothing half done beside it.
    let by_digest =
        format!("{}/team/image@{}", registry.address, registry.push("team/image", "two", &layer, false).digest);
    assert_eq!(pulled(&env, &by_digest)["was_there"], true);
    let names: Vec<String> = fs::read_dir(env.root().join("cache/bot-bottle/images"))
        .expect("archives")
        .flatten()
        .map(|it| it.file_name().to_string_lossy().into_owned())
        .collect();
    assert!(names.iter().all(|it| it.ends_with(".tar") || it.ends_with(".lock")), "{names:?}");
    drop(registry);
    let told = env.run(&["pull", &by_digest]);
    assert!(told.success().contains("is kept already: oci-archive:/"), "{told}");
}

#[test]
fn what_does_not_match_its_digest_is_not_kept() {
    let env = TestEnv::ordinary(program());
    let Some(registry) = ImageRegistry::start(env.root(), false) else { return };
    let pushed = registry.push("image", "x", b"a layer that will be another", false);
    registry.spoil(&pushed.blobs[1].0);
    let image = format!("{}/image:x", registry.address);
    let refused = env.run(&["pull", &image]);
    assert!(refused.code != Some(0) && refused.stderr.to_lowercase().contains("digest"), "{refused}");
    let left = fs::read_dir(env.root().join("cache/bot-bottle/images")).expect("a directory").flatten();
    let left: Vec<_> = left.map(|it| it.path()).filter(|it| it.extension().is_none_or(|it| it != "lock")).collect();
    assert!(left.is_empty(), "{left:?}");
    let missing = env.run(&["pull", &format!("{}/image:y", registry.address)]);
    assert!(missing.code != Some(0) && missing.stderr.contains("next:"), "{missing}");
    assert_eq!(env.run(&["pull", "No Image"]).code, Some(2));
}

#[test]
fn a_registry_that_asks_is_shown_what_docker_login_kept() {
    let mut env = TestEnv::ordinary(program());
    let Some(registry) = ImageRegistry::start(env.root(), true) else { return };
    registry.push("image", "x", b"a layer", false);
    let image = format!("{}/image:x", registry.address);
    let refused = env.run(&["pull", &image]);
    assert!(refused.code != Some(0) && refused.stderr.contains("docker login"), "{refused}");
    let auth = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let config = serde_json::json!({ "auths": { &registry.address: { "auth": auth } } }).to_string();
    let file = env.write("docker/config.json", config);
    env.set("DOCKER_CONFIG", &file.parent().expect("a directory").display().to_string());
    let got = env.run(&["pull", &image]);
    assert!(got.success().contains("is kept now"), "{got}");
    assert!(!format!("{got}").contains(&auth), "{got}");
}
