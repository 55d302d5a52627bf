//! A bottle as a container: the same life, the same gate, the same nothing besides. On an engine of the tests' own.

mod crash;
mod life;
mod walls;

use crate::stage::Stage;
use bottle_testkit::{Engine, engine::IMAGE, wait_until};
use std::time::Duration;

pub(crate) const SOON: Duration = Duration::from_secs(60);
pub(crate) const NAME: &str = "boxed-kqzmb";

/// A stage with an engine beside it.
pub(crate) struct Dock {
    pub(crate) stage: Stage,
    pub(crate) engine: Engine,
}

impl Dock {
    /// `None` where there is no engine to be had.
    pub(crate) fn new() -> Option<Dock> {
        Dock::on(Stage::new)
    }

    fn on(stage: impl Fn() -> Stage) -> Option<Dock> {
        let engine = Engine::shared()?;
        let mut stage = stage();
        stage.env.set("DOCKER_HOST", &engine.host());
        stage.env.set("BOT_BOTTLE_BACKEND", "docker");
        stage.env.set("BOT_BOTTLE_IMAGE", IMAGE);
        Some(Dock { stage, engine })
    }

    /// As root, and as an ordinary user of the engine's group.
    pub(crate) fn for_each_user(test: impl Fn(&Dock)) {
        for stage in [Stage::new, Stage::ordinary] {
            let Some(dock) = Dock::on(stage) else { return };
            test(&dock);
            dock.nothing_is_left();
        }
    }

    /// A bottle named [`NAME`] in the background.
    #[track_caller]
    pub(crate) fn detached(&self, flags: &[&str], script: &str) {
        let fixed = ["--detach", "--name", NAME];
        let ran = self.stage.run(&[&fixed[..], flags].concat(), &["sh", "-c", script]);
        assert_eq!(ran.success(), format!("{NAME}\n"));
    }

    #[track_caller]
    pub(crate) fn exec(&self, script: &str) -> String {
        self.stage.env.run(&["exec", NAME, "--", "sh", "-c", script]).success().to_owned()
    }

    pub(crate) fn containers(&self) -> Vec<String> {
        self.engine.containers(&self.stage.env.state())
    }

    #[track_caller]
    pub(crate) fn nothing_is_left(&self) {
        self.stage.env.run(&["cleanup", "--all", "--yes"]).success();
        assert_eq!(self.containers(), Vec::<String>::new());
        wait_until("nothing to be left", SOON, || self.stage.env.leftovers().is_empty());
    }
}
