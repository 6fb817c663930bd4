//! What would be if something were down: per backend where its traffic goes then, who has no survivor, who carries how much more.
//!
//! Views in force are made again without the endpoints that are down, by the function that makes views, and compared by their odds; no
//! rule has a second form here. An endpoint that is down counts as gone, which is how things settle once readiness or its API
//! server says so. Pure: nothing in force is touched.

mod compare;
mod down;
mod matrix;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use isthmus_config::name::Locality;
use serde::{Deserialize, Serialize};

use crate::balance::{BackendKey, Slot, View};
use crate::model::Address;
use crate::snapshot::{Action, Destinations, Front, Snapshot};

pub use down::{Down, NotDown};
pub use matrix::{By, Matrix, MatrixRow, localities};

/// What would be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Whatif {
    /// What is supposed to be down.
    pub down: Vec<String>,
    /// Where the gateway stands.
    pub from: String,
    /// Endpoints behind routes, each once.
    pub endpoints: usize,
    /// How many of those are down.
    pub endpoints_down: usize,
    /// Backends that routes send to.
    pub backends: usize,
    /// Backends that lose no endpoint.
    pub unchanged: usize,
    /// Backends that have nobody to answer even now.
    pub empty_now: usize,
    /// Backends that lose endpoints, worst first.
    pub findings: Vec<Finding>,
    /// What else there is to say.
    pub notes: Vec<String>,
}

/// What becomes of one backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// `outbound|80||host`.
    pub backend: String,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its subset, or "".
    pub subset: String,
    /// What it comes to.
    pub outcome: Outcome,
    /// Its endpoints.
    pub endpoints: usize,
    /// How many are down.
    pub endpoints_down: usize,
    /// Where its traffic goes now.
    pub now: Vec<Flow>,
    /// Where it goes then.
    pub then: Vec<Flow>,
    /// The share of its traffic that goes elsewhere, 0 to 1.
    pub moved: f64,
    /// Who carries more, most first.
    pub load: Vec<Load>,
    /// How many endpoints outlier detection may eject at once; none where there is none, and readiness alone tells who is down.
    pub ejectable: Option<u32>,
    /// Hosts of routes that send to it, a few.
    pub hosts: Vec<String>,
}

/// What a backend comes to. The worst is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Nobody is left to answer: 503 UH.
    NoSurvivor,
    /// Some endpoint carries [`STRAIN`] times what it carried, or more.
    Strained,
    /// Its traffic goes elsewhere, or to fewer.
    Moved,
    /// What it loses carried nothing.
    Spared,
}

/// Traffic of one cluster and locality.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Flow {
    pub cluster: String,
    pub locality: String,
    /// Endpoints that get it.
    pub endpoints: usize,
    /// Share of the backend's traffic, 0 to 1.
    pub share: f64,
}

/// Endpoints that carry more than before, alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// How many.
    pub endpoints: usize,
    /// How many times their load; of those that were idle, times the load of one that was not.
    pub factor: f64,
    /// They carried nothing before.
    pub idle: bool,
}

/// From this factor on a backend counts as strained.
pub const STRAIN: f64 = 2.0;

/// Hosts named of one backend at most.
const HOSTS: usize = 5;

/// Who sends to a backend.
struct Routed {
    slot: Arc<Slot>,
    hosts: BTreeSet<Arc<str>>,
}

/// Supposes that `down` is down, of everything that `snapshot` routes to; seen from where the gateway stands, or from `from`.
pub fn whatif(snapshot: &Snapshot, down: &[Down], from: Option<&Locality>) -> Whatif {
    let routed = routed(snapshot);
    let mut told = Whatif { down: down.iter().map(ToString::to_string).collect(), backends: routed.len(), ..Whatif::default() };
    let views: Vec<(Arc<View>, &Routed)> = routed.values().map(|r| (seen(&r.slot, from), r)).collect();
    let (mut all, mut lost): (HashSet<&Address>, HashSet<&Address>) = Default::default();
    let mut unmet: Vec<&Down> = down.iter().collect();
    for (view, routed) in &views {
        let mut hit = false;
        for member in &view.members {
            let endpoint = &member.endpoint;
            all.insert(&endpoint.address);
            unmet.retain(|d| !d.takes(endpoint));
            if down.iter().any(|d| d.takes(endpoint)) {
                lost.insert(&endpoint.address);
                hit = true;
            }
        }
        if !compare::answers(view) {
            told.empty_now += 1;
        } else if !hit {
            told.unchanged += 1;
        } else {
            let then = view.without(|m| down.iter().any(|d| d.takes(&m.endpoint)));
            told.findings.push(compare::finding(&routed.slot.key, view, &then, routed.hosts.iter().take(HOSTS).map(ToString::to_string).collect()));
        }
    }
    (told.endpoints, told.endpoints_down) = (all.len(), lost.len());
    told.findings.sort_by(compare::worst_first);
    for down in unmet {
        let meant = down.meant(views.iter().flat_map(|(v, _)| v.members.iter().map(|m| &*m.endpoint)));
        told.notes.push(format!("{down} takes no endpoint behind a route{}", meant.map(|m| format!(": {m}")).unwrap_or_default()));
    }
    if let Some((view, _)) = views.first() {
        let stand = &view.line.stand;
        told.from = stand.locality.to_string();
        if let Some(own) = down.iter().find(|d| d.takes_gateway(stand)).filter(|_| from.is_none()) {
            told.notes.push(format!("this gateway stands in {own} itself: --from tells what a gateway elsewhere would do"));
        }
    }
    told
}

fn seen(slot: &Slot, from: Option<&Locality>) -> Arc<View> {
    let view = slot.view.load_full();
    match from {
        Some(from) => {
            let stand = Arc::new(view.line.stand.at(from));
            Arc::new(view.seen_from(&stand))
        }
        None => view,
    }
}

/// Every backend that a route or a TCP listener sends to, with the hosts that it answers for.
fn routed(snapshot: &Snapshot) -> BTreeMap<BackendKey, Routed> {
    let mut routed: BTreeMap<BackendKey, Routed> = BTreeMap::new();
    let mut add = |destinations: &Destinations, host: Option<&Arc<str>>| {
        for slot in destinations.list.iter().filter_map(|d| d.slot.as_ref().ok()) {
            let entry = routed.entry(BackendKey::clone(&slot.key)).or_insert_with(|| Routed { slot: slot.clone(), hosts: BTreeSet::new() });
            entry.hosts.extend(host.cloned());
        }
    };
    for listener in &snapshot.listeners {
        match &listener.front {
            Front::Http(http) => {
                for host in &http.virtual_hosts {
                    let name: Arc<str> = host.name().into();
                    for route in host.routes.iter() {
                        if let Action::Forward(forward) = &route.action {
                            add(&forward.destinations, Some(&name));
                        }
                    }
                }
            }
            Front::Tcp(tcp) => add(&tcp.destinations, None),
            Front::Closed(_) => {}
        }
    }
    routed
}
