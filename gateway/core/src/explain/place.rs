//! Where the gateway and the endpoints stand: a route as a gateway elsewhere would take it, and who comes first, in words.

use std::sync::Arc;

use isthmus_config::name::Locality;

use crate::balance::setting::{Distribute, LabelTest, Setting, Stand};
use crate::balance::{Slot, Standing, View};
use crate::snapshot::{Action, Destination, Held, Route};

/// The route with its backends as a gateway at `from` lines them up, by itself, so that nothing in force is touched.
pub(super) fn seen_from(held: Held, from: Option<&Locality>) -> Held {
    let (Some(from), Action::Forward(forward)) = (from, &held.route().action) else { return held };
    let mut forward = forward.clone();
    for destination in &mut forward.destinations.list {
        let Destination { slot: Ok(slot), .. } = destination else { continue };
        let view = slot.view.load();
        let stand = Arc::new(view.line.stand.at(from));
        *slot = Arc::new(Slot::new(slot.key.clone(), view.seen_from(&stand)));
    }
    let route = held.route();
    Held::Kept(Arc::new(Route { action: Action::Forward(forward), ..route.clone() }))
}

/// Members by priority, with it, in the order of the catalog; those that the setting leaves out come last.
pub(super) fn in_line(view: &View, standings: &[Standing]) -> Vec<(usize, Option<u32>)> {
    let mut line: Vec<(usize, Option<u32>)> = (0..view.members.len()).map(|i| (i, None)).collect();
    for standing in standings {
        for i in &standing.members {
            line[*i as usize].1 = Some(standing.priority);
        }
    }
    line.sort_by_key(|(i, priority)| (priority.unwrap_or(u32::MAX), *i));
    line
}

/// Which endpoints come first (L-21, L-30..L-33).
pub(super) fn lined_up(view: &View) -> String {
    let stand = &view.line.stand;
    match &*view.line.setting {
        Setting::Off if view.line.outlier.is_none() => "all alike, wherever they are: without outlierDetection there is no failover".to_owned(),
        Setting::Off => "all alike, wherever they are".to_owned(),
        Setting::Distribute { entries, fallback } => match Distribute::entry(entries, &stand.locality) {
            Some(entry) => {
                let to: Vec<String> = entry.to.iter().map(|(pattern, percent)| format!("{percent} % to {pattern}")).collect();
                let rest = if *fallback { "elsewhere, the nearest first, only while nobody there may get traffic" } else { "nowhere else" };
                format!("distribute from {}: {}; {rest}", entry.from, to.join(", "))
            }
            None => format!("distribute has no entry for {}: all alike, wherever they are", named(stand)),
        },
        Setting::Failover { labels, regions, .. } => {
            let mut words = labelled(labels, stand);
            if labels.is_empty() || !regions.is_empty() {
                words.push(format!("from {}: same subzone, same zone, same region", named(stand)));
                words.push(elsewhere(regions, stand));
            }
            words.join(", ")
        }
        Setting::Zoned { labels, regions, minimum, callers } => {
            let mut words = labelled(labels, stand);
            words.push(format!("from {}: same region", named(stand)));
            words.push(elsewhere(regions, stand));
            words.push(match callers.iter().map(|(_, n)| n).sum::<u32>() {
                0 => "zones alike, since no Service tells where the gateways stand".to_owned(),
                n => format!("in the first priority, of at least {minimum} endpoints, the zone of each of {n} gateways first"),
            });
            words.join(", ")
        }
    }
}

fn labelled(labels: &[LabelTest], stand: &Stand) -> Vec<String> {
    if labels.is_empty() {
        return Vec::new();
    }
    if stand.labels.is_empty() {
        return vec!["failoverPriority has no effect, since the gateway has no labels".to_owned()];
    }
    let labels: Vec<String> = labels.iter().map(ToString::to_string).collect();
    vec![format!("those first that agree with the gateway in {}", labels.join(", then "))]
}

fn elsewhere(regions: &[(Arc<str>, Arc<str>)], stand: &Stand) -> String {
    match regions.iter().find(|(from, _)| **from == *stand.locality.region()) {
        Some((_, to)) => format!("then {to}, then elsewhere"),
        None => "then elsewhere".to_owned(),
    }
}

fn named(stand: &Stand) -> &str {
    if stand.locality.is_empty() { "nowhere known" } else { stand.locality.as_str() }
}
