//! Where clusters disagree on a service that is one (M-1, M-2): the first cluster's definition counts, and each other one is told of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use isthmus_config::name::Hostname;
use isthmus_config::object::{Kind, ObjectRef};
use isthmus_config::problem::{Problem, Severity};

use super::cluster::Cluster;
use super::facts::{Facts, Form, ServiceFact};
use super::merge::{is_cluster_local, kubernetes_name};
use crate::model::Port;

/// What clusters disagree on, of the Kubernetes Service of that host name.
pub fn conflicts(facts: &Facts<'_>, host: &Hostname) -> Vec<Problem> {
    let Some((namespace, name)) = kubernetes_name(host, &facts.gateway.domain) else { return Vec::new() };
    if is_cluster_local(facts, host) {
        return Vec::new();
    }
    let mut known = facts.clusters.iter().filter_map(|c| Some((c, c.services().get(namespace, name)?)));
    let Some((first_cluster, first)) = known.next() else { return Vec::new() };
    let object = || ObjectRef::new(Kind::Service, first.namespace.clone(), first.name.clone());
    let mut problems = Vec::new();
    for (cluster, other) in std::iter::once((first_cluster, first)).chain(known) {
        let differences = differences(first, other);
        if !differences.is_empty() {
            let message =
                format!("cluster {} has another definition than {}, which counts: {}", cluster.id, first_cluster.id, differences.join("; "));
            problems.push(Problem::new(Severity::Warning, "IST0170", message).of(object(), cluster.origin(other)).at("spec"));
        }
        if first.form == Form::ExternalName {
            continue;
        }
        let (lost, count) = lost(cluster, first);
        if !lost.is_empty() {
            let message = format!(
                "what cluster {} has on port {} serves nothing (endpoints: {count}): they join by port name, and cluster {} has {}",
                cluster.id,
                lost.join(", "),
                first_cluster.id,
                names(first)
            );
            problems.push(Problem::new(Severity::Warning, "ISM0212", message).of(object(), cluster.origin(other)).at("spec.ports"));
        }
    }
    problems
}

fn differences(first: &ServiceFact, other: &ServiceFact) -> Vec<String> {
    let alike = |(a, b): (&Port, &Port)| (a.number, &a.name) == (b.number, &b.name);
    if first.form == other.form && first.ports.len() == other.ports.len() && first.ports.iter().zip(&*other.ports).all(alike) {
        return Vec::new();
    }
    let ports = |s: &ServiceFact| s.ports.iter().map(|p| (p.number, p.name.clone())).collect::<BTreeSet<_>>();
    let told = |s: &ServiceFact| ports(s).iter().map(|(number, name)| format!("{number}/{name}")).collect::<Vec<_>>().join(" ");
    let mut differences = Vec::new();
    if first.form != other.form {
        differences.push(format!("it is {} and not {}", other.form, first.form));
    }
    if ports(first) != ports(other) {
        differences.push(format!("its ports are {} and not {}", told(other), told(first)));
    }
    differences
}

/// Ports of a cluster's slices that the Service which counts has not, and how many addresses they hold.
fn lost(cluster: &Cluster, first: &ServiceFact) -> (Vec<String>, usize) {
    let mut found: BTreeSet<Arc<str>> = BTreeSet::new();
    let mut count = 0;
    for slice in cluster.slices(&first.namespace, &first.name) {
        let lost: Vec<&Arc<str>> = slice.ports.iter().map(|port| &port.name).filter(|name| first.ports.iter().all(|p| p.name != **name)).collect();
        if !lost.is_empty() && slice.count() > 0 {
            count += slice.count();
            found.extend(lost.into_iter().cloned());
        }
    }
    (found.iter().map(|name| quoted(name)).collect(), count)
}

fn names(service: &ServiceFact) -> String {
    let list: Vec<String> = service.ports.iter().map(|p| quoted(&p.name)).collect();
    list.join(", ")
}

fn quoted(name: &str) -> String {
    if name.is_empty() { "without a name".to_owned() } else { name.to_owned() }
}
