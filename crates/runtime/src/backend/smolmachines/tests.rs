//! The contract with the real smolvm, as far as no machine has to start: what it is told, what it writes down, and how it
//! says no.

use super::{
    cli::{Smolvm, SmolvmError},
    machine::{Machine, Order},
    record::{self, RecordError},
    version::{FLOOR, TESTED},
};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// The real one, where `scripts/install-test-needs` has put it.
fn real() -> Option<Smolvm> {
    let cache = std::env::var_os("BOT_BOTTLE_TEST_CACHE").map(PathBuf::from);
    let of_home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/bot-bottle-tests"));
    let directory = cache.or_else(of_home)?.join("smolvm");
    if !directory.join("smolvm").is_file() {
        #[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
        {
            println!("SKIPPED(no smolvm): see scripts/install-test-needs");
        }
        return None;
    }
    let beside = |name: &str| Some(directory.join(name));
    Some(Smolvm { program: directory.join("smolvm"), libraries: beside("lib"), rootfs: beside("rootfs") })
}

struct Ordered {
    _root: TempDir,
    _socket: UnixListener,
    machine: Machine,
    order: Order,
}

fn ordered(smolvm: &Smolvm) -> Ordered {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    for name in ["image/bin", "home", "entry", "vm"] {
        fs::create_dir_all(at(name)).unwrap();
    }
    fs::copy("/bin/true", at("image/bin/sh")).unwrap();
    let socket = UnixListener::bind(at("link")).unwrap();
    let order = Order {
        name: "bottle".to_owned(),
        image: at("image"),
        cpus: 3,
        memory_mib: 768,
        volumes: vec![
            (at("entry"), "/bot-bottle/entry".to_owned(), false),
            (at("home"), "/bot-bottle/home".to_owned(), true),
        ],
        sockets: vec![(at("link"), "/bot-bottle/sockets/link".to_owned())],
        labels: BTreeMap::from([("bot-bottle.slug".to_owned(), "a-abcde".to_owned())]),
        command: vec!["/bot-bottle/entry/init".to_owned(), "machine".to_owned()],
    };
    let machine = Machine::of(smolvm, root.path(), &at("room"));
    Ordered { _root: root, _socket: socket, machine, order }
}

#[test]
fn it_is_new_enough_and_knows_what_is_needed() {
    let Some(smolvm) = real() else { return };
    let features = smolvm.probe().unwrap();
    assert!(features.version >= FLOOR && features.version <= TESTED, "{features:?}");
    assert!(!features.is_newer_than_tested());
}

#[test]
fn what_it_is_told_stands_in_its_record() {
    let Some(smolvm) = real() else { return };
    let Ordered { machine, order, .. } = &ordered(&smolvm);
    machine.create(order).unwrap();
    record::verify(machine, order).unwrap();
    assert_eq!(machine.pid().unwrap(), None, "it does not run");
    assert!(matches!(machine.create(order), Err(SmolvmError::Exists)));
    let other = |change: &dyn Fn(&mut Order)| {
        let mut other = order.clone();
        change(&mut other);
        match record::verify(machine, &other) {
            Err(RecordError::Differs(found)) => found.join("; "),
            other => panic!("{other:?}"),
        }
    };
    for (key, change) in [
        ("cpus", &(|order: &mut Order| order.cpus = 1) as &dyn Fn(&mut Order)),
        ("mem", &|order| order.memory_mib = 1),
        ("image", &|order| order.image = "/".into()),
        ("cmd", &|order| order.command.push("x".to_owned())),
        ("labels", &|order| order.labels.clear()),
        ("mounts", &|order| order.volumes[0].2 = true),
        ("mounts", &|order| drop(order.volumes.pop())),
        ("published_sockets", &|order| order.sockets.clear()),
    ] {
        let found = other(change);
        assert!(found.starts_with(key) && !found.contains("; "), "{key}: {found}");
    }
}

/// Each opens the machine to something, is taken by smolvm, and must be found in the record.
#[test]
fn whatever_opens_a_machine_is_found_in_its_record() {
    let Some(smolvm) = real() else { return };
    for (key, more) in [
        ("network", &["--net"][..]),
        ("network", &["--allow-cidr", "10.0.0.0/8"]),
        ("network", &["--outbound-localhost-only"]),
        ("ports", &["--net", "--port", "18080:80"]),
        ("env", &["--env", "A=b"]),
        ("init", &["--init", "true"]),
        ("ssh_agent", &["--ssh-agent"]),
        ("docker_socket", &["--docker-socket"]),
        ("gpu", &["--gpu"]),
        ("nested_virt", &["--nested"]),
        ("workdir", &["--workdir", "/x"]),
        ("published_sockets", &["--expose-socket", "/x.sock"]),
        ("mounts", &["--volume", "/mnt:/host-mnt:ro"]),
    ] {
        let Ordered { machine, order, .. } = &ordered(&smolvm);
        machine.create_with(order, more).unwrap_or_else(|error| panic!("{more:?}: {error}"));
        match record::verify(machine, order) {
            Err(RecordError::Differs(found)) => {
                assert!(found.iter().any(|it| it.starts_with(key)), "{more:?}: {found:?}");
            }
            other => panic!("{more:?}: {other:?}"),
        }
    }
}

#[test]
fn what_is_not_there_is_said() {
    let Some(smolvm) = real() else { return };
    let Ordered { machine, .. } = &ordered(&smolvm);
    let error = machine.pid().unwrap_err().to_string();
    assert!(error.contains("`smolvm machine status` failed with 1") && error.contains("not found"), "{error}");
    let none = Smolvm { program: "/nonexistent/smolvm".into(), libraries: None, rootfs: None };
    assert!(matches!(none.probe(), Err(SmolvmError::Missing(path)) if path == Path::new("/nonexistent/smolvm")));
}
