//! The audit log as its owner meets it: kept when its bottle is gone, verified, and exported to other tools.

use crate::{
    stage::{HOST, Stage},
    tools::cache,
};
use bottle_testkit::{wait_for, wait_until};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    iter,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

const SOON: Duration = Duration::from_secs(30);
const ALLOW: &[&str] = &["--allow", "up.test:GET/echo/**"];

/// A bottle that came and went, with one request allowed and two denied; its name.
fn gone(stage: &Stage) -> String {
    let script = "for path in echo/a other echo/b%3C%26; do curl -s -o /dev/null https://up.test/$path; done; :";
    stage.run(ALLOW, &["sh", "-c", script]).success();
    assert!(stage.env.bottles().is_empty(), "an ephemeral bottle stayed");
    let listed: Value = serde_json::from_str(stage.env.run(&["audit", "list", "--json"]).success()).expect("JSON");
    let listed = listed.as_array().expect("a list");
    assert_eq!((listed.len(), &listed[0]["state"]), (1, &"gone".into()), "{listed:?}");
    listed[0]["bottle"].as_str().expect("a name").to_owned()
}

/// Where the kept log is.
fn kept(stage: &Stage) -> PathBuf {
    let kept = stage.env.state().join("audit/kept");
    let mut entries = fs::read_dir(kept).expect("kept logs");
    entries.next().expect("one").expect("an entry").path()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

#[test]
fn the_log_of_a_bottle_that_is_gone_is_kept_and_proves_itself() {
    let stage = Stage::ordinary();
    let bottle = gone(&stage);
    let shown = stage.env.run(&["audit", "show", &bottle]);
    assert!(shown.success().contains("allow GET up.test:443/echo/a"), "{shown}");
    assert!(shown.stdout.contains("deny  GET up.test:443/other -> 403 [path_not_allowed]"), "{shown}");
    let verified: Value =
        serde_json::from_str(stage.env.run(&["audit", "verify", &bottle, "--json"]).success()).expect("JSON");
    let records = verified["records"].as_u64().expect("a number");
    assert!(records >= 6, "{verified}");
    assert_eq!((&verified["signed_records"], &verified["noted_records"]), (&records.into(), &records.into()));
    let key = stage.env.run(&["audit", "key"]).success().trim().to_owned();
    assert_eq!(verified["signer"], key.as_str());

    // The same as a copy that someone else has, with the key and the note, and without.
    let directory = kept(&stage);
    let log = directory.join("audit.jsonl").display().to_string();
    stage.env.run(&["audit", "verify", "--log", &log, "--key", &key]).success();
    stage.env.run(&["audit", "verify", "--log", &log, "--key", &"00".repeat(32)]).failure(5);

    let whole = fs::read_to_string(&log).expect("the log");
    let all: Vec<&str> = whole.split_inclusive('\n').collect();
    for (what, damaged) in [
        ("cut", all[..all.len() - 1].concat()),
        ("edited", whole.replacen("path_not_allowed", "upstream_timeout", 1)),
        ("reordered", [&all[..2], &[all[3], all[2]], &all[4..]].concat().concat()),
        ("emptied", String::new()),
    ] {
        fs::write(&log, damaged).expect("a file of ours");
        let refused = stage.env.run(&["audit", "verify", &bottle]);
        assert!(refused.failure(5).contains("does not verify"), "{what}: {refused}");
        stage.env.run(&["audit", "export", &bottle, "--format", "receipts"]).failure(5);
    }
    fs::write(&log, &whole).expect("a file of ours");
    stage.env.run(&["audit", "verify", &bottle]).success();
    fs::remove_file(directory.join("head")).expect("a file of ours");
    stage.env.run(&["audit", "verify", &bottle]).failure(5);

    stage.env.run(&["cleanup", "--logs", "--yes"]).success();
    assert_eq!(stage.env.run(&["audit", "list"]).success(), "");
    stage.env.run(&["audit", "show", &bottle]).failure(2);
}

#[test]
fn an_export_says_what_the_log_does() {
    let stage = Stage::ordinary();
    let bottle = gone(&stage);
    let export = |format: &str| stage.env.run(&["audit", "export", &bottle, "--format", format]).success().to_owned();
    let records = lines(&export("jsonl"));
    assert_eq!(records.first().map(|record| &record["event"]), Some(&"gate_started".into()));
    let events = lines(&export("ocsf"));
    assert_eq!(events.len(), records.len());
    let denied = events.iter().find(|event| event["status_detail"] == "path_not_allowed").expect("a denial");
    assert_eq!((&denied["class_uid"], &denied["http_request"]["url"]["hostname"]), (&4002.into(), &HOST.into()));
    let requests = lines(&export("otlp"));
    let logs = &requests[0]["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
    assert_eq!(logs.as_array().map(Vec::len), Some(records.len()));
    let since = stage.env.run(&["audit", "export", &bottle, "--since", "3"]);
    assert_eq!(lines(since.success()), records[3..]);
}

/// By the models of a library that others read such events with. It knows findings, and no traffic.
#[test]
fn an_exported_finding_is_one_to_a_reader_of_that_schema() {
    let Some(python) = cache().map(|cache| cache.join("readers/bin/python")).filter(|path| path.exists()) else {
        return println!("SKIPPED(no py-ocsf-models): run scripts/install-test-needs");
    };
    let stage = Stage::ordinary();
    let script = format!("curl -s -o /dev/null -d key=AKIA{} https://up.test/echo/a; :", "QYLPMN5HHHFPZAM2");
    stage.run(&["--keep", "--name", "found-kqzmb", "--allow", HOST], &["sh", "-c", &script]).success();
    let exported = stage.env.run(&["audit", "export", "found-kqzmb", "--format", "ocsf"]).success().to_owned();
    let finding = exported.lines().find(|line| line.contains(r#""class_uid":2004"#)).expect("a finding");
    let read = |event: &str| {
        let path = stage.env.write("event.json", event);
        let reader = "import sys, pydantic\n\
                      from py_ocsf_models.events.findings.detection_finding import DetectionFinding as Finding\n\
                      try: event = Finding.model_validate_json(open(sys.argv[1]).read())\n\
                      except pydantic.ValidationError as error: sys.exit(f'no finding: {error}')\n\
                      print(event.severity_id.name, event.activity_id.name, event.finding_info.analytic.uid,\n\
                            event.status_id.name, event.metadata.product.name)";
        let ran = Command::new(&python).args(["-c", reader]).arg(path).output().expect("python runs");
        (String::from_utf8_lossy(&ran.stdout).into_owned(), String::from_utf8_lossy(&ran.stderr).into_owned())
    };
    let (said, failed) = read(finding);
    assert_eq!(said, "High Create aws-access-key-id New bot-bottle\n", "{failed}\n{finding}");
    for (is, other) in [(r#""severity_id":4"#, r#""severity_id":"4x""#), (r#""finding_info":"#, r#""finding":"#)] {
        let (_, failed) = read(&finding.replacen(is, other, 1));
        assert!(failed.contains("no finding"), "{other}: {failed}");
    }
    stage.env.run(&["cleanup", "--all", "--yes"]).success();
}

#[test]
fn pipelocks_own_verifier_takes_our_receipts_and_no_others() {
    let Some(verifier) = cache().map(|cache| cache.join("readers/bin/pipelock-verify")).filter(|path| path.exists())
    else {
        return println!("SKIPPED(no pipelock-verify): run scripts/install-test-needs");
    };
    let stage = Stage::ordinary();
    let bottle = gone(&stage);
    let receipts = stage.env.run(&["audit", "export", &bottle, "--format", "receipts"]).success().to_owned();
    let key = stage.env.run(&["audit", "key"]).success().trim().to_owned();
    let verify = |receipts: &str, key: &str| {
        let path = stage.env.write("receipts.jsonl", receipts);
        let ran = Command::new(&verifier).arg(&path).args(["--key", key]).output().expect("the verifier runs");
        (ran.status.success(), String::from_utf8_lossy(&ran.stdout).into_owned())
    };
    let (good, said) = verify(&receipts, &key);
    assert!(good && said.contains("CHAIN VALID"), "{said}\n{receipts}");
    assert!(receipts.lines().count() >= 3, "{receipts}");
    let all: Vec<&str> = receipts.split_inclusive('\n').collect();
    for (what, damaged) in [
        ("edited", receipts.replacen(r#""verdict":"block""#, r#""verdict":"allow""#, 1)),
        ("reordered", [&[all[1], all[0]], &all[2..]].concat().concat()),
        ("its first one missing", all[1..].concat()),
    ] {
        let (good, said) = verify(&damaged, &key);
        assert!(!good, "{what}: {said}");
    }
    assert!(!verify(&receipts, &"00".repeat(32)).0, "a key of someone else's");
}

#[test]
fn what_is_written_has_the_schemas_that_are_printed() {
    let Some(checker) = cache().map(|cache| cache.join("readers/bin/check-jsonschema")).filter(|path| path.exists())
    else {
        return println!("SKIPPED(no check-jsonschema): run scripts/install-test-needs");
    };
    let stage = Stage::ordinary();
    let bottle = gone(&stage);
    let good = |of: &str, instances: &[(String, String)]| {
        let schema = stage.env.write("schema.json", stage.env.run(&["schema", of]).success());
        let paths: Vec<PathBuf> = instances.iter().map(|(name, text)| stage.env.write(name, text)).collect();
        let ran =
            Command::new(&checker).arg("--schemafile").arg(schema).args(paths).output().expect("the checker runs");
        (ran.status.success(), String::from_utf8_lossy(&ran.stdout).into_owned())
    };
    let records = stage.env.run(&["audit", "export", &bottle]).success().to_owned();
    let named = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let all: Vec<_> = records.lines().enumerate().map(|(at, line)| named(&format!("record{at}.json"), line)).collect();
    let (held, said) = good("audit", &all);
    assert!(held, "{said}");
    let denied = records.lines().find(|line| line.contains(r#""decision":"deny""#)).expect("a denial");
    for damaged in [
        denied.replace(r#""decision":"deny""#, r#""decision":"perhaps""#),
        denied.replace(r#""port":443"#, r#""port":"443""#),
        denied.replace(r#""status":403,"#, ""),
        denied.replace(r#""seq":"#, r#""sequence":"#),
    ] {
        assert!(!good("audit", &[named("damaged.json", &damaged)]).0, "{damaged}");
    }
    let bottle =
        "image: host\negress:\n  routes:\n    - host: a.test\n      methods: [GET]\nlimits: { memory: 4GiB }\n";
    let (held, said) = good("bottle", &[named("good.yaml", bottle)]);
    assert!(held, "{said}");
    for damaged in [
        bottle.replace("host: a.test", "hots: a.test"),
        bottle.replace("[GET]", "GET: 1"),
        bottle.replace("4GiB", "[4]"),
    ] {
        assert!(!good("bottle", &[named("bad.yaml", &damaged)]).0, "{damaged}");
    }
    let agent = "bottle: dev\nprovider: claude\nskills: [pdf]\n";
    assert!(good("agent", &[named("good.yaml", agent)]).0);
    assert!(!good("agent", &[named("bad.yaml", &agent.replace("skills", "skils"))]).0);
}

/// A stand-in for an OpenTelemetry collector: takes requests until a connection brings none. It takes the second try.
fn collector(listener: TcpListener) -> mpsc::Receiver<Value> {
    let (records, heard) = mpsc::channel();
    thread::spawn(move || {
        let mut refuse_once = true;
        loop {
            let (stream, _) = listener.accept().expect("a connection");
            let mut reader = BufReader::new(&stream);
            let mut length = 0;
            let mut line = String::new();
            if reader.read_line(&mut line).expect("a head") == 0 {
                return;
            }
            line.clear();
            while reader.read_line(&mut line).expect("a head") > 2 {
                if let Some(value) = line.strip_prefix("content-length: ") {
                    length = value.trim().parse().expect("a number");
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            let status = if std::mem::take(&mut refuse_once) { "503 Later" } else { "200 OK" };
            (&stream)
                .write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}").as_bytes())
                .expect("an answer");
            if status == "200 OK" {
                let request: Value = serde_json::from_slice(&body).expect("OTLP is JSON");
                let logs = request["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().expect("records");
                // The test may have failed meanwhile.
                logs.iter().for_each(|record| drop(records.send(record.clone())));
            }
        }
    });
    heard
}

#[test]
fn a_collector_hears_of_a_running_bottle_as_it_goes() {
    let stage = Stage::ordinary();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let endpoint = format!("http://{address}/v1/logs");
    let heard = collector(listener);
    let mut running = stage.spawn(ALLOW, &["sh", "-c", "curl -s -o /dev/null https://up.test/echo/a; read line"]);
    let bottle = wait_for("a bottle", SOON, || stage.env.bottles().into_iter().find(|name| !name.starts_with('.')));
    let log = stage.env.state().join("bottles").join(&bottle).join("audit/audit.jsonl");
    wait_until("a log", SOON, || fs::read_to_string(&log).is_ok_and(|log| log.contains("/echo/a")));
    let arguments = ["audit", "export", &bottle, "--format", "otlp", "--follow", "--otlp-endpoint", &endpoint];
    let mut command = stage.env.command(&arguments);
    let exporter = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let first = heard.recv_timeout(SOON).expect("a record while the bottle runs");
    running.kill();
    let exported = exporter.and_then(Child::wait_with_output).expect("the program starts");
    drop(TcpStream::connect(address).expect("the collector listens"));
    let records: Vec<Value> = iter::once(first).chain(heard).collect();
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    let stopped = records.iter().any(|record| record["eventName"] == "bot_bottle.gate_stopped");
    assert!(stopped, "to the end: {}", String::from_utf8_lossy(&exported.stderr));
    let numbers: Vec<u64> = records
        .iter()
        .map(|record| {
            assert!(record["timeUnixNano"].as_str().is_some_and(|time| time.parse::<u64>().is_ok()), "{record}");
            let attributes = record["attributes"].as_array().expect("attributes");
            let seq = attributes.iter().find(|attribute| attribute["key"] == "bot_bottle.seq").expect("its number");
            seq["value"]["intValue"].as_str().expect("a text").parse().expect("a number")
        })
        .collect();
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "each once, in order");
}
