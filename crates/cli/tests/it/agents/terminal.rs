//! Claude Code at a person's terminal: keys, sizes, leaving and coming back.

use super::{AgentStage, CLAUDE};
use crate::{
    stage::Stage,
    tmux::{Tmux, has_tmux},
};
use bottle_testkit::comes_within;
use std::time::Duration;

/// What Claude Code's screen says below its prompt once it takes keys.
const READY: &str = "bypass permissions on";

/// Whether a line that frames the prompt goes over this many columns and no more.
fn framed(screen: &str, columns: usize) -> bool {
    screen.lines().any(|line| line.chars().count() == columns && line.chars().all(|character| character == '─'))
}

#[test]
fn claude_code_answers_is_resized_left_and_joined_again() {
    if !has_tmux() {
        return;
    }
    let Some(stage) = AgentStage::new(CLAUDE, Vec::new()) else { return };
    let screen = Tmux::start(&stage.env, 80, 24, &["start", "keeper", "--yes", "--name", "keeper-aaaaa"]);
    let seen = screen.wait(READY);
    assert!(framed(&seen, 80), "no dialog stands before the prompt: {seen}");
    screen.text("Are you there?\n");
    let seen = screen.wait("● ok");
    assert!(seen.contains("❯ Are you there?"), "{seen}");
    screen.resize(110, 30);
    screen.wait_screen("the new width", |seen| framed(seen, 110));
    screen.keys(&["C-p", "C-q"]);
    screen.wait_end();
    assert!(stage.env.run(&["list"]).success().contains("running"));
    drop(screen);

    let screen = Tmux::start(&stage.env, 90, 24, &["attach", "keeper-aaaaa"]);
    let seen = screen.wait_screen("what was said, in the new width", |seen| {
        framed(seen, 90) && seen.contains("❯ Are you there?") && seen.contains("● ok") && seen.contains(READY)
    });
    assert!(!seen.contains("runs on"), "{seen}");
    screen.text("never sent");
    screen.wait("never sent");
    screen.keys(&["C-c"]);
    screen.wait_screen("an empty prompt", |seen| !seen.contains("never sent"));

    screen.keys(&["C-z"]);
    screen.wait_screen("the prompt again", |seen| {
        let after = seen.rsplit_once("has been suspended").map_or("", |(_, after)| after);
        framed(after, 90) && after.contains(READY)
    });
    // What is typed before it has its terminal back in its own mode is no Enter to it.
    screen.text("Still there?");
    screen.wait("Still there?");
    let heard = || stage.said().contains("Still there?").then_some(());
    let arrived = (0..20).any(|_| {
        screen.keys(&["Enter"]);
        comes_within(Duration::from_secs(3), heard).is_some()
    });
    assert!(arrived, "{}", screen.seen());
    stage.env.run(&["stop", "keeper-aaaaa"]).success();
    screen.wait("it ended: ");
    drop(screen);

    let screen = Tmux::start(&stage.env, 80, 24, &["start", "keeper", "--yes", "--name", "keeper-bbbbb"]);
    screen.wait(READY);
    // It forgets the first soon.
    let ended = (0..5).any(|_| {
        screen.keys(&["C-c", "C-c"]);
        comes_within(Duration::from_secs(10), || screen.seen().contains("it ended: 0").then_some(())).is_some()
    });
    assert!(ended, "{}", screen.seen());
    assert_eq!(stage.env.run(&["list"]).success().matches("stopped").count(), 2);
    let contacted = stage.api.contacted();
    assert!(!contacted.is_empty() && contacted.iter().all(|asked| asked.starts_with(CLAUDE.asks)), "{contacted:?}");
}

#[test]
fn what_is_stopped_at_its_terminal_goes_on_at_once_and_has_it_again() {
    if !has_tmux() {
        return;
    }
    let stage = Stage::new();
    // The shell stops itself; what is typed after that reaches it, and its code is the session's.
    let script = "trap \"echo it went on\" CONT; echo ready; read -r line; kill -TSTP 0; read -r line; \
                  echo \"heard $line\"; exit 7";
    let screen = Tmux::start(&stage.env, 80, 24, &["run", "--", "sh", "-c", script]);
    screen.wait("ready");
    screen.text("stop\n");
    screen.wait("it went on");
    screen.text("after\n");
    screen.wait("heard after");
    screen.wait("it ended: 7");
    drop(screen);

    // The leader is a copy of PID 1: nobody looks into it, or sees it in /proc at all.
    let script =
        "for name in fd maps environ mem; do cat /proc/$PPID/$name /proc/$PPID/$name/0 && echo seen; done; echo done";
    let screen = Tmux::start(&stage.env, 80, 24, &["run", "--", "sh", "-c", script]);
    let seen = screen.wait("it ended: 0");
    assert!(seen.contains("done") && !seen.contains("seen"), "{seen}");
    drop(screen);

    // `ctrl-z` stops the one that reads, and it reads on.
    let screen = Tmux::start(&stage.env, 80, 24, &["run", "--", "sh", "-c", "echo ready; cat; exit 3"]);
    screen.wait("ready");
    screen.keys(&["C-z"]);
    screen.text("after\n");
    screen.wait_screen("an echo and its copy", |seen| seen.lines().filter(|line| line.ends_with("after")).count() == 2);
    screen.keys(&["C-d"]);
    screen.wait("it ended: 3");
}
