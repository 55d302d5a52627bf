//! What is told: to the user before a machine starts, and to smolvm.

use super::{NAME, Yard};
use crate::stage::HOST;
use bottle_testkit::GitRepository;
use serde_json::{Value, json};
use std::{fs, os::unix::net::UnixListener};

/// Without the paths of this test.
fn plain(yard: &Yard, text: &str) -> String {
    text.replace(&yard.stage.env.root().display().to_string(), "[root]")
}

#[test]
fn the_preflight_says_by_what_the_machine_is_made_and_what_it_has() {
    let yard = Yard::of_stand_ins();
    let env = &yard.stage.env;
    env.bottle("dev", "egress: { routes: [{ host: api.test }] }\nlimits: { cpus: 2, memory: 1GiB }\n");
    env.agent("one", "bottle: dev\nprovider: command\ncommand: [\"true\"]");
    let shown = env.run(&["preflight", "one", "--name", "one-abcde"]);
    insta::assert_snapshot!("preflight", plain(&yard, shown.success()));
    let plan = |arguments: &[&str]| -> Value {
        let ran = env.run(&[&["preflight", "one", "--json"], arguments].concat());
        let plan: Value = serde_json::from_str(ran.success()).expect("a plan");
        json!({ "backend": plan["backend"], "machine": plan["machine"], "limits": plan["limits"] })
    };
    insta::assert_snapshot!("plan", serde_json::to_string_pretty(&plan(&[])).expect("JSON"));
    assert_eq!(plan(&["--backend", "namespace", "--image", "host"])["machine"], Value::Null);
    // One that does not say which it is has no profile; the launch says what is wrong with it.
    yard.machines.behave(&json!({ "version": "wrong" }));
    assert_eq!(plan(&[])["machine"], Value::Null);
}

/// Every call, and all that smolvm's environment has.
#[test]
fn a_whole_bottle_in_the_words_that_smolvm_hears() {
    let yard = Yard::of_stand_ins();
    let env = &yard.stage.env;
    let upstream = GitRepository::new(&env.work(), "app", env.user());
    let git = format!("app={}", upstream.path().display());
    let (file, directory) = (env.write("given/file", "a file"), env.write("shown/in", "in a directory"));
    let directory = directory.parent().expect("a directory");
    let (file, directory) = (format!("{}:/opt/file", file.display()), format!("{}:/opt/shown", directory.display()));
    let script = "cat /opt/file /opt/shown/in; pwd; test -n \"$BOT_BOTTLE_MCP_URL$GIT_GATE_URL\"";
    let flags = ["--name", NAME, "--workspace", "copy", "--mount", &file, "--mount", &directory, "--git", &git];
    let routes = ["--allow", HOST, "--allow", "other.test:8443"];
    let ran = yard.run(&[&flags[..], &routes].concat(), &["sh", "-c", script]);
    assert_eq!(ran.success(), "a filein a directory/workspace\n", "{ran}");
    let calls = yard.machines.take_calls();
    let mut text = String::new();
    for call in &calls {
        let call: Value = serde_json::from_str(call).expect("a call");
        let words = call["arguments"].as_array().expect("words").iter().filter_map(Value::as_str);
        text.push_str(&words.map(|word| format!("{word}\n")).collect::<String>());
        let variables = call["environment"].as_object().expect("variables").iter();
        // What the stand-in's own interpreter sets.
        let mut variables: Vec<String> = variables
            .filter(|(name, _)| *name != "LC_CTYPE")
            .map(|(name, value)| format!("  {name}={}\n", value.as_str().unwrap_or_default()))
            .collect();
        variables.sort();
        text.push_str(&format!("{}\n", variables.concat()));
    }
    insta::assert_snapshot!("calls", plain(&yard, &text));
    yard.nothing_is_left();
}

/// With an engine that does not answer, with one that would hear whoever asked, and without its client.
#[test]
fn a_start_needs_no_docker() {
    let mut yard = Yard::of_stand_ins();
    let empty = yard.stage.env.root().join("nothing");
    fs::create_dir(&empty).expect("a directory of ours");
    yard.stage.env.set("PATH", &empty.display().to_string());
    let socket = yard.stage.env.root().join("engine.sock");
    yard.stage.env.set("DOCKER_HOST", &format!("unix://{}", socket.display()));
    yard.stage.env.bottle("dev", "limits: { cpus: 1, memory: 512MiB }\n");
    yard.stage.env.agent("one", "bottle: dev\nprovider: command\ncommand: [echo, up]");
    drop(UnixListener::bind(&socket).expect("a socket of ours"));
    let pack = yard.machines.pack(&yard.stage.env).map(|path| format!("smolmachine:{}", path.display()));
    let images = [Some(format!("dir:{}", yard.stage.env.root().join("image").display())), pack];
    let start = |image: &str| {
        let flags = ["--backend", "smolmachines", "--image", image, "--workspace", "none"];
        let ran = yard.stage.env.run(&[&["start", "one", "--yes"], &flags[..]].concat());
        assert_eq!(ran.success(), "up\n", "{image}: {ran}");
    };
    images.iter().flatten().for_each(|image| start(image));
    fs::remove_file(&socket).expect("a socket of ours");
    let engine = UnixListener::bind(&socket).expect("a socket of ours");
    engine.set_nonblocking(true).expect("a socket of ours");
    std::os::unix::fs::chown(&socket, Some(yard.stage.env.user()), None).expect("a socket of ours");
    images.iter().flatten().for_each(|image| start(image));
    assert!(engine.accept().is_err(), "an engine was asked");
    // Its path is below the test's own root, where nothing may be left.
    drop(engine);
    yard.nothing_is_left();
}
