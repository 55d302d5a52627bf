//! A registry of images on loopback: Debian's `docker-registry`, which is the reference one.

use crate::wait::wait_for;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

const SOON: Duration = Duration::from_secs(10);
/// Whom it lets in where it asks, and the same as `htpasswd -B` writes it.
pub const USER: &str = "puller";
pub const PASSWORD: &str = "of the bench";
const LINE: &str = "puller:$2y$05$abcdefghijklmnopqrstuuJy1sr/v9XjtPAtQMop1PLY57qXBimIa\n";

#[derive(Debug)]
pub struct ImageRegistry {
    server: Child,
    /// As images name it.
    pub address: String,
    directory: PathBuf,
    asks: bool,
}

/// What was put there.
#[derive(Debug)]
pub struct Pushed {
    pub digest: String,
    /// Digests of all blobs, with their sizes.
    pub blobs: Vec<(String, usize)>,
}

impl ImageRegistry {
    /// Its files are below `root`. `None`, with the reason printed, where it is not installed.
    pub fn start(root: &Path, asks: bool) -> Option<ImageRegistry> {
        if !Path::new("/usr/bin/docker-registry").exists() {
            #[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
            {
                println!("SKIPPED(no docker-registry): a registry of images; see scripts/install-test-needs");
            }
            return None;
        }
        let directory = root.join(if asks { "registry-that-asks" } else { "registry" });
        fs::create_dir(&directory).expect("a directory of ours");
        let at = |name: &str| directory.join(name).display().to_string();
        let mut config = json!({
            "version": "0.1",
            "storage": { "filesystem": { "rootdirectory": at("data") } },
            "http": { "addr": "127.0.0.1:0", "secret": "of a test" },
        });
        if asks {
            fs::write(at("users"), LINE).expect("a file of ours");
            config["auth"] = json!({ "htpasswd": { "realm": "test", "path": at("users") } });
        }
        fs::write(at("config.yml"), config.to_string()).expect("a file of ours");
        let log = File::create(at("log")).expect("a file of ours");
        let server = Command::new("/usr/bin/docker-registry")
            .args(["serve", &at("config.yml")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("docker-registry starts");
        let address = wait_for("the registry to listen", SOON, || {
            let log = fs::read_to_string(at("log")).ok()?;
            let after = log.split("listening on ").nth(1)?;
            after.split('"').next().map(str::to_owned)
        });
        Some(ImageRegistry { server, address, directory, asks })
    }

    /// Puts an image there under `NAME:TAG`, of one layer that is not compressed, for this machine's platform or, in an index, beside another's.
    pub fn push(&self, name: &str, tag: &str, layer: &[u8], in_an_index: bool) -> Pushed {
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = json!({
            "architecture": architecture, "os": "linux",
            "config": { "Env": ["PATH=/usr/bin:/bin", "OF_THE_IMAGE=yes"] },
            "rootfs": { "type": "layers", "diff_ids": [digest(layer)] },
        });
        let config = config.to_string().into_bytes();
        let blobs: Vec<(String, usize)> = [&config[..], layer].map(|it| (self.blob(name, it), it.len())).into();
        let descriptor = |kind: &str, (digest, size): &(String, usize)| json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest, "size": size });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("config.v1+json", &blobs[0]),
            "layers": [descriptor("layer.v1.tar", &blobs[1])],
        });
        let whole = manifest.to_string();
        let digest = digest(whole.as_bytes());
        if !in_an_index {
            self.manifest(name, tag, &manifest);
            return Pushed { digest, blobs };
        }
        let mut other = manifest.clone();
        other["annotations"] = json!({ "for": "another machine" });
        let entry = |manifest: &Value, architecture: &str| {
            let text = manifest.to_string();
            let digest = self::digest(text.as_bytes());
            self.manifest(name, &digest, manifest);
            let mut entry = descriptor("manifest.v1+json", &(digest, text.len()));
            entry["platform"] = json!({ "architecture": architecture, "os": "linux" });
            entry
        };
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [entry(&other, "s390x"), entry(&manifest, architecture)],
        });
        self.manifest(name, tag, &index);
        Pushed { digest, blobs }
    }

    /// Changes a blob where it lies, behind the registry's back.
    pub fn spoil(&self, digest: &str) {
        let hex = digest.trim_start_matches("sha256:");
        let two = hex.get(..2).expect("a digest");
        let path = self.directory.join(format!("data/docker/registry/v2/blobs/sha256/{two}/{hex}/data"));
        let mut bytes = fs::read(&path).expect("a blob that was put there");
        bytes.iter_mut().for_each(|it| *it ^= 1);
        fs::write(path, bytes).expect("a file of ours");
    }

    /// How many blobs it has sent so far, by its own log.
    pub fn blobs_sent(&self) -> usize {
        let log = fs::read_to_string(self.directory.join("log")).expect("a file of ours");
        let is_sent = |line: &&str| {
            let said = ["response completed", "http.request.method=GET", "/blobs/sha256:"];
            said.iter().all(|words| line.contains(words))
        };
        log.lines().filter(is_sent).count()
    }

    fn blob(&self, name: &str, bytes: &[u8]) -> String {
        let digest = digest(bytes);
        let begun = self.curl(&["-X", "POST", "-D", "-", &self.url(name, "blobs/uploads/")], b"");
        let location = begun.lines().find_map(|it| it.strip_prefix("Location: ")).expect("a place to put it").trim();
        let place = format!("{location}&digest={digest}");
        self.curl(&["-X", "PUT", "-H", "Content-Type: application/octet-stream", "--data-binary", "@-", &place], bytes);
        digest
    }

    fn manifest(&self, name: &str, reference: &str, manifest: &Value) {
        let kind = format!("Content-Type: {}", manifest["mediaType"].as_str().expect("a media type"));
        let place = self.url(name, &format!("manifests/{reference}"));
        self.curl(&["-X", "PUT", "-H", &kind, "--data-binary", "@-", &place], manifest.to_string().as_bytes());
    }

    fn url(&self, name: &str, rest: &str) -> String {
        format!("http://{}/v2/{name}/{rest}", self.address)
    }

    fn curl(&self, arguments: &[&str], input: &[u8]) -> String {
        let file = self.directory.join("input");
        fs::write(&file, input).expect("a file of ours");
        let mut command = Command::new("curl");
        command.args(["-sS", "--fail-with-body", "--noproxy", "*"]).args(arguments);
        if self.asks {
            command.args(["-u", &format!("{USER}:{PASSWORD}")]);
        }
        let output = command.stdin(File::open(file).expect("a file of ours")).output().expect("curl runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said} {}", String::from_utf8_lossy(&output.stderr));
        said
    }
}

impl Drop for ImageRegistry {
    fn drop(&mut self) {
        let _ = (self.server.kill(), self.server.wait());
    }
}

fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    format!("sha256:{}", digest.iter().map(|it| format!("{it:02x}")).collect::<String>())
}
