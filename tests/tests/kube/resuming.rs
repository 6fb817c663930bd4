//! A watch that is cut goes on from the last bookmark, without a list: what the API server's own audit has seen.

use std::time::Duration;

use isthmus_tests::kube::{ApiServer, Between, View, namespace, remote_secret, servers};
use isthmus_tests::wait;

use super::settings_by;

/// A bookmark comes two seconds before a watch ends, which lasts up to a minute.
const PATIENCE: Duration = Duration::from_secs(100);
const NAME: &str = "resuming";

/// Of the secrets that name members: how many lists were asked for, and from which versions watches. After trouble one object
/// is asked for beside, which tells how far the server is.
fn asked(server: &ApiServer) -> (usize, Vec<u64>) {
    let all = server.asked_by(NAME);
    let secrets = || all.iter().filter(|(_, uri)| uri.contains(&format!("/namespaces/{NAME}/secrets?")));
    let version = |uri: &String| uri.split('&').find_map(|part| part.strip_prefix("resourceVersion=")?.parse().ok());
    let watches = secrets().filter(|(verb, _)| verb == "watch").filter_map(|(_, uri)| version(uri));
    (secrets().filter(|(verb, uri)| verb == "list" && !uri.ends_with("limit=1")).count(), watches.collect())
}

#[test]
fn a_watch_that_is_cut_goes_on_from_the_last_bookmark_without_a_list() {
    let servers = servers();
    let one = &servers.0[0];
    let folder = tempfile::tempdir().expect("a folder");
    let between = Between::new([127, 0, 0, 1].into(), &one.address());
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, between.kubeconfig(&one.kubeconfig_as(NAME))).expect("a file");
    one.apply(&namespace(NAME));
    let mut view = View::of(&settings_by(&path, NAME, ""));
    view.settle();
    assert!(wait::holds(PATIENCE, || asked(one).1.len() == 1), "{:?}", asked(one));
    // Secrets that are none of ours move the store on; only a bookmark tells who asks for others.
    let mut strange = remote_secret(NAME, "strange", &[]);
    strange["metadata"]["labels"] = serde_json::json!({});
    one.apply(&strange);
    let moved = one.revision();
    assert!(asked(one).1[0] < moved, "{:?}", asked(one));
    assert!(wait::holds(PATIENCE, || asked(one).1.len() >= 2), "{:?}", asked(one));
    let (lists, watches) = asked(one);
    assert_eq!(lists, 1, "{watches:?}");
    assert!(watches[1] >= moved, "the watch goes on from the bookmark, {watches:?} of {moved}");

    // The same where the connection is cut, and the next try is refused.
    between.refuse();
    view.until("it is noticed", |v| v.problems(NAME).is_empty() && v.registry.standing(&"cluster1".into()).lost > 0);
    between.let_through();
    assert!(wait::holds(PATIENCE, || asked(one).1.len() > watches.len()), "{:?}", asked(one));
    view.settle();
    let (lists, after) = asked(one);
    assert_eq!(lists, 1, "{after:?}");
    assert!(after.iter().skip(1).all(|version| *version >= moved), "{after:?} of {moved}");
    one.delete(&strange);
}
