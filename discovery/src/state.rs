//! The last good version of everything from API servers, on disk, for a start with all of them down.
//!
//! One file for each cluster and kind: a head line, then one record a line, each with its checksum. A completed list is
//! written aside and takes the old file's place in one step; changes are appended. A file counts only if every record up
//! to the end of its list is whole; a last line that a crash has cut off is dropped. Anything else is set aside and never
//! trusted. Writing happens on a thread of its own and never holds up a watch, and one gateway alone writes into a directory.
//! Of what waits for the disk only the last version counts. What could not be written is told, and is written from a further list once it can be.

mod file;
mod queue;
mod trim;
mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use isthmus_config::name::ClusterId;
use isthmus_config::object::{Kind, ObjectRef};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::source::{Batch, SourceId};
use file::Stored;
use queue::{Fate, Queue, Tell};
use writer::{Place, Writer};

/// The file that says which remote secret named a member.
const MEMBER: &str = "member";

/// A file that lacks something is written anew from a further list, which is asked for this seldom.
const LISTED_ANEW: Duration = Duration::from_secs(600);

/// The directory, and the way to its writer.
#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
    /// False where another process may write: then nothing is touched.
    is_ours: bool,
    tell: Arc<Tell>,
}

/// The way to one kind of one cluster.
#[derive(Debug)]
pub(crate) struct Log {
    place: Arc<Place>,
    tell: Arc<Tell>,
    /// When a further list was asked for.
    asked: Option<Instant>,
}

/// Objects as they were kept: apiVersion and JSON.
pub(crate) type Kept = Vec<(String, String)>;

impl Store {
    /// Opens the directory and starts its writer, which ends with the last log. Where it cannot be written, or another gateway does,
    /// that is told; it is tried again, and everything is written once it works.
    pub(crate) fn open(directory: &Path, source: SourceId, told: mpsc::Sender<Batch>) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let tell = Arc::new(Tell::new(queue.clone()));
        let lock = writer::lock(directory);
        let is_ours = lock.is_ok();
        let writer = Writer::new(directory, lock, source, told);
        std::thread::Builder::new().name("state".to_owned()).spawn(move || writer.write(&queue))?;
        Ok(Self { directory: directory.to_owned(), is_ours, tell })
    }

    /// Only looks at what a gateway keeps there.
    pub(crate) fn looking(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), is_ours: false, tell: Arc::new(Tell::new(Arc::default())) }
    }

    pub(crate) fn log(&self, cluster: &ClusterId, kind: Kind) -> Log {
        let place = Place { path: self.path(cluster, kind), head: file::head(cluster, kind), kind, is_behind: AtomicBool::new(false) };
        Log { place: Arc::new(place), tell: self.tell.clone(), asked: None }
    }

    /// Remembers that a remote secret named this cluster.
    pub(crate) fn note_member(&self, cluster: &ClusterId, secret: &ObjectRef) {
        self.tell.write(self.folder(cluster).join(MEMBER), format!("{cluster}\n{}\n{}\n", secret.namespace, secret.name));
    }

    /// Drops all that is kept of a member.
    pub(crate) fn forget(&self, cluster: &ClusterId) {
        self.tell.forget(self.folder(cluster));
    }

    /// Members that were known, and the secrets that named them.
    pub(crate) fn members(&self) -> BTreeMap<ClusterId, ObjectRef> {
        let folders = std::fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let noted = folders.filter_map(|folder| std::fs::read_to_string(folder.path().join(MEMBER)).ok());
        let read = |text: String| {
            let mut lines = text.lines().map(str::to_owned);
            let (cluster, namespace, name) = (lines.next()?, lines.next()?, lines.next()?);
            Some((ClusterId::from(cluster.as_str()), ObjectRef::new(Kind::Secret, namespace, name)))
        };
        noted.filter_map(read).collect()
    }

    /// What is kept of every one of `kinds`, or `None` where one of them is missing or broken: half a cluster is none.
    pub(crate) fn restore(&self, cluster: &ClusterId, kinds: impl Iterator<Item = Kind>) -> Option<Vec<(Kind, Kept)>> {
        let mut all = Vec::new();
        for kind in kinds {
            let path = self.path(cluster, kind);
            match file::read(&path, &file::head(cluster, kind)) {
                Ok(Stored::Whole(kept)) => all.push((kind, kept)),
                Ok(Stored::Missing) => {
                    info!(%cluster, %kind, "nothing kept on disk");
                    return None;
                }
                Err(reason) if !self.is_ours => {
                    warn!(%cluster, %kind, reason, "kept state cannot be trusted");
                    return None;
                }
                Err(reason) => {
                    let aside = path.with_extension("broken");
                    warn!(%cluster, %kind, reason, aside = %aside.display(), "kept state cannot be trusted, set aside");
                    if let Err(error) = std::fs::rename(&path, &aside) {
                        warn!(path = %path.display(), %error, "cannot set it aside");
                    }
                    return None;
                }
            }
        }
        Some(all)
    }

    fn folder(&self, cluster: &ClusterId) -> PathBuf {
        // Names of clusters come from secrets: nothing of them may lead out of the directory.
        let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c.to_string() } else { format!("%{:02x}", u32::from(c)) };
        self.directory.join(cluster.as_str().chars().map(safe).collect::<String>())
    }

    fn path(&self, cluster: &ClusterId, kind: Kind) -> PathBuf {
        self.folder(cluster).join(format!("{kind}.state"))
    }
}

impl Log {
    /// A list begins: it is written beside what is kept.
    pub(crate) fn begin(&mut self) {
        self.tell.begin(&self.place);
    }

    /// An object is now so.
    pub(crate) fn put(&mut self, object: &ObjectRef, json: &str, api_version: &str) {
        if let Some(json) = trim::trim(self.place.kind, json) {
            self.tell.put(&self.place, object, Fate::Put(api_version.into(), json.into()));
        }
    }

    /// An object is there and of no use as it is: the version that is kept stays.
    pub(crate) fn keep(&mut self, object: &ObjectRef) {
        self.tell.put(&self.place, object, Fate::Keep);
    }

    /// An object is gone.
    pub(crate) fn delete(&mut self, object: &ObjectRef) {
        self.tell.put(&self.place, object, Fate::Delete);
    }

    /// The list is complete and takes the place of what was kept.
    pub(crate) fn done(&mut self) {
        self.tell.done(&self.place);
    }

    /// True where the file lacks something that only a further list tells.
    pub(crate) fn wants_list(&mut self) -> bool {
        let is_due = self.asked.is_none_or(|asked| asked.elapsed() > LISTED_ANEW);
        let wants = is_due && self.place.is_behind.load(Ordering::Relaxed);
        if wants {
            self.asked = Some(Instant::now());
        }
        wants
    }
}

#[cfg(test)]
mod tests;
