//! What a launch says while it goes on: notices, how far a copy is, and which step it is at where one takes long.
//!
//! Invariant: whole lines and nothing else, at a terminal and elsewhere; elsewhere a step that takes long is told once.
//! With the launch ends the thread that looks at the clock.

use crate::ui::Ui;
use bottle_runtime::protocol::LaunchEvent;
use bottle_spec::escape::Escaped;
use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

/// A step that takes no longer is not worth a word.
const LONG: Duration = Duration::from_secs(2);

/// For [`bottle_runtime::client::launch`]; every line begins with `label`.
pub(super) fn progress(ui: &Ui, label: &str) -> impl FnMut(&LaunchEvent) + use<> {
    let (ui, label) = (*ui, label.to_owned());
    let mut clock: Option<Sender<String>> = None;
    move |event| match event {
        LaunchEvent::Step { name } => {
            let clock = clock.get_or_insert_with(|| {
                let (clock, steps) = channel();
                let label = label.clone();
                // Ends when the sender goes with this closure, or at the launch's end.
                thread::spawn(move || tell_long_ones(&steps, &ui, &label));
                clock
            });
            let _ = clock.send(doing(name));
        }
        LaunchEvent::Ready | LaunchEvent::Failed(_) => clock = None,
        LaunchEvent::Copied { files, bytes } if ui.stderr_is_terminal => {
            ui.say(&format!("{label}copying the workspace: {files} files, {} MiB", bytes >> 20));
        }
        LaunchEvent::Fetching if ui.stderr_is_terminal => ui.say(&format!("{label}cloning the repository")),
        LaunchEvent::Notice { text } => ui.say(&format!("{label}note: {}", Escaped(text))),
        LaunchEvent::Copied { .. } | LaunchEvent::Fetching | LaunchEvent::Named { .. } => {}
    }
}

/// Says what is being done when it has taken long; at a terminal again whenever it has taken twice as long.
fn tell_long_ones(steps: &Receiver<String>, ui: &Ui, label: &str) {
    let Ok(mut step) = steps.recv() else { return };
    let (mut begun, mut next) = (Instant::now(), Some(LONG));
    loop {
        let left = next.map_or(Duration::MAX, |next| next.saturating_sub(begun.elapsed()));
        match steps.recv_timeout(left) {
            Ok(new) => (step, begun, next) = (new, Instant::now(), Some(LONG)),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                ui.say(&format!("{label}{}: {} s so far", Escaped(&step), begun.elapsed().as_secs()));
                next = next.filter(|_| ui.stderr_is_terminal).map(|next| next * 2);
            }
        }
    }
}

/// A step of [`bottle_runtime::journal::STEPS`], in words.
fn doing(step: &str) -> String {
    let words = match step {
        "state" | "runtime" => "making the bottle's directories",
        "ports" => "publishing ports",
        "host-ids" => "finding a user for the agent",
        "workspace" => "filling the workspace",
        "cgroup" => "setting limits",
        "canary" => "listening for the self-probe",
        "gate" => "starting the gate",
        "room" => "making the room",
        "serve" => "waiting for the gate",
        "probe" => "proving that the room is tight",
        "agent" => "starting the agent",
        other => return format!("at the step `{other}`"),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bottle_runtime::journal::STEPS;

    #[test]
    fn every_step_of_a_launch_has_words() {
        let nameless: Vec<&str> = STEPS.into_iter().filter(|step| doing(step).starts_with("at the step")).collect();
        // These belong to the end of a bottle.
        assert_eq!(nameless, ["end", "drain", "remove"]);
    }
}
