//! `isthmus vm`: a machine is added, listed and removed by files, and what people wrote stays as it is.

use std::path::Path;
use std::process::{Command, Output};

use isthmus_tests::{binary, project};
use serde_json::Value;

/// A world of files: the users' httpd on two machines, and a directory for further ones.
fn world() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    for name in ["mesh", "vms", "c1"] {
        std::fs::create_dir(folder.path().join(name)).expect("a folder");
    }
    let settings = "gateway: {cluster: c1}\nclusters: [{name: c1, path: c1}]\nconfig: {files: [vms/, mesh/]}\n";
    std::fs::write(folder.path().join("isthmus.yaml"), settings).expect("a file");
    std::fs::copy(project::root().join("tests/input/vm/httpd.yaml"), folder.path().join("mesh/httpd.yaml")).expect("a file");
    folder
}

fn vm(folder: &Path, words: &str) -> Output {
    Command::new(binary::isthmus()).arg("vm").args(words.split(' ')).current_dir(folder).output().expect("the built gateway can be started")
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).expect("a folder").flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Name and address of every machine that serves a host.
fn machines(folder: &Path, host: &str) -> Vec<String> {
    let run = vm(folder, &format!("list {host} -o json"));
    let rows: Value = serde_json::from_slice(&run.stdout).expect("JSON");
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    rows.as_array().expect("a list").iter().map(|row| format!("{} {} {}", text(row, "name"), text(row, "address"), text(row, "locality"))).collect()
}

#[test]
fn a_machine_comes_and_goes() {
    let folder = world();
    let path = folder.path();
    let before = std::fs::read(path.join("mesh/httpd.yaml")).expect("a file");
    let both = ["httpd-146 192.168.229.146 us-central1/z1/sz01", "httpd-147 192.168.229.147 us-central2/z2/sz02"];
    assert_eq!(machines(path, "httpd.vm.demo"), both);
    let added = vm(path, "add httpd.vm.demo 192.168.229.148 --locality us-central1/z2/sz03 --port http-httpd:8080 --label tier=b --weight 3");
    let file = "vms/vm-httpd.httpd-vm-demo-192-168-229-148.vm.yaml";
    assert_eq!((added.status.code(), String::from_utf8_lossy(&added.stdout).trim()), (Some(0), file), "{}", String::from_utf8_lossy(&added.stderr));
    let third = "httpd-vm-demo-192-168-229-148 192.168.229.148 us-central1/z2/sz03";
    assert_eq!(machines(path, "httpd.vm.demo"), [both[0], both[1], third]);
    let text = std::fs::read_to_string(path.join(file)).expect("a file");
    for want in
        ["  address: 192.168.229.148\n", "    app: httpd\n", "    tier: b\n", "    http-httpd: 8080\n", "  weight: 3\n", "  namespace: vm-httpd\n"]
    {
        assert!(text.contains(want), "{want:?} in {text}");
    }
    // What the gateway would do with it is what `get endpoints` says.
    let shown = Command::new(binary::isthmus()).args(["get", "endpoints", "--config", "isthmus.yaml", "-o", "wide"]).current_dir(path).output();
    let shown = String::from_utf8(shown.expect("the built gateway can be started").stdout).expect("text");
    assert!(shown.lines().any(|line| line.starts_with("192.168.229.148:8080 ") && line.contains("us-central1/z2/sz03")), "{shown}");
    assert_eq!(vm(path, "remove httpd.vm.demo 192.168.229.148").status.code(), Some(0));
    assert_eq!((machines(path, "httpd.vm.demo"), names(&path.join("vms"))), (both.map(str::to_owned).to_vec(), vec![]));
    assert_eq!(std::fs::read(path.join("mesh/httpd.yaml")).expect("a file"), before, "what people wrote stays as it is");
}

#[test]
fn a_host_is_made_where_it_is_asked_for() {
    let folder = world();
    let path = folder.path();
    assert_eq!(vm(path, "add db.vm.demo 10.0.0.1 --locality r1 --create --port tcp:3306").status.code(), Some(0));
    assert_eq!(vm(path, "add db.vm.demo 10.0.0.2 --locality r1/z2 --create --port tcp:3307").status.code(), Some(0), "once there it is used");
    assert_eq!(machines(path, "db.vm.demo"), ["db-vm-demo-10-0-0-1 10.0.0.1 r1", "db-vm-demo-10-0-0-2 10.0.0.2 r1/z2"]);
    assert_eq!(names(&path.join("vms")), ["db-vm-demo.service.yaml", "default.db-vm-demo-10-0-0-1.vm.yaml", "default.db-vm-demo-10-0-0-2.vm.yaml"]);
}

#[test]
fn a_file_that_cannot_be_read_is_told_where_something_is_missed() {
    let folder = world();
    let path = folder.path();
    std::fs::write(path.join("mesh/httpd.yaml"), "apiVersion: networking.istio.io/v1\nkind: [").expect("a file");
    for words in ["add httpd.vm.demo 10.0.0.1 --locality r1", "list", "remove httpd-146"] {
        let told = String::from_utf8_lossy(&vm(path, words).stderr).into_owned();
        assert!(told.contains("warning: mesh/httpd.yaml:3: not YAML"), "{words}: {told}");
    }
}

#[test]
fn what_would_not_serve_is_not_written() {
    let folder = world();
    let path = folder.path();
    for (words, code, told) in [
        ("add httpd.vm.dem 10.0.0.1 --locality r1", 1, "did you mean httpd.vm.demo?"),
        ("add httpd.vm.demo 192.168.229.146 --locality r1", 1, "has 192.168.229.146 already: WorkloadEntry vm-httpd/httpd-146 in mesh/httpd.yaml:25"),
        ("add httpd.vm.demo vm.example --locality r1", 1, "is no IP address"),
        ("add httpd.vm.demo 10.0.0.1 --locality r1 --port http:80", 1, "has no port named \"http\": it has http-httpd"),
        ("add httpd.vm.demo 10.0.0.1 --locality r1 --label app=x", 1, "would not serve it"),
        ("add httpd.vm.demo 10.0.0.1 --locality r1 --label =x", 79, "nothing is written"),
        ("add httpd.vm.demo 10.0.0.1 --locality r1 --name httpd-146", 1, "is there already"),
        ("add httpd.vm.demo 10.0.0.1 --locality r1 --name ../../x", 64, "expected a Kubernetes name"),
        ("add httpd.vm.demo 10.0.0.1 --locality r1//s1", 64, "expected region"),
        ("add new.vm.demo 10.0.0.1 --locality r1 --create", 64, "--create needs the ports"),
        ("add httpd.vm.demo 10.0.0.3 --locality r1 --dir elsewhere --config isthmus.yaml", 64, "is read by nobody"),
        ("remove httpd-147", 1, "holds 3 objects: take this one out by hand, from line 38"),
        ("remove httpd.vm.demo 10.9.9.9", 1, "no WorkloadEntry"),
    ] {
        let _may_be_there_already = std::fs::create_dir(path.join("elsewhere"));
        let run = vm(path, words);
        let text = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(code), "{words}: {text}");
        assert!(text.contains(told), "{words}: {text}");
    }
    assert_eq!((names(&path.join("vms")), names(&path.join("mesh"))), (vec![], vec!["httpd.yaml".to_owned()]));
}
