//! Where the gateway and the endpoints stand: a route as a gateway elsewhere would take it, and who comes first, in words.

use std::sync::Arc;

use isthmus_config::name::Locality;

use crate::balance::locality::{Distribute, LabelTest, Setting, Stand};
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
        Setting::Distribute(entries) => match Distribute::entry(entries, &stand.locality) {
            Some(entry) => {
                let to: Vec<String> = entry.to.iter().map(|(pattern, percent)| format!("{percent} % to {pattern}")).collect();
                format!("distribute from {}: {}; nowhere else", entry.from, to.join(", "))
            }
            None => format!("distribute has no entry for {}: all alike, wherever they are", named(stand)),
        },
        Setting::Failover { labels, regions, .. } => failover(labels, regions, stand),
    }
}

fn failover(labels: &[LabelTest], regions: &[(Arc<str>, Arc<str>)], stand: &Stand) -> String {
    let mut words = Vec::new();
    if !labels.is_empty() && stand.labels.is_empty() {
        words.push("failoverPriority has no effect, since the gateway has no labels".to_owned());
    } else if !labels.is_empty() {
        let labels: Vec<String> = labels.iter().map(ToString::to_string).collect();
        words.push(format!("those first that agree with the gateway in {}", labels.join(", then ")));
    }
    if labels.is_empty() || !regions.is_empty() {
        words.push(format!("from {}: same subzone, same zone, same region", named(stand)));
        match regions.iter().find(|(from, _)| **from == *stand.locality.region()) {
            Some((_, to)) => words.push(format!("then {to}, then elsewhere")),
            None => words.push("then elsewhere".to_owned()),
        }
    }
    words.join(", ")
}

fn named(stand: &Stand) -> &str {
    if stand.locality.is_empty() { "nowhere known" } else { stand.locality.as_str() }
}
