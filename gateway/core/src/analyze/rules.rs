//! DestinationRules: hosts that no service has (IST0174), subsets that select nothing (IST0173), ejection that never happens.

use std::sync::Arc;

use isthmus_config::istio::destination_rule::{DestinationRule, OutlierDetection, TrafficPolicy};
use isthmus_config::name::Hostname;
use isthmus_config::object::{Kind, Object};
use isthmus_config::problem::{Problem, Severity};

use super::{Scene, code, finding};
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
        ejection(scene, object, &services, problems);
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
        if !endpoints().any(|e| subset.labels.iter().all(|(k, v)| e.workload.labels.get(k) == Some(v))) {
            let labels: Vec<String> = subset.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let message = format!("subset {} selects no endpoint of {}: none has {}", subset.name, object.spec.host, labels.join(", "));
            problems.push(finding(scene.missing, "IST0173", message, Kind::DestinationRule, object, format!("spec.subsets[{i}].labels")));
        }
    }
}

/// At most maxEjectionPercent of the endpoints are ejected at once, and 10 % of fewer than ten are none (D-41).
fn ejection(scene: &Scene<'_>, object: &Arc<Object<DestinationRule>>, services: &[&Hostname], problems: &mut Vec<Problem>) {
    let count = services.iter().filter_map(|h| scene.world.catalog.endpoints.get(*h)).map(|e| e.len()).max().unwrap_or(0);
    let mut read = |settings: Option<&OutlierDetection>, path: String| {
        let Some(settings) = settings else { return };
        let percent = usize::try_from(settings.max_ejection_percent).ok().filter(|p| *p > 0).unwrap_or(10);
        if count.max(1) * percent < 100 {
            let seen = if count == 0 { "a few".to_owned() } else { count.to_string() };
            let message =
                format!("maxEjectionPercent is {percent}, and {percent} % of {seen} endpoints is none: an endpoint that only fails is never ejected");
            let problem = finding(Severity::Warning, code::NEVER_EJECTED, message, Kind::DestinationRule, object, path);
            problems.push(problem.hint("set maxEjectionPercent, such as 100"));
        }
    };
    let mut policy = |policy: Option<&TrafficPolicy>, path: &str| {
        let Some(policy) = policy else { return };
        read(policy.outlier_detection.as_ref(), format!("{path}.outlierDetection"));
        for (i, level) in policy.port_level_settings.iter().enumerate() {
            read(level.outlier_detection.as_ref(), format!("{path}.portLevelSettings[{i}].outlierDetection"));
        }
    };
    policy(object.spec.traffic_policy.as_ref(), "spec.trafficPolicy");
    for (i, subset) in object.spec.subsets.iter().enumerate() {
        policy(subset.traffic_policy.as_ref(), &format!("spec.subsets[{i}].trafficPolicy"));
    }
}
