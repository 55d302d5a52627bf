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
        (json!({ "version": "1.7.4" }), "too old: 1.8.1"),
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
