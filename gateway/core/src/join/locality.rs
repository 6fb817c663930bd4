//! Where things stand: localities out of labels, and the labels that localities become (L-1..L-5).

use std::sync::Arc;

use isthmus_config::name::{ClusterId, Locality, Network};
use isthmus_config::object::Labels;

use crate::model::{CLUSTER, HOSTNAME, NETWORK, REGION, SUBZONE, ZONE};

const LEGACY_REGION: &str = "failure-domain.beta.kubernetes.io/region";
const LEGACY_ZONE: &str = "failure-domain.beta.kubernetes.io/zone";
const LOCALITY_LABELS: [&str; 2] = ["topology.istio.io/locality", "istio-locality"];

/// The locality that a workload's own label names, if any; `.` separates where there is no `/` (L-1).
pub fn of_labels(labels: &Labels) -> Option<Locality> {
    let text = LOCALITY_LABELS.iter().find_map(|key| labels.get(key).filter(|v| !v.is_empty()))?;
    Some(if text.contains('/') { Locality::new(text.clone()) } else { Locality::from(text.replace('.', "/").as_str()) })
}

/// Where a gateway's own labels place it: region, zone and subzone, else its locality label (L-4).
pub fn of_gateway(labels: &Labels) -> Option<Locality> {
    let place = of_node(labels);
    if place.is_empty() { of_labels(labels) } else { Some(place) }
}

/// A node's locality: always three parts, or empty where all are missing (L-2).
pub fn of_node(labels: &Labels) -> Locality {
    let label = |keys: [&str; 2]| keys.iter().find_map(|k| labels.get(k)).map_or("", |v| &**v);
    let (region, zone) = (label([REGION, LEGACY_REGION]), label([ZONE, LEGACY_ZONE]));
    let subzone = labels.get(SUBZONE).map_or("", |v| &**v);
    if region.is_empty() && zone.is_empty() && subzone.is_empty() {
        Locality::default()
    } else {
        Locality::from(format!("{region}/{zone}/{subzone}").as_str())
    }
}

/// A WorkloadEntry's locality: its field, else its labels; at most three parts (L-3).
pub fn of_entry(field: &str, labels: &Labels) -> Locality {
    let locality = if field.is_empty() { of_labels(labels).unwrap_or_default() } else { Locality::from(field) };
    match locality.as_str().match_indices('/').nth(2) {
        Some((end, _)) => Locality::from(&locality.as_str()[..end]),
        None => locality,
    }
}

/// The gateway's own labels with those that failoverPriority may name (L-5); an endpoint's tell them by `Workload::label`.
pub fn extend(own: &Labels, locality: &Locality, cluster: &ClusterId, network: &Network, node: &str) -> Labels {
    let mut labels = own.clone();
    let [region, zone, subzone] = locality.parts();
    for (key, value) in
        [(REGION, region), (ZONE, zone), (SUBZONE, subzone), (CLUSTER, cluster.as_str()), (NETWORK, network.as_str()), (HOSTNAME, node)]
    {
        if !value.is_empty() && labels.get(key).is_none_or(|v| &**v != value) {
            labels.insert(Arc::from(key), Arc::from(value));
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(list: &[(&str, &str)]) -> Labels {
        list.iter().map(|(k, v)| (Arc::from(*k), Arc::from(*v))).collect()
    }

    #[test]
    fn a_pods_label_separates_with_dots_l1() {
        for (list, want) in [
            (&[("topology.istio.io/locality", "r1.z1.s1"), ("istio-locality", "r9")][..], Some("r1/z1/s1")),
            (&[("istio-locality", "r1.z1")], Some("r1/z1")),
            (&[("istio-locality", "r1.x/z1")], Some("r1.x/z1")),
            (&[], None),
        ] {
            assert_eq!(of_labels(&labels(list)).as_ref().map(Locality::as_str), want, "{list:?}");
        }
    }

    #[test]
    fn a_gateways_own_labels_say_where_it_stands_l4() {
        for (list, want) in [
            (&[(REGION, "r1"), (ZONE, "z1"), ("istio-locality", "r9.z9")][..], Some("r1/z1/")),
            (&[("istio-locality", "r1.z1.s1")], Some("r1/z1/s1")),
            (&[("app", "a")], None),
        ] {
            assert_eq!(of_gateway(&labels(list)).as_ref().map(Locality::as_str), want, "{list:?}");
        }
    }

    #[test]
    fn a_nodes_locality_keeps_empty_parts_l2() {
        for (list, want) in [
            (&[(REGION, "r1"), (ZONE, "z1")][..], "r1/z1/"),
            (&[(LEGACY_REGION, "r1"), (LEGACY_ZONE, "z1"), (SUBZONE, "s1")], "r1/z1/s1"),
            (&[(REGION, "new"), (LEGACY_REGION, "old")], "new//"),
            (&[("kubernetes.io/region", "r1"), (ZONE, "z1"), (SUBZONE, "sz01")], "/z1/sz01"),
            (&[], ""),
        ] {
            assert_eq!(of_node(&labels(list)).as_str(), want, "{list:?}");
        }
    }

    #[test]
    fn an_entrys_locality_has_at_most_three_parts_l3() {
        assert_eq!(of_entry("r/z/s/t/u", &Labels::new()).as_str(), "r/z/s");
        assert_eq!(of_entry("r/z", &labels(&[("istio-locality", "x")])).as_str(), "r/z");
        assert_eq!(of_entry("", &labels(&[("istio-locality", "r1.z1.s1.t1")])).as_str(), "r1/z1/s1");
    }

    #[test]
    fn labels_are_extended_l5() {
        let got = extend(&labels(&[("app", "a")]), &"r1/z1/".into(), &"c1".into(), &"n1".into(), "node-1");
        let want = labels(&[("app", "a"), (REGION, "r1"), (ZONE, "z1"), (CLUSTER, "c1"), (NETWORK, "n1"), (HOSTNAME, "node-1")]);
        assert_eq!(got, want);
    }
}
