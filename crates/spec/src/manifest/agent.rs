//! `agents/<name>.md`: YAML front matter between two lines of `---`, then the prompt.

use super::{
    Mistake, Mistakes, Place, Placed,
    bottle::env,
    tree::{Node, TEXT_MAX},
    walk::{Keys, Walk},
};
use crate::{
    notation::Name,
    plan::Backend,
    provider::{COMMAND, Provider, Providers},
    topology::Topology,
};
use std::{collections::BTreeMap, path::Path};

pub(super) const AGENT: Keys = Keys {
    of: "an agent",
    names: &["bottle", "provider", "command", "skills", "backend", "topology", "env"],
    strict: false,
};

/// The longest prompt, in bytes: it may travel in one argument, of which Linux takes 128 KiB.
const PROMPT_MAX: usize = 96 << 10;

pub const BACKENDS: [(&str, Backend); 4] = [
    ("namespace", Backend::Namespace),
    ("docker", Backend::Docker),
    ("smolmachines", Backend::Smolmachines),
    ("kubernetes", Backend::Kubernetes),
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    pub name: String,
    /// The first line of the front matter, for what concerns the agent as a whole.
    pub place: Place,
    pub bottle: Placed<String>,
    pub provider: Placed<Provider>,
    /// Never empty. Always there where the provider has no program of its own.
    pub command: Option<Vec<String>>,
    pub skills: Vec<Placed<Name>>,
    pub backend: Option<Placed<Backend>>,
    pub topology: Option<Placed<Topology>>,
    pub env: BTreeMap<String, String>,
    /// Markdown without blank lines around it.
    pub prompt: String,
}

impl Agent {
    /// Reads the text of the file at `path`, for one of these providers.
    pub fn parse(name: &str, path: &Path, text: &str, providers: &Providers) -> Result<Agent, Mistakes> {
        let mut walk = Walk::new(path);
        let (front, prompt) = split(path, text)?;
        let agent = match walk.read(front, 2)? {
            Some(root) if !root.is_null() => read(&mut walk, &root, name, prompt.trim(), providers),
            _ => {
                let hint = "write at least `bottle: NAME` and `provider: claude`, or `command: [PROGRAM]`";
                walk.note(super::tree::Spot { line: 1, column: 1 }, "the front matter is empty", Some(hint.to_owned()));
                None
            }
        };
        walk.finish(agent)
    }

    /// The bottle that a text names, whatever else is wrong with it: so that its mistakes can be told too.
    pub fn bottle_named(path: &Path, text: &str) -> Option<Placed<String>> {
        named(path, text, "bottle")
    }

    /// The same for its provider.
    pub fn provider_named(path: &Path, text: &str) -> Option<Placed<String>> {
        named(path, text, "provider")
    }
}

fn named(path: &Path, text: &str, key: &str) -> Option<Placed<String>> {
    let mut walk = Walk::new(path);
    let root = walk.read(split(path, text).ok()?.0, 2).ok()??;
    let node = walk.table(&root, AGENT)?.take(key)?;
    walk.parsed::<Name>(node, key).map(|name| walk.placed(node, name.0))
}

/// The front matter and what follows it.
fn split<'t>(path: &Path, text: &'t str) -> Result<(&'t str, &'t str), Mistakes> {
    let refuse = |line: usize, message: String, hint: &str| {
        let place = Place::File { path: path.to_owned(), line, column: 1 };
        Mistakes::from(vec![Mistake::new(&place, message).hint(hint)])
    };
    if text.len() > TEXT_MAX {
        let message = format!("a manifest is at most {} KiB long", TEXT_MAX >> 10);
        return Err(refuse(1, message, "shorten the prompt, or mount a file that it names"));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let hint = "begin the file with a line `---`, the agent's keys and another line `---`";
    let body = text.strip_prefix("---").and_then(|rest| rest.trim_start_matches([' ', '\t', '\r']).strip_prefix('\n'));
    let Some(body) = body else {
        return Err(refuse(1, "an agent begins with front matter".to_owned(), hint));
    };
    let mut end = 0;
    for line in body.split_inclusive('\n') {
        if line.trim_end() == "---" {
            return Ok(body.split_at(end)).map(|(front, rest)| (front, rest.get(line.len()..).unwrap_or_default()));
        }
        end += line.len();
    }
    Err(refuse(1, "the front matter has no end".to_owned(), "end it with a line `---`"))
}

fn read(walk: &mut Walk<'_>, root: &Node, name: &str, prompt: &str, providers: &Providers) -> Option<Agent> {
    let mut table = walk.table(root, AGENT)?;
    let top = super::tree::Spot { line: 1, column: 1 };
    let bottle = match table.take("bottle") {
        Some(node) => walk.parsed::<Name>(node, "`bottle`").map(|bottle| walk.placed(node, bottle.0)),
        None => {
            walk.missing(top, "an agent", "bottle", "write `bottle: NAME`, as in bottles/NAME.yaml");
            None
        }
    };
    let command = table.take("command").map(|node| command(walk, node));
    let provider = match (table.take("provider"), &command) {
        (Some(node), _) => provider(walk, node, providers),
        (None, Some(_)) => Some(Placed { value: Provider::command(), place: walk.place(top) }),
        (None, None) => {
            walk.missing(top, "an agent", "provider", "write `provider: claude`, or `command: [PROGRAM]`");
            None
        }
    };
    if command.is_none() && provider.as_ref().is_some_and(|provider| provider.value.name == COMMAND) {
        walk.missing(top, "`provider: command`", "command", "write `command: [PROGRAM, ARGUMENT]`");
    }
    let skills = table.take("skills").map(|node| walk.parsed_list(node, "`skills`")).unwrap_or_default();
    let backend = table
        .take("backend")
        .and_then(|node| walk.choice(node, "`backend`", &BACKENDS).map(|backend| walk.placed(node, backend)));
    let topology = table
        .take("topology")
        .and_then(|node| walk.choice(node, "`topology`", &Topology::ALL).map(|topology| walk.placed(node, topology)));
    let env = table.take("env").map(|node| env(walk, node)).unwrap_or_default();
    if prompt.len() > PROMPT_MAX || prompt.contains('\0') {
        let message = format!("a prompt is text of at most {} KiB", PROMPT_MAX >> 10);
        walk.note(top, message, Some("mount a file and let the prompt name it".to_owned()));
    }
    let place = walk.place(top);
    let command = match command {
        Some(command) => Some(command?),
        None => None,
    };
    Some(Agent {
        name: name.to_owned(),
        place,
        bottle: bottle?,
        provider: provider?,
        command,
        skills,
        backend,
        topology,
        env,
        prompt: prompt.to_owned(),
    })
}

fn provider(walk: &mut Walk<'_>, node: &Node, providers: &Providers) -> Option<Placed<Provider>> {
    let name = walk.text(node, "`provider`")?;
    if let Some(provider) = providers.find(name) {
        return Some(walk.placed(node, provider));
    }
    let names = providers.names();
    let hint = match super::nearest(name, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("one of: {}; or describe it in providers/{name}.yaml", names.join(", ")),
    };
    walk.note(node.spot, format!("`provider` cannot be `{name}`"), Some(hint));
    None
}

fn command(walk: &mut Walk<'_>, node: &Node) -> Option<Vec<String>> {
    let items = walk.list(node, "`command`");
    let argv: Vec<String> =
        items.iter().filter_map(|item| walk.text(item, "a word of `command`").map(str::to_owned)).collect();
    if argv.iter().any(|word| word.contains('\0')) {
        walk.note(node.spot, "a word of `command` holds a NUL", None);
        return None;
    }
    match argv.first() {
        Some(program) if !program.is_empty() => Some(argv),
        _ => {
            walk.note(node.spot, "`command` names no program", Some("write `command: [PROGRAM, ARGUMENT]`".to_owned()));
            None
        }
    }
}
