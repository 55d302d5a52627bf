//! Subscriptions' logins, each kept once for all bottles: `logins/NAME.json` in the state directory.
//!
//! A refresh token is good for one renewal; a server that sees one twice takes the whole login away (RFC 9700, section
//! 4.14.2). So a login is renewed by one process at a time, under its lock, by whoever comes first; the others find the
//! new tokens there. The user's own client has the login too: what it renewed is taken over, and what is renewed here
//! is written back to its file.
//!
//! Invariants: a refresh token is in no gate and no bottle; new tokens are on the disk before anybody uses them; no error
//! holds a token.

mod client;
mod renewal;

use crate::compose::Context;
use bottle_spec::{login::LoginSource, secret::Secret};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

pub(crate) use client::ClientFileError;
pub(crate) use renewal::RenewalError;

/// Who holds the lock renews, which takes no longer than [`renewal`] waits for its server.
const LOCK_PATIENCE: Duration = Duration::from_secs(45);
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// A token is renewed so long before its end; sooner where it does not live ten times as long.
const SLACK: Duration = Duration::from_secs(300);

#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    #[error("there is no login `{0}`")]
    Unknown(String),
    #[error("{path} cannot be used")]
    Store { path: PathBuf, source: io::Error },
    #[error("{0} is damaged")]
    Damaged(PathBuf),
    #[error("another process has been renewing the login for {} seconds", LOCK_PATIENCE.as_secs())]
    Busy,
    #[error("the client's own login cannot be read")]
    Client(#[source] ClientFileError),
    #[error("the login could not be renewed")]
    Renewal(#[source] RenewalError),
}

impl LoginError {
    /// What its person can do about it.
    pub(crate) fn next_step(&self) -> &'static str {
        match self {
            LoginError::Unknown(_) | LoginError::Damaged(_) => "take it over: bot-bottle login NAME",
            LoginError::Renewal(RenewalError::Refused(_)) => {
                "log in again with the client itself, then: bot-bottle login NAME"
            }
            LoginError::Renewal(_) => "check that the machine has a network, and try again",
            LoginError::Client(_) => "log in with the client itself first",
            LoginError::Store { .. } | LoginError::Busy => "check the state directory, and try again",
        }
    }
}

/// An access token as it is now.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Access {
    pub(crate) value: Secret,
    /// When it expires, in milliseconds since 1970.
    pub(crate) until: Option<u64>,
}

/// What a client keeps of a login.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Tokens {
    access: Secret,
    refresh: Secret,
    until: Option<u64>,
    account: Option<String>,
}

/// One login, as it lies on the disk.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    how: LoginSource,
    /// The client's own file.
    from: PathBuf,
    tokens: Tokens,
    /// When the tokens came, in milliseconds since 1970.
    since: u64,
    /// The refresh token that the client's file held when it was last read or written. Another is the client's news; this
    /// one may be long used up.
    theirs: Secret,
    renewals: u64,
}

/// One login as it is listed.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) from: PathBuf,
    pub(crate) account: Option<String>,
    /// When the access token expires, in milliseconds since 1970.
    pub(crate) until: Option<u64>,
    pub(crate) renewals: u64,
}

/// The logins of one user.
#[derive(Debug, Clone)]
pub(crate) struct Logins(PathBuf);

impl Logins {
    pub(crate) fn of(context: &Context) -> Logins {
        Logins(context.dirs.state.join("logins"))
    }

    /// Each login's name, with its account.
    pub(crate) fn accounts(&self) -> BTreeMap<String, Option<String>> {
        self.list().into_iter().map(|login| (login.name, login.account)).collect()
    }

    /// By name; one that is damaged is left out.
    pub(crate) fn list(&self) -> Vec<Listed> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let listed = entries.filter_map(|entry| {
            let path = entry.path();
            let name =
                path.file_stem().filter(|_| path.extension().is_some_and(|it| it == "json"))?.to_str()?.to_owned();
            let Kept { from, tokens, renewals, .. } = read(&path).ok()?;
            Some(Listed { name, from, account: tokens.account, until: tokens.until, renewals })
        });
        let mut listed: Vec<Listed> = listed.collect();
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        listed
    }

    /// Takes over what the client keeps in `from`.
    pub(crate) fn import(&self, name: &str, how: LoginSource, from: &Path) -> Result<(), LoginError> {
        // A link would be replaced when the file is written back.
        let from = fs::canonicalize(from)
            .map_err(|source| LoginError::Client(ClientFileError::Read { path: from.to_owned(), source }))?;
        let tokens = client::read(&from, &how).map_err(LoginError::Client)?;
        let _lock = self.lock(name)?;
        let theirs = tokens.refresh.clone();
        let kept = Kept { how, from, tokens, since: now(), theirs, renewals: 0 };
        self.write(name, &kept)
    }

    /// Forgets a login; the client keeps its own. Whether there was one.
    pub(crate) fn remove(&self, name: &str) -> Result<bool, LoginError> {
        let path = self.path(name);
        if !path.exists() {
            return Ok(false);
        }
        let _lock = self.lock(name)?;
        fs::remove_file(&path).map_err(|source| LoginError::Store { path, source })?;
        Ok(true)
    }

    /// The access token: another than `refused` where that is given, and one that is not about to expire. Renews the
    /// login where nobody has. Blocks.
    pub(crate) fn access(&self, name: &str, refused: Option<&Secret>) -> Result<Access, LoginError> {
        if !self.path(name).exists() {
            return Err(LoginError::Unknown(name.to_owned()));
        }
        let _lock = self.lock(name)?;
        let mut kept = self.read(name)?;
        self.follow_client(name, &mut kept)?;
        if !kept.is_due(refused) {
            return Ok(kept.access());
        }
        let renewed = match renewal::renew(&kept.how, &kept.tokens) {
            Ok(renewed) => renewed,
            // The client may have been faster by a moment; then its file says so.
            Err(RenewalError::Refused(_)) if self.follow_client(name, &mut kept)? && !kept.is_due(refused) => {
                return Ok(kept.access());
            }
            // What is not over yet still serves who does not want another.
            Err(_) if refused.is_none() && kept.tokens.until.is_some_and(|until| until > now()) => {
                return Ok(kept.access());
            }
            Err(error) => return Err(LoginError::Renewal(error)),
        };
        kept.tokens = renewed.tokens(&kept.how, &kept.tokens);
        (kept.since, kept.renewals) = (now(), kept.renewals.saturating_add(1));
        self.write(name, &kept)?;
        match client::write_back(&kept, &renewed) {
            Ok(true) => {
                kept.theirs = kept.tokens.refresh.clone();
                self.write(name, &kept)?;
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "the client's own file does not have the renewed login"),
        }
        Ok(kept.access())
    }

    /// Takes over what the client has renewed by itself. Whether it had.
    fn follow_client(&self, name: &str, kept: &mut Kept) -> Result<bool, LoginError> {
        // A client that was logged out leaves the login to us.
        let Ok(theirs) = client::read(&kept.from, &kept.how) else { return Ok(false) };
        if theirs.refresh == kept.tokens.refresh || theirs.refresh == kept.theirs {
            return Ok(false);
        }
        kept.theirs = theirs.refresh.clone();
        (kept.tokens, kept.since) = (theirs, now());
        self.write(name, kept)?;
        Ok(true)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.json"))
    }

    fn read(&self, name: &str) -> Result<Kept, LoginError> {
        read(&self.path(name))
    }

    /// Whole or not at all, and on the disk.
    fn write(&self, name: &str, kept: &Kept) -> Result<(), LoginError> {
        let path = self.path(name);
        let written = serde_json::to_vec_pretty(kept)
            .map_err(io::Error::from)
            .and_then(|text| write_whole(&path, &zeroize::Zeroizing::new(text), PRIVATE));
        written.map_err(|source| LoginError::Store { path, source })
    }

    fn lock(&self, name: &str) -> Result<File, LoginError> {
        let path = self.0.join(format!("{name}.lock"));
        let failed = |source: io::Error| LoginError::Store { path: path.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0).map_err(failed)?;
        let options = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).clone();
        let file = options.open(&path).map_err(failed)?;
        let until = Instant::now() + LOCK_PATIENCE;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < until => thread::sleep(LOCK_PAUSE),
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(LoginError::Busy),
                Err(errno) => return Err(failed(errno.into())),
            }
        }
    }
}

impl Kept {
    fn access(&self) -> Access {
        Access { value: self.tokens.access.clone(), until: self.tokens.until }
    }

    /// Whether another access token is wanted: this one was refused, or is about to expire.
    fn is_due(&self, refused: Option<&Secret>) -> bool {
        let is_over = self.tokens.until.is_some_and(|until| now().saturating_add(slack(self.since, until)) >= until);
        is_over || refused == Some(&self.tokens.access)
    }
}

/// How long before `until` a token that came at `since` is renewed. All in milliseconds.
fn slack(since: u64, until: u64) -> u64 {
    let most = u64::try_from(SLACK.as_millis()).unwrap_or(u64::MAX);
    (until.saturating_sub(since) / 10).min(most)
}

fn read(path: &Path) -> Result<Kept, LoginError> {
    let bytes = fs::read(path).map(zeroize::Zeroizing::new);
    let bytes = bytes.map_err(|source| LoginError::Store { path: path.to_owned(), source })?;
    // serde_json's error may quote what it read.
    serde_json::from_slice(&bytes).map_err(|_| LoginError::Damaged(path.to_owned()))
}

/// Who may do what with a file.
#[derive(Debug, Clone, Copy)]
struct Owned {
    mode: u32,
    /// Uid and gid, where they are not those of this process.
    by: Option<(u32, u32)>,
}

/// Ours.
const PRIVATE: Owned = Owned { mode: 0o600, by: None };

/// Written beside, brought to the disk and renamed over.
fn write_whole(path: &Path, bytes: &[u8], owned: Owned) -> io::Result<()> {
    let beside = path.with_extension("bot-bottle-new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&beside)?;
    if let Some((uid, gid)) = owned.by {
        fchown(&file, Some(uid), Some(gid))?;
    }
    file.set_permissions(fs::Permissions::from_mode(owned.mode))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
