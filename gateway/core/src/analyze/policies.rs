//! Traffic policies that do less than they say: ejection that never happens (D-41), localities without outlier detection (L-21),
//! `distribute` that leaves healthy endpoints unused (L-30), ISTIO_MUTUAL without a certificate, services without failover.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use isthmus_config::istio::annotations;
use isthmus_config::istio::destination_rule::{
    ClientTlsMode, ClientTlsSettings, ConnectionPoolSettings, DestinationRule, LoadBalancerSettings, LocalityLoadBalancerSetting, OutlierDetection,
    Subset, TrafficPolicy,
};
use isthmus_config::name::{Hostname, Locality};
use isthmus_config::object::{Kind, Object};
use isthmus_config::problem::{Problem, Severity};

use super::{Scene, code, finding};
use crate::balance::setting::{Setting, covers};
use crate::compile::{Effective, outlier};
use crate::model::{Endpoint, Service};

type Rule = Arc<Object<DestinationRule>>;

/// The blocks of one policy, where they stand.
pub(super) struct Blocks<'a> {
    pub(super) path: String,
    /// The service port that they are for; none is every port.
    pub(super) port: Option<u32>,
    /// Their subset.
    pub(super) subset: Option<&'a Subset>,
    pub(super) pool: Option<&'a ConnectionPoolSettings>,
    load_balancer: Option<&'a LoadBalancerSettings>,
    outlier: Option<&'a OutlierDetection>,
    /// Outlier detection stands here or is inherited (D-21).
    guarded: bool,
    tls: Option<&'a ClientTlsSettings>,
}

/// Every policy of a rule.
pub(super) fn blocks(rule: &DestinationRule) -> Vec<Blocks<'_>> {
    let top = rule.traffic_policy.as_ref();
    let inherited = top.is_some_and(|p| p.outlier_detection.is_some());
    let mut all = of_policy(top, "spec.trafficPolicy", None, false);
    for (i, subset) in rule.subsets.iter().enumerate() {
        all.extend(of_policy(subset.traffic_policy.as_ref(), &format!("spec.subsets[{i}].trafficPolicy"), Some(subset), inherited));
    }
    all
}

/// A policy and its port levels, which inherit nothing (D-20).
fn of_policy<'a>(policy: Option<&'a TrafficPolicy>, path: &str, subset: Option<&'a Subset>, inherited: bool) -> Vec<Blocks<'a>> {
    let Some(policy) = policy else { return Vec::new() };
    let mut all = vec![Blocks {
        path: path.to_owned(),
        port: None,
        subset,
        pool: policy.connection_pool.as_ref(),
        load_balancer: policy.load_balancer.as_ref(),
        outlier: policy.outlier_detection.as_ref(),
        guarded: inherited || policy.outlier_detection.is_some(),
        tls: policy.tls.as_ref(),
    }];
    all.extend(policy.port_level_settings.iter().enumerate().map(|(i, level)| Blocks {
        path: format!("{path}.portLevelSettings[{i}]"),
        port: level.port.as_ref().map(|p| p.number),
        subset,
        pool: level.connection_pool.as_ref(),
        load_balancer: level.load_balancer.as_ref(),
        outlier: level.outlier_detection.as_ref(),
        guarded: level.outlier_detection.is_some(),
        tls: level.tls.as_ref(),
    }));
    all
}

/// What a rule's policies do less than they say.
pub(super) fn of_rule(scene: &Scene<'_>, object: &Rule, services: &[&Hostname], problems: &mut Vec<Problem>) {
    let rules = scene.compiler.rules();
    let found: Vec<_> = services.iter().filter_map(|h| scene.world.catalog.services.get(*h)).collect();
    let taken = |s: &&Arc<Service>| rules.find(scene.world, s).is_some_and(|r| r.sources.iter().any(|o| Arc::ptr_eq(o, object)));
    // Of a rule that no service takes, that is said, and nothing else.
    if !found.is_empty() && !found.iter().any(taken) {
        return;
    }
    for blocks in blocks(&object.spec) {
        ejection(scene, object, services, &blocks, problems);
        let setting = blocks.load_balancer.and_then(|lb| lb.locality_lb_setting.as_ref());
        if let Some(setting) = setting.filter(|s| s.enabled != Some(false)) {
            unguarded(object, &blocks, setting, problems);
            distribute(scene, object, services, &blocks, setting, problems);
        }
        if blocks.tls.is_some_and(|tls| tls.mode == ClientTlsMode::IstioMutual) {
            let message = "ISTIO_MUTUAL presents a workload certificate, and this gateway has none; endpoints are spoken to in plaintext, which those that ask for a certificate refuse";
            let problem =
                finding(Severity::Warning, code::NO_CERTIFICATE, message, Kind::DestinationRule, object, format!("{}.tls.mode", blocks.path));
            problems.push(problem.hint("remove tls, or set mode DISABLE, for services that this gateway calls"));
        }
    }
}

/// The endpoints that a policy is for, by service and port.
fn endpoints<'a>(scene: &Scene<'a>, services: &[&Hostname], blocks: &Blocks<'_>) -> BTreeMap<(&'a Hostname, &'a str), Vec<&'a Endpoint>> {
    let catalog = &scene.world.catalog;
    let mut found: BTreeMap<(&Hostname, &str), Vec<&Endpoint>> = BTreeMap::new();
    for (host, service) in services.iter().filter_map(|h| catalog.services.get_key_value(*h)) {
        let of_port = |e: &&Endpoint| blocks.port.is_none_or(|n| service.ports.iter().any(|p| u32::from(p.number) == n && p.name == e.port_name));
        let of_subset = |e: &&Endpoint| blocks.subset.is_none_or(|s| s.labels.iter().all(|(k, v)| e.workload.label(k) == Some(&**v)));
        let all = catalog.endpoints.get(host).into_iter().flat_map(|e| e.iter()).map(|e| &**e);
        for endpoint in all.filter(of_port).filter(of_subset) {
            found.entry((host, &endpoint.port_name)).or_default().push(endpoint);
        }
    }
    found
}

/// At most maxEjectionPercent of the endpoints are ejected at once, and 10 % of fewer than ten are none (D-41).
fn ejection(scene: &Scene<'_>, object: &Rule, services: &[&Hostname], blocks: &Blocks<'_>, problems: &mut Vec<Problem>) {
    let Some(policy) = blocks.outlier.map(outlier) else { return };
    let count = endpoints(scene, services, blocks).values().map(Vec::len).max().unwrap_or(0);
    if policy.cap(count.max(1)) > 0 {
        return;
    }
    let seen = match count {
        0 => "a few endpoints".to_owned(),
        1 => "1 endpoint".to_owned(),
        n => format!("{n} endpoints"),
    };
    let percent = policy.max_percent;
    let message = format!("maxEjectionPercent is {percent}, and {percent} % of {seen} is none: an endpoint that only fails is never ejected");
    let path = format!("{}.outlierDetection", blocks.path);
    problems.push(
        finding(Severity::Warning, code::NEVER_EJECTED, message, Kind::DestinationRule, object, path).hint("set maxEjectionPercent, such as 100"),
    );
}

/// Priorities need outlier detection (L-21). Lists without it are told by the admission rules.
fn unguarded(object: &Rule, blocks: &Blocks<'_>, setting: &LocalityLoadBalancerSetting, problems: &mut Vec<Problem>) {
    let lists = !setting.failover.is_empty() || !setting.failover_priority.is_empty() || !setting.distribute.is_empty();
    if lists || blocks.guarded {
        return;
    }
    let message = "localityLbSetting has no effect: priorities by locality need outlierDetection beside it";
    let path = format!("{}.loadBalancer.localityLbSetting", blocks.path);
    let problem = finding(Severity::Warning, code::UNGUARDED, message, Kind::DestinationRule, object, path);
    problems.push(problem.hint("add outlierDetection to the same policy; an empty one is enough"));
}

/// A gateway whose entry leaves places out answers 503 once the named ones are gone, whoever is healthy elsewhere (L-30).
fn distribute(
    scene: &Scene<'_>,
    object: &Rule,
    services: &[&Hostname],
    blocks: &Blocks<'_>,
    setting: &LocalityLoadBalancerSetting,
    problems: &mut Vec<Problem>,
) {
    if annotations::switch(&object.meta.annotations, annotations::DISTRIBUTE_FALLBACK) == Some(true) {
        return;
    }
    let known = endpoints(scene, services, blocks);
    let mut places: BTreeSet<&Locality> = known.values().flatten().map(|e| e.workload.locality()).filter(|l| !l.is_empty()).collect();
    let named: BTreeSet<Locality> = setting.distribute.iter().flat_map(|d| d.to.keys()).filter_map(|pattern| place(pattern)).collect();
    if places.is_empty() {
        // Files alone do not say which endpoints there are: the places that the rule itself names stand for them.
        places.extend(&named);
    }
    for (i, entry) in setting.distribute.iter().enumerate() {
        let left: Vec<&str> = places.iter().filter(|place| !entry.to.keys().any(|p| covers(p, place))).map(|place| place.as_str()).collect();
        if left.is_empty() {
            continue;
        }
        let to: Vec<&str> = entry.to.keys().map(String::as_str).collect();
        let message = format!(
            "a gateway in {} sends to {} alone: with those gone it answers 503, whoever is healthy in {}",
            entry.from,
            to.join(", "),
            left.join(", ")
        );
        let path = format!("{}.loadBalancer.localityLbSetting.distribute[{i}]", blocks.path);
        let problem = finding(Severity::Warning, code::NO_FALLBACK, message, Kind::DestinationRule, object, path);
        problems.push(problem.hint(format!("set the annotation {}: \"true\", or name every locality", annotations::DISTRIBUTE_FALLBACK)));
    }
}

/// The locality that a pattern names, where it names one.
fn place(pattern: &str) -> Option<Locality> {
    let stem = pattern.trim_end_matches("/*");
    (!stem.is_empty() && !stem.contains('*')).then(|| stem.into())
}

/// Services told one by one at most.
const TOLD: usize = 20;

/// Services on the way whose endpoints stand in several regions, and of which nothing says that one is better than another.
pub(super) fn without_failover(scene: &Scene<'_>, problems: &mut Vec<Problem>) {
    let world = scene.world;
    if world.gateway.locality.is_empty() || world.mesh.locality_lb_setting.as_ref().is_some_and(|s| s.enabled == Some(false)) {
        return;
    }
    let mut found: BTreeMap<&Hostname, (&Arc<Service>, BTreeSet<String>)> = BTreeMap::new();
    for slot in scene.compiler.slots() {
        let Some((host, service)) = world.catalog.services.get_key_value(&slot.key.host) else { continue };
        let view = slot.view.load();
        let rule = scene.compiler.rules().find(world, service);
        let asked = Effective::of(rule.as_deref(), &slot.key.subset, slot.key.port, &world.mesh);
        let off = asked.load_balancer.and_then(|lb| lb.locality_lb_setting.as_ref()).is_some_and(|s| s.enabled == Some(false));
        let regions: BTreeSet<String> =
            view.members.iter().map(|m| m.endpoint.workload.locality().region().to_owned()).filter(|r| !r.is_empty()).collect();
        if *view.line.setting == Setting::Off && !off && regions.len() > 1 {
            found.entry(host).or_insert_with(|| (service, BTreeSet::new())).1.extend(regions);
        }
    }
    let more = found.len().saturating_sub(TOLD);
    for (i, (host, (service, regions))) in found.into_iter().take(TOLD).enumerate() {
        let regions: Vec<String> = regions.into_iter().collect();
        let rest = if i + 1 == TOLD && more > 0 { format!("; {more} more services are like it") } else { String::new() };
        let message = format!(
            "no failover: its endpoints in {} get traffic alike, and one that fails stays in line, since no DestinationRule in force has outlierDetection{rest}",
            regions.join(", ")
        );
        let problem = Problem::new(Severity::Warning, code::NO_FAILOVER, message).of(service.object.clone(), &service.origin).at("metadata.name");
        problems.push(problem.hint(format!("add outlierDetection to a DestinationRule for {host}")));
    }
}
