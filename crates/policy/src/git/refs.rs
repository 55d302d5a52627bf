//! Which refs may be pushed.
//!
//! Invariants: what no pattern names is refused; a pattern names refs of its own namespace only (`refs/heads/*` no tag);
//! an addition to the rules never refuses what they let through before, and taking one away never allows more.

use bottle_spec::git::{PushRules, RefPattern};

/// What becomes of a ref.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Create,
    /// To a descendant.
    Forward,
    /// To anything else: commits are lost, or a tag is moved.
    Force,
    Delete,
}

/// Why a ref is not pushed; what the agent reads behind `remote rejected`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("nothing may be pushed to this repository")]
    Nothing,
    #[error("only {0} may be pushed")]
    Name(String),
    #[error("refs may not be deleted")]
    Delete,
    #[error("this would lose commits; force is not allowed")]
    Force,
    #[error("this is no name of a ref")]
    Malformed,
}

/// What the rules say of one ref. Whether the change is what it is said to be, the caller knows.
pub fn judge(rules: Option<&PushRules>, name: &str, change: Change) -> Result<(), Refusal> {
    let Some(rules) = rules.filter(|rules| !rules.refs.is_empty()) else { return Err(Refusal::Nothing) };
    if !is_plain(name) {
        return Err(Refusal::Malformed);
    }
    if !rules.refs.iter().any(|pattern| matches(pattern, name)) {
        let patterns: Vec<&str> = rules.refs.iter().map(RefPattern::as_str).collect();
        return Err(Refusal::Name(patterns.join(", ")));
    }
    match change {
        Change::Delete if !rules.delete => Err(Refusal::Delete),
        Change::Force if !rules.force => Err(Refusal::Force),
        _ => Ok(()),
    }
}

/// A ref below `refs/` as git itself would have it (git-check-ref-format), and no `refs/replace/`.
fn is_plain(name: &str) -> bool {
    let bad = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    name.strip_prefix("refs/").is_some_and(|rest| rest.contains('/'))
        && !name.starts_with("refs/replace/")
        && name.split('/').all(part)
        && !name.chars().any(bad)
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with('.')
}

/// A pattern has no `*` in its namespace ([`RefPattern`]), so it stays in it.
fn matches(pattern: &RefPattern, name: &str) -> bool {
    let mut parts = pattern.as_str().split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part).and_then(|at| rest.get(at + part.len()..)) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use bottle_spec::git::Approval;
    use proptest::prelude::*;

    fn rules(patterns: &[&str]) -> PushRules {
        let refs = patterns.iter().map(|pattern| pattern.parse().unwrap()).collect();
        PushRules { refs, approval: Approval::Allow, delete: false, force: false, exempt: Vec::new() }
    }

    #[test]
    fn a_ref_is_pushed_where_a_pattern_names_it() {
        let rules = rules(&["refs/heads/agent/*", "refs/heads/fix-*-done", "refs/tags/v1"]);
        let allowed = |name: &str| judge(Some(&rules), name, Change::Create).is_ok();
        for name in ["refs/heads/agent/x", "refs/heads/agent/x/y", "refs/heads/fix-1-done", "refs/tags/v1"] {
            assert!(allowed(name), "{name}");
        }
        for name in [
            "refs/heads/main",
            "refs/heads/agent",
            "refs/heads/agent/",
            "refs/heads/fix-1",
            "refs/tags/v11",
            "refs/notes/agent/x",
            "refs/replace/x",
            "HEAD",
            "agent/x",
            "refs/heads/agent/../main",
            "refs/heads/agent/x.lock",
            "refs/heads/agent/.x",
            "refs/heads/agent/x y",
            "refs/heads/agent/a*",
            "refs/heads/agent/x\n",
        ] {
            assert!(!allowed(name), "{name:?} was allowed");
        }
        assert_eq!(judge(None, "refs/heads/agent/x", Change::Create), Err(Refusal::Nothing));
    }

    #[test]
    fn deletions_and_lost_commits_are_asked_for_by_name() {
        let mut rules = rules(&["refs/heads/*"]);
        let name = "refs/heads/x";
        assert_eq!(judge(Some(&rules), name, Change::Forward), Ok(()));
        assert_eq!(judge(Some(&rules), name, Change::Delete), Err(Refusal::Delete));
        assert_eq!(judge(Some(&rules), name, Change::Force), Err(Refusal::Force));
        (rules.delete, rules.force) = (true, true);
        assert_eq!(judge(Some(&rules), name, Change::Delete), Ok(()));
        assert_eq!(judge(Some(&rules), name, Change::Force), Ok(()));
    }

    proptest! {
        /// A pattern is the regular expression that it looks like.
        #[test]
        fn a_pattern_matches_as_it_reads(pattern in "refs/heads/[ab*/]{1,6}", name in "refs/(heads|tags)/[ab/]{1,6}") {
            if let Ok(pattern) = pattern.parse::<RefPattern>() {
                let expression = format!("^{}$", pattern.as_str().replace('*', ".*"));
                let expected = regex::Regex::new(&expression).unwrap().is_match(&name);
                prop_assert_eq!(matches(&pattern, &name), expected);
            }
        }

        /// Taking a pattern away allows nothing more.
        #[test]
        fn fewer_patterns_allow_no_more(name in "refs/heads/[ab/]{1,5}", keep in 0..3_usize) {
            let all = ["refs/heads/a*", "refs/heads/b", "refs/heads/a/b"];
            let fewer = rules(&all[..keep]);
            if judge(Some(&fewer), &name, Change::Create).is_ok() {
                prop_assert!(judge(Some(&rules(&all)), &name, Change::Create).is_ok());
            }
        }
    }
}
