//! `--git` and `--push`: the repositories of a bottle and what may be pushed to them.

use super::{FlagError, Flags, each};
use crate::{
    git::{Approval, PushRules, RefPattern},
    manifest::{GitUpstream, Mistake, Placed, Written},
    notation::Name,
};
use std::str::FromStr;

/// `NAME=UPSTREAM`.
struct Repository {
    name: String,
    upstream: Written,
}

impl FromStr for Repository {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<Repository, FlagError> {
        let (name, upstream) = text.split_once('=').ok_or(FlagError::Git)?;
        Ok(Repository { name: name.parse::<Name>()?.0, upstream: upstream.parse()? })
    }
}

/// `NAME=REF`, or `NAME=REF:allow` for what nobody is asked about.
struct PushTo {
    name: String,
    pattern: RefPattern,
    approval: Approval,
}

impl FromStr for PushTo {
    type Err = FlagError;

    fn from_str(text: &str) -> Result<PushTo, FlagError> {
        let (name, rest) = text.split_once('=').ok_or(FlagError::Push)?;
        let (pattern, approval) = match rest.split_once(':') {
            None | Some((_, "ask")) => (rest.trim_end_matches(":ask"), Approval::Ask),
            Some((pattern, "allow")) => (pattern, Approval::Allow),
            Some(_) => return Err(FlagError::Push),
        };
        Ok(PushTo { name: name.to_owned(), pattern: pattern.parse()?, approval })
    }
}

/// A repository that is asked about for one of its refs is asked about for all.
pub(super) fn read(flags: &Flags, mistakes: &mut Vec<Mistake>) -> Vec<Placed<GitUpstream>> {
    let named = each::<Repository>("--git", &flags.git, mistakes);
    let mut repositories: Vec<Placed<GitUpstream>> = named
        .into_iter()
        .map(|Placed { value: Repository { name, upstream }, place }| {
            let nothing =
                GitUpstream { name, upstream, identity_file: None, known_hosts: None, auth: None, push: None };
            Placed { value: nothing, place }
        })
        .collect();
    for Placed { value: PushTo { name, pattern, approval }, place } in each("--push", &flags.push, mistakes) {
        let Some(repository) = repositories.iter_mut().find(|repository| repository.value.name == name) else {
            let message = format!("there is no repository `{name}` to push to");
            mistakes.push(Mistake::new(&place, message).hint(format!("add --git {name}=UPSTREAM")));
            continue;
        };
        let none = || PushRules { refs: Vec::new(), approval, delete: false, force: false, exempt: Vec::new() };
        let push = repository.value.push.get_or_insert_with(none);
        push.refs.push(pattern);
        if approval == Approval::Ask {
            push.approval = Approval::Ask;
        }
    }
    repositories
}
