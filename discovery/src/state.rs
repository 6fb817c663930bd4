//! The last good version of everything from API servers, on disk, for a start with all of them down.
//!
//! One file for each cluster and kind: a head line, then one record a line, each with its checksum. A completed list is
//! written aside and takes the old file's place in one step; changes are appended. A file counts only if every record up
//! to the end of its list is whole; a last line that a crash has cut off is dropped. Anything else is set aside and never
//! trusted. Writing happens on a thread of its own and never holds up a watch.

mod file;
mod trim;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use isthmus_config::name::ClusterId;
use isthmus_config::object::{Kind, ObjectRef};
use tracing::{info, warn};

use file::{Open, Stored};

/// The file that says which remote secret named a member.
const MEMBER: &str = "member";

/// The directory, and the way to its writer.
#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
    /// False where another process may write: then nothing is touched.
    is_ours: bool,
    tell: Sender<Order>,
}

/// The way to one kind of one cluster.
#[derive(Debug)]
pub(crate) struct Log {
    path: Arc<Path>,
    head: Arc<str>,
    kind: Kind,
    tell: Sender<Order>,
}

enum Order {
    Begin(Arc<Path>, Arc<str>),
    Put(Arc<Path>, Kind, Arc<str>, String),
    Delete(Arc<Path>, ObjectRef),
    Keep(Arc<Path>, ObjectRef),
    Done(Arc<Path>),
    Member(PathBuf, String),
    Forget(PathBuf),
}

/// Objects as they were kept: apiVersion and JSON.
pub(crate) type Kept = Vec<(String, String)>;

impl Store {
    /// Opens the directory and starts its writer, which ends with the last log.
    pub(crate) fn open(directory: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let (tell, orders) = channel();
        std::thread::Builder::new().name("state".to_owned()).spawn(move || write(&orders))?;
        Ok(Self { directory: directory.to_owned(), is_ours: true, tell })
    }

    /// Only looks at what a gateway keeps there.
    pub(crate) fn looking(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), is_ours: false, tell: channel().0 }
    }

    pub(crate) fn log(&self, cluster: &ClusterId, kind: Kind) -> Log {
        Log { path: self.path(cluster, kind).into(), head: file::head(cluster, kind).into(), kind, tell: self.tell.clone() }
    }

    /// Remembers that a remote secret named this cluster.
    pub(crate) fn note_member(&self, cluster: &ClusterId, secret: &ObjectRef) {
        self.order(Order::Member(self.folder(cluster).join(MEMBER), format!("{cluster}\n{}\n{}\n", secret.namespace, secret.name)));
    }

    /// Drops all that is kept of a member.
    pub(crate) fn forget(&self, cluster: &ClusterId) {
        self.order(Order::Forget(self.folder(cluster)));
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

    fn order(&self, order: Order) {
        // The writer ends only with the last sender.
        let _ = self.tell.send(order);
    }
}

impl Log {
    /// A list begins: it is written beside what is kept.
    pub(crate) fn begin(&mut self) {
        self.order(Order::Begin(self.path.clone(), self.head.clone()));
    }

    /// An object is now so.
    pub(crate) fn put(&mut self, json: &str, api_version: &str) {
        self.order(Order::Put(self.path.clone(), self.kind, api_version.into(), json.to_owned()));
    }

    /// An object is there and of no use as it is: the version that is kept stays.
    pub(crate) fn keep(&mut self, object: &ObjectRef) {
        self.order(Order::Keep(self.path.clone(), object.clone()));
    }

    /// An object is gone.
    pub(crate) fn delete(&mut self, object: &ObjectRef) {
        self.order(Order::Delete(self.path.clone(), object.clone()));
    }

    /// The list is complete and takes the place of what was kept.
    pub(crate) fn done(&mut self) {
        self.order(Order::Done(self.path.clone()));
    }

    fn order(&self, order: Order) {
        // The writer ends only with the last sender.
        let _ = self.tell.send(order);
    }
}

/// Writes until nobody gives orders any more. A file that cannot be written is told once and left out until its next list.
fn write(orders: &Receiver<Order>) {
    let mut open: BTreeMap<Arc<Path>, Open> = BTreeMap::new();
    let mut next = orders.recv().ok();
    while let Some(order) = next {
        if let Err((path, error)) = carry_out(order, &mut open) {
            warn!(path = %path.display(), %error, "cannot keep state");
            open.remove(&*path);
        }
        next = orders.try_recv().ok();
        if next.is_none() {
            for (path, file) in &mut open {
                if let Err(error) = file.flush() {
                    warn!(path = %path.display(), %error, "cannot keep state");
                }
            }
            next = orders.recv().ok();
        }
    }
}

fn carry_out(order: Order, open: &mut BTreeMap<Arc<Path>, Open>) -> Result<(), (PathBuf, std::io::Error)> {
    match order {
        Order::Begin(path, head) => {
            let file = Open::aside(&path, &head).map_err(|e| (path.to_path_buf(), e))?;
            open.insert(path, file);
            Ok(())
        }
        Order::Put(path, kind, api_version, json) => {
            let Some(file) = open.get_mut(&path) else { return Ok(()) };
            let Some(json) = trim::trim(kind, &json) else { return Ok(()) };
            file.put(&api_version, &json).map_err(|e| (path.to_path_buf(), e))
        }
        Order::Delete(path, object) => match open.get_mut(&path) {
            Some(file) => file.delete(&object).map_err(|e| (path.to_path_buf(), e)),
            None => Ok(()),
        },
        Order::Keep(path, object) => {
            if let Some(file) = open.get_mut(&path) {
                file.keep(&object);
            }
            Ok(())
        }
        Order::Done(path) => match open.get_mut(&path) {
            Some(file) => file.complete(&path).map_err(|e| (path.to_path_buf(), e)),
            None => Ok(()),
        },
        Order::Member(path, text) => {
            let write = || {
                std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
                let aside = path.with_extension("new");
                std::fs::write(&aside, &text)?;
                std::fs::rename(&aside, &path)
            };
            write().map_err(|e| (path.clone(), e))
        }
        Order::Forget(folder) => {
            open.retain(|path, _| !path.starts_with(&folder));
            match std::fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err((folder, error)),
                _ => Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Carries out what `order` gives orders for.
    fn written(directory: &Path, order: impl FnOnce(&Store)) {
        let (tell, orders) = channel();
        order(&Store { directory: directory.to_owned(), is_ours: true, tell });
        write(&orders);
    }

    fn service(name: &str) -> String {
        format!(r#"{{"metadata":{{"name":"{name}","namespace":"n","managedFields":[1]}},"spec":{{"clusterIP":"10.0.0.1"}}}}"#)
    }

    fn names(store: &Store) -> Option<Vec<String>> {
        let kept = store.restore(&"c1".into(), [Kind::Service].into_iter())?.pop()?.1;
        Some(kept.into_iter().map(|(_, json)| json.split('"').nth(5).unwrap_or_default().to_owned()).collect())
    }

    /// A list of a cluster's Services, and what comes after it.
    fn listed(directory: &Path, names: &[&str], then: impl FnOnce(&mut Log)) {
        written(directory, |store| {
            let mut log = store.log(&"c1".into(), Kind::Service);
            log.begin();
            names.iter().for_each(|name| log.put(&service(name), "v1"));
            then(&mut log);
        });
    }

    fn fill(directory: &Path) {
        listed(directory, &["a", "b"], |log| {
            log.done();
            log.delete(&ObjectRef::new(Kind::Service, "n", "a"));
            log.put(&service("c"), "v1");
        });
    }

    /// What is there after `fill`, and a further list.
    fn left(names_told: &[&str], then: impl FnOnce(&mut Log)) -> Result<Option<Vec<String>>, std::io::Error> {
        let directory = tempfile::tempdir()?;
        fill(directory.path());
        listed(directory.path(), names_told, then);
        Ok(names(&Store::open(directory.path())?))
    }

    #[test]
    fn what_was_listed_and_changed_is_there_again() -> Result<(), std::io::Error> {
        let directory = tempfile::tempdir()?;
        fill(directory.path());
        let store = Store::open(directory.path())?;
        assert_eq!(names(&store), Some(["b", "c"].map(str::to_owned).to_vec()));
        assert_eq!(store.restore(&"c1".into(), [Kind::Service, Kind::Pod].into_iter()), None, "half a cluster is none");
        Ok(())
    }

    #[test]
    fn a_cut_last_line_is_dropped_and_any_other_damage_sets_the_file_aside() -> Result<(), std::io::Error> {
        for (damage, want) in [
            ((|t: String| t[..t.len() - 5].to_owned()) as fn(String) -> String, Some(vec!["b".to_owned()])),
            (|t: String| t.replacen("10.0.0.1", "10.0.0.2", 1), None),
            (|t: String| t.replacen("isthmus-state 1", "isthmus-state 0", 1), None),
            (|t: String| t.lines().take(2).map(|l| format!("{l}\n")).collect(), None),
            (|_| String::new(), None),
        ] {
            let directory = tempfile::tempdir()?;
            fill(directory.path());
            let path = directory.path().join("c1/Service.state");
            let text = std::fs::read_to_string(&path)?;
            std::fs::write(&path, damage(text))?;
            let store = Store::open(directory.path())?;
            assert_eq!(names(&store), want);
            assert_eq!(path.with_extension("broken").exists(), want.is_none());
        }
        Ok(())
    }

    #[test]
    fn a_list_that_broke_off_changes_nothing() -> Result<(), std::io::Error> {
        assert_eq!(left(&["x"], |_| ())?, Some(["b", "c"].map(str::to_owned).to_vec()));
        Ok(())
    }

    #[test]
    fn a_list_that_names_an_object_without_telling_it_keeps_what_was_kept() -> Result<(), std::io::Error> {
        let keep = |log: &mut Log, name: &str| log.keep(&ObjectRef::new(Kind::Service, "n", name));
        let left = left(&["x"], |log| {
            // `a` was deleted, and nobody has ever heard of `z`.
            ["a", "b", "z"].into_iter().for_each(|name| keep(log, name));
            log.done();
            keep(log, "x");
        })?;
        assert_eq!(left, Some(["b", "x"].map(str::to_owned).to_vec()));
        Ok(())
    }

    #[test]
    fn members_are_remembered_until_they_are_forgotten_and_their_names_lead_nowhere_else() -> Result<(), std::io::Error> {
        let directory = tempfile::tempdir()?;
        let secret = ObjectRef::new(Kind::Secret, "istio-system", "s");
        written(directory.path(), |store| ["c2", "../../c3"].iter().for_each(|c| store.note_member(&(*c).into(), &secret)));
        let store = Store::open(directory.path())?;
        assert_eq!(store.members().into_keys().map(|c| c.to_string()).collect::<Vec<_>>(), ["../../c3", "c2"]);
        assert_eq!(std::fs::read_dir(directory.path())?.count(), 2);
        written(directory.path(), |store| store.forget(&"c2".into()));
        assert_eq!(store.members().len(), 1);
        Ok(())
    }
}
