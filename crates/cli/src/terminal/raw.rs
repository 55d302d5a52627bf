//! The terminal in raw mode: entered, read from, and put back.

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{self, Read as _, Write as _};
use tokio::sync::mpsc::{Receiver, channel};

/// What an agent may have left on: hidden cursor, mouse reports, bracketed paste, key modes, colours.
const RESET: &[u8] =
    b"\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1004l\x1b[?2004l\x1b[?1l\x1b>\x1b[<u\x1b[0m\r";

/// Leaving the alternate screen moves the cursor, so it is done only where the program went there.
const ENTER_ALTERNATE: &[u8] = b"\x1b[?1049h";
const LEAVE_ALTERNATE: &[u8] = b"\x1b[?1049l";

/// Raw mode while this lives.
pub(super) struct Raw {
    before: Termios,
    alternate: bool,
}

impl Raw {
    pub(super) fn enter() -> io::Result<Raw> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Raw { before, alternate: false })
    }

    /// Looks at what is shown.
    pub(super) fn showing(&mut self, bytes: &[u8]) {
        self.alternate |= bytes.windows(ENTER_ALTERNATE.len()).any(|window| window == ENTER_ALTERNATE);
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing put back.
        let leave = if self.alternate { LEAVE_ALTERNATE } else { b"" };
        let _ = io::stdout()
            .write_all(leave)
            .and_then(|()| io::stdout().write_all(RESET))
            .and_then(|()| io::stdout().flush());
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

/// Reads the keyboard on a thread of its own: a terminal shared with others must not be made non-blocking.
pub(super) fn keys() -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel(4);
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = io::stdin().lock().read(&mut bytes) {
            let Some(typed) = bytes.get(..count) else { break };
            if sender.blocking_send(typed.to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Finds ctrl-p ctrl-q in what is typed. A ctrl-p is held back until the next key tells what it was.
#[derive(Debug, Default)]
pub(super) struct DetachKeys {
    held: bool,
}

const CTRL_P: u8 = 0x10;
const CTRL_Q: u8 = 0x11;

impl DetachKeys {
    /// The bytes to pass on, and whether to leave.
    pub(super) fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len() + 1);
        for &byte in typed {
            match (self.held, byte) {
                (true, CTRL_Q) => return (passed, true),
                (true, CTRL_P) => passed.push(CTRL_P),
                (false, CTRL_P) => self.held = true,
                (held, other) => {
                    if held {
                        passed.push(CTRL_P);
                    }
                    self.held = false;
                    passed.push(other);
                }
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is typed, read by read; what of it passes; whether it detaches.
    type Case = (&'static [&'static [u8]], &'static [u8], bool);

    #[test]
    fn ctrl_p_ctrl_q_leaves_and_everything_else_passes() {
        let cases: [Case; 6] = [
            (&[b"ls\r"], b"ls\r", false),
            (&[b"a\x10\x11b"], b"a", true),
            (&[b"a\x10", b"\x11"], b"a", true),
            (&[b"\x10", b"x"], b"\x10x", false),
            (&[b"\x10\x10\x11"], b"\x10", true),
            (&[b"\x11\x10"], b"\x11", false),
        ];
        for (typed, passed, leaves) in cases {
            let mut keys = DetachKeys::default();
            let mut seen = (Vec::new(), false);
            for part in typed {
                let (bytes, leave) = keys.filter(part);
                seen.0.extend(bytes);
                seen.1 |= leave;
            }
            assert_eq!(seen, (passed.to_vec(), leaves), "{typed:?}");
        }
    }
}
