//! A bottle's name on this host: `<agent>-<5 random letters>`.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest agent name kept in a slug; socket paths are short (`sun_path` holds 108 bytes).
const AGENT_MAX: usize = 32;
const SUFFIX: usize = 5;

/// Lower-case letters, digits and `-`, starting with a letter or digit: safe in a path, a host name and a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slug(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a bottle's name is an agent's name, `-` and five letters, as `reviewer-kqzmb`")]
pub struct SlugError;

impl Slug {
    /// Joins an agent's name, cut to what a slug may hold, and five letters drawn from `random`.
    pub fn new(agent: &str, random: [u8; SUFFIX]) -> Slug {
        let mut name: String = agent
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
            .take(AGENT_MAX)
            .collect();
        if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            name.insert(0, 'a');
        }
        name.push('-');
        name.extend(random.iter().map(|byte| char::from(b'a' + byte % 26)));
        Slug(name)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Slug {
    type Error = SlugError;

    fn try_from(text: String) -> Result<Self, SlugError> {
        let (agent, suffix) = text.rsplit_once('-').ok_or(SlugError)?;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let valid = agent.starts_with(|c: char| c.is_ascii_alphanumeric())
            && agent.len() <= AGENT_MAX + 1
            && agent.bytes().all(plain)
            && suffix.len() == SUFFIX
            && suffix.bytes().all(|b| b.is_ascii_lowercase());
        if valid { Ok(Slug(text)) } else { Err(SlugError) }
    }
}

impl std::str::FromStr for Slug {
    type Err = SlugError;

    fn from_str(text: &str) -> Result<Self, SlugError> {
        Slug::try_from(text.to_owned())
    }
}

impl From<Slug> for String {
    fn from(slug: Slug) -> String {
        slug.0
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_become_harmless_slugs() {
        for agent in ["reviewer", "../../etc", "-rf", "a\u{1b}[31m", "ÄÖ", "", &"x".repeat(500)] {
            let slug = Slug::new(agent, [0, 25, 26, 255, 7]);
            assert_eq!(slug.as_str().parse::<Slug>().unwrap(), slug, "{agent:?}");
        }
        for text in ["a", "a-ABCDE", "../x-abcde", "-abcde", "a-abcd", "a b-abcde", "a/b-abcde"] {
            assert!(text.parse::<Slug>().is_err(), "{text:?} was taken");
        }
    }
}
