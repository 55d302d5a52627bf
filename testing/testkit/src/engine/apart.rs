//! Engines that do not share this machine's files as its root's do: one that sees none of them and is asked over TCP, and
//! those of an ordinary user, who has other uids in them than outside.

use super::{Engine, Make, REMAPPED, SOON, possible, skipped};
use crate::{
    env::{ORDINARY, leftovers},
    wait_until,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{fs, net::TcpListener, os::unix::fs::chown, path::Path};

/// Where and whose an engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Here,
    /// Asked at this port of the loopback.
    Far {
        port: u16,
    },
    Rootless,
}

/// What holds people's files, and the tests'.
const HIDDEN: &str = "/tmp /home /root /var/tmp /dev/shm /opt /srv";
/// The one place that both sides see, under another name there.
const DATA: &str = "/mnt";

impl Engine {
    /// Docker's, which sees no file of the tests'. `None`, with the reason printed, where none can be started.
    pub fn far() -> Option<Engine> {
        if !possible(Make::Docker) {
            return None;
        }
        let directory = tempfile::Builder::new().prefix("bb-far-").tempdir().expect("a directory").keep();
        let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port").port();
        let prepare = format!(
            "mount --bind {} {DATA} && for it in {HIDDEN}; do [ ! -d $it ] || mount -t tmpfs none $it; done",
            directory.display()
        );
        Some(Engine::held(Make::Docker, Kind::Far { port }, directory, &["--mount"], &prepare, ""))
    }

    /// Of the ordinary user of the tests.
    pub fn rootless(make: Make) -> Option<Engine> {
        if !possible(make) {
            return None;
        }
        let needed = ["/usr/bin/newuidmap", "/usr/bin/newgidmap", "/usr/bin/rootlesskit"];
        let needed = if make == Make::Docker { &needed[..] } else { &needed[..2] };
        if let Some(program) = needed.iter().find(|it| !Path::new(it).exists()) {
            skipped(&format!("no {program}"));
            return None;
        }
        let directory = tempfile::Builder::new().prefix("bb-less-").tempdir().expect("a directory").keep();
        let at = |name: &str| directory.join(name).display().to_string();
        // As if this machine had such a user, and had said which others are its.
        fs::write(
            at("passwd"),
            format!("root:x:0:0::/root:/bin/sh\nbottle:x:{ORDINARY}:{ORDINARY}::{}:/bin/sh\n", at("home")),
        )
        .and_then(|()| fs::write(at("group"), format!("root:x:0:\nbottle:x:{ORDINARY}:\n")))
        .and_then(|()| fs::write(at("subid"), "bottle:600000:65536\n"))
        .expect("files of ours");
        fs::write(at("serve.sh"), serving(make, &at)).expect("a file of ours");
        for name in ["home", "run", "data"] {
            fs::create_dir(at(name)).expect("a directory of ours");
        }
        for path in [&directory, &directory.join("home"), &directory.join("run"), &directory.join("data")] {
            chown(path, Some(ORDINARY), Some(ORDINARY)).expect("root may give a directory away");
        }
        let laid = [("passwd", "passwd"), ("group", "group"), ("subid", "subuid"), ("subid", "subgid")];
        let laid = laid.map(|(from, to)| format!("touch /etc/{to} && mount --bind {} /etc/{to}", at(from)));
        let prepare = format!(
            "{} && if [ -d /sys/fs/cgroup/unified ]; then umount /sys/fs/cgroup/unified; fi",
            laid.join(" && ")
        );
        Some(Engine::held(make, Kind::Rootless, directory.clone(), &["--net", "--mount"], &prepare, ""))
    }

    /// Shell that becomes the daemon, where it is and as whom.
    pub(super) fn serving(&self, at: &dyn Fn(&str) -> String) -> String {
        match self.kind {
            Kind::Here => self.make.serve(at),
            Kind::Far { port } => {
                let there = |name: &str| format!("{DATA}/{name}");
                format!(
                    "exec dockerd --data-root {} --exec-root {} --pidfile {} --host tcp://127.0.0.1:{port} --tls=false \
                     --bridge=none --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false",
                    there("data"),
                    there("exec"),
                    there("pid"),
                )
            }
            Kind::Rootless => format!(
                "cd / && export HOME={} XDG_RUNTIME_DIR={} && exec setpriv --reuid {ORDINARY} --regid {ORDINARY} \
                 --clear-groups --inh-caps=-all sh {}",
                at("home"),
                at("run"),
                at("serve.sh"),
            ),
        }
    }

    /// Podman has itself run once more in the user's namespaces, and leaves there what holds them; Docker's daemon is
    /// started in them by what stays beside it.
    pub(super) fn end_of_rootless(&self) {
        if self.kind != Kind::Rootless {
            return;
        }
        let ours = || leftovers::processes(&self.directory.to_string_lossy());
        wait_until("an ordinary user's engine to end", SOON, || {
            for (pid, _) in ours() {
                if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            ours().is_empty()
        });
    }

    /// Docker's again, with users mapped. `None` where this machine has no such files.
    pub fn remapped() -> Option<Engine> {
        if !Path::new("/etc/subuid").exists() {
            skipped("no /etc/subuid");
            return None;
        }
        Engine::own(Make::Docker, &format!("--userns-remap={REMAPPED}"))
    }
}

/// Shell that becomes the daemon of a user's own. A file system over another takes more of the kernel than such a user may
/// have.
fn serving(make: Make, at: &dyn Fn(&str) -> String) -> String {
    match make {
        Make::Podman => make.serve(at).replace("podman --root", "podman --storage-driver vfs --root"),
        // As Docker's own script for it does, but for the network: there is none to reach.
        Make::Docker => format!(
            "exec rootlesskit --state-dir={} --net=host --copy-up=/etc --copy-up=/run --propagation=rslave \
             sh -c 'rm -rf /run/docker /run/containerd; exec dockerd --rootless --data-root {} --exec-root {} --pidfile {} \
             --host unix://{} --bridge=none --iptables=false --ip6tables=false --ip-forward=false --storage-driver vfs'",
            at("run/kit"),
            at("data"),
            at("run/exec"),
            at("pid"),
            at("docker.sock"),
        ),
    }
}
