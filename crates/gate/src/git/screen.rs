//! What a push would add upstream, looked at object by object while it is still in quarantine.
//!
//! New is what upstream's refs do not reach, whatever objects happen to be here already. Every such commit is looked at
//! and not the tip alone: messages and authors, tags, names of files in every tree, the bytes of every file.
//!
//! Invariant: what was not looked at to its end is refused: an object that is missing, unreadable or too large, and a git
//! that fails.

use super::command::{Home, bound};
use bottle_policy::{
    git::flagged,
    scan::{Finding, Place, Scanner, Shape},
};
use bytes::Bytes;
use std::{
    collections::BTreeSet,
    fmt,
    io::{self, BufRead as _, BufReader, Read, Write as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Objects of one ref.
const MAX_OBJECTS: u64 = 500_000;
/// Their bytes, unpacked.
const MAX_BYTES: u64 = 4 << 30;
/// A commit, tag or tree is read whole; a larger one is refused.
const MAX_WHOLE: u64 = 16 << 20;
/// Of a blob, so much is there as a whole for what judges by content.
const CONTENT: usize = 256 << 10;
const CHUNK: usize = 256 << 10;
/// Findings of one ref that are told.
const MAX_FOUND: usize = 16;

/// Where and among what to look.
#[derive(Debug, Clone)]
pub(super) struct Screening {
    pub(super) home: Home,
    pub(super) repository: PathBuf,
    /// As `pre-receive` has them.
    pub(super) objects: String,
    pub(super) alternates: String,
    pub(super) scanner: Arc<Scanner>,
    /// The object pushed, and those that were looked at for other refs.
    pub(super) tip: String,
    pub(super) seen: Vec<String>,
    /// Rules that find nothing here.
    pub(super) exempt: Vec<String>,
    pub(super) progress: Arc<Progress>,
}

/// How far a search is; and whether it may end.
#[derive(Debug, Default)]
pub(super) struct Progress {
    objects: AtomicU64,
    bytes: AtomicU64,
    stopped: AtomicBool,
}

impl Progress {
    /// The search fails at its next object.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (objects, bytes) = (self.objects.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        write!(f, "{objects} objects, {} MiB", bytes >> 20)
    }
}

#[derive(Debug, Default)]
pub(super) struct Screened {
    pub(super) found: Vec<Found>,
    /// What a person should see.
    pub(super) flags: BTreeSet<String>,
    pub(super) objects: u64,
}

/// One finding and where it is.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) finding: Finding,
    /// The agent's own words.
    pub(super) at: String,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ScreenError {
    #[error("git could not be started to look at the objects")]
    Start(#[source] io::Error),
    #[error("the objects could not be read")]
    Read(#[source] io::Error),
    #[error("an object is missing or is not what it says it is")]
    Malformed,
    #[error("more than {MAX_OBJECTS} objects or {} GiB are pushed at once", MAX_BYTES >> 30)]
    TooLarge,
    #[error("the search was broken off")]
    Stopped,
    #[error("a submodule's address is one that git would run or read from this machine: {0}")]
    Submodule(String),
}

impl Screening {
    /// Blocks; for a thread of its own.
    pub(super) fn run(&self) -> Result<Screened, ScreenError> {
        std::thread::scope(|scope| {
            let paths = scope.spawn(|| self.paths());
            let mut screened = Screened::default();
            self.objects(&mut screened)?;
            screened.flags.extend(paths.join().map_err(|_| ScreenError::Malformed)??);
            Ok(screened)
        })
    }

    fn git(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.git_in(&self.repository, arguments);
        command.env("GIT_OBJECT_DIRECTORY", &self.objects);
        command.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", &self.alternates);
        command
    }

    /// The tip without what upstream's refs reach.
    fn list(&self, arguments: &[&str]) -> Result<Child, ScreenError> {
        let mut command = self.git(&[&["rev-list"], arguments, &["--stdin", "--not", "--all"]].concat());
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.map_err(ScreenError::Start)?;
        bound(Some(child.id())).map_err(ScreenError::Start)?;
        let mut text = format!("{}\n", self.tip);
        self.seen.iter().for_each(|seen| text.push_str(&format!("^{seen}\n")));
        let mut stdin = child.stdin.take().ok_or(ScreenError::Malformed)?;
        stdin.write_all(text.as_bytes()).map_err(ScreenError::Read)?;
        Ok(child)
    }

    fn objects(&self, screened: &mut Screened) -> Result<(), ScreenError> {
        let mut list = self.list(&["--objects"])?;
        let listed = list.stdout.take().ok_or(ScreenError::Malformed)?;
        let format = "--batch=%(objectname) %(objecttype) %(objectsize) %(rest)";
        let mut command = self.git(&["cat-file", format, "--buffer"]);
        let spawned = command.stdin(Stdio::from(listed)).stdout(Stdio::piped()).spawn();
        let mut reader = spawned.map_err(ScreenError::Start)?;
        bound(Some(reader.id())).map_err(ScreenError::Start)?;
        let output = reader.stdout.take().ok_or(ScreenError::Malformed)?;
        let looked = self.look(BufReader::with_capacity(1 << 20, output), screened);
        if looked.is_err() {
            let _ = (list.kill(), reader.kill());
        }
        let ended = [list.wait(), reader.wait()];
        looked?;
        let well = ended.iter().all(|status| status.as_ref().is_ok_and(std::process::ExitStatus::success));
        if well { Ok(()) } else { Err(ScreenError::Malformed) }
    }

    fn look(&self, mut output: impl io::BufRead, screened: &mut Screened) -> Result<(), ScreenError> {
        let (mut bytes, mut line) = (0_u64, Vec::new());
        loop {
            line.clear();
            let length = (&mut output).take(1 << 20).read_until(b'\n', &mut line).map_err(ScreenError::Read)?;
            if length == 0 {
                return Ok(());
            }
            let header = Header::parse(&line).ok_or(ScreenError::Malformed)?;
            bytes = bytes.saturating_add(header.size);
            screened.objects += 1;
            if screened.objects > MAX_OBJECTS || bytes > MAX_BYTES {
                return Err(ScreenError::TooLarge);
            }
            if self.progress.stopped.load(Ordering::Relaxed) {
                return Err(ScreenError::Stopped);
            }
            self.progress.objects.store(screened.objects, Ordering::Relaxed);
            self.progress.bytes.store(bytes, Ordering::Relaxed);
            let mut content = (&mut output).take(header.size);
            match header.kind {
                Kind::Blob => self.blob(&mut content, &header, screened)?,
                _ if header.size > MAX_WHOLE => return Err(ScreenError::TooLarge),
                Kind::Tree => self.tree(&whole(&mut content)?, &header, screened)?,
                Kind::Commit => self.message(&whole(&mut content)?, "commit message", &header, screened),
                Kind::Tag => self.message(&whole(&mut content)?, "tag message", &header, screened),
            }
            if content.limit() != 0 {
                return Err(ScreenError::Malformed);
            }
            let mut end = [0];
            output.read_exact(&mut end).map_err(ScreenError::Read)?;
        }
    }

    fn blob(&self, content: &mut impl Read, header: &Header, screened: &mut Screened) -> Result<(), ScreenError> {
        let mut stream = self.scanner.stream(Shape::of(None)).at(Place::Other("file"));
        let mut findings = Vec::new();
        let mut first = Vec::new();
        let mut left = usize::try_from(header.size).unwrap_or(usize::MAX);
        while left > 0 {
            let mut chunk = vec![0; left.min(CHUNK)];
            content.read_exact(&mut chunk).map_err(ScreenError::Read)?;
            left -= chunk.len();
            if first.len() < CONTENT {
                first.extend(chunk.iter().take(CONTENT - first.len()));
            }
            let _ = stream.push(Bytes::from(chunk), &mut findings);
        }
        let _ = stream.finish(&mut findings);
        screened.found(findings, &header.path, &header.name, &self.exempt);
        if let Some(address) = flagged::submodule(&first) {
            return Err(ScreenError::Submodule(address));
        }
        if let Some(flag) = flagged::content(&first) {
            screened.flag(flag, header.path.as_bytes());
        }
        Ok(())
    }

    /// The names in a tree: mode, space, name, NUL, object.
    fn tree(&self, content: &[u8], header: &Header, screened: &mut Screened) -> Result<(), ScreenError> {
        let object = header.name.len() / 2;
        let (mut rest, mut names) = (content, Vec::new());
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == 0).ok_or(ScreenError::Malformed)?;
            let (entry, after) = rest.split_at_checked(end).ok_or(ScreenError::Malformed)?;
            let name = entry.iter().position(|byte| *byte == b' ').and_then(|at| entry.get(at + 1..));
            names.extend_from_slice(name.ok_or(ScreenError::Malformed)?);
            names.push(b'\n');
            rest = after.get(1 + object..).ok_or(ScreenError::Malformed)?;
        }
        screened.found(self.scanner.piece(Place::Name, &names), &header.path, &header.name, &self.exempt);
        Ok(())
    }

    /// Author, committer and message; not the objects' names, which look like secrets and are none.
    fn message(&self, content: &[u8], what: &'static str, header: &Header, screened: &mut Screened) {
        let text = without_objects(content);
        screened.found(self.scanner.piece(Place::Other(what), &text), what, &header.name, &self.exempt);
    }

    /// What a person should see of every path that some commit changes against one of its parents.
    fn paths(&self) -> Result<BTreeSet<String>, ScreenError> {
        let mut screened = Screened::default();
        let mut list = self.list(&[])?;
        let listed = list.stdout.take().ok_or(ScreenError::Malformed)?;
        let arguments =
            ["diff-tree", "--stdin", "-r", "-m", "--root", "--no-commit-id", "--name-only", "--no-renames", "-z"];
        let spawned = self.git(&arguments).stdin(Stdio::from(listed)).stdout(Stdio::piped()).spawn();
        let mut differ = spawned.map_err(ScreenError::Start)?;
        bound(Some(differ.id())).map_err(ScreenError::Start)?;
        let mut output = BufReader::new(differ.stdout.take().ok_or(ScreenError::Malformed)?);
        let mut path = Vec::new();
        loop {
            path.clear();
            let length = (&mut output).take(1 << 20).read_until(0, &mut path).map_err(ScreenError::Read)?;
            if length == 0 {
                break;
            }
            path.pop();
            if let Some(flag) = flagged::path(&path) {
                screened.flag(flag, &path);
            }
        }
        let ended = [list.wait(), differ.wait()];
        let well = ended.iter().all(|status| status.as_ref().is_ok_and(std::process::ExitStatus::success));
        if well { Ok(screened.flags) } else { Err(ScreenError::Malformed) }
    }
}

impl Screened {
    pub(super) fn found(&mut self, findings: Vec<Finding>, path: &str, object: &str, exempt: &[String]) {
        for finding in findings {
            // What is known beforehand has a name and is never exempt.
            let passes = finding.name.is_none() && exempt.iter().any(|id| id == finding.rule);
            if !passes && self.found.len() < MAX_FOUND {
                let short = object.get(..12).unwrap_or(object);
                let at = match (path, short) {
                    ("", short) => short.to_owned(),
                    (path, "") => path.to_owned(),
                    (path, short) => format!("{path} ({short})"),
                };
                self.found.push(Found { finding, at });
            }
        }
    }

    fn flag(&mut self, flag: &str, path: &[u8]) {
        const MAX_FLAGS: usize = 100;
        if self.flags.len() < MAX_FLAGS {
            let path: String = String::from_utf8_lossy(path).chars().take(300).collect();
            self.flags.insert(format!("{path}: {flag}"));
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Commit,
    Tree,
    Blob,
    Tag,
}

/// One line of `cat-file --batch`.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    name: String,
    kind: Kind,
    size: u64,
    /// A path under which the object is found; one of perhaps many.
    path: String,
}

impl Header {
    /// A missing object has no size, and with that no header.
    fn parse(line: &[u8]) -> Option<Header> {
        let line = line.strip_suffix(b"\n")?;
        let text = String::from_utf8_lossy(line);
        let mut words = text.splitn(4, ' ');
        let name = words.next().filter(|name| matches!(name.len(), 40 | 64))?.to_owned();
        let kind = match words.next()? {
            "commit" => Kind::Commit,
            "tree" => Kind::Tree,
            "blob" => Kind::Blob,
            "tag" => Kind::Tag,
            _ => return None,
        };
        let size = words.next()?.parse().ok()?;
        let path = words.next().unwrap_or_default().chars().take(300).collect();
        Some(Header { name, kind, size, path })
    }
}

fn whole(content: &mut impl Read) -> Result<Vec<u8>, ScreenError> {
    let mut bytes = Vec::new();
    content.read_to_end(&mut bytes).map_err(ScreenError::Read)?;
    Ok(bytes)
}

fn without_objects(content: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(content.len());
    let mut in_headers = true;
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        in_headers &= line != b"\n";
        let names_object = [b"tree ".as_slice(), b"parent ", b"object "].iter().any(|key| {
            line.strip_prefix(*key).is_some_and(|rest| rest.trim_ascii_end().iter().all(u8::is_ascii_hexdigit))
        });
        if !(in_headers && names_object) {
            text.extend_from_slice(line);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_objects() {
        let name = "a".repeat(40);
        let header = Header::parse(format!("{name} blob 12 a b\n").as_bytes()).unwrap();
        assert_eq!(header, Header { name: name.clone(), kind: Kind::Blob, size: 12, path: "a b".to_owned() });
        assert_eq!(Header::parse(format!("{name} tree 0 \n").as_bytes()).unwrap().path, "");
        for line in
            [format!("{name} missing\n"), format!("{name} blob -1 \n"), format!("{name} blob 1 x"), "x\n".to_owned()]
        {
            assert_eq!(Header::parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn more_than_is_searched_is_refused_before_it_is_read() {
        let home = tempfile::tempdir().unwrap();
        let screening = Screening {
            home: Home::make(home.path(), &[]).unwrap(),
            repository: PathBuf::new(),
            objects: String::new(),
            alternates: String::new(),
            scanner: Arc::new(Scanner::new(bottle_policy::scan::Known::builder().build())),
            tip: String::new(),
            seen: Vec::new(),
            exempt: Vec::new(),
            progress: Arc::default(),
        };
        let look = |lines: &str| screening.look(lines.as_bytes(), &mut Screened::default());
        let (name, most) = ("a".repeat(40), MAX_BYTES + 1);
        assert!(look(&format!("{name} blob 2 f\nhi\n")).is_ok());
        assert!(matches!(look(&format!("{name} blob {most} f\n")), Err(ScreenError::TooLarge)));
        assert!(matches!(look(&format!("{name} tree {} \n", MAX_WHOLE + 1)), Err(ScreenError::TooLarge)));
        screening.progress.stop();
        assert!(matches!(look(&format!("{name} blob 2 f\nhi\n")), Err(ScreenError::Stopped)));
    }

    #[test]
    fn names_of_objects_are_left_out_of_headers_alone() {
        let commit = b"tree aa\nparent bb\nauthor A\n\ntree cc\n";
        assert_eq!(without_objects(commit), b"author A\n\ntree cc\n");
        assert_eq!(without_objects(b"tree secret-here\n"), b"tree secret-here\n");
    }
}
