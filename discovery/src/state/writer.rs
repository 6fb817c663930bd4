//! The writer of kept state, on a thread of its own: one gateway writes into a directory, which its lock says.
//!
//! What cannot be written is said once, and once that it works again, not for each change. The file concerned is left as it
//! is and lacks what comes, so its log asks for a further list; until the directory can be written that is tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use isthmus_config::object::{Kind, Origin};
use isthmus_config::problem::{Problem, Severity};
use tokio::sync::mpsc::Sender;
use tracing::{debug, info, warn};

use super::file::Open;
use super::queue::{Queue, Step, Waiting};
use crate::source::{Batch, Event, SourceId};

/// Under this name stands that state is not kept.
const STATE: &str = "state";
/// How often it is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// A gateway that ends gives its directory to the one that starts: orders wait for that so long, a look each.
const HANDED_ON: (u32, Duration) = (20, Duration::from_millis(100));

/// The file of one kind of one cluster.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) head: String,
    pub(super) kind: Kind,
    /// It lacks something.
    pub(super) is_behind: AtomicBool,
}

/// What is being written, and what could not be.
#[derive(Debug)]
pub(super) struct Writer {
    directory: PathBuf,
    /// Held while the directory is ours.
    lock: Option<File>,
    open: BTreeMap<PathBuf, (Arc<Place>, Open)>,
    /// Files that lack something.
    behind: BTreeSet<PathBuf>,
    /// Notes of members that are not written yet.
    notes: BTreeMap<PathBuf, String>,
    /// It was said that something cannot be written.
    is_told: bool,
    tried: Instant,
    source: SourceId,
    told: Sender<Batch>,
}

/// Makes the directory ours, or says why it is not.
pub(super) fn lock(directory: &Path) -> io::Result<File> {
    std::fs::create_dir_all(directory)?;
    let lock = File::create(directory.join("lock"))?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::Error::other("another gateway keeps its state there"),
        TryLockError::Error(error) => error,
    })?;
    Ok(lock)
}

impl Writer {
    /// A writer of a directory that is ours if `lock` is.
    pub(super) fn new(directory: &Path, lock: io::Result<File>, source: SourceId, told: Sender<Batch>) -> Self {
        let (open, behind, notes) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        let lock = lock.ok();
        Self { directory: directory.to_owned(), lock, open, behind, notes, is_told: false, tried: Instant::now(), source, told }
    }

    /// Writes until nobody gives orders any more.
    pub(super) fn write(mut self, queue: &Queue) {
        let (times, pause) = HANDED_ON;
        for _ in 0..times {
            if self.lock.is_some() {
                break;
            }
            std::thread::park_timeout(pause);
            self.lock = lock(&self.directory).ok();
        }
        self.try_again();
        while let Some(waiting) = queue.take(self.is_told.then_some(AGAIN)) {
            self.take(waiting);
            if self.is_told && self.tried.elapsed() >= AGAIN {
                self.try_again();
            }
        }
    }

    fn flush(&mut self) {
        let failed: Vec<_> = self.open.values_mut().filter_map(|(place, file)| Some((place.clone(), file.flush().err()?))).collect();
        failed.into_iter().for_each(|(place, error)| self.lacking(&place, &error));
    }

    /// Writes what waits.
    pub(super) fn take(&mut self, waiting: Waiting) {
        waiting.forgotten.iter().for_each(|folder| self.forget(folder));
        if !waiting.texts.is_empty() {
            self.notes.extend(waiting.texts);
            self.note();
        }
        for (place, steps) in waiting.files.into_values() {
            steps.into_iter().for_each(|step| self.step(&place, step));
        }
        self.flush();
    }

    fn step(&mut self, place: &Arc<Place>, step: Step) {
        match step {
            Step::Change(fates) => self.change(place, |file| file.write(fates)),
            Step::List { begins, fates, done } => {
                if begins {
                    self.begin(place);
                }
                self.change(place, |file| {
                    file.write(fates)?;
                    if done { file.complete(&place.path) } else { Ok(()) }
                });
                if done && self.open.contains_key(&place.path) {
                    place.is_behind.store(false, Ordering::Relaxed);
                    self.behind.remove(&place.path);
                    self.is_it_well();
                }
            }
        }
    }

    fn begin(&mut self, place: &Arc<Place>) {
        if self.lock.is_none() {
            return self.lack(place);
        }
        match Open::aside(&place.path, &place.head) {
            Ok(file) => drop(self.open.insert(place.path.clone(), (place.clone(), file))),
            Err(error) => self.lacking(place, &error),
        }
    }

    fn change(&mut self, place: &Place, change: impl FnOnce(&mut Open) -> io::Result<()>) {
        let Some((_, file)) = self.open.get_mut(&place.path) else { return self.lack(place) };
        if let Err(error) = change(file) {
            self.lacking(place, &error);
        }
    }

    fn lack(&mut self, place: &Place) {
        place.is_behind.store(true, Ordering::Relaxed);
        self.behind.insert(place.path.clone());
    }

    fn lacking(&mut self, place: &Place, error: &io::Error) {
        self.lack(place);
        self.fail(&place.path, error);
    }

    fn note(&mut self) {
        if self.lock.is_none() {
            return;
        }
        let write = |path: &Path, text: &str| {
            std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            let aside = path.with_extension("new");
            std::fs::write(&aside, text)?;
            std::fs::rename(&aside, path)
        };
        for (path, text) in std::mem::take(&mut self.notes) {
            if let Err(error) = write(&path, &text) {
                self.fail(&path, &error);
                self.notes.insert(path, text);
            }
        }
    }

    fn forget(&mut self, folder: &Path) {
        self.open.retain(|path, _| !path.starts_with(folder));
        self.behind.retain(|path| !path.starts_with(folder));
        self.notes.retain(|path, _| !path.starts_with(folder));
        if self.lock.is_none() {
            return;
        }
        if let Err(error) = std::fs::remove_dir_all(folder)
            && error.kind() != io::ErrorKind::NotFound
        {
            warn!(path = %folder.display(), %error, "state of a member that went cannot be removed");
        }
    }

    /// Takes the lock if we have none, and writes what waits for that.
    fn try_again(&mut self) {
        self.tried = Instant::now();
        if self.lock.is_none() {
            match lock(&self.directory) {
                Ok(lock) => self.lock = Some(lock),
                Err(error) => return self.fail(&self.directory.clone(), &error),
            }
        }
        self.note();
        self.is_it_well();
    }

    fn fail(&mut self, path: &Path, error: &io::Error) {
        self.open.remove(path);
        if std::mem::replace(&mut self.is_told, true) {
            debug!(path = %path.display(), %error, "cannot keep state");
            return;
        }
        self.tried = Instant::now();
        warn!(path = %path.display(), %error, "cannot keep state, it is tried again");
        let message = format!("state is not kept: {}: {error}; a start without API servers would serve what was kept before", path.display());
        let hint = "make the directory writable, with room, for this gateway alone: what is known is then written within minutes";
        let origin = Origin { file: self.directory.display().to_string().into(), ..Origin::default() };
        self.say(vec![Problem { origin, ..Problem::new(Severity::Warning, "ISM0215", message).hint(hint) }]);
    }

    fn is_it_well(&mut self) {
        if self.is_told && self.lock.is_some() && self.behind.is_empty() && self.notes.is_empty() {
            self.is_told = false;
            info!(directory = %self.directory.display(), "state is kept again");
            self.say(Vec::new());
        }
    }

    fn say(&self, problems: Vec<Problem>) {
        // Nobody listening means that everything ends.
        drop(self.told.blocking_send(vec![Event::Problems(self.source.clone(), STATE.into(), problems)]));
    }
}
