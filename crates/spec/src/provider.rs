//! How one kind of agent is run, as data: its command, what it is told, where it keeps things, which credential it
//! wants to see, and the routes that belong to it.
//!
//! Invariant: nothing here is more than a manifest of a bottle could say; a provider's routes and variables are shown
//! in the preflight like every other, and what the bottle says itself goes before.

use crate::{
    login::LoginSource,
    manifest::{Mistakes, read_provider},
    policy::{Auth, Route},
};
use std::{collections::BTreeMap, path::Path};

/// The text that a pattern in a provider stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pattern {
    pub name: &'static str,
    pub of: &'static str,
}

/// The whole of what `${NAME}` may be in arguments, variables and files of a provider.
pub const PATTERNS: &[Pattern] = &[
    Pattern { name: "TASK", of: "what `--prompt` says" },
    Pattern { name: "PROMPT", of: "the agent's prompt" },
    Pattern { name: "PROMPT_FILE", of: "a file with the prompt" },
    Pattern { name: "MCP_URL", of: "the supervise door" },
    Pattern { name: "MCP_FILE", of: "a file that lists it as clients of MCP do" },
    Pattern { name: "PLACEHOLDER", of: "what stands in for the credential" },
    Pattern { name: "PLACEHOLDER_TAIL", of: "its last 20 characters" },
    Pattern { name: "ACCOUNT", of: "the account of the login that is used" },
    Pattern { name: "CWD", of: "the agent's working directory" },
    Pattern { name: "HOME", of: "the agent's home" },
    Pattern { name: "SKILLS", of: "the folder of its skills" },
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    pub name: String,
    /// Looked for on the host's `PATH`; `None` = the agent's manifest names the command.
    pub program: Option<String>,
    /// What installs it, for people.
    pub install: Option<String>,
    /// What holds always.
    pub part: Part,
    pub interactive: Mode,
    /// `None` = it cannot be given a task on the command line.
    pub headless: Option<Mode>,
    /// Where the agent has a prompt.
    pub prompt: Part,
    /// Where the bottle has a supervise door.
    pub mcp: Part,
    /// Below the home.
    pub skills: Option<String>,
    /// The credentials that it can work with, the first that can be had.
    pub auth: Vec<Credential>,
    /// The login that its client keeps on the host.
    pub login: Option<LoginSource>,
    /// What else it has to reach.
    pub routes: Vec<Route>,
    /// Where it writes its transcripts: patterns below the home.
    pub logs: Vec<String>,
}

/// Arguments, variables and files that go together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub files: Vec<SeedFile>,
}

/// A file that the agent finds in its home when the bottle is new, and that is its own from then on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedFile {
    /// Below the home.
    pub path: String,
    pub text: String,
}

/// One way to start the program: `program command… [resume…] args…`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mode {
    pub command: Vec<String>,
    /// What makes it go on with its last conversation; `None` = it cannot.
    pub resume: Option<Vec<String>>,
    pub part: Part,
}

/// A secret that the gate sends, and what the client must be given so that it sends a placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Never empty; the first carries the secret.
    pub routes: Vec<Route>,
    pub part: Part,
}

impl Credential {
    pub fn auth(&self) -> Option<&Auth> {
        self.routes.first().and_then(|route| route.auth.as_ref())
    }
}

impl Provider {
    /// Reads the text of the file at `path`.
    pub fn parse(name: &str, path: &Path, text: &str) -> Result<Provider, Mistakes> {
        read_provider(name, path, text)
    }

    /// An agent that is a command and nothing more.
    pub fn command() -> Provider {
        Provider {
            name: COMMAND.to_owned(),
            program: None,
            install: None,
            part: Part::default(),
            interactive: Mode::default(),
            headless: None,
            prompt: Part::default(),
            mcp: Part::default(),
            skills: None,
            auth: Vec::new(),
            login: None,
            routes: Vec::new(),
            logs: Vec::new(),
        }
    }
}

/// The name of the provider that is no more than a command.
pub const COMMAND: &str = "command";

const BUILT_IN: &[(&str, &str)] = &[
    ("aider", include_str!("../../../providers/aider.yaml")),
    ("claude", include_str!("../../../providers/claude.yaml")),
    ("codex", include_str!("../../../providers/codex.yaml")),
    ("gemini", include_str!("../../../providers/gemini.yaml")),
    ("opencode", include_str!("../../../providers/opencode.yaml")),
    ("pi", include_str!("../../../providers/pi.yaml")),
];

/// The providers that an agent can name: the user's own, then those that come with the product.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Providers {
    own: Vec<Provider>,
    /// Names of the user's that have not been read.
    unread: Vec<String>,
}

impl Providers {
    /// With the user's own that were read; `unread` are the names of the others.
    pub fn with(own: Vec<Provider>, unread: Vec<String>) -> Providers {
        Providers { own, unread }
    }

    pub fn find(&self, name: &str) -> Option<Provider> {
        if let Some(own) = self.own.iter().find(|provider| provider.name == name) {
            return Some(own.clone());
        }
        if name == COMMAND {
            return Some(Provider::command());
        }
        let (name, text) = BUILT_IN.iter().find(|(known, _)| *known == name)?;
        // A test reads each of them.
        Provider::parse(name, Path::new(name), text).ok()
    }

    /// Every name, sorted.
    pub fn names(&self) -> Vec<String> {
        let built_in = BUILT_IN.iter().map(|(name, _)| (*name).to_owned());
        let own = self.own.iter().map(|provider| provider.name.clone());
        let mut names: Vec<String> = built_in.chain(own).chain(self.unread.iter().cloned()).collect();
        names.push(COMMAND.to_owned());
        names.sort();
        names.dedup();
        names
    }

    /// The text of one that comes with the product, to begin one's own with.
    pub fn built_in(name: &str) -> Option<&'static str> {
        BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
    }
}
