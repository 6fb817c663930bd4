//! Admission of locality load balancing (L-24).

use std::collections::HashSet;

use super::Checker;
use crate::istio::destination_rule::{Failover, LocalityLoadBalancerSetting, ZoneAwareLoadBalancerSetting};

/// Labels whose order the locality itself says.
const LEVELS: [&str; 3] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"];

/// `localityLbSetting`; `outlier` says whether outlierDetection stands beside it.
pub(super) fn locality(c: &mut Checker<'_>, setting: &LocalityLoadBalancerSetting, outlier: bool) {
    if !setting.distribute.is_empty() && !setting.failover.is_empty() {
        c.error("failover", "cannot stand beside distribute");
        return;
    }
    if !setting.failover.is_empty() {
        c.each("failoverPriority", &setting.failover_priority, |c, label| {
            if LEVELS.contains(&label.as_str()) {
                c.error("", format!("{label} cannot stand beside failover"));
            }
        });
    }
    let mut sources = Covered::default();
    c.each("distribute", &setting.distribute, |c, distribute| {
        c.check("from", sources.add(&distribute.from));
        let mut targets = Covered::default();
        let mut counted = true;
        c.entries("to", &distribute.to, |c, pattern, weight| {
            c.check("", targets.add(pattern));
            if !(1..=100).contains(weight) {
                counted = false;
                c.error("", format!("expected a weight from 1 to 100, found {weight}"));
            }
        });
        let total: u64 = distribute.to.values().map(|weight| u64::from(*weight)).sum();
        if counted && total != 100 {
            c.error("to", format!("expected weights that add up to 100, found {total}"));
        }
    });
    unwatched(c, &setting.failover, &setting.failover_priority, outlier);
    c.each("failover", &setting.failover, failover);
}

/// `zoneAwareLbSetting`: zones and subzones are ordered by themselves.
pub(super) fn zone_aware(c: &mut Checker<'_>, setting: &ZoneAwareLoadBalancerSetting, outlier: bool) {
    c.each("failoverPriority", &setting.failover_priority, |c, label| {
        if LEVELS.contains(&label.as_str()) {
            c.error("", format!("{label} is ordered by the zone-aware setting itself"));
        }
    });
    unwatched(c, &setting.failover, &setting.failover_priority, outlier);
    c.each("failover", &setting.failover, failover);
}

fn unwatched(c: &mut Checker<'_>, failover: &[Failover], priority: &[String], outlier: bool) {
    if !outlier && (!failover.is_empty() || !priority.is_empty()) {
        c.warning("", "failover has an effect only where outlierDetection is set too");
    }
}

/// One `failover` entry: two different regions, by name. One error for each entry.
fn failover(c: &mut Checker<'_>, failover: &Failover) {
    let sides = [("from", &failover.from), ("to", &failover.to)];
    let holds = |sign: char| sides.iter().find(|(_, region)| region.contains(sign));
    if let Some((field, region)) = holds('/') {
        c.error(field, format!("expected a region alone, found {region:?}"));
    } else if let Some((field, region)) = holds('*') {
        c.error(field, format!("expected a region by name, found {region:?}"));
    } else if failover.from == failover.to {
        c.error("to", format!("expected another region than {:?}", failover.from));
    }
}

/// The localities named so far: a later one must not fall under an earlier one, nor hold one unless it ends in `/*`.
#[derive(Default)]
struct Covered<'l> {
    /// Named with all that is in them.
    whole: HashSet<&'l str>,
    /// Of which something is named.
    partly: HashSet<&'l str>,
}

impl<'l> Covered<'l> {
    fn add(&mut self, locality: &'l str) -> super::Verdict {
        if locality.split('/').any(str::is_empty) {
            return Err(format!("expected region[/zone[/subzone]] without empty parts, found {locality:?}"));
        }
        if locality.matches('*').count() > 1 || (locality.contains('*') && !locality.ends_with('*')) {
            return Err(format!("expected one `*` at most, at the end, found {locality:?}"));
        }
        // `r1`, `r1/*` and `r1/z1/*` name a region or a zone with all that is in it.
        let stem = locality.strip_suffix("/*").unwrap_or(locality);
        let ends = stem.match_indices('/').map(|(i, _)| i).chain([stem.len()]);
        if self.whole.contains("*") || ends.clone().any(|end| self.whole.contains(&stem[..end])) {
            return Err(format!("{locality:?} falls under one named before it"));
        }
        if stem == locality && self.partly.contains(stem) {
            return Err(format!("{locality:?} holds one named before it"));
        }
        self.partly.extend(ends.map(|end| &stem[..end]));
        self.whole.insert(stem);
        Ok(())
    }
}
