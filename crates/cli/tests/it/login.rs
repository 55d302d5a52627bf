//! A subscription's login, which the user's own client keeps: renewed once for all bottles, and by nobody twice. The
//! server stands in for those of the vendors and is as strict.

use crate::stage;
use bottle_testkit::{LoginServer, Ran, Running, TestEnv, env, wait_until};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const HOST: &str = "api.acme.test";
const SOON: Duration = Duration::from_secs(60);
/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);

#[derive(Debug)]
struct LoginStage {
    env: TestEnv,
    server: LoginServer,
    ca: PathBuf,
    /// When the client's token ends, in milliseconds since 1970.
    ends: u64,
}

impl LoginStage {
    /// A user who is logged in with the client `acme`.
    fn new(lives: Duration) -> LoginStage {
        let env = TestEnv::new(stage::program());
        let server = LoginServer::start(HOST, lives);
        let ca = env.write("config/upstream-ca.pem", server.api().authority().pem());
        let provider = format!(
            "program: acme\nlogin:\n  folder: .acme\n  folder_variable: ACME_HOME\n  file: auth.json\n  \
             access: /tokens/access\n  refresh: /tokens/refresh\n  expires: /tokens/ends\n  renewed: /renewed\n  \
             account: /account\n  also: {{ id_token: /tokens/id }}\n  token_url: {}\n  client_id: acme-cli\n  \
             request: json\n",
            server.token_url()
        );
        env.write("config/bot-bottle/providers/acme.yaml", provider);
        let ends = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + lives;
        let stage = LoginStage { env, server, ca, ends: u64::try_from(ends.as_millis()).unwrap() };
        stage.write_file(&stage.server.tokens());
        stage
    }

    fn file(&self) -> PathBuf {
        self.env.root().join("home/.acme/auth.json")
    }

    /// As the client writes it.
    fn write_file(&self, (access, refresh): &(String, String)) {
        let text = json!({
            "account": "me-7", "theme": "dark", "renewed": "2020-01-01T00:00:00Z",
            "tokens": { "access": access, "refresh": refresh, "ends": self.ends, "id": "id-0" },
        });
        let path = self.env.write("home/.acme/auth.json", text.to_string());
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn read_file(&self) -> Value {
        serde_json::from_slice(&fs::read(self.file()).unwrap()).unwrap()
    }

    fn login(&self, arguments: &[&str]) -> Ran {
        self.env.run(&[&["login"], arguments].concat())
    }

    /// A bottle whose requests to the API wear the login.
    fn spawn(&self, script: &str) -> Running {
        let resolve = format!("{HOST}={}", self.server.api().address());
        let (ca, auth) = (self.ca.display().to_string(), format!("{HOST}=bearer:login:acme"));
        let flags = ["run", "--allow", HOST, "--resolve", &resolve, "--upstream-ca", &ca, "--auth", &auth];
        self.env.spawn(&[&flags[..], &["--", "sh", "-c", script]].concat())
    }
}

/// Tokens of one login in text that the agent or others see.
fn tells(text: &str) -> bool {
    text.contains("access-of-generation") || text.contains("refresh-of-generation")
}

#[test]
fn what_a_client_keeps_is_taken_over_and_renewed_for_both() {
    let stage = LoginStage::new(LONG);
    let ran = stage.login(&["acme"]);
    assert!(ran.code == Some(0) && ran.stderr.contains("~/.acme/auth.json") && !tells(&ran.stderr), "{ran}");
    let kept = stage.env.state().join("logins/acme.json");
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(kept.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    let listed = stage.login(&["--json"]);
    let all: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!((&all[0]["name"], &all[0]["account"], &all[0]["renewals"]), (&json!("acme"), &json!("me-7"), &json!(0)));
    assert!(!tells(&listed.stdout));

    // Root may take over somebody's login.
    let owner = if env::is_root() { env::ORDINARY } else { rustix::process::getuid().as_raw() };
    chown(stage.file(), Some(owner), None).unwrap();
    let ran = stage.login(&["acme", "--renew"]);
    assert!(ran.code == Some(0) && !tells(&ran.stderr), "{ran}");
    let file = stage.read_file();
    assert_eq!(file["tokens"]["refresh"], "refresh-of-generation-1", "the client has the new one");
    assert_eq!((&file["tokens"]["id"], &file["theme"]), (&json!("id-1"), &json!("dark")));
    assert!(file["tokens"]["ends"].as_u64().unwrap() > stage.ends);
    assert_ne!(file["renewed"], "2020-01-01T00:00:00Z");
    let written = fs::metadata(stage.file()).unwrap();
    assert_eq!((written.permissions().mode() & 0o777, written.uid()), (0o600, owner));

    // The client renews it by itself.
    stage.server.renew();
    stage.write_file(&stage.server.tokens());
    stage.login(&["acme", "--renew"]).success();
    assert_eq!((stage.server.renewals(), stage.server.refused()), (3, 0), "its new token was used, and no old one");

    // Its file could not be written to: what it still holds is no news.
    fs::remove_file(stage.file()).unwrap();
    stage.login(&["acme", "--renew"]).success();
    stage.login(&["acme", "--renew"]).success();
    stage.write_file(&("access-of-generation-3".to_owned(), "refresh-of-generation-3".to_owned()));
    stage.login(&["acme", "--renew"]).success();
    assert_eq!((stage.server.renewals(), stage.server.refused()), (6, 0));
    assert_eq!(stage.read_file()["tokens"]["refresh"], "refresh-of-generation-6", "it is brought up to date");

    stage.login(&["acme", "--remove"]).success();
    assert!(!kept.exists() && stage.file().exists());
    assert_eq!(stage.login(&["acme", "--renew"]).code, Some(4));
}

#[test]
fn a_login_that_is_none_says_what_to_do() {
    let stage = LoginStage::new(LONG);
    for (arguments, code, next) in [
        (&["nobody"][..], 2, "the providers are"),
        (&["gemini"], 2, "has no login"),
        (&["claude"], 4, "log in with claude itself"),
        (&["acme", "--from", "/dev/null"], 4, "is no JSON, or no file"),
        (&["../acme"], 2, "does not name a provider"),
        (&["../acme", "--remove"], 2, "does not name a provider"),
    ] {
        let ran = stage.login(arguments);
        assert!(ran.code == Some(code) && ran.stderr.contains(next), "{arguments:?}: {ran}");
    }
    stage.env.write("home/.acme/auth.json", "{\"tokens\":{\"access\":\"a b\",\"refresh\":\"secret-word\"");
    let ran = stage.login(&["acme"]);
    assert!(ran.code == Some(4) && !ran.stderr.contains("secret-word"), "{ran}");
    let ran = stage.spawn("true").finish(SOON);
    assert!(ran.code == Some(4) && ran.stderr.contains("bot-bottle login acme"), "{ran}");
}

/// What a bottle does with a token that ends while it runs: the gate has another by then, or asks for one.
#[test]
fn a_bottle_never_notices_that_its_token_was_renewed() {
    let stage = LoginStage::new(LONG);
    stage.login(&["acme"]).success();
    let running = stage.spawn(
        "cd; curl -s https://api.acme.test/a; touch first; until [ -e go ]; do sleep 0.05; done; \
         curl -s -w '%{http_code}' https://api.acme.test/b; env",
    );
    wait_until("the first request", SOON, || stage.server.served() == 1);
    // Taken back before its time: a 401, for which the gate asks.
    stage.server.expire();
    let slug = stage.env.run(&["list", "--json"]).stdout;
    let slug: Value = serde_json::from_str(&slug).unwrap();
    let slug = slug[0]["slug"].as_str().unwrap().to_owned();
    stage.env.run(&["exec", &slug, "--", "sh", "-c", "touch ~/go"]).success();
    let ran = running.finish(SOON);
    assert!(ran.stdout.contains("200") && stage.server.served() == 2, "{ran}");
    assert_eq!((stage.server.renewals(), stage.server.refused()), (1, 0));
    assert!(!tells(&ran.stdout), "an echo comes back as the placeholder: {ran}");
    assert!(ran.stdout.contains("bot-bottle-placeholder-login-acme"), "{ran}");
    assert_eq!(stage.read_file()["tokens"]["refresh"], "refresh-of-generation-1");
}

/// Eight bottles under one login, whose tokens live half a second.
fn many_bottles(renewals: u64) {
    let stage = LoginStage::new(Duration::from_millis(500));
    stage.login(&["acme"]).success();
    let script = "ok=0; bad=0; until [ -e ~/stop ]; do \
                  case $(curl -s -o /dev/null -w '%{http_code}' https://api.acme.test/) in \
                  200) ok=$((ok + 1));; *) bad=$((bad + 1));; esac; sleep 0.2; done; echo ok $ok bad $bad";
    let running: Vec<Running> = (0..8).map(|_| stage.spawn(script)).collect();
    let patience = SOON + Duration::from_secs(renewals * 2);
    wait_until("the login to be renewed often", patience, || stage.server.renewals() >= renewals);
    let all: Value = serde_json::from_str(&stage.env.run(&["list", "--json"]).stdout).unwrap();
    for bottle in all.as_array().unwrap() {
        let slug = bottle["slug"].as_str().unwrap();
        stage.env.run(&["exec", slug, "--", "sh", "-c", "touch ~/stop"]).success();
    }
    for running in running {
        let ran = running.finish(SOON);
        let told = ran.success();
        assert!(told.contains("bad 0") && !told.contains("ok 0"), "{told}");
    }
    assert_eq!(stage.server.refused(), 0, "after {} renewals", stage.server.renewals());
    println!("{} renewals by 8 bottles, {} requests served", stage.server.renewals(), stage.server.served());
}

#[test]
fn eight_bottles_share_one_login() {
    many_bottles(24);
}

#[test]
#[ignore = "takes two minutes; the full form of eight_bottles_share_one_login"]
fn eight_bottles_share_one_login_for_200_renewals() {
    many_bottles(200);
}
