//! What a person should know of the whole: findings across objects, and where each object is in force, or why nowhere.
//!
//! Reads the world and what was compiled from it, and changes nothing. No finding here refuses an object.

mod gateways;
mod in_force;
mod measured;
mod names;
mod networks;
mod policies;
mod rules;
mod services;
mod virtual_services;

use isthmus_config::object::{Kind, Object, ObjectRef, Origin};
use isthmus_config::problem::{Problem, Severity};

use crate::compile::{Compiler, Usage};
use crate::model::World;

use names::Names;

/// Our own codes, as `docs/problems.md` lists them.
pub mod code {
    /// Few endpoints are never ejected.
    pub const NEVER_EJECTED: &str = "ISM0401";
    /// A port that is declared TCP and named for HTTP.
    pub const TCP_NAMED_HTTP: &str = "ISM0402";
    /// An object that is in force nowhere at this gateway.
    pub const NOWHERE: &str = "ISM0403";
    /// Endpoints of another network that nothing leads to.
    pub const OTHER_NETWORK: &str = "ISM0404";
    /// Localities without outlier detection.
    pub const UNGUARDED: &str = "ISM0409";
    /// A connectTimeout near or below what connecting takes.
    pub const HASTY: &str = "ISM0410";
    /// A service in several regions without failover.
    pub const NO_FAILOVER: &str = "ISM0405";
    /// Retries that pass over 5xx.
    pub const NOT_ON_5XX: &str = "ISM0406";
    /// `distribute` that leaves healthy endpoints unused.
    pub const NO_FALLBACK: &str = "ISM0407";
    /// ISTIO_MUTUAL without a workload certificate.
    pub const NO_CERTIFICATE: &str = "ISM0408";
}

/// Where one object is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// The object.
    pub object: ObjectRef,
    /// Where it stands.
    pub origin: Origin,
    /// Routes that it is part of and that requests can reach.
    pub routes: usize,
    /// Backends that it is part of.
    pub backends: usize,
    /// Why nowhere, where both are zero.
    pub reason: Option<String>,
}

/// What analysis found.
#[derive(Clone, Debug, Default)]
pub struct Analysis {
    /// Findings, sorted by object and field.
    pub problems: Vec<Problem>,
    /// Every Istio object, by kind and name.
    pub in_force: Vec<InForce>,
}

impl Analysis {
    /// Adds the objects that were refused, so that nothing of them is in force: those with an error among `problems`, the
    /// first of which is the reason. An object whose last good version is in force keeps its place in the list.
    #[must_use]
    pub fn with_refused(mut self, problems: &[Problem]) -> Self {
        const KINDS: [Kind; 7] = [
            Kind::Gateway,
            Kind::VirtualService,
            Kind::DestinationRule,
            Kind::ServiceEntry,
            Kind::WorkloadEntry,
            Kind::WorkloadGroup,
            Kind::EnvoyFilter,
        ];
        for problem in problems.iter().filter(|p| p.severity == Severity::Error) {
            let Some(object) = problem.object.as_ref().filter(|o| KINDS.contains(&o.kind)) else { continue };
            if !self.in_force.iter().any(|f| f.object == *object) {
                let at = if problem.path.is_empty() { String::new() } else { format!("{}: ", problem.path) };
                let reason = Some(format!("refused: {at}{}", problem.message));
                self.in_force.push(InForce { object: object.clone(), origin: problem.origin.clone(), routes: 0, backends: 0, reason });
            }
        }
        self
    }
}

/// Reads the whole. `missing` is how much a reference matters that leads nowhere: it is at most a warning where files are
/// looked at alone, since the rest may exist in their clusters.
pub fn analyze(world: &World, compiler: &Compiler, missing: Severity) -> Analysis {
    let scene = Scene { world, compiler, usage: compiler.usage(), names: Names::of(world), missing };
    let mut problems = Vec::new();
    virtual_services::find(&scene, &mut problems);
    gateways::find(&scene, &mut problems);
    rules::find(&scene, &mut problems);
    services::find(&scene, &mut problems);
    networks::find(&scene, &mut problems);
    policies::without_failover(&scene, &mut problems);
    measured::find(&scene, &mut problems);
    let in_force = in_force::list(&scene, &mut problems);
    problems.sort_by(|a, b| (&a.object, &a.path, a.severity, a.code, &a.message).cmp(&(&b.object, &b.path, b.severity, b.code, &b.message)));
    problems.dedup();
    Analysis { problems, in_force }
}

/// What every finder reads.
struct Scene<'a> {
    world: &'a World,
    compiler: &'a Compiler,
    usage: Usage,
    names: Names<'a>,
    missing: Severity,
}

/// An object's name.
fn reference<S>(kind: Kind, object: &Object<S>) -> ObjectRef {
    ObjectRef::new(kind, object.meta.namespace.clone(), object.meta.name.clone())
}

/// A finding about a field of an object.
fn finding<S>(
    severity: Severity,
    code: &'static str,
    message: impl Into<String>,
    kind: Kind,
    object: &Object<S>,
    path: impl Into<String>,
) -> Problem {
    Problem::new(severity, code, message).of(reference(kind, object), &object.origin).at(path)
}
