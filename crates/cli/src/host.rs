//! Gathers what resolving must know of this host. Reads, and changes nothing.

use crate::{compose::Context, login::Logins, smolvm};
use bottle_runtime::cgroup::Delegation;
use bottle_spec::{
    facts::{EngineFacts, HostFacts, PathKind},
    request::Request,
};
mod agent_program;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// Facts of this host, as far as the request asks for them.
pub(crate) fn facts(context: &Context, request: &Request, engine: Option<EngineFacts>) -> HostFacts {
    let paths = request.paths(&context.home, &context.cwd);
    let environment = &context.environment;
    let of = |name: &str| environment.value(name).map(str::to_owned);
    let is_locale = |name: &str| name == "LANG" || name == "LANGUAGE" || name.starts_with("LC_");
    HostFacts {
        home: context.home.clone(),
        cwd: context.cwd.clone(),
        own: vec![context.config.clone(), context.dirs.state.clone()],
        euid: rustix::process::geteuid().as_raw(),
        locale: environment
            .variables()
            .iter()
            .filter(|(name, value)| is_locale(name) && !value.is_empty())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        time_zone: time_zone(of("TZ")),
        term: of("TERM"),
        color_term: of("COLORTERM"),
        controllers: controllers(),
        user_namespaces_refused: user_namespaces_refused(),
        programs: ["bash", "git", "java", "ssh"]
            .into_iter()
            .filter(|name| is_installed(name))
            .map(str::to_owned)
            .collect(),
        variables: environment.variables().keys().filter(|name| environment.value(name).is_some()).cloned().collect(),
        logins: Logins::of(context).accounts(),
        agent_program: agent_program::find(request, environment),
        skills: skills(context, request),
        engine,
        smolvm: smolvm::facts(request.backend.value, context),
        paths: kinds(&paths),
    }
}

/// Follows symbolic links: what is given is what they lead to.
fn kinds(paths: &[PathBuf]) -> BTreeMap<PathBuf, PathKind> {
    let kind = |path: &PathBuf| {
        let metadata = fs::metadata(path).ok()?;
        let kind = match metadata.file_type() {
            file_type if file_type.is_dir() => PathKind::Directory,
            file_type if file_type.is_file() => PathKind::File,
            _ => PathKind::Other,
        };
        Some((path.clone(), kind))
    };
    paths.iter().filter_map(kind).collect()
}

/// The user's own skills first, then those of their own client of the same kind. A folder may be a link.
fn skills(context: &Context, request: &Request) -> BTreeMap<String, PathBuf> {
    let of_client = request.provider.value.skills.as_ref().map(|folder| context.home.join(folder));
    let folders: Vec<PathBuf> = [Some(context.skills()), of_client].into_iter().flatten().collect();
    let find = |name: &String| {
        let found = folders.iter().map(|folder| folder.join(name)).find(|path| path.join("SKILL.md").is_file())?;
        Some((name.clone(), fs::canonicalize(found).ok()?))
    };
    request.skills.iter().filter_map(|skill| find(&skill.value.0)).collect()
}

/// A zone's name from `TZ`, else from where `/etc/localtime` leads.
fn time_zone(variable: Option<String>) -> Option<String> {
    let link = || {
        let target = fs::canonicalize("/etc/localtime").ok()?;
        let text = target.to_str()?;
        text.split_once("/zoneinfo/").map(|(_, zone)| zone.to_owned())
    };
    variable.filter(|zone| !zone.starts_with(['/', ':'])).or_else(link)
}

/// In a directory that the bottle sees.
fn is_installed(program: &str) -> bool {
    let is_program = |path: PathBuf| {
        fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    ["/usr/local/bin", "/usr/bin", "/bin"].iter().any(|folder| is_program(Path::new(folder).join(program)))
}

/// The cgroup v2 controllers that a launch could set limits with.
pub(crate) fn controllers() -> BTreeSet<String> {
    let delegation = Delegation::find();
    delegation.into_iter().flat_map(|delegation| delegation.controllers).map(str::to_owned).collect()
}

/// Why user namespaces cannot be made, where a setting says so. What only shows when it is tried (AppArmor, a seccomp
/// filter of a container) is reported by the launch.
fn user_namespaces_refused() -> Option<String> {
    let setting = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    if !Path::new("/proc/self/ns/user").exists() {
        return Some("this kernel has none".to_owned());
    }
    if setting("/proc/sys/user/max_user_namespaces").as_deref() == Some("0") {
        return Some("the setting user.max_user_namespaces is 0".to_owned());
    }
    let is_root = rustix::process::geteuid().is_root();
    if !is_root && setting("/proc/sys/kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        return Some("the setting kernel.unprivileged_userns_clone is 0".to_owned());
    }
    None
}
