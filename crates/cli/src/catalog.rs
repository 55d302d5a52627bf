//! Where manifests are found, and which are trusted.
//!
//! Invariants: bottles are read from the user's own configuration directory only. A project's agents
//! (`.bot-bottle/agents/` of the working directory) are used only after their person has said yes to exactly this
//! text; they name a bottle and can neither define nor widen one.

use crate::{
    compose::Context,
    error::{CliError, Kind},
};
use bottle_spec::{
    escape::Escaped,
    manifest::{Agent, Bottle, Mistake, Mistakes, Placed, nearest},
    notation::Name,
    provider::{Provider, Providers},
};
use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

/// Longer files are not read; the parser says so too, with a place.
const READ_MAX: u64 = 1 << 20;

/// An agent by name, with its bottle. The mistakes of both files are reported together.
pub(crate) fn agent_and_bottle(name: &str, context: &Context) -> Result<(Agent, Bottle), CliError> {
    let (path, text) = agent_text(name, context)?;
    let providers = providers(Agent::provider_named(&path, &text), context)?;
    let (agent, providers) = match providers {
        Ok(providers) => (Agent::parse(name, &path, &text, &providers), None),
        Err(mistakes) => (Agent::parse(name, &path, &text, &Providers::default()), Some(mistakes)),
    };
    // Of an agent whose provider cannot be read, nothing can be said that holds.
    let agent = providers.map_or(agent, Err);
    let Some(named) = Agent::bottle_named(&path, &text) else {
        return Err(agent.map_or_else(told, |_| CliError::bug("an agent without a bottle was taken")));
    };
    let bottle = bottle(&named, context)?;
    match (agent, bottle) {
        (Ok(agent), Ok(bottle)) => Ok((agent, bottle)),
        (Err(mistakes), Ok(_)) | (Ok(_), Err(mistakes)) => Err(told(mistakes)),
        (Err(agent), Err(bottle)) => Err(told(agent.and(bottle))),
    }
}

/// The providers that an agent may name: of the user's own, the one that it names is read.
fn providers(named: Option<Placed<String>>, context: &Context) -> Result<Result<Providers, Mistakes>, CliError> {
    let folder = context.providers();
    let unread = stems(&folder, "yaml");
    let Some(named) = named.filter(|named| unread.contains(&named.value)) else {
        return Ok(Ok(Providers::with(Vec::new(), unread)));
    };
    let path = folder.join(format!("{}.yaml", named.value));
    let Some(text) = read(&path, context)? else { return Ok(Ok(Providers::with(Vec::new(), unread))) };
    Ok(Provider::parse(&named.value, &path, &text).map(|own| Providers::with(vec![own], unread)))
}

/// A provider by name: the user's own, or one that comes with the product.
pub(crate) fn provider(name: &str, context: &Context) -> Result<Provider, CliError> {
    let _: Name = name.parse().map_err(|error| bad_name("a provider", name, error))?;
    let named = Placed { value: name.to_owned(), place: bottle_spec::manifest::Place::Flag(name.to_owned()) };
    let providers = providers(Some(named), context)?.map_err(told)?;
    providers.find(name).ok_or_else(|| {
        let names = providers.names();
        CliError::usage(format!("there is no provider `{name}`"))
            .next(format!("the providers are: {}", names.join(", ")))
    })
}

/// A bottle by name, for commands that need no agent.
pub(crate) fn bottle_named(name: &str, context: &Context) -> Result<Bottle, CliError> {
    let place = bottle_spec::manifest::Place::Flag(format!("--bottle {name}"));
    let _: Name = name.parse().map_err(|error| bad_name("a bottle", name, error))?;
    bottle(&Placed { value: name.to_owned(), place }, context)?.map_err(told)
}

fn told(mistakes: Mistakes) -> CliError {
    CliError::mistakes(&mistakes, Kind::Manifest)
}

fn bad_name(what: &str, name: &str, error: bottle_spec::notation::NotationError) -> CliError {
    CliError::usage(format!("`{}` does not name {what}: {error}", Escaped(name)))
}

/// The user's own agent first; a project's only where they have none of that name.
fn agent_text(name: &str, context: &Context) -> Result<(PathBuf, String), CliError> {
    let _: Name = name.parse().map_err(|error| bad_name("an agent", name, error))?;
    let file = format!("{name}.md");
    let own = context.agents().join(&file);
    if let Some(text) = read(&own, context)? {
        return Ok((own, text));
    }
    let project = project_agents(context).join(&file);
    if let Some(text) = read(&project, context)? {
        ask_for_trust(&project, &text, context)?;
        return Ok((project, text));
    }
    Err(unknown_agent(name, context))
}

/// The names of all agents that can be started from here, sorted.
pub(crate) fn agents(context: &Context) -> Vec<String> {
    let mut names = stems(&context.agents(), "md");
    names.extend(stems(&project_agents(context), "md"));
    names.sort();
    names.dedup();
    names
}

fn project_agents(context: &Context) -> PathBuf {
    context.cwd.join(".bot-bottle/agents")
}

fn unknown_agent(name: &str, context: &Context) -> CliError {
    let names = agents(context);
    let error = CliError::manifest(format!("there is no agent `{name}`"));
    match (nearest(name, names.iter().map(String::as_str)), names.is_empty()) {
        (Some(near), _) => error.next(format!("did you mean `{near}`?")),
        (None, false) => error.next(format!("the agents are: {}", names.join(", "))),
        (None, true) => {
            let folder = context.short(&context.agents());
            error.next(format!("`bot-bottle init` writes an example; agents live in {folder}"))
        }
    }
}

/// The outer error is an unreadable or absent file; the inner, what is wrong in it.
fn bottle(named: &Placed<String>, context: &Context) -> Result<Result<Bottle, Mistakes>, CliError> {
    let path = context.bottles().join(format!("{}.yaml", named.value));
    if let Some(text) = read(&path, context)? {
        return Ok(Bottle::parse(&named.value, &path, &text));
    }
    let names = stems(&context.bottles(), "yaml");
    let hint = match nearest(&named.value, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("write {}", context.short(&path)),
    };
    let mistake = Mistake::new(&named.place, format!("there is no bottle `{}`", named.value)).hint(hint);
    Ok(Err(Mistakes::from(vec![mistake])))
}

/// The names of the manifests in a folder, sorted; only those that are names.
fn stems(folder: &Path, ending: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let stem = |path: PathBuf| {
        let stem = path.file_stem()?.to_str()?.to_owned();
        (path.extension()? == ending && stem.parse::<Name>().is_ok()).then_some(stem)
    };
    let mut names: Vec<String> = entries.filter_map(|entry| stem(entry.path())).collect();
    names.sort();
    names
}

/// The text of a regular file, `None` where there is none. A FIFO would make us wait for its writer, so it is opened
/// without waiting and then refused.
pub(crate) fn read(path: &Path, context: &Context) -> Result<Option<String>, CliError> {
    let failed = |error: io::Error| {
        CliError::manifest(format!("{} cannot be read", Escaped(&context.short(path))))
            .because(error)
            .next("check that it is a text file and that you may read it")
    };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(descriptor) => File::from(descriptor),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
        Err(errno) => return Err(failed(errno.into())),
    };
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("it is not a regular file")));
    }
    let mut text = String::new();
    file.take(READ_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

/// Asks once for each text of a project's agent, and remembers a yes by a hash of path and text.
fn ask_for_trust(path: &Path, text: &str, context: &Context) -> Result<(), CliError> {
    let folder = context.dirs.state.join("trusted");
    let mark = folder.join(digest(path, text));
    if mark.exists() {
        return Ok(());
    }
    let shown = Escaped(&path.display().to_string()).to_string();
    if !context.ui.can_ask() {
        return Err(CliError::denied(format!("the project's agent {shown} has not been trusted yet"))
            .next("start it once in a terminal and say yes, or copy it to your own agents"));
    }
    context.ui.say(&format!("This agent comes with the project, not from you: {shown}\n"));
    for line in text.lines() {
        context.ui.say(&format!("  | {}", Escaped(line)));
    }
    if !context.ui.confirm("\nTrust it, as it stands here?")? {
        return Err(CliError::denied("the project's agent was not trusted"));
    }
    let remember = || {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        fs::write(&mark, format!("{}\n", path.display()))
    };
    remember().map_err(|error| CliError::host("the answer could not be remembered").because(error))
}

fn digest(path: &Path, text: &str) -> String {
    let mut hasher = Sha256::new();
    hasher.update(path.as_os_str().as_encoded_bytes());
    hasher.update([0]);
    hasher.update(text);
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
