//! From the world to what is in force: `golden/compile/NAME.in.yaml` -> `NAME.out.yaml`. `UPDATE_GOLDEN=1` rewrites the outputs.
//!
//! An input is Kubernetes and Istio objects; earlier ones count as older. A first document without `kind` holds isthmus.yaml's
//! keys, and `services`: `ns/name` or `ns/name:port,port`, each of which becomes a Service with one endpoint on every port.

#[path = "../common/mod.rs"]
mod common;
mod measured;
mod told;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use isthmus_config::problem::{Problem, Severity};
use isthmus_core::analyze::{analyze, code};
use isthmus_core::compile::Compiler;
use isthmus_core::model::Changes;
use isthmus_core::snapshot::Dump;

#[test]
fn worlds_become_what_is_in_force() {
    golden("compile", compiled);
}

#[test]
fn worlds_are_analyzed() {
    golden("analyze", analyzed);
}

#[test]
fn worlds_are_told() {
    golden("told", told::told);
}

fn golden(name: &str, play: fn(&str) -> String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let mut inputs: Vec<PathBuf> = std::fs::read_dir(&folder).expect("the folder").map(|e| e.expect("an entry").path()).collect();
    inputs.retain(|p| p.to_string_lossy().ends_with(".in.yaml"));
    inputs.sort();
    assert!(!inputs.is_empty());
    let mut wrong = Vec::new();
    for input in inputs {
        let got = play(&std::fs::read_to_string(&input).expect("an input"));
        let output = PathBuf::from(input.to_string_lossy().replace(".in.yaml", ".out.yaml"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&output, &got).expect("an output");
        } else if std::fs::read_to_string(&output).unwrap_or_default() != got {
            wrong.push(format!("{}:\n{got}", output.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn analyzed(text: &str) -> String {
    let place = common::Place::new(text);
    let world = place.world();
    let mut compiler = Compiler::new(7);
    compiler.compile(&world, &Changes::everything()).publish_views();
    let analysis = analyze(&world, &compiler, Severity::Warning).with_refused(&place.problems());
    let mut out = String::from("inForce:\n");
    for found in &analysis.in_force {
        let reason = found.reason.as_ref().map(|r| format!(", {r}")).unwrap_or_default();
        writeln!(out, "- {}: {} routes, {} backends{reason}", found.object, found.routes, found.backends).expect("writing");
    }
    let told: Vec<_> = analysis.problems.into_iter().filter(|p| p.code != code::NOWHERE).collect();
    out += &problems(&told);
    place.shown(&out)
}

fn compiled(text: &str) -> String {
    let place = common::Place::new(text);
    let world = place.world();
    let mut compiler = Compiler::new(7);
    let plan = compiler.compile(&world, &Changes::everything());
    plan.publish_views();
    let snapshot = plan.snapshot.expect("the first compilation yields a snapshot");
    let mut out = place.refusals();
    out += &serde_yaml::to_string(&Dump::of(&snapshot, &compiler.slots())).expect("a dump is YAML");
    out += &problems(&plan.report.problems);
    place.shown(&out)
}

fn problems(problems: &[Problem]) -> String {
    let mut out = String::new();
    for problem in problems {
        if out.is_empty() {
            out.push_str("problems:\n");
        }
        let object = problem.object.as_ref().map(|o| format!(" {o}")).unwrap_or_default();
        let hint = problem.hint.as_ref().map(|h| format!(" ({h})")).unwrap_or_default();
        writeln!(out, "- {} {}{object} {}: {}{hint}", problem.severity, problem.code, problem.path, problem.message).expect("writing");
    }
    out
}
