//! Which endpoints come first: priorities and locality weights (contract 6, L-20..L-35).
//!
//! A pure arrangement of endpoints into groups, one per priority and locality, as Istio sends them to Envoy. What health does to
//! the groups is told by `priority`.

use std::collections::BTreeMap;
use std::sync::Arc;

use isthmus_config::name::Locality;

use super::setting::{Distribute, LabelTest, Setting, Stand, covers};
use crate::model::{Endpoint, NETWORK, Workload};

/// Endpoints of one priority and locality.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Failover tier, 0 first, without gaps.
    pub priority: u32,
    /// Their locality, as the first of them writes it (L-6).
    pub locality: Locality,
    /// Their weight among the groups of their priority.
    pub weight: u64,
    /// Positions among the endpoints given.
    pub members: Vec<u32>,
}

/// The arrangement of a backend's endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arranged {
    /// Groups by priority, then by locality.
    pub groups: Vec<Group>,
    /// Group weights steer traffic (L-23); else endpoints of one priority are drawn by their own weights.
    pub weighted: bool,
    /// Priorities after the first get traffic only where nobody of the first may.
    pub reserve: bool,
}

/// Arranges endpoints. Those that the setting leaves out (L-30) are in no group.
pub fn arrange(setting: &Setting, stand: &Stand, endpoints: &[&Endpoint]) -> Arranged {
    let groups = by_locality(endpoints);
    match setting {
        Setting::Off => Arranged { groups, ..Arranged::default() },
        Setting::Distribute { entries, fallback } => {
            let Some(entry) = Distribute::entry(entries, &stand.locality) else { return Arranged { groups, weighted: true, reserve: false } };
            let (mut groups, rest) = distribute(groups, &entry.to);
            let reserve = *fallback && !groups.is_empty();
            if *fallback {
                groups.extend(behind(rest, stand));
                renumber(&mut groups);
            }
            Arranged { groups, weighted: true, reserve }
        }
        Setting::Failover { labels, regions, weighted } => {
            let mut groups = by_labels(groups, labels, stand, endpoints);
            if labels.is_empty() || !regions.is_empty() {
                by_region(&mut groups, regions, stand);
            }
            renumber(&mut groups);
            Arranged { groups, weighted: *weighted, reserve: false }
        }
        Setting::Zoned { labels, regions, .. } => {
            let mut groups = by_labels(groups, labels, stand, endpoints);
            by_region_alone(&mut groups, regions, stand);
            renumber(&mut groups);
            Arranged { groups, ..Arranged::default() }
        }
    }
}

/// One group per locality, sorted by text (L-6). A part that is missing is an empty one (L-8), so `r1/z1` and `r1/z1/` are one group
/// here as they are to Envoy; the first text names it, and both weights count.
fn by_locality(endpoints: &[&Endpoint]) -> Vec<Group> {
    let mut groups: BTreeMap<[&str; 3], Group> = BTreeMap::new();
    for (at, endpoint) in (0u32..).zip(endpoints) {
        let locality = endpoint.locality();
        let new = || Group { priority: 0, locality: locality.clone(), weight: 0, members: Vec::new() };
        let group = groups.entry(locality.parts()).or_insert_with(new);
        if *locality < group.locality {
            group.locality = locality.clone();
        }
        group.weight += u64::from(endpoint.weight.max(1));
        group.members.push(at);
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by(|a, b| a.locality.cmp(&b.locality));
    groups
}

/// Each percent is shared by the groups it claims in proportion to their weight, rounded up; unclaimed groups lose all (L-30):
/// they are the second list.
fn distribute(groups: Vec<Group>, to: &[(Arc<str>, u32)]) -> (Vec<Group>, Vec<Group>) {
    let mut shares: Vec<Option<u64>> = vec![None; groups.len()];
    for (pattern, percent) in to {
        let claimed: Vec<usize> = (0..groups.len()).filter(|i| shares[*i].is_none() && covers(pattern, &groups[*i].locality)).collect();
        let total: u64 = claimed.iter().map(|i| groups[*i].weight).sum();
        for i in claimed {
            shares[i] = Some((groups[i].weight * u64::from(*percent)).div_ceil(total.max(1)));
        }
    }
    let (mut named, mut rest) = (Vec::new(), Vec::new());
    for (group, share) in groups.into_iter().zip(shares) {
        match share {
            Some(weight) => named.push(Group { weight, ..group }),
            None => rest.push(group),
        }
    }
    (named, rest)
}

/// Groups in the default order of localities, after the first priority.
fn behind(mut groups: Vec<Group>, stand: &Stand) -> Vec<Group> {
    by_region(&mut groups, &[], stand);
    for group in &mut groups {
        group.priority += 1;
    }
    groups
}

/// Splits groups by how many labels agree in order (L-32). A gateway without labels, or no list, changes nothing.
fn by_labels(groups: Vec<Group>, tests: &[LabelTest], stand: &Stand, endpoints: &[&Endpoint]) -> Vec<Group> {
    if tests.is_empty() || stand.labels.is_empty() {
        return groups;
    }
    // The label whose mismatch, in first place, weighs as much as all others together is the network's.
    let rank = |workload: &Workload| {
        let n = tests.len();
        let mut base = 0;
        for (j, test) in tests.iter().enumerate() {
            if !test.holds(&stand.labels, workload) {
                if j == 0 && test.is_of(NETWORK) {
                    base = n;
                    continue;
                }
                return base + n - j;
            }
        }
        base
    };
    let mut split: BTreeMap<(u32, Locality), Group> = BTreeMap::new();
    for group in groups {
        for at in group.members {
            let endpoint = endpoints[at as usize];
            let priority = rank(&endpoint.workload) as u32;
            let entry = split.entry((priority, group.locality.clone())).or_insert_with(|| Group {
                priority,
                locality: group.locality.clone(),
                weight: 0,
                members: Vec::new(),
            });
            entry.weight += u64::from(endpoint.weight.max(1));
            entry.members.push(at);
        }
    }
    split.into_values().collect()
}

/// Same subzone, zone, region, elsewhere; and elsewhere but not where failover leads (L-31). Weighs less than labels.
fn by_region(groups: &mut [Group], regions: &[(Arc<str>, Arc<str>)], stand: &Stand) {
    let [region, zone, subzone] = stand.locality.parts();
    let leads_to = regions.iter().find(|(from, _)| &**from == region).map(|(_, to)| to);
    for group in groups {
        let [r, z, s] = group.locality.parts();
        let own = match (r == region, z == zone, s == subzone) {
            (true, true, true) => 0,
            (true, true, false) => 1,
            (true, false, _) => 2,
            (false, _, _) => 3 + u32::from(leads_to.is_some_and(|to| &**to != r)),
        };
        group.priority = group.priority * 5 + own;
    }
}

/// Same region, where failover leads, elsewhere (L-34). Weighs less than labels.
fn by_region_alone(groups: &mut [Group], regions: &[(Arc<str>, Arc<str>)], stand: &Stand) {
    let region = stand.locality.region();
    let leads_to = regions.iter().find(|(from, _)| **from == *region).map(|(_, to)| to);
    for group in groups {
        let own = match group.locality.region() {
            here if here == region => 0,
            there if leads_to.is_some_and(|to| **to == *there) => 1,
            _ => 2,
        };
        group.priority = group.priority * 3 + own;
    }
}

/// Makes priorities 0..n without gaps, and sorts by them.
fn renumber(groups: &mut [Group]) {
    let mut used: Vec<u32> = groups.iter().map(|g| g.priority).collect();
    used.sort_unstable();
    used.dedup();
    for group in groups.iter_mut() {
        group.priority = used.partition_point(|p| *p < group.priority) as u32;
    }
    groups.sort_by(|a, b| (a.priority, &a.locality).cmp(&(b.priority, &b.locality)));
}

#[cfg(test)]
mod tests;
