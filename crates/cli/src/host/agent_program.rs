//! Where the program of an agent lies on this host, and what of the host a bottle must be shown for it to run.
//!
//! A bottle shows `/usr` and `/opt`. People install agents elsewhere: below a prefix of npm or nvm, in a Python
//! environment, or as one file in `~/.local`. Shown is the package and its interpreter, never a folder that holds
//! anything else of the user's.

use crate::compose::Environment;
use bottle_spec::{facts::AgentProgram, request::Request};
use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Component, Path, PathBuf},
};

/// What every bottle shows.
const SHOWN: [&str; 7] = ["/usr", "/opt", "/bin", "/sbin", "/lib", "/lib32", "/lib64"];

/// The program of the request's provider; `None` where it has none, or is not on `PATH`.
pub(super) fn find(request: &Request, environment: &Environment) -> Option<AgentProgram> {
    if request.command.is_some() {
        return None;
    }
    let name = request.provider.value.program.as_deref()?;
    let folders: Vec<PathBuf> = std::env::split_paths(environment.value("PATH")?).collect();
    let path = which(name, &folders)?;
    Some(shown(path, which("node", &folders)))
}

fn which(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    folders.iter().filter(|folder| folder.is_absolute()).map(|folder| folder.join(name)).find(is_program)
}

/// `node` is the host's, for packages of npm.
fn shown(found: PathBuf, node: Option<PathBuf>) -> AgentProgram {
    let Ok(path) = fs::canonicalize(&found) else { return AgentProgram { path: found, ..AgentProgram::default() } };
    let mut program = AgentProgram { path: path.clone(), ..AgentProgram::default() };
    if is_shown(&path) {
        return program;
    }
    if let Some(packages) = below(&path, "node_modules") {
        program.shown.push(packages);
        if let Some(node) = node.and_then(|node| fs::canonicalize(node).ok()).filter(|node| !is_shown(node)) {
            program.folders.extend(node.parent().map(Path::to_owned));
            // Inside of what is shown already, where npm brought it.
            if !program.shown.iter().any(|shown| node.starts_with(shown)) {
                program.shown.push(node);
            }
        }
    } else if let Some(environment) = python_environment(&path) {
        program.shown.extend(python_home(&environment));
        program.shown.insert(0, environment);
    } else {
        program.shown.push(path);
    }
    program
}

fn is_shown(path: &Path) -> bool {
    SHOWN.iter().any(|shown| path.starts_with(shown))
}

/// The outermost folder of this name that the path lies in.
fn below(path: &Path, name: &str) -> Option<PathBuf> {
    let mut folder = PathBuf::new();
    for part in path.components() {
        folder.push(part);
        if part == Component::Normal(OsStr::new(name)) {
            return Some(folder);
        }
    }
    None
}

/// PEP 405: a directory with `pyvenv.cfg`, whose `bin` holds the program.
fn python_environment(path: &Path) -> Option<PathBuf> {
    let environment = path.parent()?.parent()?;
    environment.join("pyvenv.cfg").is_file().then(|| environment.to_owned())
}

/// The installation that an environment borrows its interpreter from, where no bottle has it anyway.
fn python_home(environment: &Path) -> Option<PathBuf> {
    let python = fs::canonicalize(environment.join("bin/python")).ok()?;
    let installation = python.parent()?.parent()?;
    let of_its_own = !is_shown(&python) && !python.starts_with(environment);
    (of_its_own && installation.join("lib").is_dir()).then(|| installation.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn program(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_package_of_npm_is_shown_with_its_node_and_nothing_beside_it() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| fs::canonicalize(root.path()).unwrap().join(path);
        program(&at("nvm/lib/node_modules/agent/cli.js"));
        program(&at("nvm/bin/node"));
        symlink("../lib/node_modules/agent/cli.js", at("nvm/bin/agent")).unwrap();
        let found = shown(at("nvm/bin/agent"), Some(at("nvm/bin/node")));
        assert_eq!(found.path, at("nvm/lib/node_modules/agent/cli.js"));
        assert_eq!(found.shown, [at("nvm/lib/node_modules"), at("nvm/bin/node")]);
        assert_eq!(found.folders, [at("nvm/bin")]);
    }

    #[test]
    fn a_single_file_and_a_python_environment_are_shown_alone() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| fs::canonicalize(root.path()).unwrap().join(path);
        program(&at("share/agent-1.2"));
        fs::create_dir(at("bin")).unwrap();
        symlink("../share/agent-1.2", at("bin/agent")).unwrap();
        assert_eq!(shown(at("bin/agent"), None).shown, [at("share/agent-1.2")]);
        program(&at("venv/bin/agent"));
        fs::write(at("venv/pyvenv.cfg"), "").unwrap();
        program(&at("python/bin/python3.13"));
        fs::create_dir(at("python/lib")).unwrap();
        symlink(at("python/bin/python3.13"), at("venv/bin/python")).unwrap();
        assert_eq!(shown(at("venv/bin/agent"), None).shown, [at("venv"), at("python")]);
        assert_eq!(shown(PathBuf::from("/usr/bin/env"), None).shown, [] as [PathBuf; 0]);
    }

    #[test]
    fn only_programs_are_found() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/agent")).unwrap();
        program(&root.path().join("b/agent"));
        let folders = [PathBuf::from("b"), root.path().join("a"), root.path().join("b")];
        assert_eq!(which("agent", &folders), Some(root.path().join("b/agent")));
        assert_eq!(which("other", &folders), None);
    }
}
