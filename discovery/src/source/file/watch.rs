//! Watching: an inotify event leads to a scan at once, and a slow poll catches what no event tells.
//!
//! A thread of its own for each source, since reading and parsing files blocks. It ends when nobody listens any more.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::Sender;
use tracing::{debug, warn};

use super::{Closed, FileSource};
use crate::source::Batch;

/// How often the whole tree is looked at without being told to.
const POLL: Duration = Duration::from_secs(2);
/// How often while a file may still be written to.
const POLL_UNSETTLED: Duration = Duration::from_millis(50);

/// Reads the source's files, tells what they hold, and goes on telling what changes.
pub fn watch(mut source: FileSource, tell: Sender<Batch>) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(format!("files {}", source.id)).spawn(move || {
        let (notified, notices) = channel();
        let mut watches = Watches::new(notified);
        watches.cover(source.walk().directories);
        let mut batch = source.list();
        loop {
            if !batch.is_empty() && tell.blocking_send(batch).is_err() || tell.is_closed() {
                return;
            }
            let Some(closed) = wait(&notices, if source.is_unsettled() { POLL_UNSETTLED } else { POLL }) else { return };
            // A directory that is new may have filled before it was watched: the scan comes after the watch.
            watches.cover(source.walk().directories);
            batch = source.scan(&closed);
        }
    })
}

/// Waits for something that may have changed a file; `None` when the watcher is gone.
fn wait(notices: &Receiver<notify::Result<notify::Event>>, at_most: Duration) -> Option<Closed> {
    let mut closed = Closed::new();
    let mut first = match notices.recv_timeout(at_most) {
        Ok(notice) => Some(notice),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => return None,
    };
    while let Some(notice) = first.take().or_else(|| notices.try_recv().ok()) {
        match notice {
            Ok(event) => note(event, &mut closed),
            Err(error) => debug!(%error, "watching files"),
        }
    }
    Some(closed)
}

/// Remembers the files that are complete: closed by a writer, renamed into place, or linked.
fn note(event: notify::Event, closed: &mut Closed) {
    let complete = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Modify(ModifyKind::Name(_)) => true,
        EventKind::Create(CreateKind::Any | CreateKind::Other) => true,
        // A plain file that was just created is empty until its writer closes it; a link is complete.
        EventKind::Create(CreateKind::File) => {
            closed.extend(event.paths.iter().filter(|p| p.is_symlink()).cloned());
            false
        }
        EventKind::Create(CreateKind::Folder) | EventKind::Access(_) | EventKind::Modify(_) => false,
        EventKind::Any | EventKind::Remove(_) | EventKind::Other => false,
    };
    if complete {
        closed.extend(event.paths);
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

    /// Watches these directories and no others.
    fn cover(&mut self, directories: BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        for gone in self.watched.difference(&directories) {
            // Fails where the directory is gone, and its watch with it.
            watcher.unwatch(gone).unwrap_or_else(|error| debug!(%error, "unwatching"));
        }
        let mut watched = BTreeSet::new();
        for directory in directories {
            let known = self.watched.contains(&directory);
            match if known { Ok(()) } else { watcher.watch(&directory, RecursiveMode::NonRecursive) } {
                Ok(()) => drop(watched.insert(directory)),
                Err(error) => warn!(directory = %directory.display(), %error, "cannot watch a directory, polling it instead"),
            }
        }
        self.watched = watched;
    }
}
