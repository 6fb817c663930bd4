//! Objects that are strange and yet allowed: each is served or told of, and its neighbours do not notice.

use isthmus_config::problem::Problem;
use isthmus_tests::kube::{ApiServer, View, istio, servers, service, slice};
use serde_json::{Value, json};

use super::settings;

/// What is told of an object.
fn told(view: &View, ns: &str, name: &str) -> Vec<Problem> {
    let of = |p: &Problem| p.object.as_ref().is_some_and(|o| *o.namespace == *ns && *o.name == *name);
    view.registry.problems().into_iter().filter(of).collect()
}

fn slice_of(ns: &str, service: &str, kind: &str, addresses: &[String]) -> Value {
    let all: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut slice = slice(ns, service, &all);
    slice["addressType"] = json!(kind);
    slice
}

/// Applies, and gives the view time to have seen it: a change of the neighbour comes after it.
fn applied(server: &ApiServer, view: &mut View, ns: &str, objects: &[Value], last: u8) {
    objects.iter().for_each(|object| server.apply(object));
    let neighbour = format!("10.1.9.{last}");
    server.apply(&slice(ns, "good", &[&neighbour]));
    view.until("the neighbour's change is seen", |v| v.has(ns, "good", &[&format!("cluster1 {neighbour}")]));
}

#[test]
fn strange_slices_and_services_touch_nobody_else() {
    let servers = servers();
    let one = &servers.0[0];
    let ns = "strange";
    one.serve(ns, "good", &["10.1.9.1"]);
    let mut view = View::of(&settings(one, ns, ""));
    view.settle();

    // A thousand endpoints are the most that a slice may have.
    let thousand: Vec<String> = (0..1000).map(|n| format!("10.4.{}.{}", n / 250, n % 250 + 1)).collect();
    applied(one, &mut view, ns, &[service(ns, "thousand"), slice_of(ns, "thousand", "IPv4", &thousand)], 2);
    view.until("all of them are there", |v| v.endpoints(ns, "thousand").len() == 1000);

    let six = ["fd00::1".to_owned(), "fd00::2".to_owned()];
    applied(one, &mut view, ns, &[service(ns, "six"), slice_of(ns, "six", "IPv6", &six)], 3);
    view.until("IPv6 is served", |v| v.has(ns, "six", &["cluster1 [fd00::1]", "cluster1 [fd00::2]"]));

    let name = ["elsewhere.example".to_owned()];
    applied(one, &mut view, ns, &[service(ns, "named"), slice_of(ns, "named", "FQDN", &name)], 4);
    view.until("names are told of (M-16)", |v| told(v, ns, "named").iter().any(|p| p.message.contains("names (FQDN)")));
    assert!(view.endpoints(ns, "named").is_empty());
    one.delete(&slice_of(ns, "named", "FQDN", &name));
    one.apply(&slice(ns, "named", &["10.1.0.4"]));
    view.until("addresses take their place", |v| v.has(ns, "named", &["cluster1 10.1.0.4"]) && told(v, ns, "named").is_empty());

    applied(one, &mut view, ns, &[slice(ns, "nowhere", &["10.1.0.9"])], 5);
    view.until("a slice without its Service is told of", |v| told(v, ns, "nowhere").iter().any(|p| p.message.contains("no Service nowhere")));
    one.apply(&service(ns, "nowhere"));
    view.until("the Service comes", |v| v.has(ns, "nowhere", &["cluster1 10.1.0.9"]) && told(v, ns, "nowhere").is_empty());

    let mut unnamed = service(ns, "unnamed");
    unnamed["spec"]["ports"] = json!([{"port": 80}]);
    let mut endpoints = slice(ns, "unnamed", &["10.1.0.5"]);
    endpoints["ports"] = json!([{"port": 8080, "protocol": "TCP"}]);
    applied(one, &mut view, ns, &[unnamed, endpoints], 6);
    view.until("a port without a name is served", |v| v.has(ns, "unnamed", &["cluster1 10.1.0.5"]));
    assert_eq!(view.problems(ns), Vec::<String>::new(), "what is told of them is for information");
}

#[test]
fn objects_of_a_megabyte_are_read_like_others() {
    let servers = servers();
    let one = &servers.0[0];
    let ns = "large";
    one.serve(ns, "good", &["10.1.9.1"]);
    // Of annotations the API server takes 256 KiB; of anything else so much that the store still takes it.
    let mut annotated = service(ns, "annotated");
    annotated["metadata"]["annotations"] = json!({"note": "x".repeat(1 << 20)});
    let refused = one.call("PATCH", &format!("/api/v1/namespaces/{ns}/services/annotated?fieldManager=t"), Some(&annotated));
    assert!(refused.is_err_and(|reason| reason.contains("annotations")));
    annotated["metadata"]["annotations"] = json!({"note": "x".repeat(250 << 10)});
    let large = |host: &str| {
        let headers = json!({"request": {"set": {"x-note": "x".repeat(1 << 20)}}});
        let spec = json!({"hosts": [host], "http": [{"headers": headers, "route": [{"destination": {"host": "good"}}]}]});
        istio("VirtualService", ns, "large", &spec)
    };
    let mut view = View::of(&settings(one, ns, ""));
    view.settle();
    applied(one, &mut view, ns, &[annotated, slice(ns, "annotated", &["10.1.0.1"]), large("a.example")], 2);
    let seen = |v: &View, host: &str| v.world.documents.virtual_services.get(&(ns.into(), "large".into())).is_some_and(|o| o.spec.hosts == [host]);
    view.until("both are there", |v| v.has(ns, "annotated", &["cluster1 10.1.0.1"]) && seen(v, "a.example"));
    // And in a list.
    let mut again = View::of(&settings(one, ns, ""));
    again.settle();
    assert!(seen(&again, "a.example") && again.has(ns, "annotated", &["cluster1 10.1.0.1"]));
    one.apply(&large("b.example"));
    view.until("a change of it is seen", |v| seen(v, "b.example"));
    one.delete(&large(""));
    view.until("it goes", |v| v.world.documents.virtual_services.keys().all(|(n, _)| *n != *ns));
}
