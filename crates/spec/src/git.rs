//! The repositories that a bottle reaches through its git door: where they are upstream, what they are called inside,
//! and what may be pushed.
//!
//! Invariant: an [`Upstream`] is ssh, https or an absolute path, holds no credential, and is never an option or a
//! helper's name (`ext::`) to git.

use crate::policy::Auth;
use serde::{Deserialize, Serialize};
use std::{
    fmt::{self, Write as _},
    path::{Path, PathBuf},
    str::FromStr,
};

/// The git door, as programs inside name it.
pub const DOOR_URL: &str = "git://127.0.0.1:9418";

/// One repository of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GitRepository {
    /// Served as `$GIT_GATE_URL/<name>`.
    pub name: String,
    pub upstream: Upstream,
    /// The ssh key; absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_file: Option<PathBuf>,
    /// The ssh host keys; absolute. Needed for an ssh upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_hosts: Option<PathBuf>,
    /// What an https upstream is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// `None` = nothing may be pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<PushRules>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushRules {
    pub refs: Vec<RefPattern>,
    pub approval: Approval,
    /// Whether a ref may be deleted.
    #[serde(default)]
    pub delete: bool,
    /// Whether a branch may lose commits, and a tag be moved.
    #[serde(default)]
    pub force: bool,
    /// Ids of the scan's rules that find nothing in what is pushed here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exempt: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// The operator sees each push and says yes or no.
    Ask,
    Allow,
}

/// As `refs/heads/agent/*`; `*` stands for any characters, `/` among them, as in a refspec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RefPattern(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GitError {
    #[error("an upstream is ssh://…, user@host:path, https://… or an absolute path")]
    Upstream,
    #[error("an upstream's URL holds no user or password; name the source of the secret under `auth`")]
    Userinfo,
    #[error("a ref to push to is `refs/heads/…` or another `refs/NAMESPACE/…`, with `*` for any characters")]
    Ref,
    #[error("`refs/replace/` and `refs/bisect/` change what git reads and are never pushed to")]
    Namespace,
}

impl RefPattern {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RefPattern {
    type Err = GitError;

    fn from_str(text: &str) -> Result<RefPattern, GitError> {
        let rest = text.strip_prefix("refs/").ok_or(GitError::Ref)?;
        let (namespace, name) = rest.split_once('/').ok_or(GitError::Ref)?;
        let bad = |c: char| c.is_control() || c.is_whitespace() || "~^:?[\\".contains(c);
        if namespace.is_empty() || namespace.contains('*') || name.is_empty() || rest.contains(bad) {
            return Err(GitError::Ref);
        }
        let odd = rest.split('/').any(|part| part.is_empty() || part.starts_with('.') || part.ends_with(".lock"));
        if odd || rest.contains("..") || rest.contains("@{") || rest.ends_with('.') {
            return Err(GitError::Ref);
        }
        if matches!(namespace, "replace" | "bisect") {
            Err(GitError::Namespace)
        } else {
            Ok(RefPattern(text.to_owned()))
        }
    }
}

impl TryFrom<String> for RefPattern {
    type Error = GitError;

    fn try_from(text: String) -> Result<RefPattern, GitError> {
        text.parse()
    }
}

impl From<RefPattern> for String {
    fn from(pattern: RefPattern) -> String {
        pattern.0
    }
}

/// Where a repository comes from, as the user wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Upstream(String);

/// What an [`Upstream`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    Path(&'a Path),
    /// `path` without a leading `/` begins at the user's home.
    Ssh {
        user: Option<&'a str>,
        host: &'a str,
        port: Option<u16>,
        path: &'a str,
    },
    /// `host` may have a port.
    Https {
        host: &'a str,
        path: &'a str,
    },
}

impl Upstream {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Of an absolute path.
    pub fn of_path(path: &Path) -> Result<Upstream, GitError> {
        path.to_str().ok_or(GitError::Upstream)?.parse()
    }

    pub fn kind(&self) -> Kind<'_> {
        // A value is only made of a text that has a kind.
        kind(&self.0).unwrap_or(Kind::Path(Path::new("/nonexistent")))
    }

    /// Every way in which programs inside may name it, for `insteadOf`; each stands for itself and what it begins.
    pub fn forms(&self) -> Vec<String> {
        let (host, path, user) = match self.kind() {
            Kind::Path(path) => return vec![path.display().to_string(), format!("file://{}", path.display())],
            Kind::Ssh { user, host, path, port } => (with_port(host, port), path, user.unwrap_or("git")),
            Kind::Https { host, path } => (host.to_owned(), path, "git"),
        };
        let path = path.trim_start_matches('/').trim_end_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        let bare = host.split(':').next().unwrap_or_default();
        let mut forms = vec![
            self.0.trim_end_matches('/').trim_end_matches(".git").to_owned(),
            format!("https://{bare}/{path}"),
            format!("http://{bare}/{path}"),
            format!("git://{bare}/{path}"),
            format!("ssh://{user}@{bare}/{path}"),
            format!("ssh://{bare}/{path}"),
            format!("git+ssh://{user}@{bare}/{path}"),
            format!("{user}@{bare}:{path}"),
            format!("{user}@{bare}:/{path}"),
        ];
        if host != bare {
            forms.push(format!("ssh://{user}@{host}/{path}"));
            forms.push(format!("https://{host}/{path}"));
        }
        forms.sort();
        forms.dedup();
        forms
    }
}

fn with_port(host: &str, port: Option<u16>) -> String {
    port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn kind(text: &str) -> Result<Kind<'_>, GitError> {
    let unfit = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '\\' | '"' | '\'' | '?' | '#');
    if text.starts_with('-') || text.chars().any(unfit) || text.contains("::") {
        return Err(GitError::Upstream);
    }
    if text.starts_with('/') {
        return Ok(Kind::Path(Path::new(text)));
    }
    if let Some(rest) = text.strip_prefix("https://") {
        let (host, path) = rest.split_once('/').ok_or(GitError::Upstream)?;
        if host.contains('@') {
            return Err(GitError::Userinfo);
        }
        let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
        port.map(port_of).transpose()?;
        return if is_host(name) && !path.is_empty() {
            Ok(Kind::Https { host, path })
        } else {
            Err(GitError::Upstream)
        };
    }
    if let Some(rest) = text.strip_prefix("ssh://") {
        let (authority, _) = rest.split_once('/').ok_or(GitError::Upstream)?;
        let (user, host) = user_and_host(authority)?;
        let (host, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
        let path = rest.get(authority.len()..).filter(|path| path.len() > 1).ok_or(GitError::Upstream)?;
        let port = port.map(port_of).transpose()?;
        return if is_host(host) { Ok(Kind::Ssh { user, host, port, path }) } else { Err(GitError::Upstream) };
    }
    let (authority, path) = text.split_once(':').ok_or(GitError::Upstream)?;
    let (user, host) = user_and_host(authority)?;
    let sound = is_host(host) && !path.is_empty() && !path.starts_with("//") && !path.starts_with('-');
    if sound { Ok(Kind::Ssh { user, host, port: None, path }) } else { Err(GitError::Upstream) }
}

fn user_and_host(authority: &str) -> Result<(Option<&str>, &str), GitError> {
    let Some((user, host)) = authority.split_once('@') else { return Ok((None, authority)) };
    if user.contains(':') {
        return Err(GitError::Userinfo);
    }
    let plain = !user.is_empty() && user.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if plain && !user.starts_with('-') { Ok((Some(user), host)) } else { Err(GitError::Upstream) }
}

fn port_of(text: &str) -> Result<u16, GitError> {
    text.parse().ok().filter(|port| *port > 0).ok_or(GitError::Upstream)
}

fn is_host(text: &str) -> bool {
    let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
    plain && !text.starts_with(['-', '.'])
}

impl FromStr for Upstream {
    type Err = GitError;

    fn from_str(text: &str) -> Result<Upstream, GitError> {
        kind(text).map(|_| Upstream(text.to_owned()))
    }
}

impl TryFrom<String> for Upstream {
    type Error = GitError;

    fn try_from(text: String) -> Result<Upstream, GitError> {
        text.parse()
    }
}

impl From<Upstream> for String {
    fn from(upstream: Upstream) -> String {
        upstream.0
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The bottle's `/etc/gitconfig`: every name of a listed repository leads to the door, and so do the ssh names of all
/// others, which could lead nowhere else: the door says so in one line. Empty where there is no repository.
///
/// git appends what follows a form to the door's URL. That the URL ends in `/` keeps `app-two` from being read as the
/// repository `app`, whose form it begins with.
pub fn client_config(repositories: &[GitRepository]) -> String {
    let mut text = String::new();
    if repositories.is_empty() {
        return text;
    }
    for repository in repositories {
        let _ = writeln!(text, "[url \"{DOOR_URL}/{}/\"]", repository.name);
        for form in repository.upstream.forms() {
            let _ = writeln!(text, "\tinsteadOf = \"{form}\"");
        }
    }
    let _ = writeln!(text, "[url \"{DOOR_URL}/{UNLISTED}/\"]\n\tinsteadOf = \"ssh://\"\n\tinsteadOf = \"git@\"");
    text
}

/// Where the door is asked for a repository that is not listed; no repository has this name.
pub const UNLISTED: &str = "-unlisted-";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_upstream_is_ssh_https_or_a_path() {
        let parse = |text: &str| text.parse::<Upstream>();
        for text in [
            "git@github.com:acme/app.git",
            "github.com:acme/app",
            "ssh://git@github.com:2222/acme/app.git",
            "https://github.com/acme/app",
            "https://host.test:8443/x.git",
            "/srv/git/app.git",
        ] {
            assert_eq!(parse(text).unwrap().as_str(), text);
        }
        for text in [
            "",
            "-oProxyCommand=id",
            "ext::sh -c id",
            "ext::id",
            "file:///srv/x",
            "git://host/x",
            "http://host/x",
            "relative/path",
            "https://user:token@host/x",
            "https://token@host/x",
            "ssh://u:p@host/x",
            "ssh://-oProxyCommand=id/x",
            "-oProxyCommand=id:x",
            "a@-o:x",
            "host:-x",
            "https://host",
            "ssh://host",
            "a b:c",
            "/with\nbreak",
            "/quo\"te",
        ] {
            assert!(parse(text).is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn an_upstream_is_found_under_all_its_names() {
        let forms = "git@github.com:acme/app.git".parse::<Upstream>().unwrap().forms();
        for form in [
            "git@github.com:acme/app",
            "ssh://git@github.com/acme/app",
            "https://github.com/acme/app",
            "git+ssh://git@github.com/acme/app",
        ] {
            assert!(forms.iter().any(|it| it == form), "{form} is not in {forms:?}");
        }
    }

    #[test]
    fn patterns_name_their_namespace() {
        for text in ["refs/heads/agent/*", "refs/heads/*", "refs/tags/v*", "refs/notes/x"] {
            assert!(text.parse::<RefPattern>().is_ok(), "{text}");
        }
        for text in
            ["heads/x", "refs/*", "refs/*/x", "refs/heads/", "refs/heads/../x", "refs/heads/a b", "refs/replace/x"]
        {
            assert!(text.parse::<RefPattern>().is_err(), "{text} was taken");
        }
    }

    proptest! {
        /// What is taken is no option, names no helper, and cannot end the quotes of a configuration file.
        #[test]
        fn nothing_taken_is_more_than_a_name(text in "[-a-z:/@.\"\\\\ \n]{0,24}") {
            if let Ok(upstream) = text.parse::<Upstream>() {
                let text = upstream.as_str();
                prop_assert!(!text.starts_with('-') && !text.contains("::"));
                prop_assert!(!text.contains(['"', '\\', '\n']));
            }
        }
    }
}
