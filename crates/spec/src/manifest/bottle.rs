//! `bottles/<name>.yaml`: what a bottle is made of and what it may reach.

use super::{
    Mistakes, Placed,
    budgets::budgets,
    egress::{self, Egress, egress},
    git::{GitUpstream, upstreams},
    tree::Node,
    walk::{Keys, Walk},
};
use crate::{
    notation::{CpuMillis, MountText, Period, Pids, Port, Size, Variable},
    plan::{Image, Limits},
    policy::Budgets,
    secret::SecretRef,
};
use std::{collections::BTreeMap, path::Path};

pub(super) const BOTTLE: Keys = Keys {
    of: "a bottle",
    names: &[
        "image",
        "env",
        "mounts",
        "egress",
        "git",
        "supervise",
        "limits",
        "ports",
        "protect",
        "canaries",
        "budgets",
        "warm",
    ],
    strict: false,
};
pub(super) const LIMITS: Keys = Keys { of: "`limits`", names: &["cpus", "memory", "pids", "disk"], strict: true };

pub(super) const SUPERVISE: Keys = Keys { of: "`supervise`", names: &["wait"], strict: true };

/// Paths in it are as written: `~` and relative ones are not resolved yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bottle {
    pub name: String,
    pub image: Option<Placed<Image>>,
    pub env: BTreeMap<String, String>,
    pub mounts: Vec<Placed<MountText>>,
    pub egress: Egress,
    pub git: Vec<Placed<GitUpstream>>,
    pub supervise: Option<Placed<bool>>,
    /// How long the operator has for an answer.
    pub wait: Option<Period>,
    pub limits: Limits,
    pub ports: Vec<Placed<Port>>,
    /// Secrets that nothing injects and that must not leave all the same.
    pub protect: Vec<Placed<SecretRef>>,
    /// Whether false credentials are left in the home, which freeze the bottle when they leave.
    pub canaries: bool,
    pub budgets: Budgets,
    /// Whether the bottle is to begin as a copy of one that was prepared.
    pub warm: Option<Placed<bool>>,
}

impl Bottle {
    /// Reads the text of the file at `path`. An empty one is a bottle that reaches nothing.
    pub fn parse(name: &str, path: &Path, text: &str) -> Result<Bottle, Mistakes> {
        let mut walk = Walk::new(path);
        let bottle = match walk.read(text, 1)? {
            Some(root) if !root.is_null() => read(&mut walk, &root, name),
            _ => Some(Bottle::empty(name)),
        };
        walk.finish(bottle)
    }

    fn empty(name: &str) -> Bottle {
        Bottle {
            name: name.to_owned(),
            image: None,
            env: BTreeMap::new(),
            mounts: Vec::new(),
            egress: Egress::default(),
            git: Vec::new(),
            supervise: None,
            wait: None,
            limits: Limits::default(),
            ports: Vec::new(),
            protect: Vec::new(),
            canaries: true,
            budgets: Budgets::default(),
            warm: None,
        }
    }
}

fn read(walk: &mut Walk<'_>, root: &Node, name: &str) -> Option<Bottle> {
    let mut table = walk.table(root, BOTTLE)?;
    let mut bottle = Bottle::empty(name);
    if let Some(node) = table.take("image") {
        bottle.image = walk.parsed(node, "`image`").map(|image| walk.placed(node, image));
    }
    if let Some(node) = table.take("env") {
        bottle.env = env(walk, node);
    }
    if let Some(node) = table.take("mounts") {
        bottle.mounts = walk.parsed_list(node, "`mounts`");
    }
    if let Some(node) = table.take("egress") {
        bottle.egress = egress(walk, node);
    }
    if let Some(node) = table.take("git") {
        bottle.git = upstreams(walk, node);
    }
    if let Some(node) = table.take("supervise") {
        supervise(walk, node, &mut bottle);
    }
    if let Some(node) = table.take("limits") {
        bottle.limits = limits(walk, node);
    }
    if let Some(node) = table.take("ports") {
        bottle.ports = walk.parsed_list(node, "`ports`");
    }
    if let Some(node) = table.take("protect") {
        bottle.protect = protect(walk, node);
    }
    if let Some(node) = table.take("canaries") {
        // What is noted is not used.
        bottle.canaries = walk.truth(node, "`canaries`").unwrap_or(true);
    }
    if let Some(node) = table.take("budgets") {
        bottle.budgets = budgets(walk, node);
    }
    if let Some(node) = table.take("warm") {
        bottle.warm = walk.truth(node, "`warm`").map(|wanted| walk.placed(node, wanted));
    }
    Some(bottle)
}

/// `true`, `false`, or how: that is `true`.
fn supervise(walk: &mut Walk<'_>, node: &Node, bottle: &mut Bottle) {
    if !node.is_table() {
        bottle.supervise = walk.truth(node, "`supervise`").map(|wanted| walk.placed(node, wanted));
        return;
    }
    bottle.supervise = Some(walk.placed(node, true));
    if let Some(mut table) = walk.table(node, SUPERVISE) {
        bottle.wait = table.take("wait").and_then(|node| walk.parsed(node, "`wait`"));
    }
}

/// Variables and their values; also of agents.
pub(super) fn env(walk: &mut Walk<'_>, node: &Node) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for (name, node) in walk.map(node, "`env`") {
        let value = walk.text(node, "the value of a variable");
        if let Err(error) = name.value.parse::<Variable>() {
            walk.note_at(&name.place, format!("`{}`: {error}", name.value));
        } else if value.is_some_and(|value| value.contains('\0')) {
            walk.note_at(&name.place, format!("the value of `{}` holds a NUL", name.value));
        } else {
            variables.extend(value.map(|value| (name.value.to_owned(), value.to_owned())));
        }
    }
    variables
}

fn protect(walk: &mut Walk<'_>, node: &Node) -> Vec<Placed<SecretRef>> {
    let items = walk.list(node, "`protect`");
    items.iter().filter_map(|item| egress::secret(walk, item).map(|secret| walk.placed(item, secret))).collect()
}

fn limits(walk: &mut Walk<'_>, node: &Node) -> Limits {
    let Some(mut table) = walk.table(node, LIMITS) else { return Limits::default() };
    Limits {
        cpu_millis: table.take("cpus").and_then(|node| walk.parsed::<CpuMillis>(node, "`cpus`")).map(|cpus| cpus.0),
        memory: table.take("memory").and_then(|node| walk.parsed::<Size>(node, "`memory`")).map(|size| size.0),
        pids: table.take("pids").and_then(|node| walk.parsed::<Pids>(node, "`pids`")).map(|pids| pids.0),
        disk: table.take("disk").and_then(|node| walk.parsed::<Size>(node, "`disk`")).map(|size| size.0),
    }
}
