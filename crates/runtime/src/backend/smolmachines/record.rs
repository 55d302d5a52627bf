//! What smolvm wrote down of a machine, read back before it starts.
//!
//! smolvm drops flags that do not go together, or that it does not know how to apply, and ends with 0. So nothing that it
//! was told counts: only what stands in its own record, the one that it starts the machine from. What is not as it was
//! asked for is an error, and so is anything that would open the machine and was never asked for.

use super::machine::{Machine, Order};
use crate::backend::system::System;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("what smolvm wrote down of the machine cannot be read, in {}", .0.display())]
    Database(PathBuf, #[source] rusqlite::Error),
    #[error("what smolvm wrote down of the machine cannot be understood")]
    Malformed(#[source] serde_json::Error),
    #[error(
        "smolvm made another machine than it was told to: {}; this version of it drops what it was told, so use one that \
         this program was tested with ({})", .0.join("; "), super::TESTED
    )]
    Differs(Vec<String>),
}

/// Each of these opens the machine to something, and stands in a record only where it was asked for.
const MUST_BE_OFF: [&str; 25] = [
    "network",
    "network_backend",
    "ports",
    "udp_ports",
    "env",
    "init",
    "allowed_cidrs",
    "egress",
    "staged_mounts",
    "remote_volumes",
    "disk_volumes",
    "disks",
    "cache_disk",
    "gpu",
    "rosetta",
    "nested_virt",
    "ssh_agent",
    "docker_socket",
    "cuda",
    "secrets",
    "credentials",
    "dns",
    "entrypoint",
    "workdir",
    "health_cmd",
];

/// Compares the machine's record with what was ordered.
pub(super) fn verify(machine: &Machine, order: &Order) -> Result<(), RecordError> {
    let found = differences(&load(machine, &order.name)?, order);
    if found.is_empty() { Ok(()) } else { Err(RecordError::Differs(found)) }
}

/// The same of a machine that smolvm branched from `source`.
pub(super) fn verify_branch(machine: &Machine, order: &Order, source: &str) -> Result<(), RecordError> {
    let record = load(machine, &order.name)?;
    let mut found = differences(&record, order);
    let of = record.get("golden").cloned().unwrap_or(Value::Null);
    if of != *source {
        found.push(format!("it is a branch of {of} and not of {source}"));
    }
    if found.is_empty() { Ok(()) } else { Err(RecordError::Differs(found)) }
}

fn load(machine: &Machine, name: &str) -> Result<Value, RecordError> {
    let path = machine.state.join(System::HERE.record());
    let bytes = read(&path, name).map_err(|error| RecordError::Database(path, error))?;
    serde_json::from_slice(&bytes).map_err(RecordError::Malformed)
}

fn read(path: &Path, name: &str) -> rusqlite::Result<Vec<u8>> {
    // Writable to SQLite, for without that it does not see what is in the log beside the file; we write nothing.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(path, flags)?;
    database.pragma_update(None, "query_only", true)?;
    database.query_row("SELECT data FROM vms WHERE name = ?1", [name], |row| row.get(0))
}

fn differences(record: &Value, order: &Order) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |key: &str, is: Value, ought: Value| {
        if is != ought {
            found.push(format!("{key} is {is} and not {ought}"));
        }
    };
    let of = |key: &str| record.get(key).cloned().unwrap_or(Value::Null);
    let text = |path: &Path| Value::from(path.to_string_lossy());
    compare("name", of("name"), order.name.clone().into());
    compare("cpus", of("cpus"), order.cpus.into());
    compare("mem", of("mem"), order.memory_mib.into());
    compare("image", of("image"), format!("local-dir:{}", order.image.display()).into());
    compare("cmd", of("cmd"), order.command.clone().into());
    // What an older smolvm does not know its record has no word for.
    let or_nothing = |key: &str, nothing: Value| Some(of(key)).filter(|it| !is_off(it)).unwrap_or(nothing);
    compare("user", or_nothing("user", Value::Null), if order.flags.user { "0:0".into() } else { Value::Null });
    compare("stop_on_exit", or_nothing("stop_on_exit", false.into()), order.flags.stop_on_exit.into());
    let labels = order.labels.iter().map(|(name, value)| (name.clone(), value.clone()));
    compare("labels", or_nothing("labels", serde_json::json!({})), labels.collect());
    let mounts = order
        .volumes
        .iter()
        .map(|(host, inside, writable)| Value::from(vec![text(host), inside.clone().into(), (!writable).into()]));
    compare("mounts", of("mounts"), mounts.collect());
    let sockets = order.sockets.iter().map(
        |(host, inside)| serde_json::json!({ "direction": "mount", "guest_path": inside, "host_path": text(host) }),
    );
    compare("published_sockets", of("published_sockets"), sockets.collect());
    for key in MUST_BE_OFF {
        let value = of(key);
        if !is_off(&value) {
            found.push(format!("{key} is {value} and was not asked for"));
        }
    }
    found
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::version::Flags, *};
    use std::collections::BTreeMap;

    fn order() -> Order {
        Order {
            name: "bottle".to_owned(),
            image: "/srv/image".into(),
            cpus: 1,
            memory_mib: 512,
            volumes: vec![("/home".into(), "/bot-bottle/home".to_owned(), true), ("/e".into(), "/f".to_owned(), false)],
            sockets: vec![("/run/link".into(), "/bot-bottle/sockets/link".to_owned())],
            labels: BTreeMap::from([("bot-bottle.slug".to_owned(), "a-abcde".to_owned())]),
            command: vec!["/init".to_owned(), "machine".to_owned()],
            flags: Flags { label: true, user: true, stop_on_exit: true },
        }
    }

    /// As smolvm 1.32.2 writes it.
    fn record() -> Value {
        serde_json::json!({
            "name": "bottle", "created_at": 1, "state": "created", "pid": null, "cpus": 1, "mem": 512,
            "block_io": "sync", "mounts": [["/home", "/bot-bottle/home", false], ["/e", "/f", true]],
            "staged_mounts": [], "ports": [],
            "published_sockets": [
                { "direction": "mount", "guest_path": "/bot-bottle/sockets/link", "host_path": "/run/link" }
            ],
            "network": false, "gpu": null, "init": [], "env": [], "user": "0:0", "image": "local-dir:/srv/image",
            "entrypoint": [], "cmd": ["/init", "machine"], "labels": { "bot-bottle.slug": "a-abcde" },
            "ssh_agent": false, "cuda": false, "stop_on_exit": true, "docker_socket": false
        })
    }

    #[test]
    fn a_machine_as_ordered_has_no_differences() {
        assert_eq!(differences(&record(), &order()), [""; 0]);
    }

    /// As smolvm 1.8.1 writes it, where it was told no label.
    #[test]
    fn an_older_record_has_fewer_words_and_is_read_as_strictly() {
        let flags = Flags { label: false, user: false, stop_on_exit: false };
        let order = Order { labels: BTreeMap::new(), flags, ..order() };
        let older = serde_json::json!({
            "name": "bottle", "created_at": 1, "state": "created", "pid": null, "pid_start_time": null, "cpus": 1,
            "mem": 512, "mounts": [["/home", "/bot-bottle/home", false], ["/e", "/f", true]], "ports": [],
            "published_sockets": [
                { "direction": "mount", "guest_path": "/bot-bottle/sockets/link", "host_path": "/run/link" }
            ],
            "network": false, "gpu": null, "gpu_vram_mib": null, "rosetta": null, "last_exit_code": null, "init": [],
            "init_completed": false, "env": [], "workdir": null, "storage_gb": null, "overlay_gb": null,
            "allowed_cidrs": null, "image": "local-dir:/srv/image", "entrypoint": [], "cmd": ["/init", "machine"],
            "health_cmd": null, "ssh_agent": false, "cuda": false, "docker_socket": false, "ephemeral": false,
            "runtime_managed": false
        });
        assert_eq!(differences(&older, &order), [""; 0]);
        for (key, value) in [
            ("user", serde_json::json!("1000:1000")),
            ("stop_on_exit", true.into()),
            ("labels", serde_json::json!({ "a": "b" })),
            ("network", true.into()),
            ("published_sockets", Value::Null),
        ] {
            let mut changed = older.clone();
            changed[key] = value;
            let found = differences(&changed, &order);
            assert!(found.len() == 1 && found[0].starts_with(key), "{key}: {found:?}");
        }
    }

    #[test]
    fn whatever_was_dropped_or_added_is_a_difference() {
        let changes: [(&str, Value); 16] = [
            ("network", true.into()),
            ("network_backend", "tsi".into()),
            ("ports", serde_json::json!([[8080, 80]])),
            ("mounts", serde_json::json!([["/home", "/bot-bottle/home", false]])),
            ("mounts", serde_json::json!([["/home", "/bot-bottle/home", false], ["/e", "/f", false]])),
            ("published_sockets", serde_json::json!([])),
            ("stop_on_exit", false.into()),
            ("user", Value::Null),
            ("cmd", serde_json::json!([])),
            ("image", "alpine".into()),
            ("labels", serde_json::json!({})),
            ("ssh_agent", true.into()),
            ("docker_socket", true.into()),
            ("env", serde_json::json!([["A", "b"]])),
            ("cpus", 4.into()),
            ("mem", 8192.into()),
        ];
        for (key, value) in changes {
            let mut changed = record();
            changed[key] = value;
            let found = differences(&changed, &order());
            assert!(found.len() == 1 && found[0].starts_with(key), "{key}: {found:?}");
        }
    }

    #[test]
    fn a_database_that_is_none_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("smolvm.db");
        std::fs::write(&path, "this is no database, whatever its name may be").unwrap();
        assert!(read(&path, "bottle").is_err());
        assert!(read(&root.path().join("nothing"), "bottle").is_err());
    }
}
