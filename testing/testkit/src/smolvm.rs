//! smolvm for the tests: one that stands for it where no machine can be started, and the real one where one can.

use crate::{TestEnv, engine, env};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::PathBuf,
    process::Command,
};

const FAKE: &str = include_str!("smolvm/fake.py");
/// Names the real program, where machines can be started with it.
pub const REAL: &str = "BOT_BOTTLE_TEST_SMOLVM";

/// What makes the machines of a test's bottles.
#[derive(Debug)]
pub struct Machines {
    directory: PathBuf,
    real: Option<PathBuf>,
}

impl Machines {
    /// For all bottles of this environment, with the image of [`crate::engine`].
    pub fn install(env: &mut TestEnv) -> Machines {
        let real = std::env::var_os(REAL).map(PathBuf::from);
        let mut machines = Machines::stand_in(env);
        if let Some(program) = real {
            env.set("BOT_BOTTLE_SMOLVM", &program.to_string_lossy());
            machines.real = Some(program);
        }
        machines
    }

    /// The one that stands for it. See `smolvm/fake.py`.
    pub fn stand_in(env: &mut TestEnv) -> Machines {
        let directory = env.root().join("cache/smolvm");
        fs::create_dir(&directory).expect("a directory of ours");
        let image = env.root().join("image");
        engine::image::root_file_system(&image).expect("an image");
        let machines = Machines { directory, real: None };
        let program = machines.directory.join("smolvm");
        fs::write(&program, FAKE).expect("a file of ours");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a file of ours");
        machines.behave(&serde_json::json!({}));
        fs::write(machines.directory.join("calls"), "").expect("a file of ours");
        if env::is_root() {
            let user = Some(env.user());
            for path in [machines.directory.clone(), machines.directory.join("calls")] {
                chown(path, user, user).expect("root may give a file away");
            }
        }
        env.set("BOT_BOTTLE_SMOLVM", &program.to_string_lossy());
        env.set("BOT_BOTTLE_BACKEND", "smolmachines");
        env.set("BOT_BOTTLE_IMAGE", &format!("dir:{}", image.display()));
        machines
    }

    /// The root of the image, as one tar file.
    pub fn packed(&self, env: &TestEnv) -> Vec<u8> {
        let root = env.root().join("image");
        let packed = Command::new("tar").arg("-C").arg(root).args(["-cf", "-", "."]).output();
        packed.expect("tar runs").stdout
    }

    /// The same as smolvm packs an image, with the variable `OF_THE_IMAGE`; `None`, with the reason printed, without zstd.
    pub fn pack(&self, env: &TestEnv) -> Option<PathBuf> {
        let layer = self.packed(env);
        let digest: String = Sha256::digest(&layer).iter().map(|byte| format!("{byte:02x}")).collect();
        let path = format!("layers/{}.tar", &digest[..12]);
        let size = layer.len();
        env.write(&format!("pack/{path}"), layer);
        let mut tar = Command::new("tar");
        tar.args(["--zstd", "-C"]).arg(env.root().join("pack")).args(["-cf", "-", "."]);
        let assets = tar.output().expect("tar runs");
        if !assets.status.success() {
            #[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
            {
                println!("SKIPPED(no zstd): a pack of smolvm's; see scripts/install-test-needs");
            }
            return None;
        }
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let manifest = json!({
            "mode": "container", "image": "x:1", "digest": "sha256:0", "platform": format!("linux/{architecture}"),
            "env": ["OF_THE_IMAGE=yes", "PATH=/usr/bin:/bin"], "cpus": 4, "mem": 8192,
            "assets": {
                "libraries": [], "agent_rootfs": { "path": "agent-rootfs.tar", "size": 0 },
                "layers": [{ "digest": format!("sha256:{digest}"), "path": path, "size": size }],
            },
        });
        let (mut bytes, manifest) = (assets.stdout, manifest.to_string());
        let at = bytes.len() as u64;
        bytes.extend(manifest.bytes());
        bytes.extend(b"SMOLPACK\x01\0\0\0");
        for number in [0, 0, at, at, manifest.len() as u64] {
            bytes.extend(number.to_le_bytes());
        }
        // A sum that nobody here looks at, and nothing.
        bytes.extend([0; 12]);
        Some(env.write("image.smolmachine", bytes))
    }

    /// What is called for smolvm.
    pub fn program(&self) -> PathBuf {
        self.real.clone().unwrap_or_else(|| self.directory.join("smolvm"))
    }

    pub fn are_real(&self) -> bool {
        self.real.is_some()
    }

    /// What is different about the stand-in from now on.
    pub fn behave(&self, how: &serde_json::Value) {
        fs::write(self.directory.join("behaviour.json"), how.to_string()).expect("a file of ours");
    }

    /// Every call of the stand-in since the last look, as JSON, a line each.
    pub fn take_calls(&self) -> Vec<String> {
        let path = self.directory.join("calls");
        let calls = fs::read_to_string(&path).expect("a file of ours");
        fs::write(&path, "").expect("a file of ours");
        calls.lines().map(str::to_owned).collect()
    }
}
