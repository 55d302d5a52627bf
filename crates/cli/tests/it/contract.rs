//! What every backend must do, said once: the same tests on each, so that they run beside each other and each fails under
//! its own name. What a backend cannot do is in [`Backend::cannot`], and it must say so itself.

mod apart;
mod crash;
mod doors;
mod given;
mod gone;
mod images;
mod life;
mod limits;
mod making;
mod refusals;
mod walls;

use crate::stage::Stage;
use bottle_testkit::{
    Engine, Machines, Ran, TestEnv, comes_within,
    engine::{IMAGE, Make},
    env,
};
use std::{path::Path, time::Duration};

pub(crate) const SOON: Duration = Duration::from_secs(60);
pub(crate) const NAME: &str = "bound-kqzmb";

/// Where bottles are made. Another kind gets a line here, one in [`Fixture::on`], and a module of tests by the macro.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Namespace,
    Docker,
    /// Docker, as if it ran in a machine of its own.
    DockerStream,
    /// Docker, as if it did not see this machine's files.
    DockerSent,
    Podman,
    PodmanStream,
    /// By the stand-in for smolvm, and for an ordinary user alone: root is refused.
    Smolmachines,
}

impl Backend {
    fn make(self) -> Option<Make> {
        match self {
            Backend::Namespace | Backend::Smolmachines => None,
            Backend::Docker | Backend::DockerStream | Backend::DockerSent => Some(Make::Docker),
            Backend::Podman | Backend::PodmanStream => Some(Make::Podman),
        }
    }

    fn refuses_root(self) -> bool {
        self == Backend::Smolmachines
    }

    fn is_stream(self) -> bool {
        matches!(self, Backend::DockerStream | Backend::DockerSent | Backend::PodmanStream)
    }
}

/// A test for each backend, of every function that is named; those of `containers` where an engine makes the bottles, and those
/// of `engines` once for each engine.
macro_rules! contract {
    (all { $($all:tt)* } containers { $($containers:tt)* } engines { $($engines:tt)* }) => {
        mod namespace { contract!(@tests Namespace $($all)*); }
        mod smolmachines { contract!(@tests Smolmachines $($all)* refusals { root_is_refused }); }
        mod docker { contract!(@tests Docker $($all)* $($containers)* $($engines)*); }
        mod docker_stream { contract!(@tests DockerStream $($all)* $($containers)*); }
        mod docker_sent { contract!(@tests DockerSent $($all)* $($containers)*); }
        mod podman { contract!(@tests Podman $($all)* $($containers)* $($engines)*); }
        // Podman's own part of it is how it attaches; the rest is what Docker's shows.
        mod podman_stream {
            contract!(@tests PodmanStream
                life { a_command_runs_and_its_code_is_told, a_terminal_is_left_joined_and_resized, many_at_once_all_come_up_and_go }
                doors { an_allowed_request_gets_the_secret_and_the_bottle_does_not, git_goes_through_its_door_alone }
                crash { the_keeper_may_be_killed, what_carries_may_be_killed }
                walls { no_packet_leaves_by_any_way_that_containers_have }
            );
        }
    };
    (@tests $backend:ident $($group:ident { $($test:ident),+ $(,)? })+) => {
        $($(
            #[test]
            fn $test() {
                super::$group::$test(super::Backend::$backend);
            }
        )+)+
    };
}

contract! {
    all {
        life {
            a_command_runs_and_its_code_is_told,
            exec_keeps_stdout_stderr_and_the_exit_code_apart,
            a_terminal_is_left_joined_and_resized,
            exec_with_a_terminal_hangs_up_with_its_client,
            stop_and_resume_find_home_and_workspace_again,
            files_are_copied_in_and_out_through_no_link,
            a_port_is_published_on_the_loopback_and_only_while_the_bottle_runs,
            signals_reach_the_agent_and_a_dead_launcher_ends_it,
            cleanup_follows_no_link_and_opens_what_was_locked,
            a_bottle_ends_when_its_time_is_over,
            many_at_once_all_come_up_and_go,
        }
        doors {
            an_allowed_request_gets_the_secret_and_the_bottle_does_not,
            what_no_route_allows_is_refused_with_the_reason,
            an_empty_list_lets_nothing_out,
            without_proxy_variables_the_policy_is_the_same,
            the_secret_is_nowhere_but_on_the_request,
            without_its_gate_nothing_leaves_and_a_new_one_has_the_old_policy,
            git_goes_through_its_door_alone,
            an_agent_asks_and_goes_on_when_its_operator_says_yes,
        }
        given {
            prompt_skills_and_authority_are_where_they_are_expected,
            an_authority_ends_with_its_run,
        }
        limits { processes_are_bounded, what_is_in_memory_is_bounded }
        crash { the_launcher_may_be_killed, the_keeper_may_be_killed, the_gate_may_be_killed }
        refusals { what_cannot_be_is_said_before_anything_is_made }
    }
    containers {
        crash { what_carries_may_be_killed }
        images {
            a_bottle_keeps_the_image_that_it_began_with,
            an_image_starts_nothing_of_its_own,
            a_container_whose_bottle_is_gone_is_found_by_its_label,
        }
        walls { no_packet_leaves_by_any_way_that_containers_have, inspecting_it_shows_walls_and_no_secret }
    }
    engines {
        making {
            an_image_is_built_and_found_again,
            a_root_keeps_its_owners,
            archives_of_both_kinds_are_loaded,
            a_providers_client_is_installed,
        }
        refusals { an_engine_that_is_not_there_is_told }
        gone {
            bottles_outlive_an_engine_that_was_killed,
            bottles_go_on_over_a_restart_of_the_engine,
            a_bottle_that_its_engine_ends_is_seen_to_have_ended,
        }
    }
}

/// A stage with the backend that its bottles are made by.
#[derive(Debug)]
pub(crate) struct Fixture {
    pub(crate) stage: Stage,
    engine: Option<Engine>,
    _machines: Option<Machines>,
}

impl Fixture {
    /// For root, where this process is and the backend takes it. `None` where the backend is not to be had, which is said.
    pub(crate) fn new(backend: Backend) -> Option<Fixture> {
        Fixture::on(backend, Stage::new)
    }

    /// For an ordinary user, who is of the engine's group where there is one.
    pub(crate) fn ordinary(backend: Backend) -> Option<Fixture> {
        Fixture::on(backend, Stage::ordinary)
    }

    /// For root, with an engine of its own, which may be ended and started again.
    pub(crate) fn own(backend: Backend, options: &str) -> Option<Fixture> {
        let engine = Engine::own(backend.make().expect("a backend with an engine"), options)?;
        Some(Fixture::with(backend, Some(engine), Stage::new()))
    }

    /// With an engine that shares no files with this machine, as it says itself.
    pub(crate) fn apart(engine: Engine, stage: Stage) -> Fixture {
        Fixture::with(Backend::Docker, Some(engine), stage)
    }

    fn on(backend: Backend, stage: fn() -> Stage) -> Option<Fixture> {
        let engine = match backend.make() {
            Some(make) => Some(Engine::shared(make)?),
            None => None,
        };
        let stage = if backend.refuses_root() { Stage::ordinary() } else { stage() };
        Some(Fixture::with(backend, engine, stage))
    }

    fn with(backend: Backend, engine: Option<Engine>, mut stage: Stage) -> Fixture {
        if let Some(engine) = &engine {
            stage.env.set("DOCKER_HOST", &engine.host());
            stage.env.set("BOT_BOTTLE_BACKEND", "docker");
            stage.env.set("BOT_BOTTLE_IMAGE", IMAGE);
            match backend {
                Backend::DockerStream | Backend::PodmanStream => stage.env.set("BOT_BOTTLE_TOPOLOGY", "stream"),
                Backend::DockerSent => stage.env.set("BOT_BOTTLE_TOPOLOGY", "sent"),
                Backend::Namespace | Backend::Docker | Backend::Podman | Backend::Smolmachines => {}
            }
        }
        let machines = (backend == Backend::Smolmachines).then(|| Machines::install(&mut stage.env));
        Fixture { stage, engine, _machines: machines }
    }

    /// Once for each kind of user that this process can be and the backend takes; nothing is left by either.
    pub(crate) fn for_each_user(backend: Backend, test: impl Fn(&Fixture)) {
        let stages: [fn() -> Stage; 2] = [Stage::new, Stage::ordinary];
        let skipped = usize::from(!env::is_root() || backend.refuses_root());
        if skipped > 0 && !backend.refuses_root() {
            println!("SKIPPED(not root): the part of root");
        }
        for stage in stages.into_iter().skip(skipped) {
            let Some(fixture) = Fixture::on(backend, stage) else { return };
            test(&fixture);
            fixture.nothing_is_left();
        }
    }

    pub(crate) fn env(&self) -> &TestEnv {
        &self.stage.env
    }

    /// Of tests that are for engines alone.
    pub(crate) fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("a backend with an engine")
    }

    /// A bottle named [`NAME`] in the background.
    #[track_caller]
    pub(crate) fn detached(&self, flags: &[&str], script: &str) {
        let fixed = ["--detach", "--name", NAME];
        let ran = self.stage.run(&[&fixed[..], flags].concat(), &["sh", "-c", script]);
        assert_eq!(ran.success(), format!("{NAME}\n"), "{ran}");
    }

    #[track_caller]
    pub(crate) fn exec(&self, script: &str) -> Ran {
        self.env().run(&["exec", NAME, "--", "sh", "-c", script])
    }

    #[track_caller]
    pub(crate) fn stop(&self) {
        self.env().run(&["stop", "--grace", "0", NAME]).success();
    }

    /// What the engine has of this stage's bottles; nothing where there is no engine.
    pub(crate) fn containers(&self) -> Vec<String> {
        self.engine.as_ref().map(|engine| engine.containers(&self.env().state())).unwrap_or_default()
    }

    /// Nothing of it in the engine either.
    pub(crate) fn left(&self) -> Result<(), String> {
        let of_engine = |of: fn(&Engine, &Path) -> Vec<String>| {
            self.engine.as_ref().map(|engine| of(engine, &self.env().state())).unwrap_or_default()
        };
        let (volumes, images) = (of_engine(Engine::volumes), of_engine(Engine::images));
        let (containers, left) = (self.containers(), self.env().leftovers());
        if containers.is_empty() && volumes.is_empty() && images.is_empty() && left.is_empty() {
            return Ok(());
        }
        Err(format!("containers {containers:?}, volumes {volumes:?}, images {images:?}, {left:#?}"))
    }

    #[track_caller]
    pub(crate) fn nothing_is_left(&self) {
        self.env().run(&["cleanup", "--all", "--yes"]).success();
        self.comes_to_an_end();
    }

    /// By itself.
    #[track_caller]
    pub(crate) fn comes_to_an_end(&self) {
        let gone = comes_within(SOON, || self.left().ok());
        assert!(gone.is_some(), "left behind: {:?}", self.left());
    }
}
