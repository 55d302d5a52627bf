//! What the operator is shown of a push.
//!
//! Invariant: it is made of the objects that are pushed, and says where it is cut off. It is the agent's text: whoever
//! shows it escapes it.

use super::{
    command::{Home, output},
    hooks::Update,
    repository::Repository,
};
use bottle_spec::operator::{PushRequest, RequestedRef};
use std::{collections::BTreeSet, path::Path};

const MAX_COMMITS: usize = 200;
const MAX_DIFF: usize = 512 << 10;
/// The object of an empty tree, by the length of names in the repository.
const EMPTY: [&str; 2] =
    ["4b825dc642cb6eb9a060e54bf8d69288fbee4904", "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321"];

pub(super) async fn request(
    home: &Home,
    repository: &Repository,
    name: &str,
    updates: &[&Update],
    flags: &BTreeSet<String>,
) -> PushRequest {
    let mut request = PushRequest {
        repository: name.to_owned(),
        upstream: repository.mirror.access().upstream.to_string(),
        refs: Vec::with_capacity(updates.len()),
        flags: flags.iter().cloned().collect(),
        commits: Vec::new(),
        diff: String::new(),
        cut: false,
    };
    for update in updates {
        let Update { reference, old, new } = (*update).clone();
        if let Some(new) = &new {
            add(home, repository.path(), old.as_deref(), new, &mut request).await;
        }
        request.refs.push(RequestedRef { reference, old, new });
    }
    request
}

async fn add(home: &Home, path: &Path, old: Option<&str>, new: &str, request: &mut PushRequest) {
    let most = format!("--max-count={}", MAX_COMMITS + 1);
    let log = ["log", &most, "--format=%h %an <%ae>: %s", new, "--not", "--all"];
    match output(home.git_in(path, &log)).await {
        Ok(commits) => request.commits.extend(String::from_utf8_lossy(&commits).lines().map(str::to_owned)),
        Err(error) => request.commits.push(format!("(the commits cannot be listed: {error})")),
    }
    if request.commits.len() > MAX_COMMITS {
        request.commits.truncate(MAX_COMMITS);
        request.cut = true;
    }
    let from = match old {
        Some(old) => old.to_owned(),
        None => fork(home, path, new).await,
    };
    let diff =
        ["diff", "--stat", "--patch", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", &from, new, "--"];
    match output(home.git_in(path, &diff)).await {
        Ok(diff) => {
            let left = MAX_DIFF.saturating_sub(request.diff.len());
            request.cut |= diff.len() > left;
            request.diff.push_str(&String::from_utf8_lossy(diff.get(..left).unwrap_or(&diff)));
        }
        Err(error) => request.diff.push_str(&format!("(the changes cannot be shown: {error})\n")),
    }
}

/// Where a new branch left what upstream has: the newest commit of its own that upstream reaches too.
async fn fork(home: &Home, path: &Path, new: &str) -> String {
    let empty = if new.len() == 64 { EMPTY[1] } else { EMPTY[0] };
    let list = ["rev-list", "--boundary", "--topo-order", new, "--not", "--all"];
    let listed = output(home.git_in(path, &list)).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&listed).into_owned();
    let boundary = text.lines().find_map(|line| line.strip_prefix('-'));
    // Nothing new at all: there is nothing to show.
    let unchanged = if text.is_empty() { Some(new) } else { None };
    boundary.or(unchanged).unwrap_or(empty).to_owned()
}
