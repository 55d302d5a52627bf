//! `bot-bottle dashboard --web`: the dashboard as a page, for a browser on this machine.
//!
//! Who may: the one-time token in the printed URL is given for a cookie and a key; what is asked with both, from the page
//! itself, is answered ([`session`], [`guard`]). The page gets what a look gives ([`news`]) and answers requests as the
//! screen at the terminal does, by their digest ([`api`]).
//!
//! Tasks: one per connection, one that looks, one that waits for a key press which prints another URL. Channels: a watch
//! for each list that the page shows; slow readers see the newest alone.
//!
//! Invariants: it listens on 127.0.0.1 alone; connections, heads, bodies and streams are bounded in number, size and
//! time; nothing of it is loaded by any other command.

mod api;
mod guard;
mod news;
mod page;
mod serve;
mod session;

use crate::{compose::Context, error::CliError};
use news::News;
use session::Sessions;
use std::{
    io::{self, BufRead as _},
    net::Ipv4Addr,
    process::ExitCode,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

/// What every connection needs.
struct Site {
    port: u16,
    sessions: Mutex<Sessions>,
    news: News,
    context: Arc<Context>,
}

impl Site {
    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        // Nothing in there can be half done.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A URL that works once; the one before, where nobody came by it, no more.
    fn url(&self) -> Result<String, CliError> {
        let token = self
            .sessions()
            .invite()
            .map_err(|error| CliError::host("the system gave no random bytes").because(error.to_string()))?;
        Ok(format!("http://127.0.0.1:{}/?token={token}", self.port))
    }
}

pub(super) fn run(port: Option<u16>, context: Context) -> Result<ExitCode, CliError> {
    let failed = |error: io::Error| CliError::host("the page cannot be served").because(error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let served = runtime.block_on(serve_until_the_end(port, Arc::new(context)));
    // A thread may still wait for a key that nobody will press.
    runtime.shutdown_background();
    served
}

async fn serve_until_the_end(port: Option<u16>, context: Arc<Context>) -> Result<ExitCode, CliError> {
    let failed = |error: io::Error| CliError::host("the page cannot be served").because(error);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.unwrap_or(0)))
        .await
        .map_err(|error| failed(error).next("choose another port with --port, or leave it out for one that is free"))?;
    let port = listener.local_addr().map_err(failed)?.port();
    let news = News::gathered(Arc::clone(&context));
    let ui = context.ui;
    let site = Arc::new(Site { port, sessions: Mutex::default(), news, context });
    ui.result(&format!("{}\n", site.url()?))?;
    let mut more = if ui.stdin_is_terminal { Some(lines()) } else { None };
    ui.say("open it in a browser on this machine; it works once, within ten minutes");
    if more.is_some() {
        ui.say("enter prints another one, ctrl-c ends the page");
    }
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt()).map_err(failed)?, signal(SignalKind::terminate()).map_err(failed)?);
    let serving = tokio::spawn(serve::serve(listener, Arc::clone(&site)));
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            line = next(&mut more) => match line {
                Some(()) => ui.result(&format!("{}\n", site.url()?))?,
                None => more = None,
            },
        }
    }
    serving.abort();
    Ok(ExitCode::SUCCESS)
}

async fn next(lines: &mut Option<mpsc::Receiver<()>>) -> Option<()> {
    match lines {
        Some(lines) => lines.recv().await,
        None => std::future::pending().await,
    }
}

/// One for each line that the person enters.
fn lines() -> mpsc::Receiver<()> {
    let (entered, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut line = Vec::new();
        while matches!(stdin.read_until(b'\n', &mut line), Ok(1..)) && entered.blocking_send(()).is_ok() {
            line.clear();
        }
    });
    lines
}
