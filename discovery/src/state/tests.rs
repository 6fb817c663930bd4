//! What is kept, lost and told on disk.

mod slow;

use super::*;
use crate::source::{Event, Via};
use slow::Slow;

fn source() -> SourceId {
    SourceId("c1".into(), Via::Server)
}

/// A store whose problems nobody hears.
fn opened(directory: &Path) -> std::io::Result<Store> {
    Store::open(directory, source(), mpsc::channel(8).0)
}

/// A store whose orders wait in `queue`.
fn ordering(directory: &Path, queue: &Arc<Queue>) -> Store {
    Store { directory: directory.to_owned(), is_ours: true, tell: Arc::new(Tell::new(queue.clone())) }
}

/// Carries out what `order` gives orders for.
fn written(directory: &Path, order: impl FnOnce(&Store)) {
    let queue = Arc::new(Queue::default());
    order(&ordering(directory, &queue));
    let (told, _told) = mpsc::channel(8);
    Writer::new(directory, writer::lock(directory), source(), told).write(&queue);
}

fn service(name: &str) -> String {
    format!(r#"{{"metadata":{{"name":"{name}","namespace":"n","managedFields":[1]}},"spec":{{"clusterIP":"10.0.0.1"}}}}"#)
}

fn put(log: &mut Log, name: &str) {
    log.put(&ObjectRef::new(Kind::Service, "n", name), &service(name), "v1");
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
        names.iter().for_each(|name| put(&mut log, name));
        then(&mut log);
    });
}

/// A list, and changes that were written after it.
fn fill(directory: &Path) {
    let mut slow = Slow::at(directory);
    slow.log.begin();
    ["a", "b"].iter().for_each(|name| put(&mut slow.log, name));
    slow.log.done();
    slow.write();
    slow.log.delete(&ObjectRef::new(Kind::Service, "n", "a"));
    put(&mut slow.log, "c");
    slow.write();
}

/// What is there after `fill`, and a further list.
fn left(names_told: &[&str], then: impl FnOnce(&mut Log)) -> Result<Option<Vec<String>>, std::io::Error> {
    let directory = tempfile::tempdir()?;
    fill(directory.path());
    listed(directory.path(), names_told, then);
    Ok(names(&opened(directory.path())?))
}

#[test]
fn what_was_listed_and_changed_is_there_again() -> Result<(), std::io::Error> {
    let directory = tempfile::tempdir()?;
    fill(directory.path());
    let store = opened(directory.path())?;
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
        let store = opened(directory.path())?;
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
    let store = Store::looking(directory.path());
    assert_eq!(store.members().into_keys().map(|c| c.to_string()).collect::<Vec<_>>(), ["../../c3", "c2"]);
    assert_eq!(std::fs::read_dir(directory.path())?.count(), 3, "two folders and the lock");
    written(directory.path(), |store| store.forget(&"c2".into()));
    assert_eq!(store.members().len(), 1);
    Ok(())
}
/// What is said of state: what is wrong, or `well`.
fn said(batch: Option<Batch>) -> Vec<String> {
    let message = |event| {
        let Event::Problems(_, _, problems) = event else { panic!("only problems are told") };
        problems.into_iter().map(|p| p.message).next().unwrap_or_else(|| "well".to_owned())
    };
    batch.into_iter().flatten().map(message).collect()
}

#[test]
fn a_file_that_cannot_be_written_is_told_once_and_written_from_a_further_list() -> Result<(), std::io::Error> {
    let directory = tempfile::tempdir()?;
    fill(directory.path());
    let queue = Arc::new(Queue::default());
    let store = ordering(directory.path(), &queue);
    let (told, mut hear) = mpsc::channel(8);
    let writer = Writer::new(directory.path(), writer::lock(directory.path()), source(), told);
    let writing = std::thread::spawn(move || writer.write(&queue));
    let mut log = store.log(&"c1".into(), Kind::Service);
    // A folder stands where the list would be written.
    let aside = directory.path().join("c1/Service.new");
    std::fs::create_dir(&aside)?;
    log.begin();
    let told = said(hear.blocking_recv());
    assert!(told.iter().any(|word| word.contains("Service.state: Is a directory")), "{told:?}");
    ["x", "y"].iter().for_each(|name| put(&mut log, name));
    log.done();
    log.begin();
    log.done();
    let (mut other, until) = (store.log(&"c2".into(), Kind::Service), directory.path().join("c2/Service.state"));
    other.begin();
    other.done();
    while !until.exists() {
        std::thread::yield_now();
    }
    assert!(hear.try_recv().is_err(), "once");
    assert!(log.wants_list() && !log.wants_list() && !other.wants_list(), "a further list is asked for, and not at once again");

    std::fs::remove_dir(&aside)?;
    log.begin();
    ["x", "y"].iter().for_each(|name| put(&mut log, name));
    log.done();
    assert_eq!(said(hear.blocking_recv()), ["well"]);
    drop((log, other, store));
    writing.join().expect("the writer ends with its logs");
    assert_eq!(names(&opened(directory.path())?), Some(["x", "y"].map(str::to_owned).to_vec()));
    Ok(())
}

#[test]
fn two_gateways_do_not_write_into_one_directory_and_the_second_takes_over_when_the_first_ends() -> Result<(), std::io::Error> {
    let directory = tempfile::tempdir()?;
    let first = opened(directory.path())?;
    let (told, mut hear) = mpsc::channel(8);
    let second = Store::open(directory.path(), source(), told)?;
    assert!(first.is_ours && !second.is_ours);
    let mut log = second.log(&"c1".into(), Kind::Service);
    let list = |log: &mut Log| {
        log.begin();
        put(log, "x");
        log.done();
    };
    list(&mut log);
    second.note_member(&"c2".into(), &ObjectRef::new(Kind::Secret, "n", "s"));
    let told = said(hear.blocking_recv()).concat();
    assert!(told.contains("another gateway keeps its state there") && told.contains(&directory.path().display().to_string()), "{told}");
    assert_eq!(std::fs::read_dir(directory.path())?.count(), 1, "only the lock is there");

    drop(first);
    while !directory.path().join("c2/member").exists() {
        std::thread::yield_now();
    }
    assert!(log.wants_list());
    list(&mut log);
    assert_eq!(said(hear.blocking_recv()), ["well"]);
    drop((log, second));
    while opened(directory.path()).is_ok_and(|store| !store.is_ours) {
        std::thread::yield_now();
    }
    assert_eq!(names(&Store::looking(directory.path())), Some(vec!["x".to_owned()]));
    Ok(())
}
