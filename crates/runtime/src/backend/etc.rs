//! The files of a bottle's `/etc` that are written anew: users, names, time zone. None of it comes from the host or from
//! an image.

use super::room::RoomSpec;
use std::path::PathBuf;

/// Names of the room, then of the resolver door; nothing of LDAP, mDNS or systemd.
const NSSWITCH: &str = "\
passwd: files
group: files
shadow: files
hosts: files dns
networks: files
protocols: files
services: files
ethers: files
rpc: files
";
const RESOLV_CONF: &str = "nameserver 127.0.0.1\noptions timeout:2 attempts:2\n";
const SHELLS: &str = "/bin/sh\n/bin/bash\n";

/// Where programs look for a time zone when the plan names none.
const UTC: &str = "Etc/UTC";

/// Name below `/etc` and contents; `agent` is the uid and gid that the agent has inside, and `shell` its own.
pub(super) fn files(spec: &RoomSpec<'_>, agent: (u32, u32), shell: &str) -> Vec<(&'static str, Vec<u8>)> {
    let (uid, gid) = agent;
    let passwd = format!(
        "root:x:0:0:root:/root:/usr/sbin/nologin\nagent:x:{uid}:{gid}:agent:/home/agent:{shell}\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    );
    let group = format!("root:x:0:\ntty:x:5:\nagent:x:{gid}:\nnogroup:x:65534:\n");
    let host = spec.slug.as_str();
    let hosts = format!("127.0.0.1 localhost {host}\n::1 localhost ip6-localhost ip6-loopback {host}\n");
    let files = vec![
        ("passwd", passwd),
        ("group", group),
        ("nsswitch.conf", NSSWITCH.to_owned()),
        ("resolv.conf", RESOLV_CONF.to_owned()),
        ("shells", SHELLS.to_owned()),
        ("host.conf", "multi on\n".to_owned()),
        ("hosts", hosts),
        ("hostname", format!("{host}\n")),
        ("timezone", format!("{}\n", time_zone(spec))),
    ];
    files.into_iter().map(|(name, text)| (name, text.into_bytes())).collect()
}

/// Name below `/etc` and where it points.
pub(super) fn links(spec: &RoomSpec<'_>) -> Vec<(&'static str, PathBuf)> {
    vec![
        ("localtime", PathBuf::from("/usr/share/zoneinfo").join(time_zone(spec))),
        ("mtab", "/proc/self/mounts".into()),
    ]
}

/// The plan's `TZ` where it names a zone of the database, else UTC. A `TZ` in POSIX form stays what programs read from
/// their environment.
fn time_zone<'a>(spec: &'a RoomSpec<'_>) -> &'a str {
    let zone = spec.plan.env.get("TZ").map_or(UTC, |zone| zone.trim_start_matches(':'));
    let part = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+'))
    };
    if zone.split('/').all(part) { zone } else { UTC }
}
