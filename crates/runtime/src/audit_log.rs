//! What lies around a bottle's audit log: the note of its last checkpoint (here), the user's key that vouches for it
//! ([`key`]), and the logs of bottles that are gone ([`kept`]). The log itself is written by the gate.
//!
//! Invariant: what is noted is on the disk. The log is brought there first (`fdatasync`, on a thread of its own: the
//! gate is never stopped by it), then the note, whole or not at all. So after a power cut a log holds what its note
//! says, or someone cut it.

pub mod kept;
pub mod key;

use bottle_spec::{event::Head, slug::Slug};
use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    sync::{oneshot, watch},
    task::{JoinHandle, spawn_local},
    time::timeout,
};

/// The log goes to the disk at most so often.
const PAUSE: Duration = Duration::from_secs(1);

/// Where the note of the log in `directory` is.
pub fn note_path(directory: &Path) -> PathBuf {
    directory.join("head")
}

/// The note beside a log; an error of [`io::ErrorKind::NotFound`] where there is none.
pub fn read_note(directory: &Path) -> io::Result<Head> {
    let bytes = fs::read(note_path(directory))?;
    serde_json::from_slice(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Opens the log in `directory` to go on with it, and tells what it must hold. A note is there before the first record,
/// so that a missing one tells of damage.
pub(crate) fn begin(directory: &Path, bottle: &Slug) -> io::Result<(File, Head)> {
    let log = File::options().create(true).append(true).read(true).mode(0o600).open(directory.join("audit.jsonl"))?;
    match read_note(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && log.metadata()?.len() == 0 => {
            let head = Head::of_nothing(bottle.as_str());
            // Not brought to the disk: there is nothing yet to lose, and a launch does not wait for a disk.
            put_note(directory, &head)?;
            Ok((log, head))
        }
        other => Ok((log, other?)),
    }
}

/// Whole or not at all.
pub(crate) fn write_note(directory: &Path, head: &Head) -> io::Result<()> {
    let beside = directory.join("head.new");
    let file = new_note(&beside, head)?;
    file.sync_data()?;
    fs::rename(&beside, note_path(directory))
}

fn put_note(directory: &Path, head: &Head) -> io::Result<()> {
    let beside = directory.join("head.new");
    new_note(&beside, head)?;
    fs::rename(&beside, note_path(directory))
}

fn new_note(path: &Path, head: &Head) -> io::Result<File> {
    let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    serde_json::to_writer(&mut file, head)?;
    file.write_all(b"\n")?;
    Ok(file)
}

/// Notes checkpoints as they come; where they come fast, the newest.
#[derive(Debug)]
pub(crate) struct Notes {
    newest: watch::Sender<Option<Head>>,
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Notes {
    /// `log` is the log in `directory`. Within a `LocalSet`.
    pub(crate) fn keep(log: File, directory: PathBuf) -> Notes {
        let newest = watch::Sender::new(None);
        let (end, ending) = oneshot::channel();
        let task = spawn_local(Noting { log, directory, newest: newest.subscribe() }.run(ending));
        Notes { newest, end, task }
    }

    pub(crate) fn note(&self, head: Head) {
        self.newest.send_replace(Some(head));
    }

    /// Notes what is not yet noted.
    pub(crate) async fn finish(self) {
        let _ = self.end.send(());
        let _ = self.task.await;
    }
}

struct Noting {
    log: File,
    directory: PathBuf,
    newest: watch::Receiver<Option<Head>>,
}

impl Noting {
    async fn run(mut self, mut ending: oneshot::Receiver<()>) {
        loop {
            tokio::select! {
                biased;
                _ = &mut ending => break,
                _ = self.newest.changed() => self.write().await,
            }
            if timeout(PAUSE, &mut ending).await.is_ok() {
                break;
            }
        }
        if self.newest.has_changed().unwrap_or(true) {
            self.write().await;
        }
    }

    async fn write(&mut self) {
        let Some(head) = self.newest.borrow_and_update().clone() else { return };
        let (log, directory) = (self.log.try_clone(), self.directory.clone());
        let written = tokio::task::spawn_blocking(move || {
            log?.sync_data()?;
            write_note(&directory, &head)
        });
        // The next checkpoint tries again; until then an older note is true as well.
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the audit log's checkpoint could not be noted"),
            Err(error) => tracing::error!(%error, "noting the audit log's checkpoint failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_checkpoint_is_noted_at_the_end_however_fast_they_came() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let root = tempfile::tempdir().unwrap();
                let log = File::create(root.path().join("audit.jsonl")).unwrap();
                let notes = Notes::keep(log, root.path().to_owned());
                for records in 1..=500 {
                    notes.note(Head { bottle: "a-bcdef".to_owned(), records, hash: String::new() });
                    tokio::task::yield_now().await;
                }
                notes.finish().await;
                assert_eq!(read_note(root.path()).unwrap().records, 500);
                assert!(!root.path().join("head.new").exists());
            })
            .await;
    }
}
