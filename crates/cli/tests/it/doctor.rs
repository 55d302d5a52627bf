//! What the doctor mends: smolvm, installed from an index of packages. The index is a server of the test's own.

use crate::tools::cache;
use bottle_testkit::{
    Ran, TestEnv, TlsUpstream, env,
    upstream::{
        Asked, Handler, Response,
        routes::{full, json_answer},
    },
};
use serde_json::json;
use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, sync::Arc};

#[cfg(target_arch = "x86_64")]
const WHEEL: &str = "smolmachines-1.32.2-cp39-abi3-manylinux_2_28_x86_64.whl";
#[cfg(target_arch = "aarch64")]
const WHEEL: &str = "smolmachines-1.32.2-cp39-abi3-manylinux_2_28_aarch64.whl";

/// An index with one file of that name, and what it holds.
fn index(content: Vec<u8>) -> TlsUpstream {
    let content: Arc<[u8]> = content.into();
    let handler: Handler = Arc::new(move |asked: Asked| {
        let file = format!("http://{}/files/{WHEEL}", asked.seen.host);
        let answer = match asked.seen.path() {
            "/simple/smolmachines/" => {
                let files = json!({ "files": [
                    { "filename": "smolmachines-0.1-py3-none-any.whl", "url": "http://127.0.0.1:1/", "hashes": {} },
                    { "filename": WHEEL, "url": file, "hashes": {} },
                ]});
                json_answer(http::StatusCode::OK, files.to_string())
            }
            path if path == format!("/files/{WHEEL}") => Response::new(full(content.to_vec())),
            _ => json_answer(http::StatusCode::NOT_FOUND, "{}".to_owned()),
        };
        Box::pin(async move { answer })
    });
    TlsUpstream::options(&[]).plain().handler(handler).start()
}

struct Patient {
    env: TestEnv,
    index: TlsUpstream,
}

impl Patient {
    fn with(content: Vec<u8>) -> Patient {
        let mut env = TestEnv::ordinary(crate::stage::program());
        let index = index(content);
        env.set("PIP_INDEX_URL", &format!("http://127.0.0.1:{}/simple/", index.port()));
        Patient { env, index }
    }

    fn fix(&self) -> Ran {
        self.env.run(&["doctor", "--fix"])
    }

    fn installed(&self) -> PathBuf {
        self.env.root().join("cache/bot-bottle/smolvm/1.32.2/smolvm")
    }

    fn machines(&self) -> String {
        let checks: serde_json::Value =
            serde_json::from_str(&self.env.run(&["doctor", "--json"]).stdout).expect("JSON");
        let check = checks.as_array().expect("checks").iter().find(|it| it["name"] == "machines").expect("a check");
        check.to_string()
    }
}

#[test]
fn a_file_that_is_another_is_not_installed() {
    let patient = Patient::with(b"this is no wheel".to_vec());
    let ran = patient.fix();
    assert!(ran.code == Some(4) && ran.stderr.contains("its SHA-256 is"), "{ran}");
    assert!(!patient.installed().exists());
    assert!(patient.machines().contains("bot-bottle doctor --fix"), "{}", patient.machines());
    let asked: Vec<String> = patient.index.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(asked, ["/simple/smolmachines/".to_owned(), format!("/files/{WHEEL}")]);
}

#[test]
fn an_index_without_it_is_told_and_so_is_one_that_is_not_there() {
    let mut patient = Patient::with(Vec::new());
    patient.env.set("PIP_INDEX_URL", &format!("http://127.0.0.1:{}/other", patient.index.port()));
    let ran = patient.fix();
    assert!(ran.code == Some(4) && ran.stderr.contains("404") && ran.stderr.contains("PIP_INDEX_URL"), "{ran}");
    patient.env.set("PIP_INDEX_URL", "http://index.example/simple");
    let ran = patient.fix();
    assert!(ran.code == Some(4) && ran.stderr.contains("loopback"), "in the clear to another machine: {ran}");
    patient.env.set("BOT_BOTTLE_SMOLVM", "/nonexistent/smolvm");
    let ran = patient.fix();
    assert!(ran.code == Some(4) && ran.stderr.contains("unset it"), "{ran}");
}

#[test]
fn pip_fetches_it_where_no_index_is_named() {
    let tools = cache().map(|cache| (cache.join("venv/bin"), cache.join("wheels")));
    let Some((python, wheels)) = tools.filter(|(python, wheels)| python.is_dir() && wheels.join(WHEEL).is_file())
    else {
        println!("SKIPPED(no pip and no wheel of smolvm): see scripts/install-test-needs");
        return;
    };
    let mut env = TestEnv::new(crate::stage::program());
    // As a pip that is set up for a mirror: nothing is asked of any other.
    env.set("PIP_NO_INDEX", "1");
    env.set("PIP_FIND_LINKS", &wheels.display().to_string());
    env.set("PATH", &format!("{}:/usr/bin:/bin", python.display()));
    let ran = env.run(&["doctor", "--fix"]);
    let place = env.root().join("cache/bot-bottle/smolvm");
    assert!(ran.stderr.contains("smolvm is installed at ") && place.join("1.32.2/smolvm").is_file(), "{ran}");
    assert!(!place.join("fetched").exists());
    let mut without = TestEnv::new(crate::stage::program());
    without.set("PATH", "/nonexistent");
    let ran = without.run(&["doctor", "--fix"]);
    assert!(ran.code == Some(4) && ran.stderr.contains("python3") && ran.stderr.contains("PIP_INDEX_URL"), "{ran}");
}

#[test]
fn smolvm_is_installed_once_and_found_after_path() {
    let wheel = cache().map(|cache| cache.join("wheels").join(WHEEL)).filter(|path| path.is_file());
    let Some(wheel) = wheel else {
        println!("SKIPPED(no wheel of smolvm): see scripts/install-test-needs");
        return;
    };
    let mut patient = Patient::with(fs::read(wheel).expect("a file of the tests"));
    let ran = patient.fix();
    assert!(ran.stderr.contains("smolvm is installed at ") && patient.installed().is_file(), "{ran}");
    let found = patient.machines();
    assert!(found.contains("smolvm 1.32.2") || found.contains("/dev/kvm"), "{found}");
    let again = patient.fix();
    assert!(again.stderr.contains("smolvm 1.32.2 is there already"), "{again}");
    assert_eq!(patient.index.seen().len(), 2, "nothing is fetched twice");
    // One in PATH comes first.
    let other = patient.env.write("bin/smolvm", "#!/bin/sh\necho smolvm 1.0.0\n");
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).expect("a file of ours");
    let folder = other.parent().expect("a folder").to_owned();
    if env::is_root() {
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("a folder of ours");
    }
    patient.env.set("PATH", &format!("{}:/usr/bin:/bin", folder.display()));
    assert!(patient.machines().contains("1.0.0 is too old"), "{}", patient.machines());
    let ran = patient.fix();
    assert!(ran.stderr.contains("which comes first"), "{ran}");
}
