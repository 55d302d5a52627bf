//! In what one engine differs from the other: its programs, how it is served and asked.

use super::{GATEWAY, METADATA};
use std::{path::Path, process::Command};

/// Whose engine it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    Docker,
    Podman,
}

impl Make {
    /// As a backend of the tests is called.
    pub fn named(name: &str) -> Option<Make> {
        match name {
            "docker" => Some(Make::Docker),
            "podman" => Some(Make::Podman),
            _ => None,
        }
    }

    pub(super) fn programs(self) -> &'static [&'static str] {
        match self {
            Make::Docker => &["dockerd", "docker"],
            Make::Podman => &["podman", "crun", "conmon"],
        }
    }

    pub(super) fn directory(self) -> &'static str {
        match self {
            Make::Docker => "bot-bottle-test-engine",
            Make::Podman => "bot-bottle-test-podman",
        }
    }

    /// How the daemon's line in `/proc/PID/stat` begins, after its number.
    pub(super) fn process(self) -> &'static str {
        match self {
            Make::Docker => "(dockerd",
            Make::Podman => "(podman",
        }
    }

    /// Shell that makes a network of its own ready for the daemon, and its mounts.
    pub(super) fn prepare(self) -> String {
        let of_make = match self {
            Make::Docker => String::new(),
            // crun takes no version 2 beside version 1 of the cgroups; Podman makes a bridge for who asks for one alone.
            Make::Podman => format!(
                " && if [ -d /sys/fs/cgroup/unified ]; then umount /sys/fs/cgroup/unified; fi && \
                 ip link add bottle0 type bridge && ip addr add {GATEWAY}/24 dev bottle0 && ip link set bottle0 up"
            ),
        };
        format!("ip link set lo up && ip addr add {METADATA}/32 dev lo{of_make}")
    }

    /// Shell that becomes the daemon, with all it has at places of ours, and its pid in `pid`.
    pub(super) fn serve(self, at: &dyn Fn(&str) -> String) -> String {
        match self {
            Make::Docker => format!(
                "exec dockerd --data-root {} --exec-root {} --pidfile {} --host unix://{} --bip {GATEWAY}/24 \
                 --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false --userland-proxy=false",
                at("data"),
                at("exec"),
                at("pid"),
                at("docker.sock"),
            ),
            Make::Podman => format!(
                "echo $$ > {} && printf '[engine]\\ncgroup_manager=\"cgroupfs\"\\nevents_logger=\"file\"\\n\
                 runtime=\"crun\"\\n' > {} && CONTAINERS_CONF={} exec podman --root {} --runroot {} --tmpdir {} \
                 --network-config-dir {} system service --time 0 unix://{}",
                at("pid"),
                at("containers.conf"),
                at("containers.conf"),
                at("data"),
                at("exec"),
                at("tmp"),
                at("networks"),
                at("docker.sock"),
            ),
        }
    }

    pub(super) fn client(self, directory: &Path, host: &str) -> Command {
        match self {
            Make::Docker => {
                let mut command = Command::new("docker");
                command.env("DOCKER_HOST", host).env("DOCKER_CONFIG", directory);
                command
            }
            Make::Podman => {
                let mut command = Command::new("podman");
                command.env("CONTAINERS_CONF", directory.join("containers.conf"));
                command.args(["--remote", "--url", host]);
                command
            }
        }
    }
}
