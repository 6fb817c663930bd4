//! `isthmus remote-secret` against real API servers: from the account of deploy/member to a member that is synced.

use std::process::{Command, Output};
use std::time::Duration;

use isthmus_tests::gateway::{ADMIN, Gateway, own_address};
use isthmus_tests::kube::{ApiServer, alone, objects};
use isthmus_tests::{binary, project, wait};
use serde_json::{Value, json};

const NAMESPACE: &str = "istio-system";

/// Applies deploy/member, as `kubectl apply -k` would.
fn admit(server: &ApiServer) {
    let text = std::fs::read_to_string(project::root().join("deploy/member/reader.yaml")).expect("a file");
    for mut object in objects(&text) {
        if ["ServiceAccount", "Secret"].contains(&object["kind"].as_str().unwrap_or_default()) {
            object["metadata"]["namespace"] = json!(NAMESPACE);
        }
        server.apply(&object);
    }
}

fn isthmus(args: &[&str]) -> Output {
    Command::new(binary::isthmus()).args(args).output().expect("the built gateway can be started")
}

fn invite(server: &ApiServer, more: &[&str]) -> Output {
    let kubeconfig = server.kubeconfig_file().display().to_string();
    isthmus(&[&["remote-secret", "--name", "cluster2", "--kubeconfig", &kubeconfig, "--namespace", NAMESPACE], more].concat())
}

fn messages(run: &Output) -> String {
    String::from_utf8_lossy(&run.stderr).into_owned()
}

/// The kubeconfig that a secret holds.
fn kubeconfig(run: &Output) -> Value {
    let secret = objects(&String::from_utf8_lossy(&run.stdout)).into_iter().next().expect("a secret");
    assert_eq!((&secret["kind"], &secret["metadata"]["labels"]["istio/multiCluster"]), (&json!("Secret"), &json!("true")), "{secret}");
    assert_eq!((&secret["metadata"]["name"], &secret["metadata"]["namespace"]), (&json!("istio-remote-secret-cluster2"), &json!(NAMESPACE)));
    assert_eq!(secret["metadata"]["annotations"]["networking.istio.io/cluster"], "cluster2");
    serde_json::from_str(secret["stringData"]["cluster2"].as_str().expect("a kubeconfig")).expect("JSON, which is YAML")
}

#[test]
fn a_cluster_becomes_a_member_m20() {
    let servers = alone();
    let [one, two, ..] = &servers.0[..] else { panic!("three API servers") };
    admit(two);
    // No controller fills secrets with tokens here, so the one that is made is asked for and expires.
    let made = invite(two, &[]);
    assert!(made.status.success(), "{}", messages(&made));
    assert!(messages(&made).contains("expires at 20") && !messages(&made).contains("cannot be read"), "{}", messages(&made));
    assert_eq!(kubeconfig(&made)["clusters"][0]["cluster"]["server"], format!("https://{}", two.address()));
    let left = two.call("GET", &format!("/api/v1/namespaces/{NAMESPACE}/secrets/isthmus-reader-isthmus-token"), None);
    assert!(left.is_err(), "a secret that nobody fills is not left behind: {left:?}");

    let from = format!("kubeconfig: {}", one.kubeconfig_file().display());
    let gateway = Gateway::reading(own_address(), &from, &format!("remoteSecrets: {{namespace: {NAMESPACE}}}\n"));
    let admin = format!("http://{}", gateway.at(ADMIN));
    let nobody = isthmus(&["get", "clusters", "--wait", "cluster2", "--timeout", "3", "--admin", &admin]);
    assert_eq!(nobody.status.code(), Some(1), "{}", messages(&nobody));
    assert!(messages(&nobody).contains("cluster2 is not synced after 3 s"), "{}", messages(&nobody));
    one.apply_yaml(&String::from_utf8_lossy(&made.stdout));
    let synced = isthmus(&["get", "clusters", "--wait", "cluster2", "--timeout", "60", "--admin", &admin, "-o", "wide"]);
    let table = String::from_utf8_lossy(&synced.stdout).into_owned();
    assert!(synced.status.success(), "{} {}", messages(&synced), gateway.log());
    let row = table.lines().find(|line| line.starts_with("cluster2 ")).expect("a row");
    assert!(row.contains("istio-system/istio-remote-secret-cluster2") && row.contains(" synced "), "{table}");
    // The account may read all that is read: nothing is told to be forbidden.
    assert!(wait::stays(Duration::from_secs(1), || !gateway.log().contains("orbidden")), "{}", gateway.log());
    one.delete(&objects(&String::from_utf8_lossy(&made.stdout))[0]);
}

#[test]
fn a_token_that_lasts_is_preferred_and_what_may_not_work_is_told() {
    let servers = alone();
    let [_, two, three] = &servers.0[..] else { panic!("three API servers") };
    admit(two);
    let filled = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "filled", "namespace": NAMESPACE, "annotations": {"kubernetes.io/service-account.name": "isthmus-reader"}},
        "data": {"token": "bm90LWEtdG9rZW4=", "ca.crt": "Y2E="}});
    two.apply(&filled);
    let made = invite(two, &["--server", "https://127.0.0.1:1"]);
    assert!(made.status.success(), "{}", messages(&made));
    let told = kubeconfig(&made);
    assert_eq!(
        (&told["users"][0]["user"], &told["clusters"][0]["cluster"]["server"]),
        (&json!({"token": "not-a-token"}), &json!("https://127.0.0.1:1"))
    );
    assert!(messages(&made).contains("https://127.0.0.1:1 cannot be read from here"), "{}", messages(&made));
    let refused = invite(two, &[]);
    assert!(refused.status.success() && messages(&refused).contains("cannot be read from here with this secret"), "{}", messages(&refused));
    two.delete(&filled);

    let missing = invite(three, &["--service-account", "nobody"]);
    assert_eq!((missing.status.code(), &missing.stdout[..]), (Some(1), &b""[..]));
    assert!(
        messages(&missing).contains("service account istio-system/nobody: 404") && messages(&missing).contains("deploy/member"),
        "{}",
        messages(&missing)
    );
    let unnameable = isthmus(&["remote-secret", "--name", "arn:aws:eks/c2"]);
    assert!(unnameable.status.code() == Some(64) && messages(&unnameable).contains("a key of the secret"), "{}", messages(&unnameable));
    let context = invite(three, &["--context", "other"]);
    assert!(context.status.code() == Some(1) && messages(&context).contains("other"), "{}", messages(&context));
}
