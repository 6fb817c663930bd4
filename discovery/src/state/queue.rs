//! What waits to be written, the last version of each object alone: a slow disk costs memory for what there is, never for what was.
//!
//! For each file a few steps wait, in order: changes of what is kept, and lists that replace it. A step names each object once. A list
//! of which nothing was handed to the writer yet is joined with all that waits before it as soon as it is complete.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use isthmus_config::object::ObjectRef;

use super::writer::Place;

/// What becomes of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is now so: apiVersion and JSON.
    Put(Arc<str>, Box<str>),
    /// It is gone.
    Delete,
    /// It is named by a list, and the version that is kept stays.
    Keep,
}

/// By object.
pub(super) type Fates = BTreeMap<ObjectRef, Fate>;

/// Something to be written to one file.
#[derive(Debug)]
pub(super) enum Step {
    /// To what is kept.
    Change(Fates),
    /// To a list, which takes the place of what is kept once it is done.
    List {
        /// Whether it is to be begun; else the writer has its beginning.
        begins: bool,
        fates: Fates,
        done: bool,
    },
}

impl Step {
    /// True where there is something to write.
    fn says_something(&self) -> bool {
        match self {
            Self::Change(fates) => !fates.is_empty(),
            Self::List { begins, fates, done } => *begins || *done || !fates.is_empty(),
        }
    }
}

/// All that waits.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Directories to be dropped, before anything else.
    pub(super) forgotten: Vec<PathBuf>,
    /// Small files as a whole.
    pub(super) texts: BTreeMap<PathBuf, String>,
    /// By path.
    pub(super) files: BTreeMap<PathBuf, (Arc<Place>, Vec<Step>)>,
    /// Nobody gives orders any more.
    closed: bool,
}

/// Where orders wait for the writer.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

/// The right to give orders; the writer ends when the last one is dropped.
#[derive(Debug)]
pub(super) struct Tell(Arc<Queue>);

impl Drop for Tell {
    fn drop(&mut self) {
        self.0.change(|waiting| waiting.closed = true);
    }
}

impl Tell {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self(queue)
    }
    pub(super) fn begin(&self, place: &Arc<Place>) {
        self.steps(place, |steps| {
            // One that broke off comes to nothing.
            steps.pop_if(|last| matches!(last, Step::List { done: false, .. }));
            steps.push(Step::List { begins: true, fates: Fates::new(), done: false });
        });
    }
    pub(super) fn put(&self, place: &Arc<Place>, object: &ObjectRef, fate: Fate) {
        self.steps(place, |steps| {
            if steps.is_empty() {
                steps.push(Step::Change(Fates::new()));
            }
            let Some(last) = steps.last_mut() else { return };
            match (last, fate) {
                // What is kept stays anyway, and a list that names an object by itself needs no older version.
                (Step::Change(_) | Step::List { done: true, .. }, Fate::Keep) => {}
                (Step::List { fates, done: false, .. }, Fate::Keep) => drop(fates.entry(object.clone()).or_insert(Fate::Keep)),
                (Step::Change(fates) | Step::List { fates, .. }, fate @ (Fate::Put(..) | Fate::Delete)) => drop(fates.insert(object.clone(), fate)),
            }
        });
    }
    pub(super) fn done(&self, place: &Arc<Place>) {
        self.steps(place, |steps| {
            if let Some(Step::List { done, .. }) = steps.last_mut() {
                *done = true;
            }
            join(steps);
        });
    }
    pub(super) fn write(&self, path: PathBuf, text: String) {
        self.0.change(|waiting| drop(waiting.texts.insert(path, text)));
    }
    pub(super) fn forget(&self, folder: PathBuf) {
        self.0.change(|waiting| {
            waiting.texts.retain(|path, _| !path.starts_with(&folder));
            waiting.files.retain(|path, _| !path.starts_with(&folder));
            if !waiting.forgotten.contains(&folder) {
                waiting.forgotten.push(folder);
            }
        });
    }
    fn steps(&self, place: &Arc<Place>, change: impl FnOnce(&mut Vec<Step>)) {
        self.0.change(|waiting| change(&mut waiting.files.entry(place.path.clone()).or_insert_with(|| (place.clone(), Vec::new())).1));
    }
}

impl Queue {
    /// Waits for orders, or so long; `None` where none will come any more.
    pub(super) fn take(&self, at_most: Option<Duration>) -> Option<Waiting> {
        let end = at_most.map(|time| Instant::now() + time);
        let mut waiting = self.lock();
        while waiting.is_empty() {
            if waiting.closed {
                return None;
            }
            waiting = match end.map(|end| end.saturating_duration_since(Instant::now())) {
                None => self.more.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(left) => self.more.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        Some(waiting.hand_over())
    }
    /// True where the writer would find something.
    #[cfg(test)]
    pub(super) fn says_something(&self) -> bool {
        !self.lock().is_empty()
    }
    /// How many objects wait, each as often as it is to be written.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let fates = |step: &Step| match step {
            Step::Change(fates) | Step::List { fates, .. } => fates.len(),
        };
        self.lock().files.values().flat_map(|(_, steps)| steps).map(fates).sum()
    }
    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.lock());
        self.more.notify_one();
    }
    /// No order is left half given by a panic.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.forgotten.is_empty() && self.texts.is_empty() && !self.files.values().flat_map(|(_, steps)| steps).any(Step::says_something)
    }
    /// All of it; of a list that is under way it stays known that it is.
    fn hand_over(&mut self) -> Self {
        let is_under_way = |steps: &Vec<Step>| matches!(steps.last(), Some(Step::List { done: false, .. }));
        let under_way = self.files.iter().filter(|(_, (_, steps))| is_under_way(steps));
        let rest = || vec![Step::List { begins: false, fates: Fates::new(), done: false }];
        let files = under_way.map(|(path, (place, _))| (path.clone(), (place.clone(), rest()))).collect();
        std::mem::replace(self, Self { files, closed: self.closed, ..Self::default() })
    }
}

/// Joins a list that is complete, and of which the writer has nothing yet, with what waits before it.
fn join(steps: &mut Vec<Step>) {
    while let [.., before, Step::List { begins: true, fates: list, done: true }] = steps.as_mut_slice() {
        let (old, is_whole) = match before {
            Step::Change(fates) => (fates, false),
            Step::List { begins: true, fates, .. } => (fates, true),
            // Part of it is with the writer, who alone knows what it holds.
            Step::List { begins: false, .. } => return,
        };
        list.retain(|object, fate| match (&*fate, old.remove(object)) {
            (Fate::Put(..) | Fate::Delete, _) | (Fate::Keep, Some(Fate::Keep)) => true,
            (Fate::Keep, Some(older @ Fate::Put(..))) => {
                *fate = older;
                true
            }
            (Fate::Keep, Some(Fate::Delete)) => false,
            (Fate::Keep, None) => !is_whole,
        });
        let at = steps.len() - 2;
        steps.remove(at);
    }
}
