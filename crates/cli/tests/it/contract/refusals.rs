//! What a backend cannot do, and that it says so, with what to do instead, before anything is made.

use super::{Backend, Fixture};
use crate::stage::Stage;
use bottle_testkit::{Machines, env};

impl Backend {
    /// Flags that ask for it, the exit code, and a part of what is said.
    fn cannot(self) -> &'static [(&'static [&'static str], i32, &'static str)] {
        match self {
            Backend::Namespace => &[
                (&["--image", "debian:bookworm"], 2, "`backend: docker`"),
                (&["--image", "dockerfile:Dockerfile"], 2, "`backend: docker`"),
                (&["--backend", "kubernetes"], 4, "use `namespace`"),
            ],
            Backend::Docker | Backend::DockerStream | Backend::DockerSent | Backend::Podman | Backend::PodmanStream => {
                &[
                    (&["--image", "host"], 2, "name an image that the engine has"),
                    (&["--image", "no-such-image:1"], 4, "docker pull no-such-image:1"),
                    (&["--workspace", "mount"], 2, "use `--workspace clone` or `--workspace copy`"),
                    (&["--mount", "/tmp:/data:rw"], 2, "make the mount read-only"),
                    (&["--image", "dockerfile:Dockerfile"], 4, "there is no Dockerfile at"),
                    (&["--image", "provider:no-such-image:1"], 2, "nothing is known that installs"),
                    (&["--image", "docker-archive:image.tar"], 4, "cannot be read for the image"),
                    (&["--backend", "namespace"], 2, "`backend: docker`"),
                ]
            }
            Backend::Smolmachines => &[
                (&["--image", "host"], 2, "name an image"),
                (&["--image", "provider:no-such-image:1"], 2, "nothing is known that installs"),
                (&["--image", "docker-archive:image.tar"], 4, "cannot be read as an image"),
                (&["--image", "smolmachine:image.smolmachine"], 4, "`smolvm pack create --image`"),
                // What this host would run in such a directory could not be guarded.
                (&["--workspace", "mount"], 2, "use `--workspace clone` or `--workspace copy`"),
                (&["--mount", "/tmp:/data:rw"], 2, "make the mount read-only"),
                (&["--topology", "stream"], 2, "use `backend: docker`"),
                (&["--backend", "namespace"], 2, "`backend: docker`"),
            ],
        }
    }
}

pub(super) fn what_cannot_be_is_said_before_anything_is_made(backend: Backend) {
    let Some(it) = Fixture::new(backend) else { return };
    for (flags, code, says) in backend.cannot() {
        let ran = it.stage.run(flags, &["true"]);
        assert!(ran.failure(*code).contains(says), "{flags:?}: {ran}");
    }
    assert!(it.env().bottles().is_empty());
    it.nothing_is_left();
}

/// The process that is the machine gets no right of root's, and could not reach what root keeps for the bottle.
pub(super) fn root_is_refused(backend: Backend) {
    if !env::is_root() {
        println!("SKIPPED(not root): what root is told");
        return;
    }
    let mut stage = Stage::new();
    let machines = Machines::install(&mut stage.env);
    let ran = stage.run(&[], &["true"]);
    assert!(backend.refuses_root() && ran.failure(4).contains("an ordinary user who may use /dev/kvm"), "{ran}");
    let calls = machines.take_calls().join("\n");
    assert!(!calls.contains("\"machine\""), "nothing is made for who is refused: {calls}");
    assert!(stage.env.bottles().is_empty());
}

pub(super) fn an_engine_that_is_not_there_is_told(backend: Backend) {
    let Some(mut it) = Fixture::new(backend) else { return };
    let nowhere = it.env().root().join("nowhere.sock").display().to_string();
    for (host, says) in [
        ("npipe:////./pipe", "unix:///PATH"),
        ("tcp://127.0.0.1:1", "answers at tcp://"),
        (&format!("unix://{nowhere}"), "systemctl start docker"),
    ] {
        it.stage.env.set("DOCKER_HOST", host);
        let ran = it.stage.run(&[], &["true"]);
        assert!(ran.failure(4).contains(says), "{host}: {ran}");
        assert!(it.env().run(&["doctor"]).stdout.contains("no `--backend docker`"));
    }
    let host = it.engine().host();
    it.stage.env.set("DOCKER_HOST", &host);
    assert!(it.env().run(&["doctor"]).stdout.contains("ok       engine"));
    it.nothing_is_left();
}
