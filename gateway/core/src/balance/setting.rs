//! What a locality setting asks for, and where the gateway stands, as values (contract 6, L-20..L-34).
//!
//! What they make of endpoints is told by `locality`.

use std::collections::BTreeMap;
use std::sync::Arc;

use isthmus_config::name::Locality;
use isthmus_config::object::Labels;

use crate::model::{CLUSTER, GatewayIdentity, HOSTNAME, NETWORK, REGION, SUBZONE, Workload, ZONE};

/// The setting that applies to a backend (L-20), whatever it came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Setting {
    /// Every endpoint is priority 0, whatever its locality (L-21).
    #[default]
    Off,
    /// Shares by locality (L-30).
    Distribute {
        /// The first that names the gateway's place counts.
        entries: Vec<Distribute>,
        /// Where nobody whom the entry names may get traffic, the others do by locality order; else there is no failover.
        fallback: bool,
    },
    /// Priorities by labels, then by locality (L-31..L-33).
    Failover {
        /// failoverPriority: label keys, or `key=value` pairs (L-32).
        labels: Vec<LabelTest>,
        /// failover: from region, to region. Empty with no labels: the default priorities.
        regions: Vec<(Arc<str>, Arc<str>)>,
        /// Group weights steer traffic inside a priority (L-23).
        weighted: bool,
    },
    /// Priorities by labels, then by region; the zone of each gateway first inside the first priority (L-34).
    Zoned {
        /// failoverPriority.
        labels: Vec<LabelTest>,
        /// failover.
        regions: Vec<(Arc<str>, Arc<str>)>,
        /// Fewer endpoints that may get traffic are not told apart by zone.
        minimum: u32,
        /// Where the gateways stand that ask, and how many.
        callers: Callers,
    },
}

/// How many gateways like this one stand where.
pub type Callers = Arc<Vec<(Locality, u32)>>;

/// One entry of `distribute`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Distribute {
    /// The gateway's locality pattern.
    pub from: Arc<str>,
    /// Locality pattern and percent, in the order of the keys.
    pub to: Vec<(Arc<str>, u32)>,
}

impl Distribute {
    /// The entry for a gateway at `locality`: the first that names it (L-30).
    pub fn entry<'d>(entries: &'d [Self], locality: &Locality) -> Option<&'d Self> {
        entries.iter().find(|e| covers(&e.from, locality))
    }
}

/// One label of failoverPriority.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LabelTest {
    key: Arc<str>,
    value: Option<Arc<str>>,
}

impl std::fmt::Display for LabelTest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}", self.key),
            None => f.write_str(&self.key),
        }
    }
}

impl LabelTest {
    /// Reads a failoverPriority list. More than one `=`: all before the first is the key and there is no override. A key
    /// named twice takes its last value in both places.
    pub fn list<S: AsRef<str>>(entries: &[S]) -> Vec<Self> {
        let split = |entry: &str| match entry.split_once('=') {
            Some((key, value)) if !value.contains('=') => (Arc::from(key), Some(Arc::from(value))),
            Some((key, _)) => (Arc::from(key), None),
            None => (Arc::from(entry), None),
        };
        let overrides: BTreeMap<Arc<str>, Arc<str>> =
            entries.iter().map(|e| split(e.as_ref())).filter_map(|(key, value): (Arc<str>, Option<Arc<str>>)| Some((key, value?))).collect();
        entries
            .iter()
            .map(|entry| {
                let (key, _): (Arc<str>, Option<Arc<str>>) = split(entry.as_ref());
                let value = overrides.get(&key).cloned();
                Self { key, value }
            })
            .collect()
    }

    /// True where it asks for that label.
    pub(super) fn is_of(&self, key: &str) -> bool {
        &*self.key == key
    }

    /// True where the endpoint has the value that is asked for, or the gateway's.
    pub(super) fn holds(&self, gateway: &Labels, endpoint: &Workload) -> bool {
        let want = self.value.as_ref().or_else(|| gateway.get(&self.key)).filter(|v| !v.is_empty());
        want.map(|v| &**v) == endpoint.label(&self.key).filter(|v| !v.is_empty())
    }
}

/// Where the gateway stands, as locality rules see it (L-4, L-5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stand {
    /// Its locality.
    pub locality: Locality,
    /// Its labels, extended by those of its locality, cluster and network; empty where it has none of its own (L-32).
    pub labels: Labels,
}

impl Stand {
    /// Where a gateway stands.
    pub fn of(gateway: &GatewayIdentity) -> Self {
        let here = [(CLUSTER, gateway.cluster.as_str()), (NETWORK, gateway.network.as_str())];
        Self { locality: Locality::default(), labels: extended(gateway.labels.clone(), here) }.at(&gateway.locality)
    }
    /// The same gateway in another place of the same cluster and network.
    #[must_use]
    pub fn at(&self, locality: &Locality) -> Self {
        let mut labels = self.labels.clone();
        let [region, zone, subzone] = locality.parts();
        if !self.locality.is_empty() {
            labels.retain(|key, _| ![REGION, ZONE, SUBZONE, HOSTNAME].contains(&key));
        }
        Self { locality: locality.clone(), labels: extended(labels, [(REGION, region), (ZONE, zone), (SUBZONE, subzone)]) }
    }
}

/// Adds what is not empty, where there are labels at all (L-32: a gateway without labels has none of these either).
fn extended<const N: usize>(mut labels: Labels, by: [(&str, &str); N]) -> Labels {
    if !labels.is_empty() {
        labels.extend(by.into_iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (Arc::from(k), Arc::from(v))));
    }
    labels
}

/// Whether a pattern of `distribute` stands for a locality (L-7, L-8): `*` is a whole segment, and absent segments cover all.
pub fn covers(pattern: &str, locality: &Locality) -> bool {
    let mut segments = pattern.splitn(3, '/');
    locality.parts().into_iter().all(|part| match segments.next() {
        None | Some("*") => true,
        Some(segment) => segment == part,
    })
}
