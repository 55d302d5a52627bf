//! A session at this terminal, or at these pipes: launches and joins, carries bytes and signals, detaches.
//!
//! Invariants: the terminal is put back as it was found on every way out; the agent never holds a descriptor of ours,
//! only the far ends of pipes made for it.

mod plain;
mod progress;
mod pumps;
mod raw;
mod side;

pub(crate) use side::{Came, headless};

use crate::{error::CliError, launch::Seat, ui::Ui};
use bottle_runtime::{
    client::{self, ClientError, Launched, Session},
    dirs::Dirs,
    protocol::{
        Console, ControlRequest, FailureKind, Frame, FrameDecoder, LaunchFailure, LaunchRequest, Lifetime, MAX_PAYLOAD,
    },
};
use bottle_spec::{escape::Escaped, init_link::WindowSize, slug::Slug};
use progress::progress;
use pumps::Pumps;
use std::{
    io::{self, IsTerminal as _, Write as _},
    path::Path,
    process::{Child, ExitCode},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::Receiver,
};

/// Ourselves, as keepers are started.
pub(crate) const PROGRAM: &str = "/proc/self/exe";
/// What rings.
const BELL: &[u8] = b"\x07";
/// The window of a program that starts with nobody looking.
const UNSEEN: WindowSize = WindowSize { rows: 24, columns: 80 };

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    Exit(u8),
    /// The program runs on.
    Detached,
    /// Why there is no session any more.
    Gone(String),
}

/// Launches the bottle with the agent at this terminal (where both stdin and stdout are one) or at pipes, stays until
/// the agent ends or is detached from, and gives its exit code. `request.console` and `request.lifetime` are set here.
pub(crate) fn foreground(mut request: LaunchRequest, seat: Seat, ui: &Ui) -> Result<ExitCode, CliError> {
    request.console = if seat == Seat::Nobody { Console::Pipes } else { console(ui) };
    request.lifetime = Lifetime::Foreground;
    let pumps = Pumps::for_console(request.console)?;
    let (mut pumps, pipes) = pumps.map_or((None, None), |(pumps, pipes)| (Some(pumps), Some(pipes)));
    if let (Some(pumps), Seat::Nobody) = (&mut pumps, seat) {
        pumps.feed_nothing();
    }
    let launched = client::launch(Path::new(PROGRAM), &request, pipes, &mut progress(ui, ""));
    let Launched { slug, session, mut keeper } = match launched {
        Ok(launched) => launched,
        Err(error) => return failed(error, ui),
    };
    let ending = serve(session, pumps)?;
    if ending != Ending::Detached {
        // Its work is done; whoever looks after us finds no process of ours. An error means that it is gone.
        let _ = keeper.wait();
    }
    conclude(ending, &slug, ui)
}

/// Launches the bottle with a terminal of its own that nobody looks at yet.
pub(crate) fn detached(request: LaunchRequest, ui: &Ui) -> Result<Slug, CliError> {
    in_background(request, ui).map(|(slug, _)| slug)
}

/// The same, where what the launch says begins with a label.
pub(crate) fn detached_under(request: LaunchRequest, label: &str, ui: &Ui) -> Result<Slug, CliError> {
    launched(request, label, ui).map(|launched| launched.slug)
}

/// The same, for who lives on and has to take note of the keeper's end.
pub(crate) fn in_background(request: LaunchRequest, ui: &Ui) -> Result<(Slug, Child), CliError> {
    launched(request, "", ui).map(|launched| (launched.slug, launched.keeper))
}

fn launched(mut request: LaunchRequest, label: &str, ui: &Ui) -> Result<Launched, CliError> {
    request.console = Console::Terminal(window_size().unwrap_or(UNSEEN));
    request.lifetime = Lifetime::Detached;
    client::launch(Path::new(PROGRAM), &request, None, &mut progress(ui, label)).map_err(told)
}

/// Joins the agent's terminal.
pub(crate) fn attach(dirs: &Dirs, slug: &Slug, ui: &Ui) -> Result<ExitCode, CliError> {
    if !ui.stdin_is_terminal || !ui.stdout_is_terminal {
        return Err(CliError::usage("attach needs a terminal on both stdin and stdout")
            .next(format!("read what it wrote with `bot-bottle logs {slug}`")));
    }
    let size = window_size().unwrap_or(UNSEEN);
    let session = client::attach(dirs, slug, &ControlRequest::Attach { size }).map_err(told)?;
    conclude(serve(session, None)?, slug, ui)
}

/// Runs a program in a running bottle and gives its exit code.
pub(crate) fn exec(
    dirs: &Dirs,
    slug: &Slug,
    command: Vec<String>,
    cwd: Option<String>,
    tty: bool,
    ui: &Ui,
) -> Result<ExitCode, CliError> {
    let console = if tty { Console::Terminal(window_size().unwrap_or(UNSEEN)) } else { Console::Pipes };
    let pumps = Pumps::for_console(console)?;
    let (pumps, pipes) = pumps.map_or((None, None), |(pumps, pipes)| (Some(pumps), Some(pipes)));
    let request = ControlRequest::Exec { argv: command, env: std::collections::BTreeMap::new(), cwd, console };
    let session = match client::exec(dirs, slug, &request, pipes) {
        Ok(session) => session,
        Err(error) => return failed(error, ui),
    };
    conclude(serve(session, pumps)?, slug, ui)
}

fn console(ui: &Ui) -> Console {
    if ui.stdin_is_terminal && ui.stdout_is_terminal {
        Console::Terminal(window_size().unwrap_or(UNSEEN))
    } else {
        Console::Pipes
    }
}

fn conclude(ending: Ending, slug: &Slug, ui: &Ui) -> Result<ExitCode, CliError> {
    match ending {
        Ending::Exit(code) => Ok(ExitCode::from(code)),
        Ending::Detached => {
            ui.say(&format!("{slug} runs on; `bot-bottle attach {slug}` comes back to it"));
            Ok(ExitCode::SUCCESS)
        }
        Ending::Gone(why) => Err(CliError::host(format!("the session ended: {}", Escaped(&why)))),
    }
}

/// A program that could not be started gives its shell's exit code (126, 127); everything else is an error of ours.
fn failed(error: ClientError, ui: &Ui) -> Result<ExitCode, CliError> {
    let (code, text) = not_started(error)?;
    ui.say(&format!("error: {}", Escaped(&text)));
    Ok(ExitCode::from(code))
}

/// The code of a program that could not be started, and why.
fn not_started(error: ClientError) -> Result<(u8, String), CliError> {
    match error {
        ClientError::Launch(LaunchFailure { kind: FailureKind::Program(code), causes, .. }) => {
            Ok((code, causes.join(": ")))
        }
        ClientError::Refused { code: code @ (126 | 127), message } => Ok((code, message)),
        error => Err(told(error)),
    }
}

/// A keeper's refusal as the person at the terminal reads it.
pub(crate) fn told(error: ClientError) -> CliError {
    match error {
        ClientError::Launch(failure) => {
            let mut causes = failure.causes.into_iter();
            let text = causes.next().unwrap_or_else(|| "the bottle could not be launched".to_owned());
            let mut text = std::iter::once(text).chain(causes.map(|cause| format!("  because: {cause}")));
            let mut message = text.by_ref().collect::<Vec<_>>().join("\n");
            for rest in &failure.left_behind {
                message.push_str("\n  left behind: ");
                message.push_str(rest);
            }
            let error = match failure.kind {
                FailureKind::Usage => CliError::usage(message),
                FailureKind::Host | FailureKind::Program(_) => CliError::host(message),
                FailureKind::Bug => CliError::bug(message),
            };
            if failure.left_behind.is_empty() { error } else { error.next("remove it with `bot-bottle cleanup`") }
        }
        ClientError::Left { ref causes, .. } => {
            let causes: String = causes.iter().map(|cause| format!("\n  because: {cause}")).collect();
            let next = if causes.contains("bot-bottle cp ") {
                "bring it here as the lines above say; until then `bot-bottle cleanup` would take it away"
            } else {
                "when that is mended, run `bot-bottle cleanup`"
            };
            CliError::host(format!("{error}{causes}")).next(next)
        }
        ClientError::NotRunning(_) => CliError::usage(error.to_string()),
        ClientError::Refused { code: 2, message } => CliError::usage(message),
        ClientError::Refused { message, .. } => CliError::host(message),
        ClientError::Confused => CliError::bug(error.to_string()),
        other => CliError::host(other.to_string()).because(other),
    }
}

/// Carries the session until it ends. With pumps the program's data goes by pipes and only signals go by the session.
fn serve(session: Session, pumps: Option<Pumps>) -> Result<Ending, CliError> {
    let lost = |error| CliError::host("the session could not be carried").because::<io::Error>(error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(lost)?;
    let ending = runtime.block_on(async {
        match pumps {
            Some(pumps) => at_pipes(session, pumps).await,
            None => at_terminal(session).await,
        }
    });
    // A thread may still wait for a key that nobody will press.
    runtime.shutdown_background();
    ending.map_err(lost)
}

async fn at_pipes(session: Session, pumps: Pumps) -> io::Result<Ending> {
    let mut stream = UnixStream::from_std(session.into_socket()?)?;
    let mut frames = FrameDecoder::default();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let running = pumps.start();
    let ending = loop {
        tokio::select! {
            frame = next(&mut stream, &mut frames) => {
                let frame = frame?;
                if frame == Some(Frame::Bell) {
                    ring();
                }
                if let Some(ending) = ended(&frame) {
                    break ending;
                }
            }
            _ = interrupt.recv() => send(&mut stream, &Frame::Signal(SignalKind::interrupt().as_raw_value())).await?,
            _ = terminate.recv() => send(&mut stream, &Frame::Signal(SignalKind::terminate().as_raw_value())).await?,
        }
    };
    running.finish();
    Ok(ending)
}

async fn at_terminal(session: Session) -> io::Result<Ending> {
    let mut stream = UnixStream::from_std(session.into_socket()?)?;
    let mut frames = FrameDecoder::default();
    let mut resized = signal(SignalKind::window_change())?;
    let mut ends = Ends::watch()?;
    let mut raw = raw::Raw::enter()?;
    let mut keys = raw::keys();
    let mut detach = raw::DetachKeys::default();
    let ending = loop {
        tokio::select! {
            frame = next(&mut stream, &mut frames) => {
                let frame = frame?;
                if let Some(Frame::Data(bytes)) = &frame {
                    raw.showing(bytes);
                    show(bytes)?;
                } else if frame == Some(Frame::Bell) {
                    show(BELL)?;
                } else if let Some(ending) = ended(&frame) {
                    break ending;
                }
            }
            typed = pressed(&mut keys) => {
                let (bytes, leave) = detach.filter(&typed);
                if !bytes.is_empty() {
                    send(&mut stream, &Frame::Data(bytes)).await?;
                }
                if leave {
                    send(&mut stream, &Frame::Detach).await?;
                    break Ending::Detached;
                }
            }
            _ = resized.recv() => if let Some(size) = window_size() {
                send(&mut stream, &Frame::Resize(size)).await?;
            },
            () = ends.any() => break Ending::Gone("this terminal went away".to_owned()),
        }
    };
    drop(raw);
    Ok(ending)
}

/// The signals that end us while the terminal is raw, so that it is put back first.
struct Ends {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Ends {
    fn watch() -> io::Result<Ends> {
        Ok(Ends {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.hangup.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Keys as they come; after the end of input, none ever.
async fn pressed(keys: &mut Receiver<Vec<u8>>) -> Vec<u8> {
    match keys.recv().await {
        Some(bytes) => bytes,
        None => std::future::pending().await,
    }
}

fn ended(frame: &Option<Frame>) -> Option<Ending> {
    match frame {
        Some(Frame::Exit(code)) => Some(Ending::Exit(*code)),
        Some(Frame::Gone(why)) => Some(Ending::Gone(why.clone())),
        Some(_) => None,
        None => Some(Ending::Gone("the keeper is gone; `bot-bottle cleanup` removes what it left".to_owned())),
    }
}

/// The next frame, `None` at the end. Safe to drop and call again.
async fn next(stream: &mut UnixStream, frames: &mut FrameDecoder) -> io::Result<Option<Frame>> {
    let mut bytes = Vec::with_capacity(MAX_PAYLOAD);
    loop {
        if let Some(frame) = frames.next_frame().map_err(io::Error::other)? {
            return Ok(Some(frame));
        }
        bytes.clear();
        match stream.read_buf(&mut bytes).await {
            Ok(0) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error),
            Ok(_) => frames.push(&bytes),
        }
    }
}

/// A keeper that is gone is noticed by reading, with what it said last.
async fn send(stream: &mut UnixStream, frame: &Frame) -> io::Result<()> {
    match stream.write_all(&frame.encode()).await {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// At a terminal that has the program's errors, or ours, and not its output.
fn ring() {
    if io::stderr().is_terminal() {
        let _ = io::stderr().write_all(BELL);
    }
}

/// This is the one place where an agent's bytes reach a terminal as they are: the person asked to sit at it.
fn show(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

pub(crate) fn window_size() -> Option<WindowSize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some(WindowSize { rows: size.ws_row, columns: size.ws_col })
}
