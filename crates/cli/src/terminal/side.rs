//! One of several agents that run side by side, none of them at a terminal: launched, listened to and waited for.
//!
//! Invariants: what an agent and its launch say is shown line by line under the bottle's name, escaped, since all share
//! one stderr; of a result the last [`KEPT`] bytes are held and no more; one word stops all.

use super::{Ending, PROGRAM, ended, next, not_started, progress::progress, pumps::Pumps};
use crate::{error::CliError, ui::Ui};
use bottle_runtime::{
    client::{self, Launched, Session},
    dirs::Dirs,
    protocol::{Console, FrameDecoder, LaunchRequest, Lifetime},
};
use bottle_spec::{escape::Escaped, slug::Slug};
use std::{
    collections::VecDeque,
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
};
use tokio::{net::UnixStream, sync::watch};

/// Of one agent's result.
const KEPT: usize = 4 << 20;
/// A longer line is shown in pieces.
const LINE_MAX: usize = 4096;
/// Seconds that an agent has to end by itself when all are stopped.
const GRACE: u32 = 10;

/// What came of one agent.
#[derive(Debug)]
pub(crate) struct Came {
    /// Its exit code.
    pub(crate) code: Result<u8, CliError>,
    /// The end of what it wrote to its stdout.
    pub(crate) result: Vec<u8>,
    /// How many bytes before that are left out.
    pub(crate) left_out: u64,
}

/// Launches the bottle, stays until its agent ends, and stops it when `stop` becomes true.
pub(crate) fn headless(request: LaunchRequest, slug: &Slug, stop: watch::Receiver<bool>, ui: &Ui) -> Came {
    let kept = Tail::default();
    let code = attend(request, slug, stop, &kept, ui);
    let mut kept = kept.0.lock().unwrap_or_else(PoisonError::into_inner);
    Came { code, result: std::mem::take(&mut kept.bytes).into(), left_out: kept.left_out }
}

fn attend(
    mut request: LaunchRequest,
    slug: &Slug,
    stop: watch::Receiver<bool>,
    kept: &Tail,
    ui: &Ui,
) -> Result<u8, CliError> {
    request.console = Console::Pipes;
    request.lifetime = Lifetime::Foreground;
    let dirs = request.dirs.clone();
    let Some((mut pumps, pipes)) = Pumps::for_console(request.console)? else {
        return Err(CliError::bug("an agent without a terminal has no pipes"));
    };
    pumps.feed_nothing();
    let label = format!("{slug}: ");
    let launched = client::launch(Path::new(PROGRAM), &request, Some(pipes), &mut progress(ui, &label));
    let Launched { session, mut keeper, .. } = match launched {
        Ok(launched) => launched,
        Err(error) => {
            let (code, text) = not_started(error)?;
            ui.say(&format!("{label}error: {}", Escaped(&text)));
            return Ok(code);
        }
    };
    ui.say(&format!("{label}started"));
    let lost = |error| CliError::host("the session could not be carried").because::<io::Error>(error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(lost)?;
    let running = pumps.start_to(kept.clone(), Lines { label: label.clone(), ui: *ui, held: Vec::new() });
    let ending = runtime.block_on(wait(session, stop, &dirs, slug)).map_err(lost)?;
    running.finish();
    // Its work is done. An error means that it is gone.
    let _ = keeper.wait();
    match ending {
        Ending::Exit(code) => Ok(code),
        Ending::Detached => Ok(0),
        Ending::Gone(why) => Err(CliError::host(format!("the session ended: {why}"))),
    }
}

async fn wait(session: Session, mut stop: watch::Receiver<bool>, dirs: &Dirs, slug: &Slug) -> io::Result<Ending> {
    let mut stream = UnixStream::from_std(session.into_socket()?)?;
    let mut frames = FrameDecoder::default();
    let mut stopping = false;
    loop {
        tokio::select! {
            frame = next(&mut stream, &mut frames) => if let Some(ending) = ended(&frame?) {
                return Ok(ending);
            },
            _ = stop.wait_for(|stop| *stop), if !stopping => {
                stopping = true;
                let (dirs, slug) = (dirs.clone(), slug.clone());
                // Comes back when the bottle has ended, which the session tells as well; an error is that it had.
                thread::spawn(move || client::stop(&dirs, &slug, GRACE));
            }
        }
    }
}

/// The end of what was written.
#[derive(Debug, Clone, Default)]
struct Tail(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    bytes: VecDeque<u8>,
    left_out: u64,
}

impl io::Write for Tail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes.extend(bytes);
        let surplus = kept.bytes.len().saturating_sub(KEPT);
        kept.bytes.drain(..surplus);
        kept.left_out = kept.left_out.saturating_add(surplus.try_into().unwrap_or(u64::MAX));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says each line under a name.
#[derive(Debug)]
struct Lines {
    label: String,
    ui: Ui,
    /// The beginning of a line whose end has not come yet.
    held: Vec<u8>,
}

impl Lines {
    fn say(&mut self) {
        let text = String::from_utf8_lossy(&self.held);
        self.ui.say(&format!("{}{}", self.label, Escaped(text.trim_end_matches(['\r', '\n']))));
        self.held.clear();
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            self.held.push(*byte);
            if *byte == b'\n' || self.held.len() >= LINE_MAX {
                self.say();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if !self.held.is_empty() {
            self.say();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use io::Write as _;

    #[test]
    fn of_a_long_result_the_end_is_kept() {
        let mut tail = Tail::default();
        for _ in 0..5 {
            tail.write_all(&vec![b'x'; 1 << 20]).unwrap();
        }
        tail.write_all(b"end").unwrap();
        let kept = tail.0.lock().unwrap();
        assert_eq!((kept.bytes.len(), kept.left_out), (KEPT, (1 << 20) + 3));
        assert!(kept.bytes.iter().rev().take(3).eq(b"dne"));
    }
}
