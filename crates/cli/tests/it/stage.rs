//! What most tests stand on: a home of their own, an upstream, and the flags that lead a bottle to it.

use bottle_testkit::{Ran, Running, TestEnv, TlsUpstream, env, registries};
use std::path::PathBuf;

/// The upstream's name.
pub(crate) const HOST: &str = "up.test";
/// What the gate injects; nobody else may say it.
pub(crate) const TOKEN: &str = "token-that-stays-outside-7f3a91";

#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) env: TestEnv,
    pub(crate) upstream: TlsUpstream,
    ca: PathBuf,
}

impl Stage {
    pub(crate) fn new() -> Stage {
        Stage::on(TestEnv::new(program()))
    }

    pub(crate) fn ordinary() -> Stage {
        Stage::on(TestEnv::ordinary(program()))
    }

    /// Once for each kind of user that this process can be.
    pub(crate) fn for_each_user(test: impl Fn(&Stage)) {
        if env::is_root() {
            test(&Stage::new());
        } else {
            println!("SKIPPED(not root): the part of root");
        }
        test(&Stage::ordinary());
    }

    fn on(mut env: TestEnv) -> Stage {
        env.set("UP_TOKEN", TOKEN);
        let upstream = TlsUpstream::options(&[HOST]).handler(registries::handler(HOST)).start();
        let ca = env.write("config/upstream-ca.pem", upstream.authority().pem());
        Stage { env, upstream, ca }
    }

    /// `run`, with what leads to the upstream, `flags`, and `command`.
    pub(crate) fn arguments(&self, flags: &[&str], command: &[&str]) -> Vec<String> {
        let resolve = format!("{HOST}={}", self.upstream.address());
        let ca = self.ca.display().to_string();
        let fixed = ["run", "--resolve", &resolve, "--upstream-ca", &ca];
        [&fixed[..], flags, &["--"], command].concat().into_iter().map(str::to_owned).collect()
    }

    #[track_caller]
    pub(crate) fn run(&self, flags: &[&str], command: &[&str]) -> Ran {
        self.env.run(&self.arguments(flags, command))
    }

    #[track_caller]
    pub(crate) fn spawn(&self, flags: &[&str], command: &[&str]) -> Running {
        self.env.spawn(&self.arguments(flags, command))
    }
}

pub(crate) fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_bot-bottle"))
}
