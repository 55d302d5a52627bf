//! The policy asked about, learnt from a bottle that was observed, and taken over from elsewhere.

use crate::stage::{HOST, Stage, TOKEN, program};
use bottle_testkit::TestEnv;
use std::fs;

/// A token of GitHub's form, with its checksum.
const GITHUB: &str = "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";

#[test]
fn what_a_bottle_did_while_observed_is_what_its_manifest_allows() {
    let stage = Stage::ordinary();
    let url = format!("https://{HOST}/echo");
    let script = format!(
        "curl -sSf {url}/a && curl -sSf {url}/b && curl -sSf -d x=1 {url}/hook; curl -sS -d t={GITHUB} {url}/out; true"
    );
    // Without a route nothing leaves, and learning says what would have to be seen.
    let ran = stage.run(&["--name", "learn-aaaaa"], &["sh", "-c", &script]);
    assert!(stage.upstream.seen().is_empty(), "{ran}");
    let blind = stage.env.run(&["policy", "learn", "learn-aaaaa"]);
    assert!(blind.success().contains("routes: []") && blind.stdout.contains("--observe"), "{blind}");

    let ran = stage.run(&["--name", "learn-bbbbb", "--observe"], &["sh", "-c", &script]);
    let paths: Vec<String> = stage.upstream.seen().iter().map(|seen| seen.target.clone()).collect();
    assert_eq!(paths, ["/echo/a", "/echo/b", "/echo/hook"], "what holds a secret stays, observed or not: {ran}");
    assert!(stage.upstream.seen().iter().all(|seen| seen.header("authorization").is_none()));

    let learnt = stage.env.run(&["policy", "learn", "learn-bbbbb"]);
    assert!(learnt.success().contains("# left out: the scan found github-"), "{learnt}");
    assert!(learnt.stdout.contains("routes: []"), "{learnt}");
    assert!(!learnt.stdout.contains(GITHUB));

    let script = script.replace(GITHUB, "nothing");
    stage.run(&["--name", "learn-ccccc", "--observe"], &["sh", "-c", &script]).success();
    let written = stage.env.run(&["policy", "learn", "learn-ccccc", "--write", "learnt"]);
    written.success();
    let again = stage.env.run(&["policy", "learn", "learn-ccccc", "--write", "learnt"]);
    assert_eq!(again.code, Some(2), "never overwrites: {again}");
    for (method, path, code) in [
        ("GET", "/echo/a", 0),
        ("POST", "/echo/hook", 0),
        ("GET", "/echo/hook", 5),
        ("GET", "/echo/c", 5),
        ("DELETE", "/echo/a", 5),
    ] {
        let url = format!("https://{HOST}{path}");
        let ran = stage.env.run(&["policy", "check", "--bottle", "learnt", "--method", method, &url]);
        assert_eq!(ran.code, Some(code), "{method} {path}: {ran}");
    }
    let json = stage.env.run(&["policy", "learn", "learn-ccccc", "--json"]);
    let json: serde_json::Value = serde_json::from_str(json.success()).expect("JSON");
    assert_eq!((&json[0]["host"], &json[0]["granted"]), (&HOST.into(), &true.into()));
}

#[test]
fn a_request_is_searched_when_it_is_asked_about() {
    let mut env = TestEnv::ordinary(program());
    env.set("UP_TOKEN", TOKEN);
    let body = env.write("body.json", format!("{{\"a\": \"{GITHUB}\"}}"));
    let secret = env.write("secret.txt", format!("x={}", TOKEN.replace('-', "%2d")));
    let check = |flags: &[&str], rest: &[&str]| {
        let fixed = ["policy", "check", "--allow", "a.test", "--auth", "a.test=bearer:env:UP_TOKEN"];
        env.run(&[&fixed[..], flags, rest, &["https://a.test/x"]].concat())
    };
    let (body, secret) = (body.display().to_string(), secret.display().to_string());
    assert_eq!(check(&[], &[]).code, Some(0));
    let found = check(&[], &["--body-file", &body]);
    assert_eq!(found.code, Some(5), "{found}");
    assert!(found.stdout.contains("github-") && !found.stdout.contains(GITHUB), "{found}");
    let known = check(&[], &["--body-file", &secret]);
    assert!(known.code == Some(5) && known.stdout.contains("env:UP_TOKEN") && !known.stdout.contains(TOKEN), "{known}");
    assert_eq!(check(&[], &["--header", &format!("x-a: {GITHUB}")]).code, Some(5));
    assert_eq!(check(&["--on-finding", "a.test=log"], &["--body-file", &body]).code, Some(0));
    let overridden = check(&[], &["--header", "X-HTTP-Method-Override: DELETE", "--method", "POST"]);
    assert_eq!(overridden.code, Some(0), "a route of all methods: {overridden}");
    assert_eq!(check(&[], &["--header", "none"]).code, Some(2));
}

#[test]
fn what_the_gate_answers_itself_is_told_apart() {
    let env = TestEnv::ordinary(program());
    env.bottle("dev", "egress: { routes: [{ host: a.test, answer: '{}' }] }\n");
    let check = |rest: &[&str]| env.run(&[&["policy", "check", "--bottle", "dev", "https://a.test/x"], rest].concat());
    assert!(check(&[]).success().starts_with("answer: by the gate itself"), "{}", check(&[]));
    assert!(check(&["--json"]).success().contains("\"answer\""));
    assert_eq!(check(&["--header", &format!("x-a: {GITHUB}")]).code, Some(5), "a finding is one all the same");
}

#[test]
fn a_pipelock_file_is_taken_over_or_refused_by_name() {
    let env = TestEnv::ordinary(program());
    let strict =
        "version: 1\nmode: strict\napi_allowlist: [\"*.example.com\"]\nrequest_body_scanning: { action: block }\n";
    let file = env.write("pipelock.yaml", strict).display().to_string();
    env.run(&["policy", "import", &file, "--write", "taken"]).success();
    let ran = env.run(&["policy", "check", "--bottle", "taken", "https://api.example.com/"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    let ran = env.run(&["policy", "check", "--bottle", "taken", "https://example.org/"]);
    assert_eq!(ran.code, Some(5), "{ran}");
    fs::write(&file, format!("{strict}mcp_input_scanning: {{ enabled: true }}\n")).expect("a file");
    let refused = env.run(&["policy", "import", &file]);
    assert_eq!(refused.code, Some(3), "{refused}");
    assert!(refused.stderr.contains("mcp_input_scanning") && refused.stderr.contains(":5:"), "{refused}");
    env.run(&["policy", "import", &file, "--without", "mcp_input_scanning"]).success();
}

/// A secret that nothing injects, in a file of the user's: named by a flag and by a manifest. What runs in the bottle has its
/// halves alone, for the command line of a bottle may not hold it.
#[test]
fn a_protected_file_does_not_leave_in_a_request() {
    let stage = Stage::new();
    let file = stage.env.root().join("own-key");
    fs::write(&file, "one half of it and \"the other\" half\n").expect("a file of ours");
    let script = format!(
        r#"send() {{ curl -s -o /dev/null -w '%{{http_code}} ' --data-binary @- https://{HOST}/echo; }}
        printf '{{"k":"%s %s"}}' 'one half of it' 'and \"the other\" half' | send
        printf '%s %s' 'one half of it' 'and "the other" half' | base64 -w0 | send
        printf '%s' 'one half of it' | send"#
    );
    let flag = format!("file:{}", file.display());
    let ran = stage.run(&["--allow", HOST, "--protect", &flag], &["sh", "-c", &script]);
    assert_eq!(ran.success(), "403 403 200 ", "{ran}");
    let ran = stage.run(&["--allow", HOST], &["sh", "-c", &script]);
    assert_eq!(ran.success(), "200 200 200 ", "the control: {ran}");
    // A file of several lines, any of which is as bad as all.
    let lines = ["qO3v7RkBz1xWc9TnYh5LmUe8PdAs2GfJ", "Zt6KrB0wXy4NvQjH8eSiMcF1oDpGlU3a"];
    fs::write(&file, format!("[default]\nfirst = {}\nsecond = {}\n", lines[0], lines[1])).expect("a file of ours");
    let script = lines
        .map(|line| format!("curl -s -o /dev/null -w '%{{http_code}} ' -d '[default] {line}' https://{HOST}/echo;"));
    let script =
        format!("{} curl -s -o /dev/null -w '%{{http_code}}' -d '[default]' https://{HOST}/echo", script.concat());
    let ran = stage.run(&["--allow", HOST, "--protect", &flag], &["sh", "-c", &script]);
    assert_eq!(ran.success(), "403 403 200", "{ran}");
    let ran = stage.run(&["--allow", HOST], &["sh", "-c", &script]);
    assert_eq!(ran.success(), "200 200 200", "the control: {ran}");
    let ran = stage.run(&["--allow", HOST, "--auth", &format!("{HOST}=bearer:{flag}")], &["true"]);
    assert!(ran.failure(4).contains("on one line, and what the gate sends must be"), "{ran}");
    stage.env.bottle("own", &format!("protect: [\"{flag}\"]\negress: {{ routes: [{{ host: {HOST} }}] }}\n"));
    let (body, url) = (file.display().to_string(), format!("https://{HOST}/echo"));
    let asked = stage.env.run(&["policy", "check", "--bottle", "own", "--body-file", &body, &url]);
    assert!(asked.code == Some(5) && asked.stdout.contains("known-secret"), "{asked}");
}
