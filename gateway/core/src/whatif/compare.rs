//! Two views of one backend compared: where the traffic goes, who carries how much more.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Finding, Flow, Load, Outcome, STRAIN};
use crate::balance::{BackendKey, EndpointState, Lb, View};

/// Less than this is no traffic and no difference.
const LEAST: f64 = 1e-6;

/// True where somebody answers.
pub(super) fn answers(view: &View) -> bool {
    view.policy.lb != Lb::Passthrough && view.odds().iter().sum::<f64>() > LEAST
}

/// Compares a backend `now` with what it is `then`.
pub(super) fn finding(key: &BackendKey, now: &View, then: &View, hosts: Vec<String>) -> Finding {
    let (before, after) = (flows(now), flows(then));
    let load = load(now, then);
    let moved: f64 = after.iter().map(|f| (f.share - share_of(&before, f)).max(0.0)).fold(0.0, |a, b| a + b);
    let outcome = if !answers(then) {
        Outcome::NoSurvivor
    } else if load.first().is_some_and(|l| l.factor >= STRAIN) {
        Outcome::Strained
    } else if moved > LEAST || !load.is_empty() {
        Outcome::Moved
    } else {
        Outcome::Spared
    };
    Finding {
        backend: key.to_string(),
        host: key.host.to_string(),
        port: key.port,
        subset: key.subset.to_string(),
        outcome,
        endpoints: now.members.len(),
        endpoints_down: now.members.len() - then.members.len(),
        now: before,
        then: after,
        moved,
        load,
        ejectable: now.line.outlier.as_ref().map(|o| o.cap(now.members.len())),
        hosts,
    }
}

/// By outcome, then by what an endpoint has to bear, then by how much moves, then by name.
pub(super) fn worst_first(a: &Finding, b: &Finding) -> Ordering {
    let strain = |f: &Finding| f.load.first().map_or(0.0, |l| l.factor);
    let by = |a: f64, b: f64| b.total_cmp(&a);
    a.outcome.cmp(&b.outcome).then(by(strain(a), strain(b))).then(by(a.moved, b.moved)).then_with(|| a.backend.cmp(&b.backend))
}

fn share_of(flows: &[Flow], like: &Flow) -> f64 {
    flows.iter().find(|f| f.cluster == like.cluster && f.locality == like.locality).map_or(0.0, |f| f.share)
}

/// Traffic by cluster and locality, most first.
fn flows(view: &View) -> Vec<Flow> {
    let mut by_place: BTreeMap<(&str, &str), (usize, f64)> = BTreeMap::new();
    for (member, odds) in view.members.iter().zip(view.odds()).filter(|(_, odds)| *odds > LEAST) {
        let workload = &member.endpoint.workload;
        let entry = by_place.entry((workload.cluster().as_str(), workload.locality().as_str())).or_default();
        entry.0 += 1;
        entry.1 += odds;
    }
    let mut flows: Vec<Flow> = by_place
        .into_iter()
        .map(|((cluster, locality), (endpoints, share))| Flow { cluster: cluster.to_owned(), locality: locality.to_owned(), endpoints, share })
        .collect();
    flows.sort_by(|a, b| b.share.total_cmp(&a.share));
    flows
}

/// Endpoints that carry more than before, by tenths of how much.
fn load(now: &View, then: &View) -> Vec<Load> {
    let carried: HashMap<*const EndpointState, f64> = now.members.iter().map(|m| Arc::as_ptr(&m.state)).zip(now.odds()).collect();
    // What one that was not idle carried, for its weight.
    let busy = now.members.iter().zip(now.odds()).filter(|(_, odds)| *odds > LEAST);
    let (count, sum) = busy.fold((0usize, 0.0), |(n, sum), (m, odds)| (n + 1, sum + odds / f64::from(m.weight())));
    let usual = sum / count.max(1) as f64;
    let mut groups: BTreeMap<(u64, bool), usize> = BTreeMap::new();
    for (member, odds) in then.members.iter().zip(then.odds()).filter(|(_, odds)| *odds > LEAST) {
        let before = carried.get(&Arc::as_ptr(&member.state)).copied().unwrap_or(0.0);
        let idle = before <= LEAST;
        let factor = if idle { odds / f64::from(member.weight()) / usual.max(LEAST) } else { odds / before };
        let tenths = (factor * 10.0).round() as u64;
        if idle || tenths > 10 {
            *groups.entry((tenths, idle)).or_default() += 1;
        }
    }
    groups.into_iter().rev().map(|((tenths, idle), endpoints)| Load { endpoints, factor: tenths as f64 / 10.0, idle }).collect()
}
