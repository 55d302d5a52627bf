//! A launch is a list of steps, each with its undo.
//!
//! Invariant: a step is in the journal before anything of it is made. When one fails, it and those before it are
//! undone in reverse, all of them even where an undo fails too, and both kinds of error are reported.

use crate::journal::{Journal, JournalError, Step, Thing};

/// In this order. The gate's process comes before the room, so that it starts up while the room is made.
pub(crate) const LAUNCH: [Step; 11] = [
    Step::Runtime,
    Step::Ports,
    Step::HostIds,
    Step::Workspace,
    Step::Cgroup,
    Step::Canary,
    Step::Gate,
    Step::Room,
    Step::Serve,
    Step::Probe,
    Step::Agent,
];

/// Where the steps are done: the real host, or one of the tests.
pub(crate) trait Host {
    type Error: std::error::Error + 'static;

    /// What the step is going to make, for the journal.
    fn plans(&self, step: Step) -> Vec<Thing>;

    /// Makes it, and says what is there now, for the journal.
    async fn make(&mut self, step: Step) -> Result<Vec<Thing>, Self::Error>;

    /// Takes away what [`Host::make`] made, or the part of it that was there when it failed.
    async fn undo(&mut self, step: Step) -> Result<(), Self::Error>;
}

#[derive(Debug, thiserror::Error)]
#[error("the launch failed at `{step}`")]
pub struct LaunchError<E: std::error::Error + 'static> {
    pub step: Step,
    #[source]
    pub cause: Cause<E>,
    /// What could not be undone.
    pub left_behind: Vec<(Step, E)>,
}

#[derive(Debug, thiserror::Error)]
pub enum Cause<E: std::error::Error + 'static> {
    #[error(transparent)]
    Host(E),
    #[error(transparent)]
    Journal(JournalError),
}

/// Does all the steps or leaves nothing.
pub(crate) async fn launch<H: Host>(host: &mut H, journal: &mut Journal) -> Result<(), LaunchError<H::Error>> {
    for (at, step) in LAUNCH.into_iter().enumerate() {
        if let Err(cause) = take(host, journal, step).await {
            let begun = LAUNCH.get(..=at).unwrap_or_default();
            let left_behind = undo(host, journal, begun).await;
            return Err(LaunchError { step, cause, left_behind });
        }
    }
    Ok(())
}

async fn take<H: Host>(host: &mut H, journal: &mut Journal, step: Step) -> Result<(), Cause<H::Error>> {
    journal.make(step, host.plans(step)).map_err(Cause::Journal)?;
    let things = host.make(step).await.map_err(Cause::Host)?;
    journal.done(step, things).map_err(Cause::Journal)
}

async fn undo<H: Host>(host: &mut H, journal: &mut Journal, begun: &[Step]) -> Vec<(Step, H::Error)> {
    let mut left_behind = Vec::new();
    for step in begun.iter().rev().copied() {
        match host.undo(step).await {
            // A journal that cannot be written makes `cleanup` look for what is gone, which does no harm.
            Ok(()) => drop(journal.undone(step)),
            Err(error) => left_behind.push((step, error)),
        }
    }
    left_behind
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{read, remaining};
    use std::path::PathBuf;

    /// Records what is asked of it and fails where it is told to.
    #[derive(Debug, Default)]
    struct FakeHost {
        fails_at: Option<Step>,
        cannot_undo: Option<Step>,
        journal: PathBuf,
        calls: Vec<(&'static str, Step)>,
    }

    #[derive(Debug, PartialEq, Eq, thiserror::Error)]
    #[error("broken")]
    struct Broken;

    impl Host for FakeHost {
        type Error = Broken;

        fn plans(&self, step: Step) -> Vec<Thing> {
            vec![Thing::Directory(step.name().into())]
        }

        async fn make(&mut self, step: Step) -> Result<Vec<Thing>, Broken> {
            let known = remaining(&read(&self.journal).unwrap());
            assert!(
                known.contains(&Thing::Directory(step.name().into())),
                "{step} was made before it was written down"
            );
            self.calls.push(("make", step));
            if self.fails_at == Some(step) { Err(Broken) } else { Ok(vec![]) }
        }

        async fn undo(&mut self, step: Step) -> Result<(), Broken> {
            self.calls.push(("undo", step));
            if self.cannot_undo == Some(step) { Err(Broken) } else { Ok(()) }
        }
    }

    fn run(fails_at: Option<Step>, cannot_undo: Option<Step>) -> (FakeHost, Result<(), LaunchError<Broken>>) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("journal");
        let mut journal = Journal::open(&path, None).unwrap();
        let mut host = FakeHost { fails_at, cannot_undo, journal: path.clone(), calls: Vec::new() };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let result = runtime.block_on(launch(&mut host, &mut journal));
        let left = remaining(&read(&path).unwrap());
        let expected: Vec<Thing> = match (&result, cannot_undo) {
            (Ok(()), _) => LAUNCH.iter().rev().map(|step| Thing::Directory(step.name().into())).collect(),
            (Err(_), None) => vec![],
            (Err(_), Some(step)) => vec![Thing::Directory(step.name().into())],
        };
        assert_eq!(left, expected, "the journal tells what is left");
        (host, result)
    }

    #[test]
    fn a_launch_does_every_step_once_and_undoes_none() {
        let (host, result) = run(None, None);
        result.unwrap();
        assert_eq!(host.calls, LAUNCH.map(|step| ("make", step)));
    }

    #[test]
    fn each_step_that_fails_undoes_itself_and_those_before_it_in_reverse() {
        for (at, failing) in LAUNCH.into_iter().enumerate() {
            let (host, result) = run(Some(failing), None);
            let error = result.unwrap_err();
            assert_eq!((error.step, error.left_behind.len()), (failing, 0));
            let begun = &LAUNCH[..=at];
            let made = begun.iter().map(|step| ("make", *step));
            let undone = begun.iter().rev().map(|step| ("undo", *step));
            assert_eq!(host.calls, made.chain(undone).collect::<Vec<_>>(), "failing at {failing}");
        }
    }

    #[test]
    fn an_undo_that_fails_does_not_keep_the_others_from_being_done() {
        for stuck in &LAUNCH[..8] {
            let (host, result) = run(Some(Step::Room), Some(*stuck));
            let error = result.unwrap_err();
            assert_eq!(error.left_behind, [(*stuck, Broken)]);
            assert!(matches!(error.cause, Cause::Host(Broken)));
            assert_eq!(host.calls.iter().filter(|(kind, _)| *kind == "undo").count(), 8);
        }
    }
}
