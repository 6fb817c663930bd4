//! How an API server is reached: kubeconfig files of our own, which may run programs, and remote secrets, which may not.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use isthmus_discovery::Status;
use isthmus_tests::kube::{View, alone, namespace, remote_secret, servers, slice};
use serde_json::json;

use super::{settings, settings_by};

/// How often the program of `exec` was run, a line each time.
const RUNS: &str = "runs";

fn failed(view: &View, cluster: &str) -> Option<String> {
    match view.status(cluster) {
        Status::Failed(reason) => Some(reason),
        Status::Live | Status::Syncing | Status::Stale { .. } => None,
    }
}

#[test]
fn a_kubeconfig_that_cannot_be_used_fails_its_cluster_alone_and_is_read_again() {
    let servers = servers();
    let [one, two, ..] = &servers.0[..] else { panic!("three API servers") };
    let ns = "kubeconfigs";
    one.serve(ns, "shop", &["10.1.0.1"]);
    two.serve(ns, "shop", &["10.2.0.1"]);
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let write = |name: &str, text: &str| std::fs::write(at(name), text).expect("a file");
    let certificate = |days: i32| {
        let (certificate, key) = two.certificate(days);
        two.kubeconfig_of(&json!({"client-certificate": certificate, "client-key": key}))
    };
    write("certificate", &certificate(100));
    write("expired", &certificate(-1));
    write("garbage", "{[");
    write("stranger", &two.kubeconfig("unknown"));
    let script = format!(
        "#!/bin/sh\necho run >> {}\necho '{}'\n",
        at(RUNS).display(),
        json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "admintoken"}})
    );
    write("plugin", &script);
    std::fs::set_permissions(at("plugin"), std::fs::Permissions::from_mode(0o755)).expect("a file");
    let exec = json!({"exec": {"command": at("plugin"), "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never"}});
    write("exec", &two.kubeconfig_of(&exec));
    let hanging = json!({"exec": {"command": "sleep", "args": ["60"], "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never"}});
    write("hanging", &two.kubeconfig_of(&hanging));
    let names = ["certificate", "expired", "garbage", "stranger", "exec", "missing"];
    let others: Vec<String> = names.iter().chain(&["hanging"]).map(|name| format!("{{name: {name}, kubeconfig: {}}}", at(name).display())).collect();
    let settings = format!(
        "gateway: {{cluster: cluster1}}\nclusters: [{{name: cluster1, kubeconfig: {}}}, {}]\nremoteSecrets: {{namespace: {ns}}}\nremoteTimeout: 5s\n",
        one.kubeconfig_file().display(),
        others.join(", ")
    );
    let mut view = View::of(&settings);
    let wants =
        [("expired", "Unauthorized"), ("garbage", "garbage"), ("stranger", "Unauthorized"), ("missing", "No such file"), ("hanging", "not listed")];
    view.until("each cluster is listed or failed", |v| {
        ["cluster1", "certificate", "exec"].iter().all(|c| v.status(c) == Status::Live) && wants.iter().all(|(c, _)| failed(v, c).is_some())
    });
    // Several names of one API server: an address counts once (M-4).
    let both = ["cluster1 10.1.0.1", "certificate 10.2.0.1"];
    assert!(view.has(ns, "shop", &both), "{:?}", view.endpoints(ns, "shop"));
    assert!(std::fs::read_to_string(at(RUNS)).is_ok(), "our own kubeconfig may run a program");
    assert!(view.registry.is_settled(), "a cluster that failed holds nothing up");
    for (cluster, want) in wants {
        let reason = failed(&view, cluster).unwrap_or_default();
        assert!(reason.contains(want), "{cluster}: {reason}");
        let told = view.problems(ns).into_iter().any(|p| p.contains(&format!("cluster {cluster} ")) && p.contains(&reason));
        assert!(told, "{cluster}: {:?}", view.problems(ns));
    }
    // What is mended is taken up, without a restart.
    names.iter().filter(|n| wants.iter().any(|(w, _)| w == *n)).for_each(|name| write(name, &two.kubeconfig("admintoken")));
    view.until("all are live", |v| names.iter().all(|c| v.status(c) == Status::Live));
    let only_hanging = |problems: &[String]| problems.len() == 1 && problems[0].contains("cluster hanging ");
    view.until("nothing is said of what was mended", |v| only_hanging(&v.problems(ns)));
    assert!(view.has(ns, "shop", &both), "{:?}", view.endpoints(ns, "shop"));
}

#[test]
fn a_bad_secret_rejects_itself_m20_m22() {
    let servers = servers();
    let [one, two, ..] = &servers.0[..] else { panic!("three API servers") };
    let ns = "bad-secrets";
    one.apply(&namespace(ns));
    two.serve(ns, "shop", &["10.2.0.1"]);
    let good = two.kubeconfig("admintoken");
    let ran = tempfile::tempdir().expect("a folder");
    let ran = ran.path().join("ran");
    let exec = json!({"exec": {"command": "touch", "args": [ran], "apiVersion": "client.authentication.k8s.io/v1"}});
    let (exec, file) = (two.kubeconfig_of(&exec), two.kubeconfig_of(&json!({"tokenFile": "/etc/passwd"})));
    one.apply(&remote_secret(ns, "a", &[("cluster2", &good), ("cluster1", &good)]));
    one.apply(&remote_secret(ns, "b", &[("garbage", "{"), ("exec", &exec), ("file", &file), ("cluster2", &good)]));
    // Not labelled: nobody asked for it.
    let mut unlabelled = remote_secret(ns, "c", &[("nobody", &good)]);
    unlabelled["metadata"]["labels"] = json!({});
    one.apply(&unlabelled);
    // Neither a kubeconfig in it nor a word about it.
    one.apply(&remote_secret(ns, "d", &[]));
    let mut view = View::of(&settings(one, ns, ""));
    view.settle();
    assert!(view.has(ns, "shop", &["cluster2 10.2.0.1"]), "{:?}", view.endpoints(ns, "shop"));
    let problems = view.problems(ns);
    for want in ["garbage: not a kubeconfig", "runs a program", "reads the file \"/etc/passwd\"", "cluster2 is ignored: Secret bad-secrets/a names"] {
        assert!(problems.iter().any(|p| p.contains(want)), "{want}: {problems:?}");
    }
    assert_eq!(problems.len(), 4, "the own cluster's key is ignored without a word: {problems:?}");
    assert!(!Path::new(&ran).exists());
    assert_eq!(view.registry.clusters().iter().map(ToString::to_string).collect::<Vec<_>>(), ["cluster1", "cluster2"]);
}

#[test]
fn a_token_file_that_is_written_anew_is_read_anew() {
    let mut servers = alone();
    let ns = "token";
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    std::fs::write(&token, "first").expect("a file");
    let one = &mut servers.0[0];
    one.kill();
    one.know(&["admintoken", "other", "first"]);
    one.start();
    one.serve(ns, "shop", &["10.1.0.1"]);
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, one.kubeconfig_of(&json!({"tokenFile": token}))).expect("a file");
    let mut view = View::of(&settings_by(&kubeconfig, ns, ""));
    view.settle();
    // The API server takes the new token only, and the file comes a little later.
    one.kill();
    one.know(&["admintoken", "other", "second"]);
    one.start();
    let refused = |v: &View| v.registry.statuses().any(|(_, _, s)| matches!(s, Status::Stale { reason, .. } if reason.contains("Unauthorized")));
    view.until("the old token is refused", refused);
    view.stays("nothing goes", Duration::from_secs(1), |v| v.has(ns, "shop", &["cluster1 10.1.0.1"]));
    std::fs::write(&token, "second").expect("a file");
    one.apply(&slice(ns, "shop", &["10.1.0.2"]));
    view.until("the new token lets us in", |v| v.has(ns, "shop", &["cluster1 10.1.0.2"]) && v.status("cluster1") == Status::Live);
    one.kill();
    one.know(&["admintoken", "other"]);
}
