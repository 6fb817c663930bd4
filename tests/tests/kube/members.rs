//! Members by remote secret: they come, change and go; what stands in them beside endpoints; kinds that come later.

use std::time::Duration;

use isthmus_config::problem::Problem;
use isthmus_discovery::Status;
use isthmus_tests::kube::{View, alone, istio, namespace, remote_secret, servers, slice};
use serde_json::json;

use super::settings;

#[test]
fn services_of_all_clusters_are_one_and_members_come_change_and_go_m20_m21() {
    let servers = servers();
    let [one, two, three] = &servers.0[..] else { panic!("three API servers") };
    let ns = "members";
    one.serve(ns, "shop", &["10.1.0.1"]);
    two.serve(ns, "shop", &["10.2.0.1", "10.2.0.2"]);
    three.serve(ns, "shop", &["10.3.0.1"]);
    two.serve(ns, "remote", &["10.2.0.9"]);
    let secret = |members: &[(&str, &str)]| remote_secret(ns, "two", members);
    let (of_two, of_three) = (two.kubeconfig("admintoken"), three.kubeconfig("admintoken"));
    one.apply(&secret(&[("cluster2", &of_two)]));
    let mut view = View::of(&settings(one, ns, ""));
    view.settle();
    assert!(view.has(ns, "shop", &["cluster1 10.1.0.1", "cluster2 10.2.0.1", "cluster2 10.2.0.2"]), "{:?}", view.endpoints(ns, "shop"));
    assert!(view.has(ns, "remote", &["cluster2 10.2.0.9"]), "{:?}", view.endpoints(ns, "remote"));
    assert_eq!(view.registry.secret(&"cluster2".into()), Some("members/two"));

    // Several keys of one secret are several members.
    one.apply(&remote_secret(ns, "three", &[("cluster3", &of_three), ("cluster4", &of_three)]));
    let live = |v: &View, cluster: &str| v.status(cluster) == Status::Live;
    let all = ["cluster1 10.1.0.1", "cluster2 10.2.0.1", "cluster2 10.2.0.2", "cluster3 10.3.0.1"];
    view.until("members are added, an address of two counts once (M-4)", |v| v.has(ns, "shop", &all) && live(v, "cluster3") && live(v, "cluster4"));
    one.delete(&remote_secret(ns, "three", &[]));
    view.until("members are removed", |v| v.has(ns, "shop", &all[..3]));
    one.apply(&remote_secret(ns, "three", &[("cluster4", &of_three)]));
    let other = [all[0], all[1], all[2], "cluster4 10.3.0.1"];
    view.until("the other name of it counts", |v| v.has(ns, "shop", &other));

    // An endpoint that changes at a member is seen.
    two.apply(&slice(ns, "shop", &["10.2.0.1"]));
    let all = ["cluster1 10.1.0.1", "cluster2 10.2.0.1", "cluster4 10.3.0.1"];
    view.until("an endpoint goes", |v| v.has(ns, "shop", &all));

    // A new token: followed anew, with nothing lost meanwhile; a bad one is refused and the old one stays.
    one.apply(&secret(&[("cluster2", &two.kubeconfig("other"))]));
    view.stays("rotation loses nothing", Duration::from_secs(2), |v| v.has(ns, "shop", &all));
    two.apply(&slice(ns, "shop", &["10.2.0.3"]));
    let all = ["cluster1 10.1.0.1", "cluster2 10.2.0.3", "cluster4 10.3.0.1"];
    view.until("the new client is heard", |v| v.has(ns, "shop", &all));
    one.apply(&secret(&[("cluster2", "garbage")]));
    view.until("garbage is a problem", |v| v.problems(ns).iter().any(|p| p.starts_with("cluster2: not a kubeconfig")));
    assert!(view.has(ns, "shop", &all));
    one.apply(&secret(&[("cluster2", &two.kubeconfig("unknown"))]));
    view.until("a token that nobody knows is a problem", |v| v.problems(ns).iter().any(|p| p.contains("the old one stays")));
    assert!(view.has(ns, "shop", &all));
    one.apply(&secret(&[("cluster2", &of_two)]));
    view.until("all is well again", |v| v.problems(ns).is_empty() && v.status("cluster2") == Status::Live);

    // A deleted secret ends its members and nothing else.
    one.delete(&remote_secret(ns, "three", &[]));
    view.until("members are removed", |v| v.has(ns, "shop", &["cluster1 10.1.0.1", "cluster2 10.2.0.3"]));
    one.delete(&secret(&[]));
    view.until("the last member is removed", |v| v.has(ns, "shop", &["cluster1 10.1.0.1"]) && v.endpoints(ns, "remote").is_empty());
    assert!(!view.hosts().contains(&format!("remote.{ns}.svc.cluster.local")));
    assert_eq!(view.registry.clusters().len(), 1);
}

#[test]
fn a_rule_in_a_member_is_not_read_and_is_compared_with_the_one_in_force_m26() {
    let servers = servers();
    let [one, two, ..] = &servers.0[..] else { panic!("three API servers") };
    let ns = "copies";
    one.apply(&namespace(ns));
    two.apply(&namespace(ns));
    let rule = |name: &str, host: &str| istio("DestinationRule", ns, name, &json!({"host": host}));
    [("same", "a"), ("other", "a")].iter().for_each(|(name, host)| one.apply(&rule(name, host)));
    [("same", "a"), ("other", "b"), ("alone", "a")].iter().for_each(|(name, host)| two.apply(&rule(name, host)));
    one.apply(&remote_secret(ns, "two", &[("cluster2", &two.kubeconfig("admintoken"))]));
    let mut view = View::of(&settings(one, ns, ""));
    view.settle();
    let told = |v: &View, name: &str, words: &str| {
        let of_object = |p: &Problem| p.object.as_ref().is_some_and(|o| *o.name == *name && *o.namespace == *ns);
        v.registry.problems().iter().any(|p| of_object(p) && p.message.ends_with(words))
    };
    view.until("copies are compared", |v| {
        told(v, "same", "equals the one in force") && told(v, "other", "differs from the one in force") && told(v, "alone", "has none of that name")
    });
    two.apply(&rule("other", "a"));
    two.delete(&rule("alone", "a"));
    view.until("a change is compared", |v| told(v, "other", "equals the one in force") && !told(v, "alone", ""));
    ["same", "other"].iter().for_each(|name| [one, two].iter().for_each(|server| server.delete(&rule(name, "a"))));
}

#[test]
fn a_kind_that_is_not_installed_is_waited_for() {
    let servers = alone();
    let three = &servers.0[2];
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "workloadgroups.networking.istio.io"}});
    three.delete(&definition);
    let ns = "uninstalled";
    three.serve(ns, "shop", &["10.3.0.1"]);
    let labels = json!({"topology.kubernetes.io/region": "r1", "topology.kubernetes.io/zone": "z1", "topology.istio.io/subzone": "s1"});
    three.apply(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-of-three", "labels": labels}}));
    let kubeconfig = three.kubeconfig_file();
    let settings = format!("gateway: {{node: node-of-three}}\nclusters: [{{name: cluster3, kubeconfig: {}}}]", kubeconfig.display());
    let mut view = View::of(&settings);
    view.settle();
    assert!(view.has(ns, "shop", &["cluster3 10.3.0.1"]));
    assert_eq!(view.world.gateway.locality.as_str(), "r1/z1/s1", "our node says where we stand (L-4)");
    three.define("WorkloadGroup", "workloadgroups");
    three.apply(&istio("WorkloadGroup", ns, "vms", &json!({"template": {}})));
    view.until("the kind is picked up", |v| v.world.documents.workload_groups.contains_key(&(ns.into(), "vms".into())));
}
