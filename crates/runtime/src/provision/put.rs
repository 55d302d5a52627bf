//! Puts pieces into a home that is a directory of the host and that no agent has seen yet.
//!
//! Invariant: what is there is never written over, and all that is made is the agent's.

use super::{Piece, ProvisionError, Put};
use crate::workspace::{self, give};
use bottle_spec::resolve::AGENT_HOME;
use std::{
    fs::{DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink},
    path::Path,
};

/// `home` is where [`AGENT_HOME`] will be; it belongs to `owner`, or to us. A piece for another place is refused.
pub(crate) fn put_home(home: &Path, pieces: &[Piece], owner: Option<u32>) -> Result<(), ProvisionError> {
    for piece in pieces {
        put(home, piece, owner).map_err(|source| ProvisionError::Put { path: piece.target.clone(), source })?;
    }
    Ok(())
}

fn put(home: &Path, piece: &Piece, owner: Option<u32>) -> io::Result<()> {
    let below = piece.target.strip_prefix(AGENT_HOME).map_err(|_| io::ErrorKind::InvalidInput)?;
    let owned = |path: &Path| owner.map_or(Ok(()), |owner| give(path, owner));
    let on_the_way: Vec<&Path> = below.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()).collect();
    for above in on_the_way.into_iter().rev() {
        let directory = home.join(above);
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.and_then(|()| owned(&directory))?,
        }
    }
    let path = home.join(below);
    match &piece.what {
        Put::File { bytes, mode } => {
            File::options().write(true).create_new(true).mode(*mode).open(&path)?.write_all(bytes)?;
            owned(&path)
        }
        Put::Link(to) => symlink(to, &path).and_then(|()| owned(&path)),
        Put::Tree(source) => workspace::copy_whole(source, &path, owner).map_err(io::Error::other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::MetadataExt as _};

    #[test]
    fn files_and_trees_are_put_and_nothing_is_written_over() {
        let root = tempfile::tempdir().unwrap();
        let (home, skill) = (root.path().join("home"), root.path().join("pdf"));
        fs::create_dir_all(skill.join("scripts")).unwrap();
        fs::create_dir(&home).unwrap();
        fs::write(skill.join("SKILL.md"), "how").unwrap();
        fs::write(skill.join(".gitignore"), "*").unwrap();
        fs::write(skill.join("scripts/run"), "x").unwrap();
        let at = |name: &str| Path::new(AGENT_HOME).join(name);
        let pieces = [
            Piece { target: at(".a/skills/pdf"), what: Put::Tree(skill) },
            Piece::private(at(".a/settings.json"), "{}"),
            Piece::link(at("link"), "/etc/x"),
        ];
        put_home(&home, &pieces, None).unwrap();
        assert_eq!(fs::read_to_string(home.join(".a/skills/pdf/scripts/run")).unwrap(), "x");
        assert!(home.join(".a/skills/pdf/SKILL.md").exists(), "what a skill's ignore file says is not asked");
        let mode = |name: &str| fs::metadata(home.join(name)).unwrap().mode() & 0o777;
        assert_eq!((mode(".a"), mode(".a/settings.json")), (0o700, 0o600));
        assert_eq!(fs::read_link(home.join("link")).unwrap(), Path::new("/etc/x"));
        assert!(put_home(&home, &pieces[1..2], None).is_err(), "a file that is there stays");
        let outside = Piece::file("/etc/passwd", "x");
        assert!(put_home(&home, &[outside], None).is_err());
    }
}
