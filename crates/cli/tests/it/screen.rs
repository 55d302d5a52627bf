//! The program at a terminal, as a person sits before it.

use bottle_testkit::{TestEnv, wait_for, wait_until};
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::unix::{ffi::OsStrExt as _, fs::chown, process::CommandExt as _},
    process::{Child, Command},
    sync::{Arc, Mutex},
    time::Duration,
};

pub(crate) const SOON: Duration = Duration::from_secs(30);

/// The program at a terminal of its own.
#[derive(Debug)]
pub(crate) struct Screen {
    pub(crate) keys: File,
    shown: Arc<Mutex<Vec<u8>>>,
    pub(crate) program: Child,
}

impl Screen {
    pub(crate) fn open(env: &TestEnv, arguments: &[&str]) -> Screen {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("a terminal");
        let name = ptsname(&master, Vec::new()).expect("a terminal's name");
        let path = std::path::PathBuf::from(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let slave = || File::options().read(true).write(true).open(&path).expect("a terminal");
        let keys = File::from(master);
        resize(&keys, 24, 80);
        let inner = env.command(arguments);
        // Makes the terminal the controlling one, so that a change of its size is heard of.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(inner.get_program()).args(inner.get_args()).env_clear();
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(directory) = inner.get_current_dir() {
            command.current_dir(directory);
        }
        // Whoever the environment's user is, and their terminal.
        if env.user() != rustix::process::getuid().as_raw() {
            chown(&path, Some(env.user()), None).expect("root may give a terminal away");
            command.uid(env.user()).gid(env.user());
        }
        let (stdin, stdout, stderr) = (slave(), slave(), slave());
        let program = command.stdin(stdin).stdout(stdout).stderr(stderr).spawn().expect("setsid starts");
        drop(command);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, sink) = (keys.try_clone().expect("a copy"), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // EIO: nobody has the terminal open any more.
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                sink.lock().expect("no panic").extend_from_slice(&bytes[..count]);
            }
        });
        Screen { keys, shown, program }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().expect("no panic")).into_owned()
    }

    #[track_caller]
    pub(crate) fn shows(&self, text: &str) {
        wait_until(&format!("`{text}` on the screen"), SOON, || self.text().contains(text));
    }

    pub(crate) fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    pub(crate) fn ends(mut self) -> Option<i32> {
        wait_for("the program to end", SOON, || self.program.try_wait().expect("our own child")).code()
    }
}

pub(crate) fn resize(terminal: &File, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).expect("a terminal has a size");
}
