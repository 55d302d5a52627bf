//! Notifications: where the user wants them (`config.yaml`), read when a bottle is launched, and the process that sends
//! one.
//!
//! The keeper starts `bot-bottle notifier` when something waits ([`bottle_runtime`]'s `keeper::notices`). It looks up
//! what it needs, gives up everything else as a gate does, and only then reads what the agent wrote.
//!
//! Invariants: a notification holds no secret of the bottle's and nothing that looks like one; what goes wrong is told in
//! the bottle's `notifier.log`, with no webhook's address, and to nobody else.

#[cfg(feature = "desktop")]
mod desktop;
mod message;
mod webhook;

use crate::{
    catalog,
    compose::Context,
    error::{CliError, Kind, in_a_line},
    secrets::{self, Use},
};
use bottle_gate::confine;
use bottle_spec::{
    escape::Escaped,
    gate_link::KeeperToGate,
    manifest::Config,
    notify::{Notify, NotifyStart, Target, Targets, UrlSource, Webhook, WebhookUrl},
    secret::{Secret, SecretRef},
    wire::Decoder,
};
use message::Message;
use std::{
    fs,
    io::{self, Read as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{task::JoinSet, time::timeout};
use webhook::Prepared;

/// For each place to be told.
const PATIENCE: Duration = Duration::from_secs(10);

/// The user's configuration; the defaults where there is none.
pub(crate) fn config(context: &Context) -> Result<Config, CliError> {
    let path = context.config.join("config.yaml");
    let text = catalog::read(&path, context)?.unwrap_or_default();
    Config::parse(&path, &text).map_err(|mistakes| CliError::mistakes(&mistakes, Kind::Manifest))
}

/// Where notifications of a bottle go that is launched now. What cannot be had is told, and keeps no bottle from starting.
pub(crate) fn targets(context: &Context) -> Result<Targets, CliError> {
    let Notify { bell, desktop, webhooks, ca } = config(context)?.notify;
    let webhooks = webhooks.iter().filter_map(|webhook| {
        let target = target(webhook, context);
        target.map_err(|error| context.ui.say(&format!("note: a webhook is left out: {}", in_a_line(&error)))).ok()
    });
    let webhooks: Vec<Target> = webhooks.collect();
    let ca = ca.filter(|_| !webhooks.is_empty()).map(|path| authorities(&path, context)).transpose()?;
    Ok(Targets { bell, desktop: if desktop { bus(context) } else { None }, webhooks, ca })
}

fn target(webhook: &Webhook, context: &Context) -> Result<Target, CliError> {
    let url = match &webhook.url {
        UrlSource::Written(url) => Secret::new(written(url)),
        UrlSource::Kept(source) => {
            let url = kept(source, context)?;
            url.expose().parse::<WebhookUrl>().map_err(|error| {
                let source = Escaped(&source.to_string()).to_string();
                CliError::host(format!("what {source} holds is no webhook")).because(error)
            })?;
            url
        }
    };
    let token = webhook.token.as_ref().map(|source| kept(source, context)).transpose()?;
    Ok(Target { kind: webhook.kind, url, token })
}

fn written(url: &WebhookUrl) -> String {
    let scheme = if url.is_tls { "https" } else { "http" };
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    format!("{scheme}://{host}:{}{}", url.port, url.target)
}

fn kept(source: &SecretRef, context: &Context) -> Result<Secret, CliError> {
    let reading = secrets::read(source, Use::Sent, context).map_err(|error| {
        CliError::host(format!("the secret {} cannot be read", Escaped(&source.to_string()))).because(error)
    })?;
    Ok(reading.value)
}

/// Absolute, below `~`, or beside the configuration.
fn authorities(path: &Path, context: &Context) -> Result<String, CliError> {
    let path: PathBuf = match path.strip_prefix("~") {
        Ok(below) => context.home.join(below),
        Err(_) => context.config.join(path),
    };
    fs::read_to_string(&path).map_err(|error| {
        CliError::host(format!("the authorities of webhooks, {}, cannot be read", Escaped(&context.short(&path))))
            .because(error)
            .next("mend `ca` of `notify` in config.yaml")
    })
}

/// The session's bus. Only a socket of this machine: the D-Bus specification also has addresses that start a program.
fn bus(context: &Context) -> Option<String> {
    if !cfg!(feature = "desktop") {
        return None;
    }
    let is_socket = |address: &&str| address.starts_with("unix:path=") || address.starts_with("unix:abstract=");
    if let Some(named) = context.environment.value("DBUS_SESSION_BUS_ADDRESS") {
        return named.split(';').find(is_socket).map(str::to_owned);
    }
    // Where systemd puts it.
    let socket = PathBuf::from(context.environment.value("XDG_RUNTIME_DIR")?).join("bus");
    socket.exists().then(|| format!("unix:path={}", socket.display()))
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum NotifierError {
    #[error("the keeper's message did not come")]
    Link(#[source] io::Error),
    #[error("the keeper's message cannot be read")]
    Message,
    #[error("could not start the event loop")]
    EventLoop(#[source] io::Error),
    #[error("the notifier could not confine itself")]
    Confine(#[source] confine::ConfineError),
}

/// Sends one notification. Confines the process for good; to be called by a process of one thread that does nothing
/// else.
pub(crate) fn notifier(mut link: UnixStream) -> Result<(), NotifierError> {
    let start = receive(&mut link)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(NotifierError::EventLoop)?;
    #[cfg(feature = "desktop")]
    let bus = start.targets.desktop.as_deref().and_then(|address| {
        let connecting = async { timeout(PATIENCE, desktop::connect(address)).await };
        told("the session's bus", runtime.block_on(connecting))
    });
    let mut hooks = Vec::new();
    for target in &start.targets.webhooks {
        match Prepared::of(target, start.targets.ca.as_deref()) {
            Ok(hook) => hooks.push(hook),
            Err(error) => tracing::warn!(error = chain(&error), "a webhook cannot be told"),
        }
    }
    confine::confine(start.run_as).map_err(NotifierError::Confine)?;
    let message = Message::of(&start);
    runtime.block_on(async {
        let mut sending = JoinSet::new();
        for hook in hooks {
            let message = message.clone();
            sending.spawn(async move {
                told(&hook.host(), timeout(PATIENCE, hook.send(&message)).await);
            });
        }
        #[cfg(feature = "desktop")]
        if let Some(bus) = bus {
            let message = message.clone();
            sending.spawn(async move {
                told("the desktop", timeout(PATIENCE, desktop::show(&bus, &message)).await);
            });
        }
        while sending.join_next().await.is_some() {}
    });
    Ok(())
}

fn receive(link: &mut UnixStream) -> Result<NotifyStart, NotifierError> {
    let mut decoder = Decoder::default();
    let mut bytes = vec![0; 16 << 10];
    loop {
        match decoder.message().map_err(|_| NotifierError::Message)? {
            Some(KeeperToGate::Notify(start)) => return Ok(*start),
            Some(_) => return Err(NotifierError::Message),
            None => {}
        }
        let count = link.read(&mut bytes).map_err(NotifierError::Link)?;
        let taken = bytes.get(..count).filter(|taken| !taken.is_empty());
        decoder.push(taken.ok_or_else(|| NotifierError::Link(io::ErrorKind::UnexpectedEof.into()))?);
    }
}

/// Whether it went well; if not, the log has why.
fn told<T, E: std::error::Error>(whom: &str, sent: Result<Result<T, E>, tokio::time::error::Elapsed>) -> Option<T> {
    match sent {
        Ok(Ok(sent)) => return Some(sent),
        Ok(Err(error)) => tracing::warn!(whom, error = chain(&error), "not told"),
        Err(_) => tracing::warn!(whom, "not told: it took too long"),
    }
    None
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
