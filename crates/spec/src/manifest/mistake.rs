//! What is wrong with a request, told all at once: each mistake with its place and a hint.

use crate::escape::Escaped;
use std::{cmp::Ordering, fmt, path::PathBuf};

/// Where something was asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Lines and columns count from 1, columns in characters.
    File { path: PathBuf, line: usize, column: usize },
    /// A flag with its value, as it was given.
    Flag(String),
    /// A variable of the environment, as `BOT_BOTTLE_IMAGE`.
    Variable(String),
}

/// Something and where it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed<T> {
    pub value: T,
    pub place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub place: Place,
    /// One sentence without a full stop.
    pub message: String,
    /// What to write instead, or to do.
    pub hint: Option<String>,
    /// The request is sound and this machine lacks something for it.
    pub of_host: bool,
}

impl Mistake {
    pub fn new(place: &Place, message: impl Into<String>) -> Mistake {
        Mistake { place: place.clone(), message: message.into(), hint: None, of_host: false }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Mistake {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn of_host(mut self) -> Mistake {
        self.of_host = true;
        self
    }
}

/// At least one mistake, in the order of their places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// `Ok` where there are none.
    pub fn check<T>(value: T, mistakes: Vec<Mistake>) -> Result<T, Mistakes> {
        if mistakes.is_empty() { Ok(value) } else { Err(Mistakes::from(mistakes)) }
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Mistake> {
        self.0.iter()
    }

    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is wrong but what this machine lacks.
    pub fn all_of_host(&self) -> bool {
        self.0.iter().all(|mistake| mistake.of_host)
    }

    pub fn and(mut self, others: Mistakes) -> Mistakes {
        self.0.extend(others.0);
        Mistakes::from(self.0)
    }
}

impl From<Vec<Mistake>> for Mistakes {
    fn from(mut mistakes: Vec<Mistake>) -> Mistakes {
        // Flags and variables stay in the order in which they were looked at, after what stands in files.
        mistakes.sort_by(|a, b| match (&a.place, &b.place) {
            (Place::File { .. }, Place::File { .. }) => a.place.cmp(&b.place),
            (Place::File { .. }, _) => Ordering::Less,
            (_, Place::File { .. }) => Ordering::Greater,
            _ => Ordering::Equal,
        });
        mistakes.dedup();
        Mistakes(mistakes)
    }
}

impl std::error::Error for Mistakes {}

impl fmt::Display for Mistakes {
    /// One line per mistake and one per hint; all of it is fit for a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, Escaped(&self.message))?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {}", Escaped(hint)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { path, line, column } => {
                write!(f, "{}:{line}:{column}", Escaped(&path.display().to_string()))
            }
            Place::Flag(text) | Place::Variable(text) => write!(f, "{}", Escaped(text)),
        }
    }
}
