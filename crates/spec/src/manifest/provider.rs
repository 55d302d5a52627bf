//! `providers/<name>.yaml`: how one kind of agent is run.

use super::{
    Mistakes,
    bottle::env,
    egress, login,
    tree::{Node, Spot},
    walk::{Keys, Walk},
};
use crate::{
    policy::Route,
    provider::{Credential, Mode, PATTERNS, Part, Provider, SeedFile},
};
use std::path::{Component, Path};

pub(super) const PROVIDER: Keys = Keys {
    of: "a provider",
    names: &[
        "program",
        "install",
        "args",
        "env",
        "files",
        "interactive",
        "headless",
        "prompt",
        "mcp",
        "skills",
        "auth",
        "login",
        "routes",
        "logs",
    ],
    strict: false,
};
const MODE_NAMES: &[&str] = &["command", "resume", "args", "env", "files"];
pub(super) const INTERACTIVE: Keys = Keys { of: "`interactive`", names: MODE_NAMES, strict: false };
pub(super) const HEADLESS: Keys = Keys { of: "`headless`", names: MODE_NAMES, strict: false };
const PART_NAMES: &[&str] = &["args", "env", "files"];
pub(super) const PROMPT: Keys = Keys { of: "`prompt`", names: PART_NAMES, strict: false };
pub(super) const MCP: Keys = Keys { of: "`mcp`", names: PART_NAMES, strict: false };
pub(super) const CREDENTIAL: Keys =
    Keys { of: "a credential", names: &["routes", "args", "env", "files"], strict: false };
pub(super) const FILE: Keys = Keys { of: "a file", names: &["path", "text"], strict: true };

/// Reads the text of the file at `path`.
pub fn read_provider(name: &str, path: &Path, text: &str) -> Result<Provider, Mistakes> {
    let mut walk = Walk::new(path);
    let provider = match walk.read(text, 1)? {
        Some(root) if !root.is_null() => read(&mut walk, &root, name),
        _ => {
            let hint = "write at least `program: NAME`, and `routes` or `auth` for what it has to reach";
            walk.note(Spot { line: 1, column: 1 }, "the provider is empty", Some(hint.to_owned()));
            None
        }
    };
    walk.finish(provider)
}

fn read(walk: &mut Walk<'_>, root: &Node, name: &str) -> Option<Provider> {
    let mut table = walk.table(root, PROVIDER)?;
    let program = match table.take("program") {
        Some(node) => program(walk, node),
        None => {
            walk.missing(table.spot, "a provider", "program", "write `program: NAME`, as it is found on PATH");
            None
        }
    };
    let mut provider = Provider { name: name.to_owned(), program, ..Provider::command() };
    provider.install = table.take("install").and_then(|node| walk.text(node, "`install`").map(str::to_owned));
    provider.part = part(walk, &mut table);
    if let Some(node) = table.take("interactive") {
        provider.interactive = mode(walk, node, INTERACTIVE).unwrap_or_default();
    }
    provider.headless = table.take("headless").and_then(|node| mode(walk, node, HEADLESS));
    let mut of = |key: &str, keys: Keys| {
        let node = table.take(key)?;
        walk.table(node, keys).map(|mut table| part(walk, &mut table))
    };
    provider.prompt = of("prompt", PROMPT).unwrap_or_default();
    provider.mcp = of("mcp", MCP).unwrap_or_default();
    provider.skills = table.take("skills").and_then(|node| below_home(walk, node, "`skills`"));
    if let Some(node) = table.take("auth") {
        let items = walk.list(node, "`auth`");
        provider.auth = items.iter().filter_map(|item| credential(walk, item)).collect();
    }
    provider.login = table.take("login").and_then(|node| login::login(walk, node));
    provider.routes = table.take("routes").map(|node| routes(walk, node)).unwrap_or_default();
    if let Some(node) = table.take("logs") {
        let items = walk.list(node, "`logs`");
        provider.logs = items.iter().filter_map(|item| below_home(walk, item, "a log")).collect();
    }
    Some(provider)
}

/// A name without a folder: where it lies is the host's business.
fn program(walk: &mut Walk<'_>, node: &Node) -> Option<String> {
    let text = walk.text(node, "`program`")?;
    if text.is_empty() || text.contains(['/', '\0']) {
        let hint = "the name alone, as `claude`; it is looked for on PATH";
        walk.note(node.spot, "`program` is a name without a folder", Some(hint.to_owned()));
        return None;
    }
    Some(text.to_owned())
}

fn mode(walk: &mut Walk<'_>, node: &Node, keys: Keys) -> Option<Mode> {
    let mut table = walk.table(node, keys)?;
    Some(Mode {
        command: table.take("command").map(|node| words(walk, node, "`command`")).unwrap_or_default(),
        resume: table.take("resume").map(|node| words(walk, node, "`resume`")),
        part: part(walk, &mut table),
    })
}

fn part(walk: &mut Walk<'_>, table: &mut super::walk::Table<'_>) -> Part {
    let mut part = Part::default();
    if let Some(node) = table.take("args") {
        part.args = words(walk, node, "`args`");
    }
    if let Some(node) = table.take("env") {
        part.env = env(walk, node);
        for (name, node) in walk.map(node, "`env`") {
            patterned(walk, node, &format!("`{}`", name.value));
        }
    }
    if let Some(node) = table.take("files") {
        let items = walk.list(node, "`files`");
        part.files = items.iter().filter_map(|item| file(walk, item)).collect();
    }
    part
}

fn words(walk: &mut Walk<'_>, node: &Node, what: &str) -> Vec<String> {
    let items = walk.list(node, what);
    items.iter().filter_map(|item| patterned(walk, item, &format!("a word of {what}"))).collect()
}

/// A text whose every `${NAME}` is one of [`PATTERNS`].
fn patterned(walk: &mut Walk<'_>, node: &Node, what: &str) -> Option<String> {
    let text = walk.text(node, what)?;
    if text.contains('\0') {
        walk.note(node.spot, format!("{what} holds a NUL"), None);
        return None;
    }
    for rest in text.split("${").skip(1) {
        let name = rest.split('}').next().unwrap_or_default();
        if !PATTERNS.iter().any(|pattern| pattern.name == name) {
            let names: Vec<&str> = PATTERNS.iter().map(|pattern| pattern.name).collect();
            let hint = match super::nearest(name, names.iter().copied()) {
                Some(near) => format!("did you mean `${{{near}}}`?"),
                None => format!("there are: {}", names.join(", ")),
            };
            walk.note(node.spot, format!("`${{{name}}}` in {what} stands for nothing"), Some(hint));
            return None;
        }
    }
    Some(text.to_owned())
}

fn file(walk: &mut Walk<'_>, node: &Node) -> Option<SeedFile> {
    let mut table = walk.table(node, FILE)?;
    let spot = table.spot;
    let path = match table.take("path") {
        Some(node) => below_home(walk, node, "`path`"),
        None => {
            walk.missing(spot, "a file", "path", "write `path: .config/NAME`, from the agent's home");
            None
        }
    };
    let text = match table.take("text") {
        Some(node) => patterned(walk, node, "`text`"),
        None => {
            walk.missing(spot, "a file", "text", "write what it holds: `text: |`");
            None
        }
    };
    Some(SeedFile { path: path?, text: text? })
}

/// A path from the agent's home that does not lead out of it.
fn below_home(walk: &mut Walk<'_>, node: &Node, what: &str) -> Option<String> {
    let text = walk.text(node, what)?;
    let plain = Path::new(text).components().all(|part| matches!(part, Component::Normal(_)));
    if text.is_empty() || !plain || text.contains('\0') {
        let hint = "a path from the agent's home without `..`, as `.config/agent.json`";
        walk.note(node.spot, format!("{what} must be a place in the agent's home"), Some(hint.to_owned()));
        return None;
    }
    Some(text.to_owned())
}

fn credential(walk: &mut Walk<'_>, node: &Node) -> Option<Credential> {
    let mut table = walk.table(node, CREDENTIAL)?;
    let spot = table.spot;
    let routes = table.take("routes").map(|node| routes(walk, node)).unwrap_or_default();
    let part = part(walk, &mut table);
    let credential = Credential { routes, part };
    if credential.auth().is_none() {
        let hint = "its first route says how the secret is sent: `auth: { scheme: bearer, secret: env:NAME }`";
        walk.note(spot, "a credential needs `routes`", Some(hint.to_owned()));
        return None;
    }
    Some(credential)
}

fn routes(walk: &mut Walk<'_>, node: &Node) -> Vec<Route> {
    let items = walk.list(node, "`routes`");
    items.iter().filter_map(|item| egress::route(walk, item)).collect()
}
