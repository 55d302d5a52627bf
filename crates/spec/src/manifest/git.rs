//! The `git:` part of a bottle: the upstreams that the git gate will serve.

use super::{
    Placed,
    tree::Node,
    walk::{Keys, Walk},
};
use crate::notation::Name;
use std::{path::PathBuf, rc::Rc};

pub(super) const UPSTREAM: Keys =
    Keys { of: "a git upstream", names: &["name", "upstream", "identity_file", "push"], strict: true };
pub(super) const PUSH: Keys = Keys { of: "`push`", names: &["refs", "approval"], strict: true };

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitUpstream {
    /// Served in the bottle as `$GIT_GATE_URL/<name>`.
    pub name: String,
    /// ssh, https or a path, as written.
    pub upstream: String,
    pub identity_file: Option<PathBuf>,
    /// `None` = nothing may be pushed.
    pub push: Option<Push>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// Patterns such as `refs/heads/agent/*`.
    pub refs: Vec<String>,
    pub approval: Approval,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approval {
    Ask,
    Allow,
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
        Some(node) => walk.text(node, "`upstream`").filter(|text| is_upstream(walk, node, text)),
        None => {
            walk.missing(node.spot, "a git upstream", "upstream", "write `upstream: git@github.com:acme/app.git`");
            None
        }
    };
    let identity_file = table.take("identity_file").map(|node| walk.text(node, "`identity_file`").map(PathBuf::from));
    let push = table.take("push").map(|node| push(walk, node));
    Some(GitUpstream {
        name: name?.0,
        upstream: address?.to_owned(),
        identity_file: match identity_file {
            Some(path) => Some(path?),
            None => None,
        },
        push: match push {
            Some(push) => Some(push?),
            None => None,
        },
    })
}

/// `ext::` and `file://` run programs or read what was not named; a leading `-` is an option to git.
fn is_upstream(walk: &mut Walk<'_>, node: &Node, text: &str) -> bool {
    let known = text.starts_with("ssh://") || text.starts_with("https://") || text.starts_with(['/', '~']);
    let scp = text.split_once(':').is_some_and(|(host, path)| !host.contains('/') && !path.starts_with(':'));
    let clean = !text.starts_with('-') && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    let sound = clean && (known || (scp && !text.contains("://") && !text.contains("::")));
    if !sound {
        let hint = "write ssh://…, user@host:path, https://… or an absolute path".to_owned();
        walk.note(node.spot, format!("`upstream` cannot be `{text}`"), Some(hint));
    }
    sound
}

fn push(walk: &mut Walk<'_>, node: &Node) -> Option<Push> {
    let mut table = walk.table(node, PUSH)?;
    let Some(refs) = table.take("refs") else {
        walk.missing(node.spot, "`push`", "refs", "write `refs: [\"refs/heads/agent/*\"]`");
        return None;
    };
    let items = walk.list(refs, "`refs`");
    let refs = items.iter().filter_map(|item| {
        let text = walk.text(item, "a ref")?;
        let sound =
            text.starts_with("refs/") && !text.contains("..") && !text.chars().any(|c| c.is_control() || c == ' ');
        if !sound {
            walk.note(item.spot, format!("a ref cannot be `{text}`"), Some("write `refs/heads/…`".to_owned()));
        }
        sound.then(|| text.to_owned())
    });
    let refs = refs.collect();
    let approval = match table.take("approval") {
        Some(node) => walk.choice(node, "`approval`", &[("ask", Approval::Ask), ("allow", Approval::Allow)])?,
        None => Approval::Ask,
    };
    Some(Push { refs, approval })
}
