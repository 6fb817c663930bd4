//! Which endpoints come first: priorities and locality weights (contract 6, L-20..L-35).
//!
//! A pure arrangement of endpoints into groups, one per priority and locality, as Istio sends them to Envoy. What health does to
//! the groups is told by `priority`.

use std::collections::BTreeMap;
use std::sync::Arc;

use isthmus_config::name::Locality;
use isthmus_config::object::Labels;

use crate::model::{CLUSTER, Endpoint, GatewayIdentity, HOSTNAME, NETWORK, REGION, SUBZONE, Workload, ZONE};

/// The setting that applies to a backend (L-20), whatever it came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
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

    fn holds(&self, gateway: &Labels, endpoint: &Workload) -> bool {
        let want = self.value.as_ref().or_else(|| gateway.get(&self.key)).filter(|v| !v.is_empty());
        want.map(|v| &**v) == endpoint.label(&self.key).filter(|v| !v.is_empty())
    }
}

/// Where the gateway stands, as locality rules see it (L-4, L-5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
            labels.retain(|key, _| ![REGION, ZONE, SUBZONE, HOSTNAME].contains(&&**key));
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

/// Endpoints of one priority and locality.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Failover tier, 0 first, without gaps.
    pub priority: u32,
    /// Their locality, raw (L-6).
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

/// One group per raw locality, sorted by text (L-6).
fn by_locality(endpoints: &[&Endpoint]) -> Vec<Group> {
    let mut groups: BTreeMap<&Locality, Group> = BTreeMap::new();
    for (at, endpoint) in (0u32..).zip(endpoints) {
        let locality = endpoint.locality();
        let group = groups.entry(locality).or_insert_with(|| Group { priority: 0, locality: locality.clone(), weight: 0, members: Vec::new() });
        group.weight += u64::from(endpoint.weight.max(1));
        group.members.push(at);
    }
    groups.into_values().collect()
}

/// Whether a pattern of `distribute` stands for a locality (L-7, L-8): `*` is a whole segment, and absent segments cover all.
pub fn covers(pattern: &str, locality: &Locality) -> bool {
    let mut segments = pattern.splitn(3, '/');
    locality.parts().into_iter().all(|part| match segments.next() {
        None | Some("*") => true,
        Some(segment) => segment == part,
    })
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
                if j == 0 && &*test.key == NETWORK {
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
mod tests {
    use super::*;
    use crate::model::{Address, Health};
    use isthmus_config::object::{Kind, ObjectRef};

    /// `name locality [label=value ...] [*weight]`
    fn endpoint(text: &str) -> Endpoint {
        let mut words = text.split_whitespace();
        let (name, locality) = (words.next().expect("a name"), words.next().expect("a locality"));
        let locality = Locality::from(if locality == "-" { "" } else { locality });
        let mut endpoint = Endpoint {
            address: Address::Unresolved(name.into(), 80),
            port_name: "http".into(),
            weight: 1,
            health: Health::Healthy,
            workload: Arc::default(),
            source: Arc::new(ObjectRef::new(Kind::EndpointSlice, "a", "a")),
            passage: None,
        };
        let mut labels = own_labels(&locality);
        for word in words {
            match word.split_once('=') {
                Some((key, value)) => drop(labels.insert(long(key).into(), value.into())),
                None => endpoint.weight = word.trim_start_matches('*').parse().expect("a weight"),
            }
        }
        endpoint.workload = Arc::new(Workload { name: name.into(), locality, labels: Arc::new(labels), ..Workload::default() });
        endpoint
    }

    fn long(key: &str) -> &str {
        match key {
            "network" => NETWORK,
            "region" => "topology.kubernetes.io/region",
            "zone" => "topology.kubernetes.io/zone",
            "cluster" => "topology.istio.io/cluster",
            other => other,
        }
    }

    fn own_labels(locality: &Locality) -> Labels {
        let [region, zone, _] = locality.parts();
        [("region", region), ("zone", zone)].into_iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (long(k).into(), v.into())).collect()
    }

    fn shown(setting: &Setting, stand: &str, labels: &[(&str, &str)], endpoints: &[&str]) -> String {
        let endpoints: Vec<Endpoint> = endpoints.iter().map(|e| endpoint(e)).collect();
        let locality = Locality::from(stand);
        let mut own = own_labels(&locality);
        own.extend(labels.iter().map(|(k, v)| (Arc::from(long(k)), Arc::from(*v))));
        let stand = Stand { locality, labels: own };
        let arranged = arrange(setting, &stand, &endpoints.iter().collect::<Vec<_>>());
        let names = |g: &Group| g.members.iter().map(|m| endpoints[*m as usize].workload.name.to_string()).collect::<Vec<_>>().join("+");
        arranged.groups.iter().map(|g| format!("{} P{} w{}", names(g), g.priority, g.weight)).collect::<Vec<_>>().join(", ")
    }

    fn failover(labels: &[&str], regions: &[(&str, &str)]) -> Setting {
        let labels: Vec<&str> = labels
            .iter()
            .map(|l| match *l {
                "network" | "region" | "zone" => long(l),
                other => other,
            })
            .collect();
        let regions: Vec<(Arc<str>, Arc<str>)> = regions.iter().map(|(a, b)| (Arc::from(*a), Arc::from(*b))).collect();
        Setting::Failover { weighted: !labels.is_empty() || !regions.is_empty(), labels: LabelTest::list(&labels), regions }
    }

    fn distribute(from: &str, to: &[(&str, u32)]) -> Setting {
        let entries = vec![Distribute { from: from.into(), to: to.iter().map(|(k, w)| ((*k).into(), *w)).collect() }];
        Setting::Distribute { entries, fallback: false }
    }

    const FIVE: [&str; 5] = ["a r1/z1/s1", "b r1/z1/s2", "c r1/z2/s1", "d r2/z1/s1", "e r3/z1/s1"];

    #[test]
    fn examples_61_to_76() {
        let none = failover(&[], &[]);
        let rows: Vec<(&str, Setting, &str, &[&str], &str)> = vec![
            ("61", none.clone(), "r1/z1/s1", &FIVE, "a P0 w1, b P1 w1, c P2 w1, d P3 w1, e P3 w1"),
            ("62", Setting::Off, "r1/z1/s1", &FIVE, "a P0 w1, b P0 w1, c P0 w1, d P0 w1, e P0 w1"),
            ("63", failover(&[], &[("r1", "r2")]), "r1/z1/s1", &FIVE, "a P0 w1, b P1 w1, c P2 w1, d P3 w1, e P4 w1"),
            ("64", failover(&[], &[("r1", "r2"), ("r1", "r3")]), "r1/z1/s1", &FIVE, "a P0 w1, b P1 w1, c P2 w1, d P3 w1, e P4 w1"),
            ("65", failover(&[], &[("r2", "r3")]), "r1/z1/s1", &FIVE, "a P0 w1, b P1 w1, c P2 w1, d P3 w1, e P3 w1"),
            ("66", none.clone(), "r1/z1/s1", &["b r1/z1/s2", "d r2/z1/s1", "e r3/z1/s1"], "b P0 w1, d P1 w1, e P1 w1"),
            ("67", none.clone(), "", &FIVE, "a P0 w1, b P0 w1, c P0 w1, d P0 w1, e P0 w1"),
            ("67", none.clone(), "r9/z/s", &FIVE, "a P0 w1, b P0 w1, c P0 w1, d P0 w1, e P0 w1"),
            ("68", none, "r1/z1/s1", &["a r1/z1/s1", "x -"], "a P0 w1, x P1 w1"),
            ("70", distribute("r1/z1/*", &[("r1/z1/*", 80), ("r1/z2/*", 20)]), "r1/z1/s1", &FIVE[..4], "a P0 w40, b P0 w40, c P0 w20"),
            (
                "71",
                distribute("r1/*", &[("r1/z1/*", 70), ("r1/z2/*", 30)]),
                "r1/z1/s1",
                &["a r1/z1/s1", "b r1/z1/s1", "c r1/z1/s1", "d r1/z1/s2", "e r1/z2/s1"],
                "a+b+c P0 w53, d P0 w18, e P0 w30",
            ),
            (
                "72",
                distribute("*", &[("r1/*", 50), ("r2/*", 50)]),
                "r1/z1/s1",
                &["a r1/z1/s1", "b r1/z1/s2", "c r1/z2/s1", "d r2/z1/s1"],
                "a P0 w17, b P0 w17, c P0 w17, d P0 w50",
            ),
            ("73", distribute("r5/*", &[("r1/*", 100)]), "r1/z1/s1", &FIVE, "a P0 w1, b P0 w1, c P0 w1, d P0 w1, e P0 w1"),
            ("74", distribute("r1/*", &[("r1/*", 60), ("r3/*", 40)]), "r1/z1/s1", &["a r1/z1/s1", "d r2/z1/s1"], "a P0 w60"),
            (
                "75",
                distribute("r1/*", &[("r1/z1/*", 80), ("r1/z2/*", 15), ("r2/*", 5)]),
                "r1/z1/s1",
                &["a r1/z1/s1", "b r1/z1/s2", "c r1/z2/s1", "d r2/z1/s1", "e r3/z1/s1", "f r3/z2/s1", "g r3/z3/s1"],
                "a P0 w40, b P0 w40, c P0 w15, d P0 w5",
            ),
            ("L-7 a part of a segment", distribute("r1/z*", &[("r1/*", 100)]), "r1/z1/s1", &FIVE[..1], "a P0 w1"),
        ];
        for (example, setting, stand, endpoints, want) in rows {
            assert_eq!(shown(&setting, stand, &[], endpoints), want, "Ex {example}");
        }
    }

    #[test]
    fn examples_77_to_86() {
        let second = ["a r1/z1/ network=n1", "b r1/z2/ network=n1", "c r2/z1/ network=n1", "d r1/z1/ network=n2", "e r2/z9/ network=n2"];
        let n1 = [("network", "n1")];
        let one = "r1/z1/";
        type Row<'a> = (&'a str, Setting, &'a str, &'a [(&'a str, &'a str)], &'a [&'a str], &'a str);
        let rows: Vec<Row<'_>> = vec![
            ("77", failover(&["network", "region", "zone"], &[]), one, &n1, &second, "a P0 w1, b P1 w1, c P2 w1, d P3 w1, e P4 w1"),
            ("78", failover(&["region", "zone"], &[]), one, &n1, &second, "a+d P0 w2, b P1 w1, c P2 w1, e P2 w1"),
            ("79", failover(&["zone", "region"], &[]), one, &n1, &second, "a+d P0 w2, c P1 w1, b P2 w1, e P2 w1"),
            (
                "80",
                failover(&["version=v1", "topology.istio.io/cluster=cA"], &[]),
                one,
                &[],
                &["a r/z/ version=v1 cluster=cA", "b r/z/ version=v1 cluster=cB", "c r/z/ version=v2 cluster=cA"],
                "a P0 w1, b P1 w1, c P2 w1",
            ),
            ("81", failover(&["tier"], &[]), one, &[], &["a r/z/", "b r/z/ tier=gold"], "a P0 w1, b P1 w1"),
            (
                "82",
                failover(&["version=v1"], &[("r1", "r2")]),
                one,
                &[],
                &["a r1/z1/ version=v1", "b r2/z1/ version=v1", "f r3/z1/ version=v1", "c r1/z1/ version=v2", "d r3/z1/ version=v2"],
                "a P0 w1, b P1 w1, f P2 w1, c P3 w1, d P4 w1",
            ),
            (
                "83",
                failover(&["network", "region", "zone"], &[]),
                one,
                &n1,
                &["a r1/z1/ network=n1 *3", "b r1/z2/ network=n1 *2", "c r1/z2/ network=n2 *6"],
                "a P0 w3, b P1 w2, c P2 w6",
            ),
            ("85", failover(&["version=v1"], &[]), one, &[], &["a r1/z1/ version=v1 *2", "b r1/z1/ version=v2"], "a P0 w2, b P1 w1"),
            (
                "more than one = means no override",
                failover(&["tier=a=b"], &[]),
                one,
                &[("tier", "gold")],
                &["a r/z/ tier=gold", "b r/z/ tier=a"],
                "a P0 w1, b P1 w1",
            ),
            ("the last value counts for both", failover(&["v=1", "v=2"], &[]), one, &[], &["a r/z/ v=1", "b r/z/ v=2"], "b P0 w1, a P1 w1"),
        ];
        for (example, setting, stand, labels, endpoints, want) in rows {
            assert_eq!(shown(&setting, stand, labels, endpoints), want, "Ex {example}");
        }
    }
}
