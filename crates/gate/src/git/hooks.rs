//! The two hooks that `git receive-pack` runs here, and what they and this process say to each other.
//!
//! Both are shell scripts that decide nothing: they hand git's words on over descriptor 7 and do what comes over
//! descriptor 8. `pre-receive` tells of every ref while the objects are in quarantine; `proc-receive` (githooks) moves
//! the refs instead of git, which is how each gets an answer of its own.
//!
//! Invariant: a hook that hears nothing, or something else than its script knows, refuses.

use bottle_policy::git::pkt::{self, Length};
use std::{io, path::Path};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::unix::pipe::{Receiver, Sender},
};

/// What the hooks write to.
pub(super) const TO_GATE: i32 = 7;
/// What they read from.
pub(super) const FROM_GATE: i32 = 8;

/// Refs of one push.
const MAX_REFS: usize = 1000;
const MAX_LINE: u64 = 64 << 10;

const PRE_RECEIVE: &str = r#"#!/bin/sh
# Written by bot-bottle's git gate, which decides. Lines that begin with `+` are for the one who pushes.
{ printf '%s\n' "$GIT_OBJECT_DIRECTORY" "$GIT_ALTERNATE_OBJECT_DIRECTORIES"; cat; echo; } >&7 || exit 1
while IFS= read -r line <&8; do
    case $line in
        '+'*) printf '%s\n' "${line#+}" >&2 ;;
        ok) exit 0 ;;
        *) exit 1 ;;
    esac
done
exit 1
"#;

const PROC_RECEIVE: &str = r#"#!/bin/sh
# Written by bot-bottle's git gate, which decides. Lines that begin with `=` are for git.
exec 3<&0
cat <&3 >&7 &
while IFS= read -r line <&8; do
    case $line in
        '+'*) printf '%s\n' "${line#+}" >&2 ;;
        '='*) printf '%b' "${line#=}" ;;
        ok) exit 0 ;;
        *) exit 1 ;;
    esac
done
exit 1
"#;

/// Writes the scripts.
pub(super) fn write(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    for (name, script) in [("pre-receive", PRE_RECEIVE), ("proc-receive", PROC_RECEIVE)] {
        let path = directory.join(name);
        std::fs::write(&path, script)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// One ref of a push, as git tells it. Objects are in hex; `None` is git's zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Update {
    pub(super) reference: String,
    pub(super) old: Option<String>,
    pub(super) new: Option<String>,
}

/// What `pre-receive` tells.
#[derive(Debug)]
pub(super) struct Received {
    /// Where the new objects are.
    pub(super) objects: String,
    pub(super) alternates: String,
    pub(super) updates: Vec<Update>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum HookError {
    #[error("the hook went away")]
    Gone(#[source] io::Error),
    #[error("the hook said something that it cannot say")]
    Malformed,
    #[error("the repository cannot be brought up to date")]
    Stale,
    #[error("more than {MAX_REFS} refs are pushed at once")]
    TooMany,
}

/// Our ends of the hooks' descriptors.
#[derive(Debug)]
pub(super) struct Hooks {
    hear: BufReader<Receiver>,
    tell: Sender,
}

impl Hooks {
    pub(super) fn new(hear: Receiver, tell: Sender) -> Hooks {
        Hooks { hear: BufReader::new(hear), tell }
    }

    async fn line(&mut self) -> Result<String, HookError> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.hear).take(MAX_LINE);
        bounded.read_until(b'\n', &mut line).await.map_err(HookError::Gone)?;
        if line.pop() != Some(b'\n') {
            return Err(HookError::Gone(io::ErrorKind::UnexpectedEof.into()));
        }
        String::from_utf8(line).map_err(|_| HookError::Malformed)
    }

    /// Comes once git has all objects.
    pub(super) async fn received(&mut self) -> Result<Received, HookError> {
        let (objects, alternates) = (self.line().await?, self.line().await?);
        let mut updates = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(Received { objects, alternates, updates });
            }
            updates.push(update(&line).ok_or(HookError::Malformed)?);
            if updates.len() > MAX_REFS {
                return Err(HookError::TooMany);
            }
        }
    }

    /// A line for whoever pushes, who sees it behind `remote:`.
    pub(super) async fn say(&mut self, text: &str) -> Result<(), HookError> {
        let text: String = text.chars().filter(|c| !matches!(c, '\n' | '\r' | '\0')).collect();
        self.write(&format!("+{text}\n")).await
    }

    /// The hook ends, in good order.
    pub(super) async fn go_on(&mut self) -> Result<(), HookError> {
        self.write("ok\n").await
    }

    async fn write(&mut self, text: &str) -> Result<(), HookError> {
        self.tell.write_all(text.as_bytes()).await.map_err(HookError::Gone)
    }

    /// What `proc-receive` hears from git: whether all refs or none are to move. What the refs are is known.
    pub(super) async fn is_atomic(&mut self) -> Result<bool, HookError> {
        let mut atomic = false;
        while let Some(line) = self.packet().await? {
            let capabilities = line.split(|byte| *byte == 0).nth(1).unwrap_or_default();
            atomic |= capabilities.split(|byte| matches!(byte, b' ' | b'\n')).any(|word| word == b"atomic");
        }
        let own = if atomic { "version=1\\0000atomic" } else { "version=1" };
        let length = 4 + "version=1".len() + if atomic { "\0atomic".len() } else { 0 };
        self.write(&format!("={length:04x}{own}0000\n")).await?;
        // The refs again.
        while self.packet().await?.is_some() {}
        Ok(atomic)
    }

    /// The answer for each ref.
    pub(super) async fn answer(&mut self, answers: &[(String, Result<(), String>)]) -> Result<(), HookError> {
        for (reference, answer) in answers {
            let line = match answer {
                Ok(()) => format!("ok {reference}"),
                Err(why) => format!("ng {reference} {}", plain(why)),
            };
            self.write(&format!("={:04x}{line}\n", line.len() + 4)).await?;
        }
        self.write("=0000\n").await?;
        self.go_on().await
    }

    /// `None` = a flush.
    async fn packet(&mut self) -> Result<Option<Vec<u8>>, HookError> {
        let mut header = [0; 4];
        self.hear.read_exact(&mut header).await.map_err(HookError::Gone)?;
        match pkt::length(header).map_err(|_| HookError::Malformed)? {
            Length::Special(_) => Ok(None),
            Length::Data(length) => {
                let mut line = vec![0; length];
                self.hear.read_exact(&mut line).await.map_err(HookError::Gone)?;
                Ok(Some(line))
            }
        }
    }
}

/// Nothing that `printf %b` or a pkt-line would read as more than itself.
fn plain(text: &str) -> String {
    let fit = |c: char| if c == '\\' || c.is_control() || !c.is_ascii() { '?' } else { c };
    text.chars().map(fit).take(400).collect()
}

fn update(line: &str) -> Option<Update> {
    let mut words = line.splitn(3, ' ');
    let (old, new, reference) = (words.next()?, words.next()?, words.next()?);
    let sound = reference.starts_with("refs/") && !reference.contains(['\\', ' ']) && reference.len() < 1024;
    sound.then_some(())?;
    Some(Update { reference: reference.to_owned(), old: object(old)?, new: object(new)? })
}

/// Outer `None`: this is no object.
fn object(text: &str) -> Option<Option<String>> {
    let hex = matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    hex.then(|| text.bytes().any(|byte| byte != b'0').then(|| text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs_as_git_tells_them() {
        let (zeros, some) = ("0".repeat(40), "a".repeat(40));
        let created = update(&format!("{zeros} {some} refs/heads/x")).unwrap();
        assert_eq!(created, Update { reference: "refs/heads/x".to_owned(), old: None, new: Some(some.clone()) });
        for line in [
            format!("{zeros} {some}"),
            format!("{zeros} -x refs/heads/x"),
            format!("{zeros} {some} --exec=x"),
            format!("{zeros} {some} refs/heads/a b"),
            format!("{zeros} {} refs/heads/x", "A".repeat(40)),
            format!("{zeros} {} refs/heads/x", "a".repeat(41)),
        ] {
            assert_eq!(update(&line), None, "{line}");
        }
    }

    #[test]
    fn a_reason_is_one_plain_line() {
        assert_eq!(plain("a\\0b\nc\u{1b}[31mé"), "a?0b?c?[31m?");
    }
}
