//! What the provider adds to a request: its command, variables, files and routes, and the placeholder of its
//! credential.

use super::{
    Resolver,
    environment::{AGENT_HOME, MCP_FILE, PROMPT_FILE, placeholder},
};
use crate::{
    door::MCP_URL,
    facts::HostFacts,
    manifest::{Mistake, Placed},
    plan::{Image, Mount, PlannedFile, PlannedProvider, PlannedSkill, TaskCommand, Workspace},
    policy::Route,
    provider::{Credential, Mode, Part, Provider},
    request::{Request, WorkspaceMode},
    secret::SecretRef,
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Of a placeholder, what a client may be told to take for approved.
const TAIL: usize = 20;

pub(super) struct Provided {
    pub(super) provider: PlannedProvider,
    pub(super) command: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) files: Vec<PlannedFile>,
}

/// Which of a provider's credentials is used.
enum Choice<'a> {
    /// One that a route of the bottle's own sends.
    Own(&'a Credential, &'a Placed<Route>),
    /// One that the host has.
    Found(&'a Credential),
    /// The bottle's own route to that host sends none.
    Unsent(&'a Route),
    /// There is none, and the provider wants one.
    Missing,
    /// The provider wants none.
    Unasked,
}

fn choose<'a>(provider: &'a Provider, own: &'a [Placed<Route>], host: &HostFacts) -> Choice<'a> {
    let of_host = |credential: &'a Credential| {
        let wanted = credential.routes.first();
        let same = move |route: &&Placed<Route>| wanted.is_some_and(|wanted| wanted.host == route.value.host);
        own.iter().filter(same).map(move |route| (credential, route))
    };
    let fits = |credential: &Credential, route: &Placed<Route>, same_source: bool| {
        let (Some(wanted), Some(given)) = (credential.auth(), &route.value.auth) else { return false };
        wanted.carrier == given.carrier && (!same_source || wanted.secret == given.secret)
    };
    let owned: Vec<(&Credential, &Placed<Route>)> = provider.auth.iter().flat_map(of_host).collect();
    // The same variable says which of two that are sent in the same way is meant.
    for same_source in [true, false] {
        if let Some((credential, route)) = owned.iter().find(|(credential, route)| fits(credential, route, same_source))
        {
            return Choice::Own(credential, route);
        }
    }
    if let Some((_, route)) = owned.first() {
        return Choice::Unsent(&route.value);
    }
    let is_set = |credential: &&Credential| match credential.auth().map(|auth| &auth.secret) {
        Some(SecretRef::Env(name)) => host.variables.contains(name),
        Some(SecretRef::Login(name)) => host.logins.contains_key(name),
        _ => false,
    };
    match provider.auth.iter().find(is_set) {
        Some(credential) => Choice::Found(credential),
        None if provider.auth.is_empty() => Choice::Unasked,
        None => Choice::Missing,
    }
}

/// Puts the provider's routes after the bottle's. To a host that the bottle speaks of itself nothing is added.
pub(super) fn add_routes(request: &mut Request, host: &HostFacts) {
    let Placed { value: provider, place } = &request.provider;
    let own = &request.egress.routes;
    let of_credential = match choose(provider, own, host) {
        Choice::Found(credential) => credential.routes.as_slice(),
        Choice::Own(credential, _) => credential.routes.as_slice(),
        Choice::Unsent(_) | Choice::Missing | Choice::Unasked => &[],
    };
    let all = of_credential.iter().chain(&provider.routes);
    let added = all.filter(|route| own.iter().all(|own| own.value.host != route.host));
    let added: Vec<Placed<Route>> = added.map(|route| Placed { value: route.clone(), place: place.clone() }).collect();
    request.egress.routes.extend(added);
}

impl Resolver<'_> {
    /// `request` has the provider's routes among its own by now.
    pub(super) fn provided(&mut self, request: &Request) -> Provided {
        let provider = &request.provider.value;
        let (credential, stands_in) = match choose(provider, &request.egress.routes, self.host) {
            Choice::Own(credential, route) => {
                let secret = route.value.auth.as_ref().map(|auth| self.source(&auth.secret, &route.place));
                (Some(credential), secret.as_ref().map(placeholder).unwrap_or_default())
            }
            Choice::Unsent(route) => {
                self.notices.push(format!(
                    "{} gets no credential: the bottle's own route to {} sends none that it knows",
                    provider.name, route.host
                ));
                (None, String::new())
            }
            Choice::Missing => {
                self.credential_missing(request);
                (None, String::new())
            }
            Choice::Found(_) | Choice::Unasked => (None, String::new()),
        };
        if request.command.is_none() {
            self.check_program(provider, &request.image.value);
        }
        let home = Path::new(AGENT_HOME);
        let skills = match (&request.skills_folder, &provider.skills) {
            (Some(folder), _) => home.join(&folder.value),
            (None, Some(folder)) => home.join(folder),
            (None, None) => PathBuf::from(PlannedSkill::FOLDER),
        };
        let account = credential.and_then(|credential| credential.auth()).and_then(|auth| match &auth.secret {
            SecretRef::Login(name) => self.host.logins.get(name)?.as_deref(),
            _ => None,
        });
        let words = Words { request, stands_in: &stands_in, account: account.unwrap_or_default(), skills: &skills };
        let supervise = request.supervise.as_ref().is_none_or(|supervise| supervise.value);
        let parts: Vec<&Part> = [
            Some(&provider.part),
            supervise.then_some(&provider.mcp),
            (!request.prompt.is_empty()).then_some(&provider.prompt),
            credential.map(|credential| &credential.part),
        ]
        .into_iter()
        .flatten()
        .collect();
        let mode = self.mode(request);
        let program = self.program(provider, &request.image.value);
        let planned = PlannedProvider {
            name: provider.name.clone(),
            resume: resumed(request, &provider.interactive)
                .map(|resume| words.argv(&program, &provider.interactive, resume, &parts)),
            resume_task: provider
                .headless
                .as_ref()
                .and_then(|mode| Some(words.task_command(&program, mode, resumed(request, mode)?, &parts))),
            logs: provider.logs.clone(),
            skills: skills.clone(),
        };
        let command = match &request.command {
            Some(command) => command.clone(),
            None => {
                let waiting = words.task_command(&program, mode, &[], &parts);
                request.task.as_ref().map_or(waiting.argv.clone(), |task| waiting.with(&task.value))
            }
        };
        let all = || parts.iter().copied().chain([&mode.part]);
        let env = all().flat_map(|part| &part.env).map(|(name, text)| (name.clone(), words.fill(text))).collect();
        let files: BTreeMap<&str, String> =
            all().flat_map(|part| &part.files).map(|file| (file.path.as_str(), words.fill(&file.text))).collect();
        let files = files.into_iter().map(|(path, text)| PlannedFile { path: path.into(), text }).collect();
        Provided { provider: planned, command, env, files }
    }

    /// Headless where there is a task.
    fn mode<'r>(&mut self, request: &'r Request) -> &'r Mode {
        let provider = &request.provider.value;
        let Some(task) = &request.task else { return &provider.interactive };
        let refused = match (&request.command, &provider.headless) {
            (None, Some(mode)) => return mode,
            (Some(_), _) => "a command of its own takes no `--prompt`".to_owned(),
            (None, None) => format!("{} takes no task on its command line", provider.name),
        };
        let hint = "start it without `--prompt`, or say it in `command`";
        self.mistakes.push(Mistake::new(&task.place, refused).hint(hint));
        &provider.interactive
    }

    /// Where the host has it; a name alone is looked for in the bottle.
    fn program(&self, provider: &Provider, image: &Image) -> String {
        let name = provider.program.clone().unwrap_or_default();
        let of_host = self.host.agent_program.as_ref().filter(|_| *image == Image::Host);
        of_host.map_or(name, |found| found.path.to_string_lossy().into_owned())
    }

    /// An image of its own may have what the host has not.
    fn check_program(&mut self, provider: &Provider, image: &Image) {
        if *image != Image::Host {
            return;
        }
        if let (Some(name), None) = (&provider.program, &self.host.agent_program) {
            let how = provider.install.as_ref().map_or_else(String::new, |install| format!("; install it: {install}"));
            self.notices.push(format!("the program {name} is not on this host's PATH{how}"));
        }
    }

    /// What the program needs of the host besides what every bottle is shown.
    pub(super) fn program_mounts(&self, request: &Request) -> Vec<Mount> {
        let found = self.host.agent_program.iter().filter(|_| request.image.value == Image::Host);
        let shown = found.flat_map(|program| &program.shown);
        let given = |path: &PathBuf| request.mounts.iter().any(|mount| mount.value.target == *path);
        shown
            .filter(|path| !given(path))
            .map(|path| Mount { source: path.clone(), target: path.clone(), writable: false })
            .collect()
    }

    pub(super) fn skills(&mut self, request: &Request) -> Vec<PlannedSkill> {
        let mut planned: Vec<PlannedSkill> = Vec::new();
        for skill in &request.skills {
            let name = &skill.value.0;
            match self.host.skills.get(name) {
                Some(_) if planned.iter().any(|known| known.name == *name) => {
                    let message = format!("the skill `{name}` is named twice");
                    self.mistakes.push(Mistake::new(&skill.place, message).hint("keep one of them"));
                }
                Some(source) => planned.push(PlannedSkill { name: name.clone(), source: source.clone() }),
                None => {
                    let message = format!("there is no skill `{name}`");
                    let hint = format!("a skill is a folder: skills/{name}/SKILL.md beside your agents and bottles");
                    self.mistakes.push(Mistake::new(&skill.place, message).hint(hint));
                }
            }
        }
        planned
    }

    fn credential_missing(&mut self, request: &Request) {
        let Placed { value: provider, place } = &request.provider;
        let secrets = provider.auth.iter().filter_map(|credential| Some(&credential.auth()?.secret));
        let names: Vec<&str> = secrets
            .filter_map(|secret| match secret {
                SecretRef::Env(name) => Some(name.as_str()),
                _ => None,
            })
            .collect();
        // Of one that takes a key: a login's host takes nothing else.
        let takes_key = |credential: &&Credential| {
            credential.auth().is_some_and(|auth| !matches!(auth.secret, SecretRef::Login(_)))
        };
        let first = provider.auth.iter().find(takes_key).or(provider.auth.first());
        let host = first.and_then(|credential| credential.routes.first()).map(|route| &route.host);
        let Some(host) = host else { return };
        let unset = match names.as_slice() {
            [name] => format!("{name} is not set"),
            _ => format!("none of {} is set", names.join(", ")),
        };
        let message = format!("{} has no credential: {unset}", provider.name);
        let login = provider.login.as_ref().map(|_| format!(", `bot-bottle login {}`", provider.name));
        let login = login.unwrap_or_default();
        let hint = format!("set one{login}, or give the bottle a route to {host} with `auth`");
        if request.command.is_some() {
            self.notices.push(message);
        } else {
            self.mistakes.push(Mistake::new(place, message).hint(hint).of_host());
        }
    }
}

/// The words that make it go on, where it has a command of its kind.
fn resumed<'r>(request: &Request, mode: &'r Mode) -> Option<&'r [String]> {
    if request.command.is_some() { None } else { mode.resume.as_deref() }
}

/// What the patterns stand for.
struct Words<'a> {
    request: &'a Request,
    stands_in: &'a str,
    account: &'a str,
    skills: &'a Path,
}

impl Words<'_> {
    fn argv(&self, program: &str, mode: &Mode, resume: &[String], parts: &[&Part]) -> Vec<String> {
        self.task_command(program, mode, resume, parts).argv
    }

    fn task_command(&self, program: &str, mode: &Mode, resume: &[String], parts: &[&Part]) -> TaskCommand {
        let mut argv = vec![program.to_owned()];
        argv.extend(mode.command.iter().chain(resume).map(|word| self.fill(word)));
        argv.extend(parts.iter().flat_map(|part| &part.args).map(|word| self.fill(word)));
        let first = argv.len();
        argv.extend(mode.part.args.iter().map(|word| self.fill(word)));
        let waits = |(offset, word): (usize, &String)| word.contains("${TASK}").then_some(first + offset);
        TaskCommand { at: mode.part.args.iter().enumerate().filter_map(waits).collect(), argv }
    }

    /// In one pass: what is filled in is not looked at again.
    fn fill(&self, text: &str) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            filled.push_str(before);
            match after.split_once('}') {
                Some((name, after)) => {
                    filled.push_str(&self.value(name));
                    rest = after;
                }
                None => {
                    filled.push_str("${");
                    rest = after;
                }
            }
        }
        filled.push_str(rest);
        filled
    }

    fn value(&self, name: &str) -> String {
        let tail = self.stands_in.len().saturating_sub(TAIL);
        match name {
            "PROMPT" => self.request.prompt.clone(),
            "PROMPT_FILE" => PROMPT_FILE.to_owned(),
            "MCP_FILE" => MCP_FILE.to_owned(),
            "MCP_URL" => MCP_URL.to_owned(),
            "PLACEHOLDER" => self.stands_in.to_owned(),
            "PLACEHOLDER_TAIL" => self.stands_in.get(tail..).unwrap_or_default().to_owned(),
            "ACCOUNT" => self.account.to_owned(),
            "CWD" if self.request.workspace.value == WorkspaceMode::None => AGENT_HOME.to_owned(),
            "CWD" => Workspace::TARGET.to_owned(),
            "HOME" => AGENT_HOME.to_owned(),
            "SKILLS" => self.skills.to_string_lossy().into_owned(),
            other => format!("${{{other}}}"),
        }
    }
}
