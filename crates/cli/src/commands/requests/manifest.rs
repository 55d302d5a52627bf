//! `approve --manifest`: what a yes gives, in the bottle's manifest as well.
//!
//! Invariants: the file is replaced whole or not at all, by a text that reads as the same bottle with exactly the grant
//! more and that resolves on this host; not once it is another than was shown; and not where the bottle itself could
//! write. Whether the running bottle has the grant is the answer's matter, not this one's.

use super::Found;
use crate::{
    catalog,
    compose::Context,
    error::{CliError, Kind},
    launch, patch,
};
use bottle_spec::{
    escape::Escaped,
    manifest::{Addition, Agent, Bottle, EditError, Mistakes, Place, Placed},
    operator::{Gives, Grant},
    plan::{Plan, Workspace},
    policy::Route,
    provider::Providers,
    request::{Overrides, Request},
};
use rustix::{
    fs::{AtFlags, Gid, Mode, OFlags, Uid, fchmod, fchown, fsync, openat, renameat, unlinkat},
    io::Errno,
};
use similar::TextDiff;
use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

/// Longer files are no manifests.
const READ_MAX: u64 = 1 << 20;

/// A manifest as it is and as it will be.
pub(super) struct Edit {
    place: Location,
    before: String,
    after: String,
    addition: Addition,
}

/// A file by its directory, which stays the same one whatever its path comes to mean.
struct Location {
    directory: OwnedFd,
    name: PathBuf,
    /// For people.
    shown: String,
}

/// The new text beside the file, removed unless it takes the file's place.
pub(super) struct Ready {
    edit: Edit,
    beside: Option<PathBuf>,
}

impl Edit {
    /// `None` where the manifest gives this already.
    pub(super) fn of(found: &Found, grant: &Grant, context: &Context) -> Result<Option<Edit>, CliError> {
        let Some(name) = &found.plan.bottle else {
            let next = format!(
                "approve it with --bottle, and see `bot-bottle policy learn {}` for a manifest to start from",
                found.bottle
            );
            return Err(CliError::usage(format!("{} was made by `run` and has no manifest", found.bottle)).next(next));
        };
        // As `start` would find it, with what it says of a name or a file that is none.
        catalog::bottle_named(name, context)?;
        let path = context.bottles().join(format!("{name}.yaml"));
        let place = Location::of(&path, found, context)?;
        let before = place.read()?;
        let addition = match &grant.gives {
            Gives::Route { route, first } => Addition::Route { route: route.clone(), first: *first },
            Gives::Refs { repository, refs } => Addition::Refs { repository: repository.clone(), refs: refs.clone() },
        };
        let after = match addition.write_into(name, &path, &before) {
            Ok(after) => after,
            Err(EditError::There) => return Ok(None),
            Err(EditError::Unreadable(mistakes)) => return Err(CliError::mistakes(&mistakes, Kind::Manifest)),
            Err(error @ EditError::NoRepository(_)) => {
                return Err(CliError::manifest(error.to_string()).next(format!("add it to {}", place.shown)));
            }
            Err(EditError::Layout) => return Err(by_hand(&addition, &place.shown)),
        };
        let edit = Edit { place, before, after, addition };
        edit.resolve(name, &path, grant, context)?;
        Ok(Some(edit))
    }

    /// A unified diff, fit for a terminal.
    pub(super) fn diff(&self) -> String {
        let mut patch = Vec::new();
        let diff = TextDiff::from_lines(self.before.as_bytes(), self.after.as_bytes());
        let (from, to) = (format!("{} (as it is)", self.place.shown), format!("{} (with it)", self.place.shown));
        // Into memory.
        let _ = diff.unified_diff().context_radius(3).header(&from, &to).to_writer(&mut patch);
        patch::harmless(&patch)
    }

    /// Both texts become plans; the second one is the first with the grant.
    fn resolve(&self, name: &str, path: &Path, grant: &Grant, context: &Context) -> Result<(), CliError> {
        let before = plan(name, path, &self.before, context)?;
        let after = plan(name, path, &self.after, context)?;
        let mut grant = grant.clone();
        if let Gives::Route { route, .. } = &mut grant.gives {
            **route = Route { granted: None, ..(**route).clone() };
        }
        let mut git = before.git.clone();
        if let Gives::Refs { repository, refs } = &grant.gives {
            let listed = git.iter_mut().find(|git| git.name == *repository);
            if let Some(push) = listed.and_then(|git| git.push.as_mut()) {
                push.refs.extend(refs.iter().cloned());
            }
        }
        if after.egress == before.egress.with_grants(std::slice::from_ref(&grant)) && after.git == git {
            Ok(())
        } else {
            Err(by_hand(&self.addition, &self.place.shown))
        }
    }

    /// Writes the new text beside the file.
    pub(super) fn ready(self) -> Result<Ready, CliError> {
        self.place.unchanged(&self.before)?;
        let beside = PathBuf::from(format!(".{}.{}.new", self.place.name.display(), std::process::id()));
        let mut ready = Ready { edit: self, beside: None };
        let Edit { place, after, .. } = &ready.edit;
        let failed = |error: io::Error| place.unwritable(error);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(&place.directory, &beside, flags, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(made.map_err(|error| failed(error.into()))?);
        ready.beside = Some(beside);
        let old = place.open()?.metadata().map_err(failed)?;
        let new = file.metadata().map_err(failed)?;
        file.write_all(after.as_bytes()).map_err(failed)?;
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            let owner = (Some(Uid::from_raw(old.uid())), Some(Gid::from_raw(old.gid())));
            fchown(&file, owner.0, owner.1).map_err(|error| failed(error.into()))?;
        }
        let mode = Mode::from_raw_mode(old.permissions().mode() & 0o777);
        fchmod(&file, mode).and_then(|()| fsync(&file)).map_err(|error| failed(error.into()))?;
        Ok(ready)
    }
}

impl Ready {
    /// Puts the new text in the file's place; what to tell the person.
    pub(super) fn put(mut self) -> Result<String, CliError> {
        let Edit { place, before, addition, .. } = &self.edit;
        let next =
            || format!("the bottle has the grant while it runs; write into {}:\n{}", place.shown, addition.by_hand());
        place.unchanged(before).map_err(|error| error.next(next()))?;
        let Some(beside) = self.beside.take() else { return Ok(String::new()) };
        let placed = renameat(&place.directory, &beside, &place.directory, &place.name);
        if let Err(error) = placed {
            let error = place.unwritable(error.into()).next(next());
            self.beside = Some(beside);
            return Err(error);
        }
        // It is there; whether a power cut takes it back is the file system's matter.
        let _ = fsync(&place.directory);
        Ok(format!("written into {}", place.shown))
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            let _ = unlinkat(&self.edit.place.directory, beside, AtFlags::empty());
        }
    }
}

impl Location {
    /// Of the file that a path leads to, by whatever links.
    fn of(path: &Path, found: &Found, context: &Context) -> Result<Location, CliError> {
        let shown = Escaped(&context.short(path)).to_string();
        let unusable = |error: io::Error| CliError::host(format!("{shown} cannot be written")).because(error);
        let real = path.canonicalize().map_err(unusable)?;
        let writable = |mount: &&PathBuf| real.starts_with(mount);
        if writable_sources(&found.plan).iter().find(writable).is_some() {
            return Err(CliError::denied(format!("{shown} lies where {} can write", found.bottle))
                .next("keep manifests in a directory that no bottle has"));
        }
        let (Some(parent), Some(name)) = (real.parent(), real.file_name()) else {
            return Err(unusable(io::ErrorKind::IsADirectory.into()));
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(parent, flags, Mode::empty()).map_err(|error| unusable(error.into()))?;
        Ok(Location { directory, name: PathBuf::from(name), shown })
    }

    fn open(&self) -> Result<File, CliError> {
        let failed = |error: io::Error| CliError::host(format!("{} cannot be read", self.shown)).because(error);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = openat(&self.directory, &self.name, flags, Mode::empty());
        let file = File::from(opened.map_err(|error: Errno| failed(error.into()))?);
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(failed(io::Error::other("it is not a regular file")));
        }
        if metadata.nlink() > 1 {
            let why = "it has more than one name, and the others would keep the old text";
            return Err(failed(io::Error::other(why)).next("make it a file, or a symbolic link, of its own"));
        }
        Ok(file)
    }

    fn read(&self) -> Result<String, CliError> {
        let mut text = String::new();
        let read = self.open()?.take(READ_MAX).read_to_string(&mut text);
        read.map_err(|error| CliError::host(format!("{} cannot be read", self.shown)).because(error))?;
        Ok(text)
    }

    fn unchanged(&self, before: &str) -> Result<(), CliError> {
        if self.read()? == before {
            return Ok(());
        }
        Err(CliError::usage(format!("{} was changed since it was shown; it was not written to", self.shown))
            .next("look at it, and approve again"))
    }

    fn unwritable(&self, error: io::Error) -> CliError {
        CliError::host(format!("{} cannot be written", self.shown)).because(error)
    }
}

/// What of the host the bottle has to write to.
fn writable_sources(plan: &Plan) -> Vec<PathBuf> {
    let mounts = plan.mounts.iter().filter(|mount| mount.writable).map(|mount| mount.source.clone());
    let workspace = match &plan.workspace {
        Workspace::Mount { source } => Some(source.clone()),
        Workspace::None | Workspace::Copy { .. } | Workspace::Clone { .. } => None,
    };
    // A source may be named by a link.
    mounts.chain(workspace).map(|source| source.canonicalize().unwrap_or(source)).collect()
}

fn by_hand(addition: &Addition, shown: &str) -> CliError {
    CliError::manifest(format!("{shown} is laid out in a way that is not edited here"))
        .next(format!("write this into it yourself, and approve with --bottle:\n{}", addition.by_hand()))
}

/// The plan of the bottle alone, for an agent that does nothing.
fn plan(name: &str, path: &Path, text: &str, context: &Context) -> Result<Plan, CliError> {
    let mistaken = |mistakes: Mistakes| CliError::mistakes(&mistakes, Kind::Manifest);
    let bottle = Bottle::parse(name, path, text).map_err(mistaken)?;
    let front = format!("---\nbottle: {name}\nprovider: command\ncommand: [\"true\"]\n---\n");
    let agent = Agent::parse("nobody", path, &front, &Providers::default()).map_err(mistaken)?;
    let workspace = Placed { value: "none".to_owned(), place: Place::Flag("--workspace none".to_owned()) };
    let overrides = Overrides { workspace: Some(workspace), ..Overrides::default() };
    let request = Request::of_agent(agent, bottle, &overrides).map_err(mistaken)?;
    launch::plan(&request, Kind::Manifest, context)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bottle_spec::host::HostPattern;
    use std::fs;

    fn edit(directory: &Path) -> Edit {
        let opened = rustix::fs::open(directory, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let place = Location { directory: opened, name: "dev.yaml".into(), shown: "dev.yaml".to_owned() };
        let route = Box::new(Route::to(HostPattern::parse("new.test").unwrap()));
        let addition = Addition::Route { route, first: false };
        Edit { before: place.read().unwrap(), after: "after\n".to_owned(), addition, place }
    }

    #[test]
    fn a_file_that_changed_is_left_alone_and_nothing_stays_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("dev.yaml");
        let names = || fs::read_dir(directory.path()).unwrap().count();
        fs::write(&file, "before\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let (early, late) = (edit(directory.path()), edit(directory.path()).ready().unwrap());
        fs::write(&file, "another\n").unwrap();
        assert!(early.ready().is_err());
        assert!(late.put().is_err());
        assert_eq!((fs::read_to_string(&file).unwrap().as_str(), names()), ("another\n", 1));
        edit(directory.path()).ready().unwrap().put().unwrap();
        assert_eq!((fs::read_to_string(&file).unwrap().as_str(), names()), ("after\n", 1));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn a_link_another_name_and_a_pipe_are_not_written_to() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("dev.yaml");
        fs::write(&file, "before\n").unwrap();
        let early = edit(directory.path());
        fs::hard_link(&file, directory.path().join("other")).unwrap();
        assert!(early.place.open().is_err());
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("other", &file).unwrap();
        assert!(early.place.open().is_err());
        fs::remove_file(&file).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(early.place.open().is_err());
    }
}
