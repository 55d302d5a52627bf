//! The contract with the real smolvm, as far as no machine has to start: what it is told, what it writes down, and how it
//! says no.

use super::{
    cli::Smolvm,
    error::SmolvmError,
    machine::{Machine, Order},
    record::{self, RecordError},
    version::{FLOOR, Flags, TESTED},
};
use std::{
    fs,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;

/// The real ones, where `scripts/install-test-needs` has put them: the newest that is tested, and one of old.
fn real() -> Vec<Smolvm> {
    let cache = std::env::var_os("BOT_BOTTLE_TEST_CACHE").map(PathBuf::from);
    let of_home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/bot-bottle-tests"));
    let Some(cache) = cache.or_else(of_home) else { return Vec::new() };
    let all = ["smolvm", "smolvm-1.8.1"].map(|name| cache.join(name));
    let there = all.into_iter().filter_map(|directory| {
        if !directory.join("smolvm").is_file() {
            #[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
            {
                println!("SKIPPED(no {}): see scripts/install-test-needs", directory.display());
            }
            return None;
        }
        let beside = |name: &str| Some(directory.join(name));
        Some(Smolvm { program: directory.join("smolvm"), libraries: beside("lib"), rootfs: beside("rootfs") })
    });
    there.collect()
}

struct Ordered {
    _root: TempDir,
    _socket: UnixListener,
    machine: Machine,
    order: Order,
}

fn ordered(smolvm: &Smolvm) -> Ordered {
    let flags = smolvm.probe().unwrap().flags;
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
        labels: flags.label.then(|| ("bot-bottle.slug".to_owned(), "a-abcde".to_owned())).into_iter().collect(),
        command: vec!["/bot-bottle/entry/init".to_owned(), "machine".to_owned()],
        flags,
    };
    let machine = Machine::of(smolvm, root.path(), &at("room"));
    Ordered { _root: root, _socket: socket, machine, order }
}

#[test]
fn it_is_new_enough_and_knows_what_is_needed() {
    for smolvm in real() {
        let features = smolvm.probe().unwrap();
        assert!(features.version >= FLOOR && features.version <= TESTED, "{features:?}");
        assert!(!features.version.is_newer_than_tested());
        let all = Flags { label: true, user: true, stop_on_exit: true };
        assert_eq!(features.flags == all, features.version == TESTED, "{features:?}");
        assert_eq!(smolvm.branches().unwrap(), features.version == TESTED, "whether bottles start warm: {features:?}");
    }
}

/// By it a branch is found among others, and the console of a machine that did not come up.
#[test]
fn what_it_has_of_a_machine_lies_where_it_is_looked_for() {
    for smolvm in real() {
        let Ordered { machine, order, .. } = &ordered(&smolvm);
        machine.create(order).unwrap();
        let told = asked(machine, &["machine", "data-dir", "--name", &order.name]);
        assert_eq!(Path::new(String::from_utf8_lossy(&told.stdout).trim()), machine.own_directory(), "{told:?}");
    }
}

#[test]
fn what_it_is_told_stands_in_its_record() {
    for smolvm in real() {
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
            ("labels", &|order| drop(order.labels.insert("a".to_owned(), "b".to_owned()))),
            ("user", &|order| order.flags.user = !order.flags.user),
            ("stop_on_exit", &|order| order.flags.stop_on_exit = !order.flags.stop_on_exit),
            ("mounts", &|order| order.volumes[0].2 = true),
            ("mounts", &|order| drop(order.volumes.pop())),
            ("published_sockets", &|order| order.sockets.clear()),
        ] {
            let found = other(change);
            assert!(found.starts_with(key) && !found.contains("; "), "{key}: {found}");
        }
    }
}

/// Each opens the machine to something, is taken by smolvm, and must be found in the record. An older one knows fewer.
#[test]
fn whatever_opens_a_machine_is_found_in_its_record() {
    for smolvm in real() {
        let is_newest = smolvm.probe().unwrap().version == TESTED;
        let mut ways = vec![
            ("network", &["--net"][..]),
            ("network", &["--allow-cidr", "10.0.0.0/8"]),
            ("network", &["--outbound-localhost-only"]),
            ("ports", &["--net", "--port", "18080:80"]),
            ("env", &["--env", "A=b"]),
            ("init", &["--init", "true"]),
            ("ssh_agent", &["--ssh-agent"]),
            ("docker_socket", &["--docker-socket"]),
            ("gpu", &["--gpu"]),
            ("workdir", &["--workdir", "/x"]),
            ("published_sockets", &["--expose-socket", "/x.sock"]),
            ("mounts", &["--volume", "/mnt:/host-mnt:ro"]),
        ];
        if is_newest {
            ways.push(("nested_virt", &["--nested"]));
        }
        for (key, more) in ways {
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
}

/// What it says when it is asked as we ask it, with the state of this machine.
fn asked(machine: &Machine, arguments: &[&str]) -> Output {
    let mut command = Command::new(&machine.smolvm.program);
    command.args(arguments).env_clear().env("HOME", &machine.state).env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    command.env("SMOLVM_LIB_DIR", machine.smolvm.libraries.as_ref().unwrap());
    command.env("SMOLVM_AGENT_ROOTFS", machine.smolvm.rootfs.as_ref().unwrap()).output().unwrap()
}

/// The fields that are relied on here or by whoever looks at our machines with smolvm: the same in both.
#[test]
fn its_list_and_its_status_say_what_was_made() {
    for smolvm in real() {
        let Ordered { machine, order, .. } = &ordered(&smolvm);
        let json = |arguments: &[&str]| -> serde_json::Value {
            let output = asked(machine, arguments);
            assert!(output.status.success(), "{output:?}");
            serde_json::from_slice(&output.stdout).unwrap()
        };
        assert_eq!(json(&["machine", "ls", "--json"]), serde_json::json!([]));
        machine.create(order).unwrap();
        let status = json(&["machine", "status", "--name", "bottle", "--json"]);
        for (field, expected) in [
            ("name", serde_json::json!("bottle")),
            ("state", "created".into()),
            ("pid", serde_json::Value::Null),
            ("cpus", order.cpus.into()),
            ("memory_mib", order.memory_mib.into()),
            ("network", false.into()),
            ("ports", 0.into()),
            ("mounts", order.volumes.len().into()),
            ("image", format!("local-dir:{}", order.image.display()).into()),
            ("labels", serde_json::json!(order.labels)),
            ("cmd", serde_json::json!(order.command)),
        ] {
            assert_eq!(status.get(field), Some(&expected), "{field}: {status}");
        }
        assert_eq!(json(&["machine", "ls", "--json"]), serde_json::json!([status]), "the same, in a list");
    }
}

#[test]
fn it_deletes_a_machine_and_then_knows_none() {
    for smolvm in real() {
        let Ordered { machine, order, .. } = &ordered(&smolvm);
        machine.create(order).unwrap();
        // Unasked it deletes nothing: an older one says so with 0.
        asked(machine, &["machine", "delete", "--name", "bottle"]);
        record::verify(machine, order).unwrap();
        let deleted = asked(machine, &["machine", "delete", "--name", "bottle", "--force"]);
        assert!(deleted.status.success(), "{deleted:?}");
        assert!(matches!(machine.pid(), Err(SmolvmError::NotFound)));
        let again = asked(machine, &["machine", "delete", "--name", "bottle", "--force"]);
        assert_eq!(again.status.code(), Some(1), "{again:?}");
        let why = machine.failure("machine delete", 1, &String::from_utf8_lossy(&again.stderr));
        assert!(matches!(why, SmolvmError::NotFound), "{why}");
        machine.create(order).unwrap();
    }
}

#[test]
fn what_it_takes_for_a_mistake_ends_with_2_and_what_fails_with_1() {
    for smolvm in real() {
        let Ordered { machine, order, .. } = &ordered(&smolvm);
        for wrong in [
            &["machine", "create", "--no-such-flag"][..],
            &["machine", "no-such-verb"],
            &["machine", "start", "--name"],
        ] {
            let output = asked(machine, wrong);
            assert_eq!(output.status.code(), Some(2), "{wrong:?}: {output:?}");
            assert!(
                output.stdout.is_empty() && String::from_utf8_lossy(&output.stderr).starts_with("error: "),
                "{output:?}"
            );
        }
        match machine.create_with(order, &["--no-such-flag"]) {
            Err(SmolvmError::Failed { code: 2, .. }) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(asked(machine, &["machine", "status", "--name", "bottle", "--json"]).status.code(), Some(1));
    }
}

/// Why nothing of a bottle is told by variables, and why the record is read back: what is no pair is dropped in silence.
#[test]
fn a_variable_without_a_value_is_dropped_and_ends_with_0() {
    for smolvm in real() {
        let Ordered { machine, order, .. } = &ordered(&smolvm);
        machine.create_with(order, &["-e", "NOEQ"]).unwrap();
        record::verify(machine, order).unwrap();
        let Ordered { machine, order, .. } = &ordered(&smolvm);
        machine.create_with(order, &["-e", "NOEQ", "-e", "A=b"]).unwrap();
        match record::verify(machine, order) {
            Err(RecordError::Differs(found)) => {
                let found = found.join("; ");
                assert!(found.contains('A') && !found.contains("NOEQ"), "{found}");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// smolvm knows no end of a machine but ours: it goes with the directory of its state.
#[test]
fn a_machine_that_was_taken_away_is_unknown() {
    for smolvm in real() {
        let Ordered { machine, order, .. } = &ordered(&smolvm);
        machine.create(order).unwrap();
        assert!(machine.remove().is_ok());
        fs::remove_dir_all(&machine.state).unwrap();
        assert!(matches!(machine.pid(), Err(SmolvmError::NotFound)));
    }
}

#[test]
fn what_is_not_there_is_said() {
    for smolvm in real() {
        let Ordered { machine, .. } = &ordered(&smolvm);
        assert!(matches!(machine.pid(), Err(SmolvmError::NotFound)));
    }
    let none = Smolvm { program: "/nonexistent/smolvm".into(), libraries: None, rootfs: None };
    assert!(matches!(none.probe(), Err(SmolvmError::Missing(path)) if path == Path::new("/nonexistent/smolvm")));
}

/// Packs are unpacked here and not made machines of by smolvm. What ours reads as one is one to smolvm too, and of what it
/// was told besides the pack some things are dropped, while the pack's own stand in the record.
#[cfg(feature = "registry")]
#[test]
fn smolvms_own_way_from_a_pack_drops_what_it_was_told() {
    let Some(smolvm) = real().into_iter().find(|it| it.probe().is_ok_and(|it| it.version == TESTED)) else { return };
    let Ordered { machine, order, _root: root, .. } = &ordered(&smolvm);
    let mut layer = tar::Builder::new(Vec::new());
    layer.append_path_with_name("/bin/true", "bin/sh").unwrap();
    let layer = layer.into_inner().unwrap();
    let bytes = crate::images::pack::tests::pack(&[layer], |manifest| manifest["workdir"] = "/of-the-pack".into());
    let path = root.path().join("x.smolmachine");
    fs::write(&path, bytes).unwrap();
    let from = ["machine", "create", "--name", "bottle", "--from", path.to_str().unwrap()];
    let output = asked(machine, &[&from[..], &["--workdir", "/told", "--block-private", "--", "/x"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let Err(RecordError::Differs(found)) = record::verify(machine, order) else { panic!("it is another machine") };
    let about = |key: &str| found.iter().filter(|it| it.starts_with(key)).cloned().collect::<Vec<_>>().join("; ");
    assert!(about("workdir").contains("/of-the-pack"), "{found:?}");
    assert!(about("env").contains("b=c"), "{found:?}");
    assert_eq!(about("network"), "", "`--block-private` would have turned it on: {found:?}");
}
