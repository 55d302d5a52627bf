//! The stock git client in a bottle, through the git door.

mod ask;
mod attack;
mod fetch;
mod freeze;
mod large;
mod names;
mod push;
mod race;
mod remote;

use bottle_testkit::{GitRepository, Ran, TestEnv, wait_for};
use std::time::Duration;

/// A home with one upstream, called `app`.
#[derive(Debug)]
pub(crate) struct GitStage {
    pub(crate) env: TestEnv,
    pub(crate) upstream: GitRepository,
}

impl GitStage {
    pub(crate) fn new() -> GitStage {
        GitStage::on(TestEnv::new(crate::stage::program()))
    }

    pub(crate) fn on(env: TestEnv) -> GitStage {
        let upstream = GitRepository::new(&env.work(), "app", env.user());
        GitStage { env, upstream }
    }

    /// A shell in a bottle that has the repository `app`.
    #[track_caller]
    pub(crate) fn shell(&self, flags: &[&str], script: &str) -> Ran {
        self.env.run(&self.arguments(flags, script))
    }

    pub(crate) fn arguments(&self, flags: &[&str], script: &str) -> Vec<String> {
        let git = format!("app={}", self.upstream.path().display());
        let command = ["--", "sh", "-euc", script];
        [&["run", "--git", &git][..], flags, &command].concat().into_iter().map(str::to_owned).collect()
    }

    /// The request that waits, when it does.
    pub(crate) fn waiting(&self) -> serde_json::Value {
        wait_for("a request", Duration::from_secs(30), || {
            let listed = self.env.run(&["requests", "--json"]);
            let listed: serde_json::Value = serde_json::from_str(listed.success()).expect("a list of requests");
            listed.as_array().and_then(|requests| requests.first()).cloned()
        })
    }

    /// What became of every git operation, from the audit log of the last bottle.
    pub(crate) fn audited(&self) -> Vec<String> {
        let listed = self.env.run(&["audit", "list", "--json"]);
        let listed: serde_json::Value = serde_json::from_str(listed.success()).expect("a list of logs");
        let last = listed.as_array().and_then(|logs| logs.last()).expect("a log");
        let bottle = last["bottle"].as_str().expect("a bottle's name");
        self.env.run(&["audit", "verify", bottle]).success();
        let shown = self.env.run(&["audit", "show", bottle]);
        let lines = shown.success().lines().filter(|line| line.contains(" git ") || line.contains("ended"));
        lines.map(|line| line.get(10..).unwrap_or_default().to_owned()).collect()
    }
}
