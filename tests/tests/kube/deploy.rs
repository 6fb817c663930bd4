//! `deploy/` as kubectl would apply it, to a real API server: every object is taken as it is, and the accounts may read what a gateway
//! reads and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use isthmus_tests::gateway::{ADMIN, Gateway, own_address};
use isthmus_tests::kube::{ApiServer, alone, namespace, remote_secret};
use isthmus_tests::{project, wait};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
const NS: &str = "istio-system";
const VERBS: [&str; 8] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

fn account(name: &str) -> (String, Vec<String>) {
    let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{NS}"), "system:authenticated".to_owned()];
    (format!("system:serviceaccount:{NS}:{name}"), groups.into())
}

/// A kubeconfig of an account, without its token.
fn kubeconfig(server: &ApiServer, name: &str) -> String {
    let (user, groups) = account(name);
    server.kubeconfig_of(&json!({"token": "admintoken", "as": user, "as-groups": groups}))
}

/// Group and resource of all that could be read or written here.
fn resources(server: &ApiServer) -> BTreeSet<(String, String)> {
    let groups = server.call("GET", "/apis", None).expect("groups");
    let groups = groups["groups"].as_array().into_iter().flatten().flat_map(|g| g["versions"].as_array().into_iter().flatten());
    let groups = groups.filter_map(|version| version["groupVersion"].as_str());
    // What everybody may ask about themselves is no right to anything.
    let groups = groups.filter(|g| !g.starts_with("authorization.k8s.io") && !g.starts_with("authentication.k8s.io"));
    let all =
        groups.map(|g| (g.split('/').next().unwrap_or_default().to_owned(), format!("/apis/{g}"))).chain([(String::new(), "/api/v1".to_owned())]);
    let mut found = BTreeSet::new();
    for (group, path) in all {
        let list = server.call("GET", &path, None).expect("resources");
        let names = list["resources"].as_array().into_iter().flatten().filter_map(|r| r["name"].as_str());
        found.extend(names.map(|name| (group.clone(), name.to_owned())));
    }
    found
}

/// What an account may do in a namespace, and with what.
fn rights(server: &ApiServer, name: &str, namespace: &str) -> BTreeSet<(String, String, &'static str)> {
    let (user, groups) = account(name);
    let may = |group: &str, resource: &str, verb: &str| {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let what = json!({"namespace": namespace, "verb": verb, "group": group, "resource": resource, "subresource": subresource});
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": user, "groups": groups, "resourceAttributes": what}});
        let said = server.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", Some(&review)).expect("a review");
        said["status"]["allowed"] == true
    };
    let all = resources(server);
    assert!(all.len() > 60 && all.contains(&("apps".into(), "deployments".into())), "{all:?}");
    let asked = all.iter().flat_map(|(group, resource)| VERBS.map(|verb| (group.clone(), resource.clone(), verb)));
    asked.filter(|(group, resource, verb)| may(group, resource, verb)).collect()
}

/// What a gateway reads of a cluster, and beside it secrets of its own namespace.
fn reads(secrets: bool) -> BTreeSet<(String, String, &'static str)> {
    let all = isthmus_discovery::reads().into_iter().chain(secrets.then_some(("", "secrets")));
    all.flat_map(|(group, name)| ["list", "watch"].map(|verb| (group.to_owned(), name.to_owned(), verb))).collect()
}

fn apply(server: &ApiServer, overlay: &str) -> Vec<Value> {
    let objects = project::rendered(overlay);
    objects.iter().for_each(|object| server.apply_strictly(object));
    objects
}

#[test]
fn overlays_are_taken_as_they_are_and_their_accounts_may_read_and_nothing_else() {
    let servers = alone();
    let [one, two, ..] = &servers.0[..] else { panic!("three API servers") };
    let mut applied = Vec::new();
    for (overlay, own) in [("ingress", "isthmus"), ("east-west", "isthmus-eastwest")] {
        applied.extend(apply(one, overlay));
        assert_eq!(rights(one, own, NS), reads(true), "{overlay}");
        assert_eq!(rights(one, own, "default"), reads(false), "{overlay}: secrets are read in one namespace");
    }
    let member = apply(two, "member");
    assert_eq!(rights(two, "isthmus-reader", NS), reads(false));

    // Its pod may run where the strictest of Kubernetes' own rules for pods holds.
    let strict = "restricted";
    let mut object = namespace(strict);
    object["metadata"]["labels"] = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    one.apply(&object);
    for deployment in applied.iter().filter(|object| object["kind"] == "Deployment") {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": strict}, "spec": deployment["spec"]["template"]["spec"]});
        let path = format!("/api/v1/namespaces/{strict}/pods?dryRun=All&fieldValidation=Strict");
        let taken = one.call("POST", &path, Some(&pod));
        assert!(taken.is_ok(), "{taken:?}");
        let mut root = pod.clone();
        root["spec"]["securityContext"]["runAsUser"] = json!(0);
        assert!(one.call("POST", &path, Some(&root)).is_err_and(|said| said.contains("403") && said.contains("restricted")));
    }

    // A gateway that goes by those accounts reads everything, and is forbidden nothing.
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, kubeconfig(one, "isthmus")).expect("a file");
    one.apply(&remote_secret(NS, "two", &[("cluster2", &kubeconfig(two, "isthmus-reader"))]));
    let settings = format!("remoteSecrets: {{namespace: {NS}}}\ngrace: 0s\ndrain: 1s\n");
    let gateway = Gateway::reading(own_address(), &format!("kubeconfig: {}", path.display()), &settings);
    let page = |path: &str| gateway.fetch(ADMIN, path).map(|m| m.text()).unwrap_or_default();
    let synced = || page("/remote-clusters").matches("\"status\":\"synced\"").count() == 2;
    assert!(wait::holds(PATIENCE, synced), "{} {}", page("/remote-clusters"), gateway.log());
    let is_silent = || !page("/problems").contains("orbidden") && !gateway.log().contains("orbidden");
    assert!(wait::stays(Duration::from_secs(2), is_silent), "{} {}", page("/problems"), gateway.log());
    drop(gateway);
    one.delete(&remote_secret(NS, "two", &[]));
    for (server, objects) in [(one, &applied), (two, &member)] {
        objects.iter().filter(|object| object["kind"] != "Namespace").for_each(|object| server.delete(object));
    }
}
