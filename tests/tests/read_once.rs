//! Commands with `--config` where clusters are API servers: they are read once, else what `state` kept, and which is said.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use isthmus_tests::gateway::{Gateway, own_address};
use isthmus_tests::kube::{alone, objects};
use isthmus_tests::{binary, wait, world};

const PATIENCE: Duration = Duration::from_secs(60);

fn isthmus(folder: &Path, words: &str) -> Output {
    Command::new(binary::isthmus()).args(words.split(' ')).current_dir(folder).output().expect("the built gateway can be started")
}

fn told(run: &Output) -> (String, String) {
    (String::from_utf8_lossy(&run.stdout).into_owned(), String::from_utf8_lossy(&run.stderr).into_owned())
}

#[test]
fn api_servers_are_read_once_and_which_world_it_is_is_said() {
    let mut servers = alone();
    let rules = objects(&world::simple(&["10.1.0.1:80".parse().expect("an address")]));
    servers.0[0].apply(&serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}));
    rules.iter().for_each(|object| servers.0[0].apply(object));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let kubeconfig = servers.0[0].kubeconfig_file();
    let settings =
        |more: &str| format!("clusters: [{{name: cluster1, kubeconfig: {}}}]\nremoteSecrets: {{namespace: nowhere}}\n{more}", kubeconfig.display());
    std::fs::write(path.join("isthmus.yaml"), settings("")).expect("a file");
    let state = path.join("state");
    std::fs::write(path.join("kept.yaml"), settings(&format!("state: {}\n", state.display()))).expect("a file");

    let now = "cluster cluster1: as its API server has it now";
    let (rows, said) = told(&isthmus(path, "get routes --config isthmus.yaml"));
    assert!(rows.contains("all.default") && said.contains(now), "{rows} {said}");
    let (text, said) = told(&isthmus(path, "explain http://a.test:8080/x --config isthmus.yaml"));
    assert!(text.contains("10.1.0.1:80") && said.contains(now), "{text} {said}");

    // A file that is laid over it counts, and is checked against what the server has.
    let over = world::route("all", "*", "front", "missing.test");
    std::fs::write(path.join("over.yaml"), over).expect("a file");
    let checked = isthmus(path, "check over.yaml --config isthmus.yaml");
    let (text, said) = told(&checked);
    assert_eq!(checked.status.code(), Some(79), "{text} {said}");
    assert!(text.contains("IST0101") && text.contains("over.yaml:") && !text.contains("ISM0201") && said.contains(now), "{text} {said}");
    std::fs::write(path.join("over.yaml"), world::route("all", "*", "front", "backend.test")).expect("a file");
    assert_eq!(isthmus(path, "check over.yaml --config isthmus.yaml").status.code(), Some(0));

    // A gateway keeps what it reads.
    let gateway = Gateway::reading(
        own_address(),
        &format!("kubeconfig: {}", kubeconfig.display()),
        &format!("remoteSecrets: {{namespace: nowhere}}\nstate: {}\n", state.display()),
    );
    assert!(wait::holds(PATIENCE, || gateway.ready()), "{}", gateway.log());
    let files = || std::fs::read_dir(state.join("cluster1")).into_iter().flatten().flatten().map(|e| e.path()).collect::<Vec<_>>();
    let whole = || files().iter().filter(|path| path.extension().is_some_and(|e| e == "state")).count() == isthmus_discovery::reads().len();
    assert!(wait::holds(PATIENCE, whole), "{:?} {}", files(), gateway.log());
    drop(gateway);

    servers.0[0].kill();
    let (rows, said) = told(&isthmus(path, "get routes --config isthmus.yaml"));
    assert!(!rows.contains("all.default"), "{rows}");
    assert!(said.contains("cluster cluster1: not known here, since its API server cannot be read: ") && said.contains("refused"), "{said}");
    let (rows, said) = told(&isthmus(path, "get routes --config kept.yaml"));
    assert!(
        rows.contains("all.default") && said.contains("cluster cluster1: as `state` has kept it, since its API server cannot be read: "),
        "{rows} {said}"
    );
    let before = files();
    std::fs::write(state.join("cluster1/Pod.state"), "broken").expect("a file");
    let (rows, said) = told(&isthmus(path, "get routes --config kept.yaml"));
    assert!(!rows.contains("all.default") && said.contains("not known here"), "{rows} {said}");
    assert_eq!(files(), before, "who only looks sets nothing aside");
    servers.0[0].start();
    rules.iter().for_each(|object| servers.0[0].delete(object));
}
