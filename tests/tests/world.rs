//! The users' world (`tests/world`): what their files do when the clusters of `tests/input/README.md` are there, told by `explain` and `check`
//! and played by the runner.

use std::path::Path;
use std::process::Command;

use isthmus_tests::{binary, cases, project};
use serde_json::Value;

#[test]
fn rows_of_the_readme_route_as_they_say() {
    let folder = project::root().join("tests/world/cases");
    let mut paths: Vec<_> = std::fs::read_dir(folder).expect("the cases are there").map(|e| e.expect("an entry can be read").path()).collect();
    paths.sort();
    assert!(paths.len() >= 5, "the cases are found: {paths:?}");
    cases::hold(&paths);
}

/// A copy of the world with some of the users' files as its rules.
fn world(rules: &[&str]) -> tempfile::TempDir {
    let (folder, root) = (tempfile::tempdir().expect("there is a place for temporary files"), project::root());
    copy(&root.join("tests/world/clusters"), &folder.path().join("clusters"));
    std::fs::copy(root.join("tests/world/isthmus.yaml"), folder.path().join("isthmus.yaml")).expect("a temporary folder can be written");
    std::fs::create_dir(folder.path().join("rules")).expect("a temporary folder can be written");
    for rule in rules {
        let to = folder.path().join("rules").join(rule.replace('/', "-"));
        std::fs::copy(root.join("tests/input").join(rule), to).expect("the example is there");
    }
    folder
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a temporary folder can be written");
    for entry in std::fs::read_dir(from).expect("the world can be read") {
        let path = entry.expect("an entry can be read").path();
        let target = to.join(path.file_name().expect("an entry has a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("a temporary folder can be written");
        }
    }
}

/// Runs the command line in the world; standard output, after the exit code was found good.
fn isthmus(world: &Path, args: &[&str], good: &[i32]) -> String {
    let run = Command::new(binary::isthmus())
        .args(args)
        .args(["--config", "isthmus.yaml"])
        .current_dir(world)
        .output()
        .expect("the built gateway can be started");
    let out = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(run.status.code().is_some_and(|c| good.contains(&c)), "{args:?}: {:?}\n{out}{}", run.status, String::from_utf8_lossy(&run.stderr));
    out
}

/// Region, zone and subzone of the nodes of `tests/input/topology`, and of the two machines of `vm/httpd.yaml`.
fn place(address: &str) -> Option<&'static str> {
    let places = [
        ("10.244.1.", "us-central1/z1/sz01"),
        ("10.244.2.", "us-central2/z2/sz02"),
        ("10.244.3.", "us-central3/z3/sz03"),
        ("192.168.229.146", "us-central1/z1/sz01"),
        ("192.168.229.147", "us-central2/z2/sz02"),
    ];
    places.iter().find(|(start, _)| address.starts_with(start)).map(|(_, place)| *place)
}

#[test]
fn get_endpoints_shows_where_every_endpoint_and_machine_stands_l2() {
    let world = world(&["vm/httpd.yaml"]);
    let rows = isthmus(world.path(), &["get", "endpoints", "-o", "json"], &[0]);
    let rows: Vec<Value> = serde_json::from_str(&rows).expect("JSON");
    let wide = isthmus(world.path(), &["get", "endpoints", "-o", "wide"], &[0]);
    let mut seen = std::collections::BTreeSet::new();
    for row in &rows {
        let address = row["endpoint"].as_str().expect("an address");
        let place = place(address);
        assert_eq!(row["locality"].as_str(), place, "{row}");
        let place = place.unwrap_or_default();
        assert!(wide.lines().any(|line| line.starts_with(address) && line.contains(place)), "{address} {place}: {wide}");
        seen.insert((row["cluster"].as_str().unwrap_or_default(), place));
    }
    assert_eq!(seen.len(), 4, "three clusters, the first one of which tells of machines in two regions: {seen:?}");
    assert!(rows.len() > 25, "{}", rows.len());
}

#[test]
fn a_directory_that_is_not_there_is_told() {
    let world = world(&[]);
    std::fs::remove_dir(world.path().join("rules")).expect("a temporary folder can be written");
    let told = isthmus(world.path(), &["get", "problems"], &[0]);
    assert!(told.contains("ISM0211") && told.contains("cluster cluster1 cannot be read") && told.contains("rules"), "{told}");
}

/// What `explain` must say for a request to one host, and what it must not.
struct Row {
    name: &'static str,
    rules: &'static [&'static str],
    url: &'static str,
    /// In both forms of output.
    says: &'static [&'static str],
    /// As a person reads it.
    text: &'static [&'static str],
    never: &'static [&'static str],
}

#[test]
fn explain_tells_the_rows_of_the_readme() {
    let rows = [
        Row {
            name: "canary",
            rules: &["companion/routes.yaml", "canary/canary.yaml"],
            url: "http://anything.example.com/",
            says: &["canary.istio-test.svc.cluster.local", "10.244.1.12", "10.244.1.13", "rules/canary-canary.yaml"],
            text: &["subset v1 90 %", "subset v2 10 %", "rules/canary-canary.yaml:28"],
            never: &[],
        },
        Row {
            name: "vm/httpd-distribute",
            rules: &["companion/routes.yaml", "vm/httpd.yaml", "vm/httpd-distribute.yaml"],
            url: "http://httpd.example.com/",
            says: &["httpd.vm.demo", "192.168.229.146", "192.168.229.147"],
            text: &["httpd-146   0          healthy   50 %", "httpd-147   0          healthy   50 %"],
            never: &[],
        },
        Row {
            name: "vm/httpd-failover",
            rules: &["companion/routes.yaml", "vm/httpd.yaml", "vm/httpd-failover.yaml"],
            url: "http://httpd.example.com/",
            says: &["httpd.vm.demo", "192.168.229.146", "192.168.229.147"],
            text: &["httpd-146   0          healthy   50 %", "httpd-147   0          healthy   50 %"],
            never: &[],
        },
        Row {
            name: "resilience/retry-abort",
            rules: &["companion/routes.yaml", "resilience/retry-abort.yaml"],
            url: "http://nginx-svc/",
            says: &["404", "nginx-svc"],
            text: &["NR"],
            never: &["10.244."],
        },
    ];
    let mut wrong = Vec::new();
    for row in rows {
        let world = world(row.rules);
        for output in [&["-o", "json"][..], &[]] {
            let told = isthmus(world.path(), &[&["explain", "GET", row.url], output].concat(), &[0, 1]);
            let text = if output.is_empty() { row.text } else { &[] };
            let missing: Vec<_> = row.says.iter().chain(text).filter(|s| !told.contains(**s)).collect();
            let extra: Vec<_> = row.never.iter().filter(|s| told.contains(**s)).collect();
            if !(missing.is_empty() && extra.is_empty()) {
                wrong.push(format!("{} {output:?}: lacks {missing:?}, says {extra:?}:\n{told}", row.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where an object is in force, as `check` over the world says: routes, backends, and why nowhere.
fn in_force(rules: &[&str], kind: &str, name: &str) -> (u64, u64, String, Vec<Value>) {
    let world = world(rules);
    let report: Value = serde_json::from_str(&isthmus(world.path(), &["check", "-o", "json"], &[0, 79])).expect("check -o json prints JSON");
    let entries = report["inForce"].as_array().cloned().unwrap_or_default();
    let found = entries.iter().find(|e| e["kind"] == kind && e["name"] == name);
    let problems = report["problems"].as_array().cloned().unwrap_or_default();
    let Some(found) = found else { return (u64::MAX, u64::MAX, format!("{kind} {name} is not listed in {entries:?}"), problems) };
    let reason = found["reason"].as_str().unwrap_or_default().to_owned();
    (found["routes"].as_u64().unwrap_or_default(), found["backends"].as_u64().unwrap_or_default(), reason, problems)
}

#[test]
fn check_says_where_each_rule_is_in_force() {
    let (routes, backends, why, _) = in_force(&["companion/routes.yaml", "canary/canary.yaml"], "VirtualService", "canary");
    assert!(routes >= 1, "canary is in force: {routes} routes, {backends} backends, {why}");

    let vm = ["companion/routes.yaml", "vm/httpd.yaml", "vm/httpd-distribute.yaml"];
    let (routes, backends, why, _) = in_force(&vm, "DestinationRule", "httpd");
    assert!(
        routes == 0 && backends == 0 && why.contains("namespace"),
        "a rule in another namespace is in force nowhere: {routes}, {backends}, {why:?}"
    );

    let vm = ["companion/routes.yaml", "vm/httpd.yaml", "vm/httpd-failover.yaml"];
    let (routes, backends, why, problems) = in_force(&vm, "DestinationRule", "dr-httpd");
    assert!(routes == 0 && backends == 0 && !why.is_empty(), "a refused rule is in force nowhere: {routes}, {backends}, {why:?}");
    let paths: Vec<_> = problems.iter().filter(|p| p["severity"] == "error" && p["name"] == "dr-httpd").filter_map(|p| p["path"].as_str()).collect();
    assert!(paths.len() == 2 && paths.iter().all(|p| p.contains("localityLbSetting.failover[")), "two field paths: {paths:?}");

    let (routes, _, why, problems) = in_force(&["companion/routes.yaml", "resilience/retry-abort.yaml"], "VirtualService", "nginx-svc");
    let told = format!("{why} {problems:?}");
    assert!(
        routes == 0 && told.contains("nginx-vs") && told.contains("no such service") && told.contains("nginx-svc"),
        "names are swapped: {routes} {told}"
    );
}
