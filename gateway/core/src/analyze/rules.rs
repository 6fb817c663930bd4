//! DestinationRules: hosts that no service has (IST0174), subsets that select nothing (IST0173).

use std::sync::Arc;

use isthmus_config::istio::destination_rule::DestinationRule;
use isthmus_config::name::Hostname;
use isthmus_config::object::{Kind, Object};
use isthmus_config::problem::{Problem, Severity};

use super::{Scene, finding, policies};
use crate::compile::qualify;

pub(super) fn find(scene: &Scene<'_>, problems: &mut Vec<Problem>) {
    for object in scene.world.documents.destination_rules.values() {
        let host = qualify(&object.spec.host, &object.meta.namespace, &scene.world.gateway.domain);
        let services = hosts(scene, &host);
        if services.is_empty() {
            let message = format!("host {}: no such service", object.spec.host);
            let problem = finding(Severity::Warning, "IST0174", message, Kind::DestinationRule, object, "spec.host");
            problems.push(match scene.names.host(&object.spec.host, &object.meta.namespace) {
                Some(meant) => problem.hint(format!("did you mean {meant}?")),
                None => problem,
            });
        }
        subsets(scene, object, &services, problems);
        policies::of_rule(scene, object, &services, problems);
    }
}

/// The services that a rule's host stands for.
pub(super) fn hosts<'a>(scene: &Scene<'a>, host: &Hostname) -> Vec<&'a Hostname> {
    let services = &scene.world.catalog.services;
    if host.is_wildcard() {
        let mut all: Vec<&Hostname> = services.keys().filter(|h| host.covers(h)).collect();
        all.sort();
        return all;
    }
    services.get_key_value(host).into_iter().map(|(h, _)| h).collect()
}

fn subsets(scene: &Scene<'_>, object: &Arc<Object<DestinationRule>>, services: &[&Hostname], problems: &mut Vec<Problem>) {
    if services.is_empty() {
        return;
    }
    // Files alone do not say which pods there are.
    let alone = scene.missing != Severity::Error;
    let endpoints = || services.iter().filter_map(|h| scene.world.catalog.endpoints.get(*h)).flat_map(|e| e.iter());
    if alone && endpoints().next().is_none() {
        return;
    }
    for (i, subset) in object.spec.subsets.iter().enumerate().filter(|(_, s)| !s.labels.is_empty()) {
        if !endpoints().any(|e| e.workload.carries(&subset.labels)) {
            let labels: Vec<String> = subset.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let message = format!("subset {} selects no endpoint of {}: none has {}", subset.name, object.spec.host, labels.join(", "));
            problems.push(finding(scene.missing, "IST0173", message, Kind::DestinationRule, object, format!("spec.subsets[{i}].labels")));
        }
    }
}
