//! What disk keeps of API servers: a start with all of them down serves from it, and damage is never trusted.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use isthmus_config::object::Kind;
use isthmus_discovery::Status;
use isthmus_tests::kube::{View, istio, remote_secret, servers, slice};
use isthmus_tests::wait;
use serde_json::json;

use super::{Reached, settings_by};

const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until what the view has listed since then is on disk: it is written on a thread of its own.
fn written(view: &View, state: &Path, since: SystemTime) {
    // A file's time is a tick behind.
    let since = since - Duration::from_millis(20);
    for (source, kind, _) in view.registry.statuses().filter(|(_, kind, _)| *kind != Kind::Secret) {
        let path = state.join(format!("{source}/{kind}.state"));
        let is_new = || std::fs::metadata(&path).and_then(|m| m.modified()).is_ok_and(|at| at >= since);
        assert!(wait::holds(PATIENCE, is_new), "{} is not written", path.display());
    }
}

#[test]
fn a_start_with_every_api_server_down_serves_what_disk_kept() {
    let servers = servers();
    let [one, two, ..] = &servers.0[..] else { panic!("three API servers") };
    let ns = "kept";
    let (folder, state) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let reached = [one, two].map(Reached::new);
    one.serve(ns, "shop", &["10.1.0.1"]);
    two.serve(ns, "shop", &["10.2.0.1"]);
    let route = json!({"hosts": ["shop.example"], "http": [{"route": [{"destination": {"host": "shop"}}]}]});
    let route = istio("VirtualService", ns, "r", &route);
    one.apply(&route);
    one.apply(&remote_secret(ns, "two", &[("cluster2", &reached[1].kubeconfig)]));
    let settings = settings_by(&reached[0].file(folder.path()), ns, &format!("state: {}\n", state.path().display()));
    let mut view = View::of(&settings);
    view.settle();
    // A change after the list is kept too.
    two.apply(&slice(ns, "shop", &["10.2.0.1", "10.2.0.2"]));
    let all = ["cluster1 10.1.0.1", "cluster2 10.2.0.1", "cluster2 10.2.0.2"];
    view.until("a change is seen", |v| v.has(ns, "shop", &all));
    let slices = state.path().join("cluster2/EndpointSlice.state");
    let kept = wait::holds(PATIENCE, || std::fs::read_to_string(&slices).is_ok_and(|t| t.contains("10.2.0.2")));
    assert!(kept, "the change is on disk");
    written(&view, state.path(), SystemTime::UNIX_EPOCH + Duration::from_secs(1));
    drop(view);

    reached.iter().for_each(|r| r.between.refuse());
    let begun = Instant::now();
    let mut view = View::of(&settings);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(view.has(ns, "shop", &all), "{:?}", view.endpoints(ns, "shop"));
    assert!(view.world.documents.virtual_services.contains_key(&(ns.into(), "r".into())));
    assert!(matches!(view.status("cluster1"), Status::Stale { .. }) && matches!(view.status("cluster2"), Status::Stale { .. }));
    assert!(view.registry.is_settled());
    view.stays("nothing goes", Duration::from_secs(2), |v| v.has(ns, "shop", &all));
    reached.iter().for_each(|r| r.between.let_through());
    two.apply(&slice(ns, "shop", &["10.2.0.5"]));
    view.until("both are live again", |v| v.has(ns, "shop", &["cluster1 10.1.0.1", "cluster2 10.2.0.5"]) && v.status("cluster1") == Status::Live);
    one.delete(&route);
}

#[test]
fn kept_state_that_is_damaged_or_of_another_version_is_set_aside_and_its_cluster_alone_waits() {
    let servers = servers();
    let [one, two, ..] = &servers.0[..] else { panic!("three API servers") };
    let ns = "damaged";
    let (folder, state) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let reached = [one, two].map(Reached::new);
    one.serve(ns, "shop", &["10.1.0.1"]);
    two.serve(ns, "shop", &["10.2.0.1"]);
    one.apply(&remote_secret(ns, "two", &[("cluster2", &reached[1].kubeconfig)]));
    let settings = settings_by(&reached[0].file(folder.path()), ns, &format!("state: {}\n", state.path().display()));
    let slices = state.path().join("cluster2/EndpointSlice.state");
    for what in ["a flipped byte", "a list that is cut off", "an older version", "nothing at all"] {
        reached.iter().for_each(|r| r.between.let_through());
        let since = SystemTime::now();
        let mut view = View::of(&settings);
        view.settle();
        written(&view, state.path(), since);
        // What was set aside before is written anew.
        let whole = |t: String| t.starts_with("isthmus-state 1") && t.contains("10.2.0.1") && t.contains(" E ");
        assert!(wait::holds(PATIENCE, || std::fs::read_to_string(&slices).is_ok_and(whole)), "{what}");
        drop(view);
        reached.iter().for_each(|r| r.between.refuse());
        let text = std::fs::read_to_string(&slices).expect("a file");
        let damaged = match what {
            "a flipped byte" => text.replacen("10.2.0.1", "10.2.0.3", 1),
            "a list that is cut off" => text[..text.len() / 2].to_owned(),
            "an older version" => text.replacen("isthmus-state 1", "isthmus-state 0", 1),
            _ => String::new(),
        };
        assert_ne!(damaged, text);
        std::fs::write(&slices, damaged).expect("a file");
        let view = View::of(&settings);
        assert!(view.has(ns, "shop", &["cluster1 10.1.0.1"]), "{what}: {:?}", view.endpoints(ns, "shop"));
        assert!(!slices.exists() && slices.with_extension("broken").exists(), "{what}");
        assert!(matches!(view.status("cluster1"), Status::Stale { .. }), "{what}");
    }
}

#[test]
fn an_object_that_was_spoilt_keeps_its_last_good_version_through_a_relist_and_a_restart() {
    let servers = servers();
    let one = &servers.0[0];
    let ns = "spoilt";
    let (folder, state) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let reached = Reached::new(one);
    one.serve(ns, "shop", &["10.1.0.1"]);
    // One breaks a rule, the other one is of no shape at all.
    let rule = |name: &str, spec: serde_json::Value| istio("DestinationRule", ns, name, &spec);
    let load_balancer = |kind: &str| json!({"host": "shop", "trafficPolicy": {"loadBalancer": {"simple": kind}}});
    let route = |weights: [i32; 2]| {
        let to = |weight: i32| json!({"destination": {"host": "shop"}, "weight": weight});
        istio("VirtualService", ns, "split", &json!({"hosts": ["shop.example"], "http": [{"route": weights.map(to)}]}))
    };
    one.apply(&rule("shape", load_balancer("RANDOM")));
    one.apply(&route([20, 80]));
    let settings = settings_by(&reached.file(folder.path()), ns, &format!("state: {}\n", state.path().display()));
    let good = |v: &View| {
        let documents = &v.world.documents;
        let shape = documents.destination_rules.get(&(ns.into(), "shape".into())).map(|o| format!("{:?}", o.spec));
        let split = documents.virtual_services.get(&(ns.into(), "split".into())).map(|o| format!("{:?}", o.spec));
        shape.is_some_and(|s| s.contains("Random")) && split.is_some_and(|s| s.contains("80"))
    };
    let told = |v: &View| v.problems(ns).len() == 2;
    let mut view = View::of(&settings);
    view.settle();
    assert!(good(&view) && view.problems(ns).is_empty(), "{:?}", view.problems(ns));
    one.apply(&rule("shape", json!({"host": "shop", "trafficPolicy": [1]})));
    one.apply(&route([-20, 70]));
    view.until("both are refused", told);
    assert!(good(&view), "{:?}", view.world.documents);
    written(&view, state.path(), SystemTime::UNIX_EPOCH + Duration::from_secs(1));
    drop(view);

    // From disk, with the API server down.
    reached.between.refuse();
    let mut view = View::of(&settings);
    assert!(good(&view), "{:?}", view.world.documents);
    // A whole list brings the spoilt ones again.
    let since = SystemTime::now();
    reached.between.let_through();
    view.settle();
    view.until("both are refused again", told);
    assert!(good(&view), "{:?}", view.world.documents);
    written(&view, state.path(), since);
    drop(view);
    // That list has taken the place of what was on disk, and the good versions are in it.
    reached.between.refuse();
    let mut view = View::of(&settings);
    assert!(good(&view), "{:?}", view.world.documents);
    reached.between.let_through();
    one.apply(&rule("shape", load_balancer("ROUND_ROBIN")));
    one.apply(&route([40, 60]));
    view.until("both are mended", |v| v.problems(ns).is_empty() && !good(v));
    one.delete(&rule("shape", json!({})));
    one.delete(&route([1, 1]));
}
