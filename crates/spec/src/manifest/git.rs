//! The `git:` part of a bottle: the upstreams that the git gate will serve.

use super::{
    Placed, egress,
    tree::Node,
    walk::{Keys, Walk},
};
use crate::{
    git::{Approval, GitError, PushRules, RefPattern, Upstream},
    notation::Name,
    policy::{Auth, Carrier},
};
use std::{path::PathBuf, rc::Rc};

pub(super) const UPSTREAM: Keys = Keys {
    of: "a git upstream",
    names: &["name", "upstream", "identity_file", "known_hosts", "auth", "push"],
    strict: true,
};
pub(super) const PUSH: Keys =
    Keys { of: "`push`", names: &["refs", "approval", "delete", "force", "exempt"], strict: true };

/// Paths in it are as written: `~` and relative ones are not resolved yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitUpstream {
    /// Served in the bottle as `$GIT_GATE_URL/<name>`.
    pub name: String,
    pub upstream: Written,
    pub identity_file: Option<PathBuf>,
    pub known_hosts: Option<PathBuf>,
    pub auth: Option<Auth>,
    /// `None` = nothing may be pushed.
    pub push: Option<PushRules>,
}

/// An upstream as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    Url(Upstream),
    /// Absolute, or below `~`.
    Path(PathBuf),
}

impl std::str::FromStr for Written {
    type Err = GitError;

    fn from_str(text: &str) -> Result<Written, GitError> {
        if text == "~" || text.starts_with("~/") || text.starts_with('/') {
            // What is left of it when it is absolute has the same characters.
            format!("/{text}").parse::<Upstream>()?;
            return Ok(Written::Path(PathBuf::from(text)));
        }
        text.parse().map(Written::Url)
    }
}

pub(super) fn upstreams(walk: &mut Walk<'_>, node: &Node) -> Vec<Placed<GitUpstream>> {
    let items = walk.list(node, "`git`");
    items.iter().filter_map(|node| upstream(walk, node).map(|upstream| walk.placed(node, upstream))).collect()
}

fn upstream(walk: &mut Walk<'_>, node: &Rc<Node>) -> Option<GitUpstream> {
    let mut table = walk.table(node, UPSTREAM)?;
    let name = match table.take("name") {
        Some(node) => walk.parsed::<Name>(node, "`name`"),
        None => {
            walk.missing(node.spot, "a git upstream", "name", "write `name: app`");
            None
        }
    };
    let address = match table.take("upstream") {
        Some(node) => written(walk, node),
        None => {
            walk.missing(node.spot, "a git upstream", "upstream", "write `upstream: git@github.com:acme/app.git`");
            None
        }
    };
    let mut path = |key: &str, what: &str| {
        table.take(key).map(|node| walk.text(node, what).map(PathBuf::from)).map_or(Some(None), |path| path.map(Some))
    };
    let identity_file = path("identity_file", "`identity_file`");
    let known_hosts = path("known_hosts", "`known_hosts`");
    let auth = table.take("auth").map(|node| auth(walk, node)).map_or(Some(None), |auth| auth.map(Some));
    let push = table.take("push").map(|node| push(walk, node)).map_or(Some(None), |push| push.map(Some));
    Some(GitUpstream {
        name: name?.0,
        upstream: address?,
        identity_file: identity_file?,
        known_hosts: known_hosts?,
        auth: auth?,
        push: push?,
    })
}

/// Not repeated in the message where it may hold a password.
fn written(walk: &mut Walk<'_>, node: &Node) -> Option<Written> {
    let text = walk.text(node, "`upstream`")?;
    match text.parse() {
        Ok(written) => Some(written),
        Err(GitError::Userinfo) => {
            walk.note(node.spot, format!("`upstream`: {}", GitError::Userinfo), None);
            None
        }
        Err(error) => {
            let error: GitError = error;
            walk.note(node.spot, format!("`upstream` `{text}`: {error}"), None);
            None
        }
    }
}

fn auth(walk: &mut Walk<'_>, node: &Node) -> Option<Auth> {
    let auth = egress::auth(walk, node)?;
    if matches!(auth.carrier, Carrier::Query(_)) {
        let hint = "use `scheme: basic`, `scheme: bearer` or `header: NAME`".to_owned();
        walk.note(node.spot, "git sends no secret in a query", Some(hint));
        return None;
    }
    Some(auth)
}

fn push(walk: &mut Walk<'_>, node: &Node) -> Option<PushRules> {
    let mut table = walk.table(node, PUSH)?;
    let Some(refs) = table.take("refs") else {
        walk.missing(node.spot, "`push`", "refs", "write `refs: [\"refs/heads/agent/*\"]`");
        return None;
    };
    let refs = walk.parsed_list::<RefPattern>(refs, "`refs`").into_iter().map(|pattern| pattern.value).collect();
    let approval = match table.take("approval") {
        Some(node) => walk.choice(node, "`approval`", &[("ask", Approval::Ask), ("allow", Approval::Allow)])?,
        None => Approval::Ask,
    };
    let delete = table.take("delete").map_or(Some(false), |node| walk.truth(node, "`delete`"))?;
    let force = table.take("force").map_or(Some(false), |node| walk.truth(node, "`force`"))?;
    let exempt = table.take("exempt").map(|node| egress::exempt(walk, node)).unwrap_or_default();
    Some(PushRules { refs, approval, delete, force, exempt })
}
