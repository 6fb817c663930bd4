//! Endpoints of other networks give way to the gateways of their networks (M-36..M-39, M-41).
//!
//! Runs after a subset has selected by real labels, and before localities and priorities are told (L-35).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use isthmus_config::name::{Locality, Network};
use isthmus_config::object::Kind;

use super::BackendKey;
use crate::model::{Address, Endpoint, Health, Kin, NetworkGateway, Passage, Place, ServiceKind, TLS_MODE, Workload};

/// What is dialled, and what cannot be.
#[derive(Debug, Default, PartialEq)]
pub struct Across<'a> {
    /// Direct endpoints in their order, then gateways by locality, address and port.
    pub dialled: Vec<Arc<Endpoint>>,
    /// Endpoints that nothing leads to, each with the reason.
    pub left_out: Vec<(&'a Arc<Endpoint>, Unreachable)>,
}

/// Why nothing leads to an endpoint of another network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unreachable {
    /// Its gateways are passed by mutual TLS, which we do not speak.
    WeSpeakPlaintext,
    /// It does not take mutual TLS itself (M-37).
    ItSpeaksPlaintext,
    /// DNS has found none of its gateways yet (M-35).
    NoAddress,
    /// It has no address of its own (S-8), and there is no gateway that it is behind.
    NoWay,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WeSpeakPlaintext => "which only mutual TLS passes, and that is not in force yet",
            Self::ItSpeaksPlaintext => "which only mutual TLS passes, and the endpoint takes none (label security.istio.io/tlsMode: istio)",
            Self::NoAddress => "whose name has no address yet",
            Self::NoWay => "without an address (S-8), and no gateway leads there from here",
        })
    }
}

/// Why nothing leads to an endpoint, `None` where it is direct or its gateways lead to it.
pub fn unreachable(endpoint: &Endpoint, kind: ServiceKind, mutual_tls: bool) -> Option<Unreachable> {
    let Some(gateways) = endpoint.gateways() else {
        return matches!(endpoint.address, Address::Hidden(_)).then_some(Unreachable::NoWay);
    };
    if !mutual_tls {
        Some(Unreachable::WeSpeakPlaintext)
    } else if !takes_mutual_tls(endpoint, kind) {
        Some(Unreachable::ItSpeaksPlaintext)
    } else {
        (!gateways.list.iter().any(NetworkGateway::is_found)).then_some(Unreachable::NoAddress)
    }
}

/// A pod says so by its label; a WorkloadEntry also by a service account. What is outside the mesh never does (S-4, Ex 94).
fn takes_mutual_tls(endpoint: &Endpoint, kind: ServiceKind) -> bool {
    let of_entry = matches!(endpoint.source.kind, Kind::WorkloadEntry | Kind::ServiceEntry);
    kind != ServiceKind::External
        && match endpoint.workload.labels().get(TLS_MODE) {
            Some(mode) => **mode == *"istio",
            None => of_entry && !endpoint.workload.service_account().is_empty(),
        }
}

/// Replaces what is behind gateways by those gateways. Weights grow by one factor, so that each can be split evenly (M-38).
pub fn across<'a>(endpoints: &[&'a Arc<Endpoint>], kind: ServiceKind, mutual_tls: bool) -> Across<'a> {
    let mut across = Across::default();
    let mut stands: BTreeMap<(Locality, NetworkGateway), Endpoint> = BTreeMap::new();
    let mut scale = 1;
    for endpoint in endpoints {
        if let Some(reason) = unreachable(endpoint, kind, mutual_tls) {
            across.left_out.push((endpoint, reason));
            continue;
        }
        let Some(gateways) = endpoint.gateways() else {
            across.dialled.push((*endpoint).clone());
            continue;
        };
        scale = gateways.scale.max(1);
        let open: Vec<&NetworkGateway> = gateways.list.iter().filter(|g| g.is_found()).collect();
        let share = endpoint.weight.max(1).saturating_mul(scale) / open.len() as u32;
        for gateway in open {
            let stand = stands.entry((endpoint.locality().clone(), gateway.clone())).or_insert_with(|| standing(gateway, endpoint));
            stand.weight = stand.weight.saturating_add(share);
            if endpoint.health == Health::Healthy {
                stand.health = Health::Healthy;
            }
        }
    }
    if scale > 1 {
        for endpoint in &mut across.dialled {
            let endpoint = Arc::make_mut(endpoint);
            endpoint.weight = endpoint.weight.max(1).saturating_mul(scale);
        }
    }
    across.dialled.extend(stands.into_values().map(Arc::new));
    across
}

/// A gateway in place of the first of the endpoints that it stands for; it has no labels but those of network and cluster (M-39).
fn standing(gateway: &NetworkGateway, first: &Endpoint) -> Endpoint {
    let place = Place { network: gateway.network.clone(), cluster: gateway.cluster.clone(), ..Place::default() };
    Endpoint {
        address: gateway.address.clone(),
        port_name: first.port_name.clone(),
        weight: 0,
        health: first.health,
        workload: Arc::new(Workload::new("", Kin::default(), place)),
        source: first.source.clone(),
        passage: Some(Arc::new(Passage::Gateway(first.locality().clone()))),
    }
}

/// The server name by which a gateway of another network is asked for a backend (M-41).
pub fn server_name(backend: &BackendKey) -> String {
    format!("outbound_.{}_.{}_.{}", backend.port, backend.subset, backend.host)
}

/// Gateways as users read them: `192.0.2.1:15443, 192.0.2.2:15443`.
pub fn named(gateways: &[NetworkGateway]) -> String {
    let list: Vec<String> = gateways.iter().map(|g| g.address.to_string()).collect();
    list.join(", ")
}

/// Why an endpoint gets nothing: `behind gateways, which …`.
pub fn why(endpoint: &Endpoint, reason: Unreachable) -> String {
    if endpoint.gateways().is_some() { format!("behind gateways, {reason}") } else { reason.to_string() }
}

/// What is left out, counted by network, gateways and reason: `2 in network n2, behind its gateways (192.0.2.1:15443), which …`.
pub fn told<'a>(left_out: impl IntoIterator<Item = (&'a Endpoint, Unreachable)>) -> Vec<String> {
    let mut counts: BTreeMap<(Network, String, Unreachable), usize> = BTreeMap::new();
    for (endpoint, reason) in left_out {
        let gateways = endpoint.gateways().map(|g| format!("behind its gateways ({}), ", named(&g.list))).unwrap_or_default();
        *counts.entry((endpoint.workload.network().clone(), gateways, reason)).or_default() += 1;
    }
    let line = |((network, gateways, reason), count)| format!("{count} in network {network}, {gateways}{reason}");
    counts.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_name_carries_port_and_subset_ex57() {
        let key = |subset: &str| BackendKey {
            host: isthmus_config::name::Hostname::new("reviews.default.svc.cluster.local"),
            port: 80,
            subset: subset.into(),
        };
        assert_eq!(server_name(&key("v1")), "outbound_.80_.v1_.reviews.default.svc.cluster.local");
        assert_eq!(server_name(&key("")), "outbound_.80_._.reviews.default.svc.cluster.local");
    }

    #[test]
    fn only_what_takes_mutual_tls_is_reached_through_a_gateway_m37_ex94() {
        use ServiceKind::{External, Internal, Kubernetes};
        let way = |address| NetworkGateway { address, network: "n2".into(), cluster: "c2".into() };
        let found = way(Address::Socket(([192, 0, 2, 1], 15443).into()));
        let lost = way(Address::Unresolved("ew.example.com".into(), 15443));
        let endpoint = |kind, mode: Option<&str>, account: &str, gateway: &NetworkGateway| Endpoint {
            address: Address::Socket(([10, 0, 0, 1], 80).into()),
            port_name: "http".into(),
            weight: 1,
            health: Health::Healthy,
            workload: Arc::new(Workload::new(
                "",
                Kin {
                    labels: Arc::new(mode.iter().map(|m| (TLS_MODE.into(), (*m).into())).collect()),
                    service_account: account.into(),
                    ..Kin::default()
                },
                Place { network: "n2".into(), ..Place::default() },
            )),
            source: Arc::new(isthmus_config::object::ObjectRef::new(kind, "app", "a")),
            passage: Some(Arc::new(Passage::Behind(crate::model::Gateways { list: vec![gateway.clone()], scale: 1 }))),
        };
        let (pod, entry) = (Kind::EndpointSlice, Kind::WorkloadEntry);
        for (name, service, endpoint, mutual_tls, want) in [
            ("a labelled pod", Kubernetes, endpoint(pod, Some("istio"), "", &found), true, None),
            ("we do not", Kubernetes, endpoint(pod, Some("istio"), "", &found), false, Some(Unreachable::WeSpeakPlaintext)),
            ("a pod's account says nothing", Kubernetes, endpoint(pod, None, "a", &found), true, Some(Unreachable::ItSpeaksPlaintext)),
            ("disabled", Kubernetes, endpoint(entry, Some("disabled"), "a", &found), true, Some(Unreachable::ItSpeaksPlaintext)),
            ("an entry's account", Internal, endpoint(entry, None, "a", &found), true, None),
            ("Ex 94", External, endpoint(entry, Some("istio"), "a", &found), true, Some(Unreachable::ItSpeaksPlaintext)),
            ("no address yet", Kubernetes, endpoint(pod, Some("istio"), "", &lost), true, Some(Unreachable::NoAddress)),
        ] {
            assert_eq!(unreachable(&endpoint, service, mutual_tls), want, "{name}");
        }
        let hidden = Endpoint { address: Address::Hidden(80), ..endpoint(entry, None, "a", &found) };
        assert_eq!(unreachable(&hidden, Internal, true), None, "its gateways lead there (S-8)");
        let alone = Endpoint { passage: None, ..hidden };
        assert_eq!(unreachable(&alone, Internal, true), Some(Unreachable::NoWay), "nothing leads there (S-8)");
        assert_eq!(told([(&alone, Unreachable::NoWay)]), ["1 in network n2, without an address (S-8), and no gateway leads there from here"]);
    }
}
