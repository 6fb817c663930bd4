//! A disk that is slow: what waits for it, and what is there in the end.

use proptest::prelude::*;

use super::*;

/// A directory, its queue, and the way to one kind of one cluster; nothing is written before it is asked for.
pub(super) struct Slow {
    directory: PathBuf,
    queue: Arc<Queue>,
    writer: Writer,
    pub(super) log: Log,
}

impl Slow {
    pub(super) fn at(directory: &Path) -> Self {
        let queue = Arc::new(Queue::default());
        let writer = Writer::new(directory, writer::lock(directory), source(), mpsc::channel(8).0);
        let log = ordering(directory, &queue).log(&"c1".into(), Kind::Service);
        Self { directory: directory.to_owned(), queue, writer, log }
    }
    /// The disk is ready for what waits.
    pub(super) fn write(&mut self) {
        if self.queue.says_something() {
            self.writer.take(self.queue.take(None).unwrap_or_default());
        }
    }
    fn versions(&self) -> Option<Kept> {
        Some(Store::looking(&self.directory).restore(&"c1".into(), [Kind::Service].into_iter())?.pop()?.1)
    }
    fn follow(&mut self, step: Order) {
        let object = |n: u8| ObjectRef::new(Kind::Service, "n", format!("s{n}"));
        match step {
            Order::Begin => self.log.begin(),
            Order::Put(n, version) => {
                let json = format!(r#"{{"metadata":{{"name":"s{n}","namespace":"n"}},"spec":{{"version":{version}}}}}"#);
                self.log.put(&object(n), &json, "v1");
            }
            Order::Keep(n) => self.log.keep(&object(n)),
            Order::Delete(n) => self.log.delete(&object(n)),
            Order::Done => self.log.done(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Order {
    Begin,
    Put(u8, u32),
    Keep(u8),
    Delete(u8),
    Done,
}

#[test]
fn a_slow_disk_keeps_the_last_version_of_each_object_waiting_and_no_other() -> Result<(), std::io::Error> {
    let directory = tempfile::tempdir()?;
    let mut slow = Slow::at(directory.path());
    for round in 0..1_000 {
        for order in [Order::Begin, Order::Put(1, round), Order::Put(2, round), Order::Done, Order::Put(1, round + 1), Order::Delete(2)] {
            slow.follow(order);
        }
    }
    assert!(slow.queue.len() <= 4, "{} things wait", slow.queue.len());
    slow.write();
    let kept = slow.versions().unwrap_or_default();
    assert_eq!(kept.iter().map(|(_, json)| json.contains("1000")).collect::<Vec<_>>(), [true], "{kept:?}");
    // The writer holds the beginning of a list, and changes go on.
    slow.follow(Order::Begin);
    slow.follow(Order::Put(3, 0));
    slow.write();
    for round in 0..1_000 {
        [Order::Put(3, round), Order::Put(4, round), Order::Delete(4)].into_iter().for_each(|order| slow.follow(order));
    }
    assert!(slow.queue.len() <= 4, "{} things wait", slow.queue.len());
    slow.follow(Order::Done);
    slow.write();
    let kept = slow.versions().unwrap_or_default();
    assert_eq!(kept.iter().map(|(_, json)| json.contains("999")).collect::<Vec<_>>(), [true], "{kept:?}");
    Ok(())
}

/// Lists, each object named at most once, complete or broken off, and after a complete one what changes.
fn history() -> impl Strategy<Value = Vec<Order>> {
    let named = prop::collection::btree_map(0..5u8, prop_oneof![3 => (0..9u32).prop_map(Some), 1 => Just(None)], 0..5);
    let changes = prop::collection::vec((0..5u8, prop_oneof![2 => (10..99u32).prop_map(Some), 1 => Just(None)]), 0..5);
    let round = (named, prop::bool::weighted(0.7), changes).prop_map(|(named, done, changes)| {
        let named = named.into_iter().map(|(n, version)| version.map_or(Order::Keep(n), |version| Order::Put(n, version)));
        let changes = changes.into_iter().map(|(n, version)| version.map_or(Order::Delete(n), |version| Order::Put(n, version)));
        let after = done.then(|| [Order::Done].into_iter().chain(changes)).into_iter().flatten();
        [Order::Begin].into_iter().chain(named).chain(after).collect::<Vec<_>>()
    });
    prop::collection::vec(round, 1..5).prop_map(|rounds| rounds.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_disk_that_is_slow_at_times_ends_as_a_fast_one(history in history(), ready in prop::collection::vec(prop::bool::weighted(0.2), 60)) {
        let (one, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let (mut fast, mut slow) = (Slow::at(one.path()), Slow::at(other.path()));
        for (order, ready) in history.iter().zip(ready.iter().cycle()) {
            fast.follow(*order);
            fast.write();
            slow.follow(*order);
            if *ready {
                slow.write();
            }
        }
        slow.write();
        prop_assert_eq!(fast.versions(), slow.versions());
    }
}
