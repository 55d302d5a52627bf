//! What smolvm does not do as it was told, and what is said then.

use super::Yard;
use serde_json::json;

#[test]
fn a_machine_that_is_not_as_ordered_does_not_start() {
    for (key, value) in [
        ("network", json!(true)),
        ("published_sockets", json!([])),
        ("stop_on_exit", json!(false)),
        ("ports", json!([[8080, 80]])),
        ("ssh_agent", json!(true)),
    ] {
        let yard = Yard::of_stand_ins();
        yard.machines.behave(&json!({ "writes": { key: value } }));
        let ran = yard.run(&[], &["true"]);
        assert!(ran.code == Some(4) && ran.stderr.contains(key), "{key}: {ran}");
        let calls = yard.machines.take_calls().join("\n");
        assert!(calls.contains("\"create\"") && !calls.contains("\"start\""), "{calls}");
        yard.nothing_is_left();
    }
}

#[test]
fn a_version_that_is_too_old_or_lacks_a_flag_is_refused_before_anything_is_made() {
    for (how, said) in [
        (json!({ "version": "1.7.7" }), "too old: 1.8.0"),
        (json!({ "version": "wrong" }), "no version"),
        (json!({ "knows no": ["--mount-socket"] }), "--mount-socket"),
    ] {
        let yard = Yard::of_stand_ins();
        yard.machines.behave(&how);
        let ran = yard.run(&[], &["true"]);
        assert!(ran.code == Some(4) && ran.stderr.contains(said), "{ran}");
        assert!(!yard.machines.take_calls().join("\n").contains("--name"));
        yard.nothing_is_left();
    }
}

/// Each is told what it knows and nothing else, and what it does not know is made up for.
#[test]
fn older_versions_have_whole_bottles() {
    for (version, told) in [
        ("1.8.0", &["--label"][..]),
        ("1.14.0", &["--label", "--user"]),
        ("1.22.0", &["--label", "--user", "--stop-on-exit"]),
    ] {
        let yard = Yard::of_stand_ins();
        yard.machines.behave(&json!({ "version": version }));
        let reach = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "https://up.test/echo-headers"];
        let ran = yard.run(&["--allow", crate::stage::HOST], &reach);
        assert_eq!(ran.success(), "200", "{version}: {ran}");
        let calls = yard.machines.take_calls().join("\n");
        for flag in ["--label", "--user", "--stop-on-exit"] {
            assert_eq!(calls.contains(flag), told.contains(&flag), "{version}, {flag}: {calls}");
        }
        yard.nothing_is_left();
    }
}

#[test]
fn a_version_that_nobody_tested_with_is_said_before_it_is_used() {
    let yard = Yard::of_stand_ins();
    yard.machines.behave(&json!({ "version": "1.99.0" }));
    let env = &yard.stage.env;
    env.bottle("dev", "");
    env.agent("one", "bottle: dev\nprovider: command\ncommand: [\"true\"]");
    let shown = env.run(&["preflight", "one"]);
    assert!(shown.success().contains("smolvm 1.99.0 is newer than any that was tested"), "{shown}");
    assert_eq!(yard.run(&[], &["true"]).code, Some(0));
    yard.nothing_is_left();
}

/// What an older one says of what it does not know is believed as little.
#[test]
fn an_older_version_that_drops_a_socket_makes_no_bottle() {
    let yard = Yard::of_stand_ins();
    yard.machines.behave(&json!({ "version": "1.8.0", "writes": { "published_sockets": [] } }));
    let ran = yard.run(&[], &["true"]);
    assert!(ran.code == Some(4) && ran.stderr.contains("published_sockets"), "{ran}");
    yard.nothing_is_left();
}

#[test]
fn a_machine_that_does_not_come_up_shows_its_console() {
    let yard = Yard::of_stand_ins();
    yard.machines.behave(&json!({ "boot": "never" }));
    let ran = yard.run(&[], &["true"]);
    assert!(ran.code == Some(4) && ran.stderr.contains("a kernel that stops"), "{ran}");
    assert!(!ran.stderr.contains('\u{1b}'), "{ran}");
    yard.nothing_is_left();
}

#[test]
fn a_machine_that_misses_its_time_once_gets_a_second_try() {
    let yard = Yard::of_stand_ins();
    yard.machines.behave(&json!({ "boot": "late" }));
    assert_eq!(yard.run(&[], &["echo", "up"]).success(), "up\n");
    let starts = yard.machines.take_calls().iter().filter(|call| call.contains("\"start\"")).count();
    assert_eq!(starts, 2);
    yard.nothing_is_left();
}

/// Each says what it is and what to do, and leaves nothing.
#[test]
fn whatever_smolvm_ends_with_is_an_error_of_its_own() {
    for (how, said) in [
        (json!({ "start": "no kvm" }), "join the group `kvm`"),
        (json!({ "start": "not allowed" }), "join the group `kvm`"),
        (json!({ "start": "no disk" }), "`bot-bottle cleanup` takes away what ended bottles left"),
        (json!({ "create": "exists" }), "`bot-bottle cleanup` takes away what a crash left"),
        (json!({ "start": "dies" }), "`smolvm machine start` failed with 137; `bot-bottle doctor`"),
        (json!({ "boot": "breaks" }), "its last words were:\nlibkrunfw.so.5:  [31mno such library"),
        (json!({ "boot": "ends" }), "the end of its console:\na machine that ends at once"),
    ] {
        let yard = Yard::of_stand_ins();
        yard.machines.behave(&how);
        let ran = yard.run(&[], &["true"]);
        assert!(ran.code == Some(4) && ran.stderr.contains(said), "{how}: {ran}");
        yard.nothing_is_left();
    }
}

#[test]
fn nothing_secret_is_told_to_smolvm() {
    let mut yard = Yard::of_stand_ins();
    yard.stage.env.set("SOMETHING", "of-the-users-own-5a1f");
    let auth = format!("{}=bearer:env:UP_TOKEN", crate::stage::HOST);
    let ran = yard.run(&["--allow", crate::stage::HOST, "--auth", &auth, "--env", "A=b-of-the-bottle"], &["true"]);
    ran.success();
    let calls = yard.machines.take_calls().join("\n");
    for secret in [crate::stage::TOKEN, "of-the-users-own", "b-of-the-bottle", "placeholder"] {
        assert!(!calls.contains(secret), "{secret}: {calls}");
    }
    yard.nothing_is_left();
}
