//! The command line as people and scripts meet it: exit codes, what goes to standard output, and the demo.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use isthmus_tests::{binary, project};

fn isthmus(args: &[&str]) -> Output {
    Command::new(binary::isthmus()).args(args).current_dir(project::root()).output().expect("the built gateway can be started")
}

#[test]
fn exit_codes_are_istioctls() {
    let rows: [(&[&str], i32); 13] = [
        (&["version"], 0),
        (&["--version"], 0),
        (&["--help"], 0),
        (&["completion", "bash"], 0),
        (&["check", "tests/input/canary/canary.yaml"], 0),
        (&["check", "tests/input/bad/reties.yaml"], 79),
        (&["check", "no/such/file.yaml"], 65),
        (&["check", "--no-such-flag"], 64),
        (&["run"], 64),
        (&["explain", "GET"], 64),
        (&["explain", "http://a.test/", "--from", "r1//s1", "--config", "tests/input/canary"], 64),
        (&["no-such-command"], 64),
        (&["explain", "GET", "http://a.test/", "--config", "no/such/isthmus.yaml"], 65),
    ];
    for (args, code) in rows {
        let run = isthmus(args);
        assert_eq!(run.status.code(), Some(code), "{args:?}: {}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    }
}

/// Data goes to standard output, messages to standard error; without a terminal nothing is coloured.
#[test]
fn output_is_for_pipes() {
    let run = isthmus(&["check", "tests/input/bad/reties.yaml", "-o", "json"]);
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(serde_json::from_str::<serde_json::Value>(&told).is_ok(), "{told}");
    for args in [&["check", "tests/input/bad/reties.yaml"][..], &["check", "no/such/file.yaml"], &["--help"]] {
        let run = isthmus(args);
        let all = [run.stdout, run.stderr].concat();
        assert!(!all.contains(&0x1b), "{args:?} writes colours: {}", String::from_utf8_lossy(&all));
    }
    let told = String::from_utf8_lossy(&isthmus(&["check", "tests/input/bad/reties.yaml"]).stdout).into_owned();
    assert!(["reties", "retries", "reties.yaml:14"].iter().all(|s| told.contains(s)), "the source line is shown with what was meant: {told}");
}

#[test]
fn unknown_keys_of_isthmus_yaml_are_refused_with_their_line() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let file = folder.path().join("isthmus.yaml");
    std::fs::write(&file, "gateway:\n  name: gw\n  nmespace: x\n").expect("a temporary folder can be written");
    let run = isthmus(&["run", "--config", &file.to_string_lossy()]);
    let told = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(!run.status.success() && ["nmespace", "isthmus.yaml:3", "namespace"].iter().all(|s| told.contains(s)), "{:?}: {told}", run.status);
}

#[test]
fn the_demo_plays_and_ends() {
    let start = Instant::now();
    let run = isthmus(&["demo", "--once"]);
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{told}{}", String::from_utf8_lossy(&run.stderr));
    assert!(start.elapsed() < Duration::from_secs(60), "it takes {:?}", start.elapsed());
    for what in ["cluster1", "cluster2", "cluster3", "vm1", "vm2", "404", "subset v1", "subset v2", "x-user: jason", "█", "in force"] {
        assert!(told.contains(what), "nothing is told of {what}: {told}");
    }
}
