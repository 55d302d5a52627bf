//! Repositories for tests: made by the stock git, with none of the user's configuration, at a fixed time.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
};

/// A bare repository that stands for an upstream, with a work tree beside it to commit from.
#[derive(Debug)]
pub struct GitRepository {
    bare: PathBuf,
    work: PathBuf,
    owner: u32,
}

impl GitRepository {
    /// In an empty directory below `root`; with one commit on `main`. `owner` is whose it is.
    #[track_caller]
    pub fn new(root: &Path, name: &str, owner: u32) -> GitRepository {
        GitRepository::with_format(root, name, owner, "sha1")
    }

    /// The same, where objects are named by `sha1` or `sha256`.
    #[track_caller]
    pub fn with_format(root: &Path, name: &str, owner: u32, format: &str) -> GitRepository {
        let (bare, work) = (root.join(format!("{name}.git")), root.join(format!("{name}-work")));
        let format = format!("--object-format={format}");
        git(root, &["init", "-q", "--bare", "-b", "main", &format, &bare.display().to_string()]);
        git(root, &["init", "-q", "-b", "main", &format, &work.display().to_string()]);
        let repository = GitRepository { bare, work, owner };
        repository.commit("README", "hello\n", "the first");
        repository
    }

    /// The upstream.
    pub fn path(&self) -> &Path {
        &self.bare
    }

    /// Commits a file and pushes `main` upstream; gives the commit.
    #[track_caller]
    pub fn commit(&self, file: &str, text: &str, message: &str) -> String {
        let path = self.work.join(file);
        fs::create_dir_all(path.parent().expect("a file has a directory")).expect("a directory of ours");
        fs::write(path, text).expect("a file of ours");
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
        self.git(&["push", "-q", &self.bare.display().to_string(), "HEAD:main"]);
        self.own();
        self.git(&["rev-parse", "HEAD"])
    }

    /// Runs git in the work tree; gives what it says, trimmed.
    #[track_caller]
    pub fn git<S: AsRef<OsStr>>(&self, arguments: &[S]) -> String {
        git(&self.work, arguments)
    }

    /// What a ref upstream is at; `None` where there is no such ref.
    pub fn upstream(&self, reference: &str) -> Option<String> {
        let output = command(&self.bare, &["rev-parse", "--verify", "-q", reference]).output().expect("git starts");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// A hook of the upstream.
    pub fn hook(&self, name: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.bare.join("hooks").join(name);
        fs::create_dir_all(self.bare.join("hooks")).expect("a directory of ours");
        fs::write(&path, script).expect("a file of ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a file of ours");
        self.own();
    }

    /// Gives everything to the owner, after somebody else wrote in it.
    pub fn own(&self) {
        if rustix::process::getuid().is_root() {
            give(&self.bare, self.owner);
        }
    }
}

fn give(path: &Path, owner: u32) {
    chown(path, Some(owner), Some(owner)).expect("root may give a file away");
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a directory of ours").flatten() {
            give(&entry.path(), owner);
        }
    }
}

fn command<S: AsRef<OsStr>>(directory: &Path, arguments: &[S]) -> Command {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(directory).env_clear();
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", "/nonexistent").env("LANG", "C.UTF-8");
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    for (name, value) in
        [("safe.directory", "*"), ("gc.auto", "0")].iter().enumerate().flat_map(|(at, (key, value))| {
            [(format!("GIT_CONFIG_KEY_{at}"), *key), (format!("GIT_CONFIG_VALUE_{at}"), *value)]
        })
    {
        command.env(name, value);
    }
    command.env("GIT_CONFIG_COUNT", "2");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "Tester").env(format!("GIT_{who}_EMAIL"), "tester@example.test");
        command.env(format!("GIT_{who}_DATE"), "2026-01-02T03:04:05Z");
    }
    command
}

#[track_caller]
fn git<S: AsRef<OsStr>>(directory: &Path, arguments: &[S]) -> String {
    let output = command(directory, arguments).output().expect("git starts");
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    text
}
