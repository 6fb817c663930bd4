//! A cluster that is a directory: what its files hold, and what a change of a file means.
//!
//! A scan compares the directory with what was read before, reads the files that differ and tells only the
//! objects that differ. A file is taken when its writer has closed or renamed it, or when size and time stand still. A file
//! that cannot be read keeps all of its objects, an object that cannot be read its last good version, and a directory
//! that cannot be listed everything below it. Of two objects with one identity the first by path and position counts.

mod held;
mod walk;
mod watch;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use isthmus_config::name::ClusterId;
use isthmus_config::object::{Kind, ObjectRef, Origin};
use isthmus_config::parse::{self, Document, Parsed};
use isthmus_config::problem::{Problem, Severity};
use isthmus_config::validate::validate;
use tracing::{info, warn};

use super::{Batch, Event, Fact, Partition, SourceId, Via};
use crate::kubernetes::{Interner, fact, remark};
use held::{Held, Place};
use walk::{Content, Stamp, Tree};

pub use watch::watch;

/// The kinds that files give.
const KINDS: [Kind; 12] = [
    Kind::Gateway,
    Kind::VirtualService,
    Kind::DestinationRule,
    Kind::ServiceEntry,
    Kind::WorkloadEntry,
    Kind::WorkloadGroup,
    Kind::EnvoyFilter,
    Kind::Service,
    Kind::EndpointSlice,
    Kind::Pod,
    Kind::Node,
    Kind::Namespace,
];

/// Events of a first list that are told at once: nothing of a cluster is shown before its list is complete.
const PIECE: usize = 1024;

/// A file that was changed without a word from its writer is taken after standing still for this long.
const SETTLE: Duration = Duration::from_millis(250);

/// Directories and files that make up one cluster.
#[derive(Debug)]
pub struct FileSource {
    id: SourceId,
    /// Later layers are laid over earlier ones: their objects win without a word.
    layers: Vec<Vec<PathBuf>>,
    /// Istio objects are read from here (M-26).
    is_config: bool,
    generation: u64,
    files: BTreeMap<PathBuf, File>,
    held: Held,
    interner: Interner,
    /// Changed files that may still be written to, and since when they look as they do.
    unsettled: BTreeMap<PathBuf, (Stamp, Instant)>,
    /// Why a root cannot be read.
    lost: Option<String>,
}

/// A file as it was read.
#[derive(Debug)]
struct File {
    stamp: Stamp,
    shown: Arc<str>,
    layer: u32,
    objects: BTreeSet<Arc<ObjectRef>>,
    /// What is wrong in the file itself.
    own: Vec<Problem>,
    /// What was told of it, duplicates included.
    told: Vec<Problem>,
}

/// Files that their writers have just closed, renamed or linked.
type Closed = HashSet<PathBuf>;

impl FileSource {
    /// A source of one cluster's files, not read yet.
    pub fn new(cluster: ClusterId, roots: Vec<PathBuf>, is_config: bool) -> Self {
        Self {
            id: SourceId(cluster, Via::Files),
            layers: vec![roots],
            is_config,
            generation: 1,
            files: BTreeMap::new(),
            held: Held::default(),
            interner: Interner::default(),
            unsettled: BTreeMap::new(),
            lost: None,
        }
    }

    /// Files that lie over the config cluster's API server: their objects win without a word.
    pub fn laid(cluster: ClusterId, roots: Vec<PathBuf>) -> Self {
        Self { id: SourceId(cluster.clone(), Via::Overlay), ..Self::new(cluster, roots, true) }
    }

    /// Lays further files over the others.
    #[must_use]
    pub fn with_overlay(mut self, roots: Vec<PathBuf>) -> Self {
        self.layers.push(roots);
        self
    }

    /// Whose files these are.
    pub fn cluster(&self) -> &ClusterId {
        &self.id.0
    }

    /// Reads everything as it stands now and tells it in pieces, of which the last completes the list.
    pub fn read(&mut self, tell: impl FnMut(Batch)) {
        self.list(self.walk(), tell);
    }

    fn list(&mut self, tree: Tree, mut tell: impl FnMut(Batch)) {
        let every = tree.files.keys().cloned().collect();
        let mut batch: Batch = KINDS.iter().map(|k| Event::Init(self.partition(*k))).collect();
        let touched = self.take_tree(tree, &every, &mut batch);
        let mut affected = HashSet::new();
        for object in touched {
            self.settle(&object, &mut affected, &mut batch);
            if batch.len() >= PIECE {
                tell(std::mem::take(&mut batch));
            }
        }
        self.tell_problems(&affected, &mut batch);
        match &self.lost {
            None => batch.extend(KINDS.iter().map(|k| Event::InitDone(self.partition(*k)))),
            Some(reason) => batch.extend(KINDS.iter().map(|k| Event::Lost(self.partition(*k), reason.clone()))),
        }
        tell(batch);
    }

    /// Reads what has changed. `closed` names files that are complete for certain.
    fn scan(&mut self, tree: Tree, closed: &Closed) -> Batch {
        let mut batch = Batch::new();
        let was_lost = self.lost.clone();
        let touched = self.take_tree(tree, closed, &mut batch);
        self.settle_all(touched, &mut batch);
        match (&was_lost, &self.lost) {
            (None, Some(reason)) => batch.extend(KINDS.iter().map(|k| Event::Lost(self.partition(*k), reason.clone()))),
            (Some(_), None) => batch.extend(self.tell_all()),
            (None, None) | (Some(_), Some(_)) => {}
        }
        batch
    }

    /// The changed files as they look now, or `None` where more may differ than the content of files that were read before:
    /// then the whole tree has to be walked.
    fn only_files(&self, changed: &Closed) -> Option<Tree> {
        if changed.is_empty() || self.lost.is_some() {
            return None;
        }
        let mut tree = Tree::default();
        for path in changed {
            match self.files.get(path) {
                Some(file) if !path.is_symlink() => tree.add_file(path, file.layer)?,
                Some(_) => return None,
                // What writers rename their work from; a hidden link or directory may be what visible links lead through.
                None if walk::is_hidden_name(path) && !path.is_symlink() && !path.is_dir() => {}
                None => return None,
            }
        }
        Some(tree)
    }

    /// Reads what has changed in some files, the others being as they were.
    fn scan_files(&mut self, tree: Tree, closed: &Closed) -> Batch {
        let mut batch = Batch::new();
        let touched = self.take_changed(tree, closed);
        self.settle_all(touched, &mut batch);
        batch
    }

    /// True while a changed file may still be written to.
    fn is_unsettled(&self) -> bool {
        !self.unsettled.is_empty()
    }

    fn walk(&self) -> Tree {
        let mut tree = Tree::default();
        for (layer, roots) in (0..).zip(&self.layers) {
            roots.iter().for_each(|root| tree.add(root, layer));
        }
        tree
    }

    fn partition(&self, kind: Kind) -> Partition {
        Partition { source: self.id.clone(), kind, generation: self.generation }
    }

    /// Everything anew: after a root that could not be read has come back.
    fn tell_all(&mut self) -> Batch {
        self.generation += 1;
        let mut batch: Batch = KINDS.iter().map(|k| Event::Init(self.partition(*k))).collect();
        batch.extend(self.held.winners().map(|(object, fact)| Event::Apply(self.partition(object.kind), fact.clone())));
        batch.extend(KINDS.iter().map(|k| Event::InitDone(self.partition(*k))));
        batch
    }

    /// Reads what differs in the whole tree, and returns the objects that may differ with it.
    fn take_tree(&mut self, tree: Tree, closed: &Closed, batch: &mut Batch) -> BTreeSet<Arc<ObjectRef>> {
        self.lost = tree.lost.clone();
        let gone: Vec<PathBuf> = self.files.keys().filter(|path| !tree.files.contains_key(*path) && !tree.is_hidden(path)).cloned().collect();
        self.unsettled.retain(|path, _| tree.files.contains_key(path));
        let mut touched = self.take_changed(tree, closed);
        for path in gone {
            if let Some(file) = self.files.remove(&path) {
                info!(file = %file.shown, objects = file.objects.len(), "file gone");
                file.objects.iter().for_each(|o| self.held.remove(o, &file.shown));
                touched.extend(file.objects);
                batch.push(Event::Problems(self.id.clone(), file.shown, Vec::new()));
            }
        }
        touched
    }

    /// Reads the files that differ and are complete, and returns the objects that may differ with them.
    fn take_changed(&mut self, tree: Tree, closed: &Closed) -> BTreeSet<Arc<ObjectRef>> {
        let mut touched = BTreeSet::new();
        for (path, (stamp, layer)) in tree.files {
            // Two writes within one tick of the clock may leave the same stamp: what was closed is read anyway.
            if self.files.get(&path).is_some_and(|f| f.stamp == stamp) && !closed.contains(&path) {
                self.unsettled.remove(&path);
            } else if self.is_complete(&path, &stamp, closed) {
                self.take_file(path, layer, stamp, &mut touched);
            }
        }
        touched
    }

    /// A changed file is complete if its writer says so, if another file took its place, or if it stands still.
    fn is_complete(&mut self, path: &Path, stamp: &Stamp, closed: &Closed) -> bool {
        if closed.contains(path) || self.files.get(path).is_some_and(|old| !old.stamp.is_same_file(stamp)) || stamp.is_older_than(SETTLE) {
            return true;
        }
        match self.unsettled.get(path) {
            Some((seen, since)) if seen == stamp => since.elapsed() >= SETTLE,
            _ => {
                self.unsettled.insert(path.to_owned(), (stamp.clone(), Instant::now()));
                false
            }
        }
    }

    /// Reads one file and puts its objects in place of those that it held before.
    fn take_file(&mut self, path: PathBuf, layer: u32, stamp: Stamp, touched: &mut BTreeSet<Arc<ObjectRef>>) {
        let shown: Arc<str> = Arc::from(path.to_string_lossy().as_ref());
        let parsed = match walk::read(&path, &stamp) {
            Content::Whole(bytes) => parse::parse(&bytes, &self.id.0, &shown),
            Content::Refused(reason) => unreadable(&shown, &self.id.0, &reason),
            Content::Moving => {
                self.unsettled.insert(path, (stamp, Instant::now()));
                return;
            }
        };
        self.unsettled.remove(&path);
        let old = self.files.remove(&path);
        let before = old.as_ref().map(|f| f.objects.clone()).unwrap_or_default();
        let (unreadable, refused) = (parsed.unreadable > 0, parsed.refused);
        let mut own = parsed.problems;
        let mut objects = BTreeSet::new();
        for document in parsed.documents {
            let position = document.origin().position;
            if let Some(fact) = self.keep(document, &mut own) {
                let object = fact.reference();
                if objects.insert(object.clone()) {
                    self.held.remove(&object, &shown);
                }
                self.held.insert(object, Place { layer, file: shown.clone(), position }, fact);
            }
        }
        let missing = before.difference(&objects).cloned().collect::<Vec<_>>();
        let (kept, lost): (Vec<_>, Vec<_>) = missing.into_iter().partition(|o| unreadable || refused.contains(o));
        lost.iter().for_each(|object| self.held.remove(object, &shown));
        if unreadable || !refused.is_empty() {
            warn!(file = %shown, problems = own.len(), kept = kept.len(), "file is broken in part, last good versions stay in force");
        }
        if !lost.is_empty() {
            info!(file = %shown, lost = lost.len(), first = ?lost.first().map(ToString::to_string), "file lost objects");
        }
        touched.extend(before);
        touched.extend(objects.iter().cloned());
        objects.extend(kept);
        let told = old.map(|f| f.told).unwrap_or_default();
        self.files.insert(path, File { stamp, shown, layer, objects, own, told });
    }

    /// What a document says to this cluster; what it does not say is told as a problem.
    fn keep(&mut self, document: Document, own: &mut Vec<Problem>) -> Option<Fact> {
        let origin = document.origin().clone();
        if let Document::Unenforced(_) = &document
            && self.is_config
        {
            own.extend(validate(&document));
        } else if let Document::NotUsed(o) | Document::Unenforced(o) = &document {
            let problem = Problem::new(Severity::Info, "ISM0203", format!("{} {} is not used", o.kind, o.meta.name));
            own.push(Problem { origin: origin.clone(), ..problem });
        }
        own.extend(remark(&document));
        let fact = fact(document, &mut self.interner)?;
        match &fact {
            Fact::Istio(object, _) if !self.is_config && object.kind != Kind::WorkloadEntry => {
                let message = format!("not read: Istio objects come from the config cluster, and {} is another one", self.id);
                own.push(Problem::new(Severity::Info, "ISM0204", message).of(object.clone(), &origin));
                None
            }
            Fact::Istio(..) | Fact::Service(_) | Fact::Slice(_) | Fact::Pod(_) | Fact::Node(..) | Fact::Namespace(..) => Some(fact),
        }
    }

    fn settle_all(&mut self, touched: BTreeSet<Arc<ObjectRef>>, batch: &mut Batch) {
        let mut affected = HashSet::new();
        for object in touched {
            self.settle(&object, &mut affected, batch);
        }
        self.tell_problems(&affected, batch);
    }

    /// Tells an object if its first version differs, and names the files that hold it.
    fn settle(&mut self, object: &ObjectRef, affected: &mut HashSet<Arc<str>>, batch: &mut Batch) {
        affected.extend(self.held.places(object).map(|p| p.file.clone()));
        match self.held.turn(object) {
            held::Turn::Same => {}
            held::Turn::Now(fact) => batch.push(Event::Apply(self.partition(object.kind), fact)),
            held::Turn::Gone => batch.push(Event::Delete(self.partition(object.kind), object.clone())),
        }
    }

    /// Tells the problems of files whose list differs: their own, and the objects that another place gives first.
    fn tell_problems(&mut self, affected: &HashSet<Arc<str>>, batch: &mut Batch) {
        for file in self.files.values_mut() {
            if !affected.contains(&file.shown) && file.told == file.own {
                continue;
            }
            let mut problems = file.own.clone();
            for object in &file.objects {
                problems.extend(self.held.duplicates(object, &file.shown, file.layer, &self.id.0));
            }
            if problems != file.told {
                file.told.clone_from(&problems);
                batch.push(Event::Problems(self.id.clone(), file.shown.clone(), problems));
            }
        }
    }
}

fn unreadable(shown: &Arc<str>, cluster: &ClusterId, reason: &str) -> Parsed {
    let origin = Origin { cluster: cluster.clone(), file: shown.clone(), ..Origin::default() };
    let problem = Problem { origin, ..Problem::new(Severity::Error, "ISM0202", reason) };
    Parsed { problems: vec![problem], unreadable: 1, ..Parsed::default() }
}
