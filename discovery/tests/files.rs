//! A watched directory: what a change of a file does, and what a broken one does not do.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use isthmus_config::bootstrap::Bootstrap;
use isthmus_core::model::World;
use isthmus_discovery::{Batch, Registry, Settings, Status, start};
use tokio::sync::mpsc::Receiver;

/// Changes of a kind that are timed together: one alone may meet a busy moment.
const ROUNDS: u32 = 6;
/// For all of them. The aim is 50 ms each; a look every two seconds instead of an event would take six seconds together.
const FAST: Duration = Duration::from_secs(3);

struct Live {
    folder: tempfile::TempDir,
    registry: Registry,
    batches: Receiver<Batch>,
    world: Arc<World>,
}

impl Live {
    /// A gateway's view of one directory that holds these files.
    async fn with(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("c1");
        fs::create_dir(&root).expect("a folder");
        files.iter().for_each(|(path, text)| fs::write(root.join(path), text).expect("a file"));
        let (settings, _) = Settings::load(&Bootstrap::for_directory(&root)).expect("settings");
        let (mut registry, batches) = start(settings).expect("a start");
        let world = registry.world().0;
        let mut live = Self { folder, registry, batches, world };
        live.until("the directory is listed", |live| live.registry.is_settled()).await;
        live
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("c1").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
    }

    fn names(&self) -> String {
        let mut names: Vec<String> = self.world.catalog.services.keys().map(|h| h.as_str().replace(".ns.svc.cluster.local", "")).collect();
        names.sort();
        names.join(" ")
    }

    fn problems(&self) -> Vec<&'static str> {
        self.registry.problems().iter().map(|p| p.code).collect()
    }

    async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> Duration {
        let start = Instant::now();
        while !holds(self) {
            let batch = tokio::time::timeout(Duration::from_secs(30), self.batches.recv()).await;
            assert!(batch.is_ok(), "waiting until {what}, found {:?} and {:?}", self.names(), self.registry.problems());
            self.registry.apply_all(batch.ok().flatten().expect("a source"));
            self.world = self.registry.world().0;
        }
        start.elapsed()
    }

    async fn until_names(&mut self, names: &str) -> Duration {
        self.until(names, |live| live.names() == names).await
    }
}

fn service(name: &str) -> String {
    format!("---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: ns}}\nspec: {{ports: [{{name: http, port: 80}}]}}\n")
}

fn services(names: &[&str]) -> String {
    names.iter().map(|n| service(n)).collect()
}

#[tokio::test]
async fn a_write_a_rename_and_a_removal_are_seen_at_once() {
    let mut live = Live::with(&[("a.yaml", &services(&["a", "b"]))]).await;
    assert_eq!(live.names(), "a b");
    let [mut written, mut renamed, mut removed] = [Duration::ZERO; 3];
    for _ in 0..ROUNDS {
        live.write("a.yaml", &services(&["a", "c"]));
        written += live.until_names("a c").await;
        live.write(".b.tmp", &services(&["d"]));
        fs::rename(live.path(".b.tmp"), live.path("b.yaml")).expect("a rename");
        renamed += live.until_names("a c d").await;
        fs::rename(live.path("b.yaml"), live.path("a.yaml")).expect("a rename");
        live.until_names("d").await;
        fs::remove_file(live.path("a.yaml")).expect("a removal");
        removed += live.until_names("").await;
    }
    for (what, took) in [("writes", written), ("renames", renamed), ("removals", removed)] {
        assert!(took < FAST, "{what} took {took:?}");
    }
}

#[tokio::test]
async fn a_file_that_is_being_written_loses_nothing() {
    let mut live = Live::with(&[("a.yaml", &services(&["a", "b"]))]).await;
    let mut file = fs::File::create(live.path("a.yaml")).expect("a file");
    file.write_all(service("a").as_bytes()).expect("half of it");
    live.write("z.yaml", &service("z"));
    live.until_names("a b z").await;
    file.write_all(service("c").as_bytes()).expect("the other half");
    drop(file);
    live.until_names("a c z").await;
}

#[tokio::test]
async fn a_file_whose_writer_never_closes_it_is_taken_when_it_stands_still() {
    let mut live = Live::with(&[("a.yaml", &services(&["a"]))]).await;
    let mut file = fs::OpenOptions::new().append(true).open(live.path("a.yaml")).expect("a file");
    file.write_all(service("b").as_bytes()).expect("more");
    live.until_names("a b").await;
    drop(file);
}

#[tokio::test]
async fn what_is_broken_keeps_its_last_good_version_until_it_is_mended() {
    let mut live = Live::with(&[("a.yaml", &services(&["a", "b", "c"]))]).await;
    // One object that is refused, one that nobody can read, one that is new: only a refusal or a reading keeps `b` and `c`.
    let refused = service("b").replace("80", "eighty");
    live.write("a.yaml", &format!("{}{refused}---\nkind: [\n{}", service("a"), service("d")));
    live.until("the new object is there", |live| live.names() == "a b c d").await;
    assert_eq!(live.problems(), ["IST0106", "ISM0101"]);
    live.write("a.yaml", &format!("{}{refused}", service("a")));
    live.until_names("a b").await;
    assert_eq!(live.problems(), ["IST0106"]);
    live.write("a.yaml", &services(&["a"]));
    live.until("the problem is gone", |live| live.names() == "a" && live.problems().is_empty()).await;
}

#[tokio::test]
async fn a_rule_that_turns_invalid_stays_in_force_as_it_was() {
    let rule = |timeout: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: r, namespace: ns}}\nspec: {{hosts: [a.example.com], http: [{{timeout: {timeout}, route: [{{destination: {{host: a}}}}]}}]}}\n"
        )
    };
    let mut live = Live::with(&[("rule.yaml", &rule("3s"))]).await;
    let timeout = |live: &Live| live.world.documents.virtual_services.values().next().and_then(|v| v.spec.http[0].timeout).map(|t| t.to_string());
    assert_eq!((timeout(&live), live.problems()), (Some("3s".into()), vec![]));
    // Shape that is refused by parsing, value that is refused by the admission rules (contract 1.2), text that is cut off.
    for broken in [rule("soon"), rule("0s"), rule("4s")[..60].to_owned()] {
        live.write("rule.yaml", &broken);
        live.until("it is refused", |live| !live.problems().is_empty()).await;
        assert_eq!(timeout(&live), Some("3s".into()), "{broken}");
        live.write("rule.yaml", &rule("3s"));
        live.until("it is mended", |live| live.problems().is_empty()).await;
    }
    live.write("rule.yaml", &rule("4s"));
    live.until("it changes", |live| timeout(live) == Some("4s".into())).await;
}

#[tokio::test]
async fn a_mounted_config_map_is_swapped_as_a_whole() {
    let mut live = Live::with(&[]).await;
    let version = |live: &Live, n: u32, names: &[&str]| {
        let folder = live.path(&format!("..{n}"));
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("a.yaml"), services(names)).expect("a file");
        symlink(format!("..{n}"), live.path("..data_tmp")).expect("a link");
        fs::rename(live.path("..data_tmp"), live.path("..data")).expect("a swap");
    };
    version(&live, 1, &["a"]);
    symlink("..data/a.yaml", live.path("a.yaml")).expect("a link");
    live.until_names("a").await;
    let mut took = Duration::ZERO;
    for n in 1..=ROUNDS {
        let names = if n % 2 == 1 { ["a", "b"] } else { ["a", "c"] };
        version(&live, n + 1, &names);
        fs::remove_dir_all(live.path(&format!("..{n}"))).expect("a removal");
        took += live.until_names(&names.join(" ")).await;
    }
    assert!(took < FAST, "{took:?}");
}

#[tokio::test]
async fn new_folders_are_watched_and_removed_ones_forgotten() {
    let mut live = Live::with(&[]).await;
    fs::create_dir_all(live.path("deep/er")).expect("folders");
    live.write("deep/er/a.json", r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "ns"}, "spec": {}}"#);
    live.until_names("a").await;
    live.write("deep/er/b.yml", &service("b"));
    live.until_names("a b").await;
    fs::remove_dir_all(live.path("deep")).expect("a removal");
    live.until_names("").await;
    fs::create_dir_all(live.path("deep/er")).expect("folders");
    live.write("deep/er/c.yaml", &service("c"));
    live.until_names("c").await;
}

#[tokio::test]
async fn a_directory_that_goes_away_is_stale_and_not_empty() {
    let mut live = Live::with(&[("a.yaml", &service("a"))]).await;
    let (root, aside) = (live.folder.path().join("c1"), live.folder.path().join("aside"));
    let cluster = live.registry.clusters()[0].clone();
    fs::rename(&root, &aside).expect("a rename");
    live.until("the source is lost", |live| matches!(live.registry.status(&cluster), Status::Stale { .. })).await;
    assert_eq!(live.names(), "a");
    fs::write(aside.join("b.yaml"), service("b")).expect("a file");
    fs::rename(&aside, &root).expect("a rename");
    live.until_names("a b").await;
    assert_eq!(live.registry.status(&cluster), Status::Live);
}

#[tokio::test]
async fn the_first_of_two_objects_counts_and_the_other_takes_over() {
    let text = |port: u16| service("a").replace("80", &port.to_string());
    let mut live = Live::with(&[("a.yaml", &text(81)), ("b.yaml", &text(82))]).await;
    let port = |live: &Live| live.world.catalog.services.values().next().map(|s| s.ports[0].number);
    assert_eq!((port(&live), live.problems()), (Some(81), vec!["ISM0201"]));
    fs::remove_file(live.path("a.yaml")).expect("a removal");
    live.until("the other one counts", |live| port(live) == Some(82) && live.problems().is_empty()).await;
}

#[tokio::test]
async fn a_file_that_is_too_long_is_refused_unread() {
    let mut live = Live::with(&[("a.yaml", &service("a"))]).await;
    let file = fs::File::create(live.path("huge.yaml")).expect("a file");
    file.set_len((64 << 20) + 1).expect("a length");
    drop(file);
    live.until("it is refused", |live| live.problems() == ["ISM0202"]).await;
    assert_eq!(live.names(), "a");
    fs::remove_file(Path::new(&live.path("huge.yaml"))).expect("a removal");
    live.until("the problem is gone", |live| live.problems().is_empty()).await;
}
