//! Certificates that do not hold, of clients and of API servers: each is told with its subject and its date.

use std::path::Path;

use isthmus_discovery::Status;
use isthmus_tests::kube::{ApiServer, View, base64, remote_secret, servers};
use serde_json::json;

/// Clusters beside cluster1, each by its kubeconfig.
fn settings(own: &ApiServer, ns: &str, others: &[(&str, &Path)]) -> String {
    let others: Vec<String> = others.iter().map(|(name, path)| format!("{{name: {name}, kubeconfig: {}}}", path.display())).collect();
    format!(
        "gateway: {{cluster: cluster1}}\nclusters: [{{name: cluster1, kubeconfig: {}}}, {}]\nremoteSecrets: {{namespace: {ns}}}\nremoteTimeout: 8s\n",
        own.kubeconfig_file().display(),
        others.join(", ")
    )
}

fn reason(view: &View, cluster: &str) -> String {
    match view.status(cluster) {
        Status::Failed(reason) | Status::Stale { reason, .. } => reason,
        Status::Live | Status::Syncing => String::new(),
    }
}

#[test]
fn an_api_server_that_is_not_believed_is_told_by_its_certificate() {
    let servers = servers();
    let [one, two, ..] = &servers.0[..] else { panic!("three API servers") };
    let ns = "believed";
    two.serve(ns, "shop", &["10.2.0.1"]);
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let write = |name: &str, text: &str| std::fs::write(at(name), text).expect("a file");
    let authority = two.authority();
    write("valid", &two.kubeconfig_trusting(&authority, Some("valid.test")));
    write("expired", &two.kubeconfig_trusting(&authority, Some("expired.test")));
    write("early", &two.kubeconfig_trusting(&authority, Some("early.test")));
    // Under its address it presents a certificate that it has issued itself.
    write("stranger", &two.kubeconfig_trusting(&authority, None));
    let names = ["valid", "expired", "early", "stranger"];
    let paths = names.map(at);
    let others: Vec<(&str, &Path)> = names.iter().copied().zip(paths.iter().map(|p| p.as_path())).collect();
    let mut view = View::of(&settings(one, ns, &others));
    let wants = [
        ("expired", &["the API server's certificate (CN=expired.test) expired at 2021-02-03T04:05:06Z"][..]),
        ("early", &["the API server's certificate (CN=early.test) is not valid before 2099-01-02T03:04:05Z"]),
        ("stranger", &["the API server's certificate (CN=", "was issued by (CN=", "and is valid until 20", "; trusted: (CN=clients)"]),
    ];
    let is_told = |v: &View, (cluster, words): &(&str, &[&str])| {
        let reason = reason(v, cluster);
        let problem = v.problems(ns).into_iter().any(|p| p.starts_with(&format!("cluster {cluster} ")) && p.ends_with(&reason));
        words.iter().all(|word| reason.contains(word)) && problem
    };
    view.until("each is told", |v| ["cluster1", "valid"].iter().all(|c| v.status(c) == Status::Live) && wants.iter().all(|want| is_told(v, want)));
    assert!(view.has(ns, "shop", &["valid 10.2.0.1"]), "{:?}", view.endpoints(ns, "shop"));
    // Believed from now on, without a restart.
    write("expired", &two.kubeconfig_trusting(&authority, Some("valid.test")));
    view.until("a kubeconfig that is mended is read", |v| v.status("expired") == Status::Live);
}

#[test]
fn a_client_certificate_is_told_before_and_after_its_end() {
    let servers = servers();
    let [one, two, ..] = &servers.0[..] else { panic!("three API servers") };
    let ns = "clients";
    one.serve(ns, "shop", &["10.1.0.1"]);
    two.serve(ns, "shop", &["10.2.0.1"]);
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let by = |days: i32| {
        let (certificate, key) = two.certificate(days);
        json!({"client-certificate": certificate, "client-key": key})
    };
    for (name, days) in [("long", 200), ("soon", 20), ("ended", -1)] {
        std::fs::write(at(name), two.kubeconfig_of(&by(days))).expect("a file");
    }
    // A member's certificate stands in its secret.
    let (certificate, key) = two.certificate(10);
    let inline = json!({"client-certificate-data": base64(&certificate), "client-key-data": base64(&key)});
    one.apply(&remote_secret(ns, "two", &[("member", &two.kubeconfig_of(&inline))]));
    let paths = ["long", "soon", "ended"].map(at);
    let others: Vec<(&str, &Path)> = ["long", "soon", "ended"].into_iter().zip(paths.iter().map(|p| p.as_path())).collect();
    let mut view = View::of(&settings(one, ns, &others));
    let told = |v: &View, start: &str, end: &str| v.problems(ns).iter().any(|p| p.starts_with(start) && p.contains(end));
    let warned = "the client certificate by which cluster";
    view.until("all is told", |v| {
        ["cluster1", "long", "soon", "member"].iter().all(|cluster| v.status(cluster) == Status::Live)
            && told(v, &format!("{warned} soon is read ("), "CN=admin) expires at 20")
            && told(v, &format!("{warned} member is read ("), "CN=admin) expires at 20")
            && told(v, &format!("{warned} ended is read ("), "CN=admin) expired at 20")
            && told(v, "cluster ended cannot be read", "Unauthorized (401): the client certificate (O=system:masters, CN=admin) expired at 20")
    });
    assert!(!told(&view, &format!("{warned} long "), ""), "{:?}", view.problems(ns));
    assert_eq!(view.problems(ns).len(), 4, "{:?}", view.problems(ns));
    let placed = view.registry.problems().iter().any(|p| p.code == "ISM0214" && p.origin.file.ends_with("/soon"));
    assert!(placed, "the problem names the kubeconfig");
}
