//! From the world to what is in force: `golden/compile/NAME.in.yaml` -> `NAME.out.yaml`.
//!
//! An input is Kubernetes and Istio objects; earlier ones count as older. A first document without `kind` holds isthmus.yaml's
//! keys, and `services`: `ns/name` or `ns/name:port,port`, each of which becomes a Service with one endpoint on every port.

mod measured;
mod place;
#[path = "../../../../tests/golden.rs"]
mod runner;
mod told;

use std::fmt::Write as _;
use std::sync::Arc;

use isthmus_config::problem::{Problem, Severity};
use isthmus_core::analyze::{analyze, code};
use isthmus_core::compile::{Compiler, Plan};
use isthmus_core::model::{Changes, World};
use isthmus_core::snapshot::{Dump, Snapshot};
use place::Place;
use runner::golden;

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

/// A world, compiled from nothing, with its views in force.
struct Compiled {
    place: Place,
    world: Arc<World>,
    compiler: Compiler,
    plan: Plan,
}

impl Compiled {
    fn of(text: &str) -> Self {
        let place = Place::new(text);
        let world = place.world();
        let mut compiler = Compiler::new(7);
        let plan = compiler.compile(&world, &Changes::everything());
        plan.publish_views();
        Self { place, world, compiler, plan }
    }

    fn snapshot(&self) -> &Arc<Snapshot> {
        self.plan.snapshot.as_ref().expect("the first compilation yields a snapshot")
    }
}

fn analyzed(text: &str) -> String {
    let Compiled { place, world, compiler, .. } = Compiled::of(text);
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
    let compiled = Compiled::of(text);
    let mut out = compiled.place.refusals();
    out += &serde_yaml::to_string(&Dump::of(compiled.snapshot(), &compiled.compiler.slots())).expect("a dump is YAML");
    out += &problems(&compiled.plan.report.problems);
    compiled.place.shown(&out)
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
