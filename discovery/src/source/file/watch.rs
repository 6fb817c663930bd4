//! Watching: an inotify event leads to a scan at once, and a slow poll catches what no event tells.
//!
//! A thread of its own for each source, since reading and parsing files blocks. It ends when nobody listens any more.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::Sender;
use tracing::{debug, warn};

use super::walk::Tree;
use super::{Closed, FileSource};
use crate::source::Batch;

/// How often the whole tree is looked at without being told to.
const POLL: Duration = Duration::from_secs(2);
/// How often while a file may still be written to.
const POLL_UNSETTLED: Duration = Duration::from_millis(50);

/// Reads the source's files, tells what they hold, and goes on telling what changes.
pub fn watch(mut source: FileSource, tell: Sender<Batch>) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("files {}", source.id)).spawn(move || {
        let (notified, notices) = channel();
        let mut watches = Watches::new(notified);
        let tree = watches.cover_all(&source);
        // Nobody listening any more is found out below.
        source.list(tree, |batch| drop(tell.blocking_send(batch)));
        loop {
            if tell.is_closed() {
                return;
            }
            let Some(heard) = wait(&notices, if source.is_unsettled() { POLL_UNSETTLED } else { POLL }) else { return };
            let batch = match source.only_files(&heard.changed) {
                Some(tree) => source.scan_files(tree, &heard.closed),
                None => {
                    watches.forget(&heard.changed);
                    let tree = watches.cover_all(&source);
                    source.scan(tree, &heard.closed)
                }
            };
            if !batch.is_empty() && tell.blocking_send(batch).is_err() {
                return;
            }
        }
    })
}

/// What the watcher has told; nothing where time has passed only.
#[derive(Default)]
struct Heard {
    /// Everything that may differ.
    changed: Closed,
    /// Files that are complete: closed by a writer, renamed into place, or linked.
    closed: Closed,
}

/// Waits for something that may have changed a file, or for time to pass; `None` when the watcher is gone.
///
/// Reading files and directories makes events too, our own reading among them: they wake nobody.
fn wait(notices: &Receiver<notify::Result<notify::Event>>, at_most: Duration) -> Option<Heard> {
    let mut heard = Heard::default();
    let deadline = Instant::now() + at_most;
    while heard.changed.is_empty() {
        match notices.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(notice) => heard.note(notice),
            Err(RecvTimeoutError::Timeout) => return Some(heard),
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
    while let Ok(notice) = notices.try_recv() {
        heard.note(notice);
    }
    Some(heard)
}

impl Heard {
    fn note(&mut self, notice: notify::Result<notify::Event>) {
        let event = match notice {
            Ok(event) => event,
            Err(error) => return debug!(%error, "watching files"),
        };
        if event.need_rescan() {
            // Some events were lost: the root of everything may differ.
            self.changed.insert(PathBuf::from("/"));
        }
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Modify(ModifyKind::Name(_)) => {
                self.closed.extend(event.paths.iter().cloned());
            }
            // A plain file that was just created is empty until its writer closes it; a link is complete.
            EventKind::Create(_) => self.closed.extend(event.paths.iter().filter(|p| p.is_symlink()).cloned()),
            EventKind::Modify(_) | EventKind::Remove(_) => {}
            EventKind::Access(_) | EventKind::Any | EventKind::Other => return,
        }
        self.changed.extend(event.paths);
    }
}

/// The directories under watch.
struct Watches {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    /// Keeps the channel open where there is no watcher, so that waiting is polling.
    _notified: std::sync::mpsc::Sender<notify::Result<notify::Event>>,
}

impl Watches {
    fn new(notified: std::sync::mpsc::Sender<notify::Result<notify::Event>>) -> Self {
        let watcher = notify::recommended_watcher(notified.clone());
        let watcher = watcher.inspect_err(|error| warn!(%error, "cannot watch files, polling them instead")).ok();
        Self { watcher, watched: BTreeSet::new(), _notified: notified }
    }

    /// Watches all directories of the source, and returns what stands in them since then: a directory that is new may
    /// have filled before it was watched.
    fn cover_all(&mut self, source: &FileSource) -> Tree {
        loop {
            let tree = source.walk();
            if !self.cover(&tree.directories) {
                return tree;
            }
        }
    }

    /// Watches these directories and no others; true where one of them was not watched before.
    fn cover(&mut self, directories: &BTreeSet<PathBuf>) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        for gone in self.watched.difference(directories) {
            // Fails where the directory is gone, and its watch with it.
            watcher.unwatch(gone).unwrap_or_else(|error| debug!(%error, "unwatching"));
        }
        let mut new = false;
        let mut watched = BTreeSet::new();
        for directory in directories {
            if self.watched.contains(directory) {
                watched.insert(directory.clone());
                continue;
            }
            match watcher.watch(directory, RecursiveMode::NonRecursive) {
                Ok(()) => new |= watched.insert(directory.clone()),
                Err(error) => warn!(directory = %directory.display(), %error, "cannot watch a directory, polling it instead"),
            }
        }
        self.watched = watched;
        new
    }

    /// A directory that was removed or renamed has lost its watch, even if another one has its name now. A watch that is
    /// given up in vain is taken again at once.
    fn forget(&mut self, moved: &Closed) {
        let Some(watcher) = &mut self.watcher else { return };
        for path in moved {
            if self.watched.remove(path) {
                watcher.unwatch(path).unwrap_or_else(|error| debug!(%error, "unwatching"));
            }
        }
    }
}
