//! A terminal that is driven and looked at: a tmux server of its own, with one pane.

use crate::tools;
use bottle_testkit::{TestEnv, comes_within, wait_until};
use std::{
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

const SOON: Duration = Duration::from_secs(60);

/// Whether this machine has a terminal to drive, told as a skip where not.
pub(crate) fn has_tmux() -> bool {
    let there = tools::on_path("tmux");
    if !there {
        println!("SKIPPED(no tmux): see scripts/install-test-needs");
    }
    there
}

pub(crate) struct Tmux<'a> {
    env: &'a TestEnv,
    socket: PathBuf,
}

impl<'a> Tmux<'a> {
    /// A shell that runs the program and says when it has ended. A second word `without TMUX` is no argument.
    pub(crate) fn start(env: &'a TestEnv, width: u16, height: u16, arguments: &[&str]) -> Tmux<'a> {
        // A server that ends may still be about to remove its socket.
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let socket = format!("run/tmux-{}.sock", STARTED.fetch_add(1, Ordering::Relaxed));
        let screen = Tmux { env, socket: env.root().join(socket) };
        let (without, arguments): (Vec<&str>, Vec<&str>) = arguments.iter().partition(|word| **word == "without TMUX");
        let unset = if without.is_empty() { "" } else { "unset TMUX; " };
        let program = env.program().display().to_string();
        let words: Vec<String> = arguments.iter().map(|word| format!("'{word}'")).collect();
        let line = format!("{unset}'{program}' {}; echo \"it ended: $?\"; exec sleep 600", words.join(" "));
        let (width, height) = (width.to_string(), height.to_string());
        screen.tmux(&["new-session", "-d", "-x", &width, "-y", &height, "sh", "-c", &line]);
        screen
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.env.program_of_host("tmux");
        // No file of the user's is read.
        command.args(["-u", "-f", "/dev/null", "-S"]).arg(&self.socket).args(arguments);
        command.env("SHELL", "/bin/sh");
        command
    }

    #[track_caller]
    fn tmux(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("tmux starts");
        assert!(output.status.success(), "tmux {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What stands on the screen of the window that is seen.
    #[track_caller]
    pub(crate) fn seen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// The screen, once this stands on it.
    #[track_caller]
    pub(crate) fn wait(&self, text: &str) -> String {
        self.wait_screen(text, |seen| seen.contains(text))
    }

    /// The screen, once it is as this says.
    #[track_caller]
    pub(crate) fn wait_screen(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let mut seen = String::new();
        let there = comes_within(SOON, || {
            seen = self.seen();
            is_it(&seen).then_some(())
        });
        assert!(there.is_some(), "waited in vain for {what}:\n{seen}");
        seen
    }

    #[track_caller]
    pub(crate) fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    #[track_caller]
    pub(crate) fn text(&self, text: &str) {
        match text.strip_suffix('\n') {
            Some(line) => self.tmux(&["send-keys", "-l", line]) + &self.tmux(&["send-keys", "Enter"]),
            None => self.tmux(&["send-keys", "-l", text]),
        };
    }

    #[track_caller]
    pub(crate) fn resize(&self, width: u16, height: u16) {
        self.tmux(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
    }

    /// Waits until the program has ended, and ends the server.
    #[track_caller]
    pub(crate) fn wait_end(&self) {
        self.wait("it ended: 0");
    }

    /// Until the pane that is seen is in this state.
    #[track_caller]
    pub(crate) fn wait_state(&self, state: &str) {
        const FORMAT: &str = "mouse #{mouse_any_flag} alternate #{alternate_on} window #{window_name}";
        wait_until(state, SOON, || self.tmux(&["display-message", "-p", FORMAT]).contains(state));
    }

    /// Sends a signal to the program.
    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"]);
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", shell.trim()));
        let child = children.expect("the shell's children").trim().to_owned();
        let sent = Command::new("kill").args(["-s", name, &child]).status().expect("kill starts");
        assert!(sent.success());
    }

    /// Processes of the pane: the one that waits, when the program has ended.
    pub(crate) fn processes(&self) -> usize {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"]);
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", shell.trim()));
        1 + children.unwrap_or_default().split_whitespace().count()
    }
}

impl Drop for Tmux<'_> {
    fn drop(&mut self) {
        let _ = self.command(&["kill-server"]).output();
        wait_until("tmux to end", SOON, || {
            !self.command(&["list-sessions"]).output().is_ok_and(|it| it.status.success())
        });
    }
}
