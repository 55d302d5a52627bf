//! What `git push --porcelain` says of each ref, and what the upstream remarked.
//!
//! Invariant: a ref counts as taken only where git says so of it by name.

use super::hooks::Update;
use bottle_spec::escape::Escaped;
use std::collections::BTreeMap;

/// Lines of the upstream that are handed on.
const MAX_REMARKS: usize = 100;

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// By ref; of a refusal, why.
    pub(crate) answers: BTreeMap<String, Result<(), String>>,
    /// The upstream's own words, fit for a terminal.
    pub(crate) remarks: Vec<String>,
}

impl Outcome {
    pub(crate) fn of_none(updates: &[Update], why: &str) -> Outcome {
        let answer = |update: &Update| (update.reference.clone(), Err(why.to_owned()));
        Outcome { answers: updates.iter().map(answer).collect(), remarks: Vec::new() }
    }

    /// Porcelain: flag, tab, `from:to`, tab, summary.
    pub(crate) fn read(stdout: &[u8], stderr: &[u8], updates: &[Update]) -> Outcome {
        let stderr = String::from_utf8_lossy(stderr);
        let said = stderr.lines().map(str::trim_end).filter(|line| !line.is_empty());
        let remarks: Vec<String> = said
            .filter_map(|line| line.strip_prefix("remote:"))
            .map(|line| Escaped(line.trim()).to_string())
            .filter(|line| !line.is_empty())
            .take(MAX_REMARKS)
            .collect();
        let fatal = stderr.lines().find(|line| line.starts_with("fatal:") || line.starts_with("error:"));
        let why = fatal.map_or_else(|| "the upstream did not take it".to_owned(), |line| Escaped(line).to_string());
        let mut outcome = Outcome::of_none(updates, &why);
        outcome.remarks = remarks;
        for line in String::from_utf8_lossy(stdout).lines() {
            let mut parts = line.splitn(3, '\t');
            let (Some(flag), Some(refs), Some(summary)) = (parts.next(), parts.next(), parts.next()) else { continue };
            let Some((_, to)) = refs.rsplit_once(':') else { continue };
            if let Some(answer) = outcome.answers.get_mut(to) {
                let reason = summary.split_once('(').map_or(summary, |(_, reason)| reason.trim_end_matches(')'));
                // The ref is not where the agent thinks.
                let next = if reason == "stale info" { ": fetch, then push again" } else { "" };
                *answer = if matches!(flag, " " | "*" | "+" | "-" | "=") {
                    Ok(())
                } else {
                    Err(format!("upstream: {}{next}", Escaped(reason)))
                };
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(name: &str) -> Update {
        Update { reference: name.to_owned(), old: None, new: None }
    }

    #[test]
    fn each_ref_has_its_answer() {
        let updates = ["refs/heads/a", "refs/heads/b", "refs/heads/c", "refs/heads/d"].map(update);
        let stdout = b"To /srv/x\n*\taaaa:refs/heads/a\t[new branch]\n!\tbbbb:refs/heads/b\t[remote rejected] (hook declined)\n!\tcccc:refs/heads/c\t[rejected] (stale info)\nDone\n";
        let stderr = b"remote: no, \x1b[31mnever        \nremote:   \nerror: failed to push some refs\n";
        let outcome = Outcome::read(stdout, stderr, &updates);
        assert_eq!(outcome.answers["refs/heads/a"], Ok(()));
        assert_eq!(outcome.answers["refs/heads/b"], Err("upstream: hook declined".to_owned()));
        assert_eq!(outcome.answers["refs/heads/c"], Err("upstream: stale info: fetch, then push again".to_owned()));
        assert_eq!(outcome.answers["refs/heads/d"], Err("error: failed to push some refs".to_owned()));
        assert_eq!(outcome.remarks, ["no, \\u{1b}[31mnever"]);
    }
}
