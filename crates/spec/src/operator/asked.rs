//! What an agent can ask for, as data.
//!
//! Invariant: a request that passes its `check` is short, and every name in it is one that the policy could hold. The
//! reason is for a person to read and becomes no part of any policy.

use super::Term;
use crate::{
    git::RefPattern,
    host::{HostName, HostPattern},
    policy::PathPattern,
};
use serde::{Deserialize, Serialize};

/// Characters of a reason, a question or a choice.
pub const MAX_TEXT: usize = 500;
pub const MAX_METHODS: usize = 8;
pub const MAX_PATHS: usize = 16;
pub const MAX_REFS: usize = 16;
pub const MAX_CHOICES: usize = 8;
/// Characters of a path, a ref or a name.
const MAX_NAME: usize = 512;

/// More leave to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressRequest {
    pub host: HostPattern,
    #[serde(default = "https")]
    pub port: u16,
    /// `None` = every method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// `None` = every path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<PathPattern>>,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub term: Term,
}

/// More leave to push to a repository that the bottle has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GitRequest {
    pub repository: String,
    pub refs: Vec<RefPattern>,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub term: Term,
}

/// A secret that the bottle has, for another host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretRequest {
    /// One host: a secret goes to no pattern.
    pub host: HostName,
    /// Its placeholder, which is all that the agent has of it.
    pub secret: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<PathPattern>>,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub term: Term,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuestionRequest {
    pub question: String,
    /// None = the operator writes what they like.
    #[serde(default)]
    pub choices: Vec<String>,
}

/// A request on its way out that waits for a yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldRequest {
    pub host: String,
    pub port: u16,
    pub method: String,
    /// Without the query; empty where the finding stands in it.
    pub path: String,
    /// What was found, as the agent is told of it: rule, place, first bytes and length.
    pub findings: Vec<String>,
}

fn https() -> u16 {
    443
}

/// Why a request is not put before anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("a text is longer than {MAX_TEXT} characters")]
    Text,
    #[error("a name, path or ref is longer than {MAX_NAME} characters")]
    Name,
    #[error("name 1 to {MAX_METHODS} methods, or leave `methods` out to ask for all")]
    Methods,
    #[error("name 1 to {MAX_PATHS} paths, or leave `paths` out to ask for all")]
    Paths,
    #[error("name 1 to {MAX_REFS} refs")]
    Refs,
    #[error("at most {MAX_CHOICES} choices")]
    Choices,
    #[error("a question has words")]
    Question,
    #[error("0 is not a port")]
    Port,
    #[error("it is for 1 to {} minutes", Term::LONGEST / 60)]
    Time,
}

fn text(text: &str) -> Result<(), Unfit> {
    if text.chars().count() > MAX_TEXT { Err(Unfit::Text) } else { Ok(()) }
}

fn name(name: &str) -> Result<(), Unfit> {
    if name.chars().count() > MAX_NAME { Err(Unfit::Name) } else { Ok(()) }
}

fn reach(methods: Option<&[String]>, paths: Option<&[PathPattern]>) -> Result<(), Unfit> {
    if methods.is_some_and(|methods| methods.is_empty() || methods.len() > MAX_METHODS) {
        return Err(Unfit::Methods);
    }
    if paths.is_some_and(|paths| paths.is_empty() || paths.len() > MAX_PATHS) {
        return Err(Unfit::Paths);
    }
    methods.unwrap_or_default().iter().try_for_each(|method| name(method))?;
    paths.unwrap_or_default().iter().try_for_each(|path| name(&path.0))
}

impl EgressRequest {
    pub fn check(&self) -> Result<(), Unfit> {
        if self.port == 0 {
            return Err(Unfit::Port);
        }
        text(&self.reason)?;
        self.term.check()?;
        reach(self.methods.as_deref(), self.paths.as_deref())
    }
}

impl GitRequest {
    pub fn check(&self) -> Result<(), Unfit> {
        if self.refs.is_empty() || self.refs.len() > MAX_REFS {
            return Err(Unfit::Refs);
        }
        self.refs.iter().try_for_each(|reference| name(reference.as_str()))?;
        name(&self.repository)?;
        self.term.check()?;
        text(&self.reason)
    }
}

impl SecretRequest {
    pub fn check(&self) -> Result<(), Unfit> {
        name(&self.secret)?;
        text(&self.reason)?;
        self.term.check()?;
        reach(self.methods.as_deref(), self.paths.as_deref())
    }
}

impl QuestionRequest {
    pub fn check(&self) -> Result<(), Unfit> {
        if self.question.trim().is_empty() {
            return Err(Unfit::Question);
        }
        if self.choices.len() > MAX_CHOICES {
            return Err(Unfit::Choices);
        }
        text(&self.question)?;
        self.choices.iter().try_for_each(|choice| text(choice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_or_too_much_is_unfit() {
        let asked = EgressRequest {
            host: HostPattern::parse("example.com").unwrap(),
            port: 443,
            methods: Some(vec!["GET".to_owned()]),
            paths: Some(vec![PathPattern("/a/**".to_owned())]),
            reason: "x".repeat(MAX_TEXT),
            term: Term::Seconds(1800),
        };
        assert_eq!(asked.check(), Ok(()));
        let unfit = |change: fn(&mut EgressRequest)| {
            let mut asked = asked.clone();
            change(&mut asked);
            asked.check().unwrap_err()
        };
        assert_eq!(unfit(|it| it.reason.push('x')), Unfit::Text);
        assert_eq!(unfit(|it| it.methods = Some(Vec::new())), Unfit::Methods);
        assert_eq!(unfit(|it| it.methods = Some(vec!["GET".to_owned(); MAX_METHODS + 1])), Unfit::Methods);
        assert_eq!(unfit(|it| it.paths = Some(vec![PathPattern("/".to_owned()); MAX_PATHS + 1])), Unfit::Paths);
        assert_eq!(unfit(|it| it.paths = Some(vec![PathPattern("/x".repeat(MAX_NAME))])), Unfit::Name);
        assert_eq!(unfit(|it| it.port = 0), Unfit::Port);
        assert_eq!(unfit(|it| it.term = Term::Seconds(0)), Unfit::Time);
        let question = QuestionRequest { question: " ".to_owned(), choices: Vec::new() };
        assert_eq!(question.check(), Err(Unfit::Question));
    }
}
