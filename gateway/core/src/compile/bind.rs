//! Which VirtualService serves which hosts of which server (G-20..G-25), and in which order (G-30).
//!
//! What is computed here belongs to one VirtualService, so one that changes is bound again alone.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use isthmus_config::istio::virtual_service::VirtualService;
use isthmus_config::name::Hostname;
use isthmus_config::object::Object;

use super::listeners::{Admitted, Door, Family, Planned, PlannedServer};
use crate::model::{ExportTo, NamespacedName, World};
use crate::snapshot::ListenKey;

/// How a VirtualService came to be visible to the gateway; the order of precedence (G-30).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Exported {
    /// For the gateway's own namespace alone.
    Privately,
    /// To the gateway's namespace by name.
    ByName,
    /// To everybody.
    Publicly,
}

/// A VirtualService, bound.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) object: Arc<Object<VirtualService>>,
    /// `None`: not exported to the gateway's namespace (G-21).
    pub(super) exported: Option<Exported>,
    /// Servers, by listener and position, and the hosts that it serves there.
    pub(super) servers: Box<[Binding]>,
}

/// A server that takes part in a VirtualService.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binding {
    pub(super) door: Arc<Door>,
    /// Most specific first, each once (G-22).
    pub(super) domains: Box<[Hostname]>,
}

impl Bound {
    /// Which of two rules for one host goes first (G-30).
    pub(super) fn order(&self, other: &Self) -> Ordering {
        self.exported.cmp(&other.exported).then_with(|| self.object.by_age(&other.object))
    }
}

/// A name in `gateways`; `None` is `mesh` (G-20).
pub fn gateway_name(text: &str, namespace: &Arc<str>) -> Option<NamespacedName> {
    if text == "mesh" {
        return None;
    }
    Some(match text.split_once('/') {
        Some((".", name)) => (namespace.clone(), name.into()),
        Some((other, name)) => (other.into(), name.into()),
        None => match text.split('.').collect::<Vec<_>>()[..] {
            [name, other, ..] => (other.into(), name.into()),
            _ => (namespace.clone(), text.into()),
        },
    })
}

/// Binds one VirtualService to every server that admits it.
pub(super) fn bind(world: &World, listeners: &BTreeMap<ListenKey, Planned>, object: &Arc<Object<VirtualService>>) -> Bound {
    let namespace = &object.meta.namespace;
    let exported = exported(world, namespace, &object.spec.export_to);
    let gateways: Vec<NamespacedName> = object.spec.gateways.iter().filter_map(|g| gateway_name(g, namespace)).collect();
    if exported.is_none() || gateways.is_empty() {
        return Bound { object: object.clone(), exported, servers: Box::default() };
    }
    let hosts: Vec<Hostname> = object.spec.hosts.iter().map(|h| Hostname::new(h)).collect();
    let servers = listeners.values().filter(|p| p.family != Family::Tls).flat_map(|p| &p.servers);
    let meeting = servers.filter(|s| gateways.contains(&s.door.gateway)).filter_map(|server| {
        let domains = domains(server, namespace, &hosts);
        (!domains.is_empty()).then(|| Binding { door: server.door.clone(), domains: domains.into() })
    });
    Bound { object: object.clone(), exported, servers: meeting.collect() }
}

/// The hosts that a server and a VirtualService of `namespace` have in common, as virtual hosts are named (G-22, G-23).
pub(super) fn domains(server: &PlannedServer, namespace: &Arc<str>, hosts: &[Hostname]) -> Vec<Hostname> {
    let admits = |a: &Admitted| match a {
        Admitted::Anyone => true,
        Admitted::Namespace(n) => n == namespace,
    };
    let pairs = server.hosts.iter().filter(|(a, _)| admits(a)).flat_map(|(_, own)| hosts.iter().filter_map(move |h| own.intersect(h)));
    let mut domains: Vec<Hostname> = pairs.cloned().collect();
    domains.sort();
    domains.dedup();
    domains
}

/// How an object of `namespace` is exported to the gateway's namespace.
pub(super) fn exported(world: &World, namespace: &Arc<str>, export_to: &[String]) -> Option<Exported> {
    let own = &world.gateway.namespace;
    match ExportTo::parse(export_to, namespace, &world.mesh.default_virtual_service_export_to) {
        ExportTo::All => Some(Exported::Publicly),
        ExportTo::Nobody => None,
        ExportTo::Only(list) if !list.contains(own) => None,
        ExportTo::Only(_) if namespace == own => Some(Exported::Privately),
        ExportTo::Only(_) => Some(Exported::ByName),
    }
}
