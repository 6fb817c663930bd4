//! API servers that are lost for a while: what is known goes stale, and nothing of it goes until a list or a deletion says so.

use std::time::Duration;

use isthmus_discovery::Status;
use isthmus_tests::kube::{View, alone, istio, remote_secret, servers, service, slice};
use serde_json::json;

use super::{Reached, settings, settings_by};

#[test]
fn a_lost_api_server_is_stale_and_not_empty_m24() {
    let servers = servers();
    let [one, two, ..] = &servers.0[..] else { panic!("three API servers") };
    let ns = "lost";
    one.serve(ns, "shop", &["10.1.0.1"]);
    two.serve(ns, "shop", &["10.2.0.1"]);
    two.serve(ns, "short", &["10.2.0.2"]);
    let reached = Reached::new(two);
    one.apply(&remote_secret(ns, "two", &[("cluster2", &reached.kubeconfig)]));
    let mut view = View::of(&settings(one, ns, ""));
    view.settle();
    let both = ["cluster1 10.1.0.1", "cluster2 10.2.0.1"];
    assert!(view.has(ns, "shop", &both));

    reached.between.refuse();
    view.until("the member is stale", |v| matches!(v.status("cluster2"), Status::Stale { .. }));
    two.delete(&service(ns, "short"));
    two.apply(&slice(ns, "shop", &["10.2.0.7"]));
    view.stays("nothing goes", Duration::from_secs(3), |v| v.has(ns, "shop", &both) && v.has(ns, "short", &["cluster2 10.2.0.2"]));
    reached.between.let_through();
    view.until("the member is back", |v| v.status("cluster2") == Status::Live && v.has(ns, "shop", &["cluster1 10.1.0.1", "cluster2 10.2.0.7"]));
    view.until("what was deleted is gone", |v| !v.hosts().contains(&format!("short.{ns}.svc.cluster.local")));
}

/// The store forgets the place where a watch stopped, and so does the API server's own memory: 410 Gone.
#[test]
fn a_place_that_the_api_server_has_forgotten_is_listed_anew_and_no_endpoint_is_lost() {
    let mut servers = alone();
    let ns = "forgotten";
    let folder = tempfile::tempdir().expect("a folder");
    let one = &mut servers.0[0];
    one.serve(ns, "shop", &["10.1.0.1"]);
    one.serve(ns, "short", &["10.1.0.9"]);
    let rule = istio("DestinationRule", ns, "r", &json!({"host": "shop"}));
    one.apply(&rule);
    let reached = Reached::new(one);
    let mut view = View::of(&settings_by(&reached.file(folder.path()), ns, ""));
    view.settle();
    let place = one.revision();
    reached.between.refuse();
    view.until("the cluster is stale", |v| matches!(v.status("cluster1"), Status::Stale { .. }));
    one.delete(&service(ns, "short"));
    one.apply(&slice(ns, "shop", &["10.1.0.1", "10.1.0.2"]));
    one.compact();
    one.kill();
    one.start();
    let watch = format!("/api/v1/services?watch=1&timeoutSeconds=1&resourceVersion={place}");
    let answer = one.call("GET", &watch, None).map_or_else(|refusal| refusal, |event| event.to_string());
    assert!(answer.contains("410"), "the place is too old: {answer}");
    reached.between.let_through();
    let stays = |v: &View| v.endpoints(ns, "shop").contains("cluster1 10.1.0.1");
    view.until("a list tells what happened", |v| {
        assert!(stays(v), "{:?}", v.endpoints(ns, "shop"));
        let gone = !v.hosts().contains(&format!("short.{ns}.svc.cluster.local"));
        gone && v.has(ns, "shop", &["cluster1 10.1.0.1", "cluster1 10.1.0.2"]) && v.status("cluster1") == Status::Live
    });
    assert!(view.world.documents.destination_rules.contains_key(&(ns.into(), "r".into())));
    // The watches go on from the new list.
    one.apply(&slice(ns, "shop", &["10.1.0.1", "10.1.0.3"]));
    view.until("a change comes through", |v| v.has(ns, "shop", &["cluster1 10.1.0.1", "cluster1 10.1.0.3"]));
    one.delete(&rule);
}
