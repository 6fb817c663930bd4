//! What became of each object: how many routes and backends it is part of, and what kept a VirtualService out.
//!
//! Counted from what is in force, on demand, never on the way of a change.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use isthmus_config::istio::virtual_service::VirtualService;
use isthmus_config::name::Hostname;
use isthmus_config::object::{Kind, Object, ObjectRef};

use super::Compiler;
use super::bind::{domains, exported, gateway_name};
use super::listeners::Family;
use crate::balance::BackendKey;
use crate::model::{NamespacedName, World};
use crate::snapshot::{Action, Destination, Front, Route, TcpFront};

/// What one object is part of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Routes that requests can reach.
    pub routes: usize,
    /// Backends.
    pub backends: BTreeSet<Arc<BackendKey>>,
    /// Routes of it that an older catch-all hides (G-31), and whose that is.
    pub hidden_by: Option<ObjectRef>,
}

/// What every Istio object is part of; one that is not here is part of nothing.
#[derive(Clone, Debug, Default)]
pub struct Usage(BTreeMap<ObjectRef, Used>);

impl Usage {
    /// What the object is part of.
    pub fn of(&self, object: &ObjectRef) -> Used {
        self.0.get(object).cloned().unwrap_or_default()
    }
}

/// Why a VirtualService serves nothing at this gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unbound {
    /// It names no gateway, or `mesh` alone: it is for sidecars (G-20).
    MeshOnly,
    /// The gateway's namespace may not see it (G-21).
    NotExported,
    /// It has no hosts: only others may delegate to it (V-60).
    Delegate,
    /// No Gateway has that name.
    NoGateway(NamespacedName),
    /// The Gateway is for other workloads (G-1).
    NotSelected(NamespacedName),
    /// Every server of the Gateway was skipped.
    Skipped(NamespacedName),
    /// Only TLS servers would take it, whose ports are still closed.
    Closed(NamespacedName),
    /// No server of the Gateway names a host of it (G-22), or admits its namespace.
    Hosts(NamespacedName),
}

impl Compiler {
    /// Counts what every object is part of.
    pub fn usage(&self) -> Usage {
        let mut counting = Counting::default();
        for listener in self.listeners.values() {
            match &listener.front {
                Front::Http(http) => {
                    for host in &http.virtual_hosts {
                        let mut first: Option<&Route> = None;
                        for route in host.routes.iter() {
                            match first.filter(|_| route.matches.is_catch_all()) {
                                Some(older) => counting.hide(route, older),
                                None => counting.route(route),
                            }
                            first = first.or_else(|| route.matches.is_catch_all().then_some(route));
                        }
                    }
                }
                Front::Tcp(tcp) => {
                    let object = tcp.rule.object();
                    counting.object(&object).routes += 1;
                    counting.send([&object], &tcp.destinations.list);
                }
                Front::Closed(_) => {}
            }
        }
        self.gateways(&mut counting);
        self.services(&mut counting);
        Usage(counting.objects)
    }

    fn gateways(&self, counting: &mut Counting<'_>) {
        let fronts = self.listeners.values().map(|l| &l.front);
        let streams: BTreeSet<*const TcpFront> = fronts.filter_map(|f| if let Front::Tcp(tcp) = f { Some(Arc::as_ptr(tcp)) } else { None }).collect();
        let mut routes: BTreeMap<&NamespacedName, (usize, BTreeSet<Arc<BackendKey>>)> = BTreeMap::new();
        for (key, fragment) in &self.fragments {
            let (count, backends) = routes.entry(&key.gateway).or_default();
            let live = fragment.routes.iter().filter(|route| counting.seen.contains(&Arc::as_ptr(route))).count();
            *count += live + usize::from(fragment.tcp.as_ref().is_some_and(|t| streams.contains(&Arc::as_ptr(t))));
            if live > 0 || fragment.tcp.is_some() {
                backends.extend(fragment.backends.iter().cloned());
            }
        }
        for (name, (count, backends)) in routes {
            let used = counting.object(&ObjectRef::new(Kind::Gateway, name.0.clone(), name.1.clone()));
            used.routes = count;
            used.backends = backends;
        }
    }

    /// Rules and entries: by the backends that routes send to. Nobody asks of what Kubernetes itself tells.
    fn services(&self, counting: &mut Counting<'_>) {
        let entry = |object: &&ObjectRef| matches!(object.kind, Kind::ServiceEntry | Kind::WorkloadEntry);
        let mut parts: Vec<(ObjectRef, Arc<BackendKey>)> = Vec::new();
        for record in self.table.records.values() {
            for backend in &record.backends {
                let key = &backend.slot.key;
                let rules = record.rule.iter().flat_map(|r| r.contributors(&key.subset));
                let rules = rules.map(|s| ObjectRef::new(Kind::DestinationRule, s.meta.namespace.clone(), s.meta.name.clone()));
                let sources: BTreeSet<&ObjectRef> = backend.view.members.iter().map(|m| &*m.endpoint.source).filter(entry).collect();
                let service = record.service.iter().map(|s| &s.object).filter(entry);
                parts.extend(rules.chain(service.chain(sources).cloned()).map(|object| (object, key.clone())));
            }
        }
        for (object, key) in parts {
            let routes = counting.routes_to.get(&key).copied().unwrap_or(0);
            let used = counting.object(&object);
            if used.backends.insert(key) {
                used.routes += routes;
            }
        }
    }

    /// Why a VirtualService serves nothing here: one reason for each Gateway that it names.
    pub fn unbound(&self, world: &World, object: &Object<VirtualService>) -> Vec<Unbound> {
        let namespace = &object.meta.namespace;
        if object.spec.hosts.is_empty() {
            return vec![Unbound::Delegate];
        }
        let names: Vec<NamespacedName> = object.spec.gateways.iter().filter_map(|g| gateway_name(g, namespace)).collect();
        if names.is_empty() {
            return vec![Unbound::MeshOnly];
        }
        if exported(world, namespace, &object.spec.export_to).is_none() {
            return vec![Unbound::NotExported];
        }
        let hosts: Vec<Hostname> = object.spec.hosts.iter().map(|h| Hostname::new(h)).collect();
        names.into_iter().filter_map(|name| self.refused(world, namespace, &hosts, name)).collect()
    }

    fn refused(&self, world: &World, namespace: &Arc<str>, hosts: &[Hostname], name: NamespacedName) -> Option<Unbound> {
        if !world.documents.gateways.contains_key(&name) {
            return Some(Unbound::NoGateway(name));
        }
        if !self.plans.selected.contains(&name) {
            return Some(Unbound::NotSelected(name));
        }
        let servers = self.plans.listeners.values().flat_map(|p| &p.servers);
        let servers: Vec<_> = servers.filter(|s| s.door.gateway == name).collect();
        if servers.is_empty() {
            return Some(Unbound::Skipped(name));
        }
        let mut meeting = servers.iter().filter(|s| !domains(s, namespace, hosts).is_empty()).peekable();
        if meeting.peek().is_none() {
            return Some(Unbound::Hosts(name));
        }
        meeting.all(|s| s.door.family == Family::Tls).then_some(Unbound::Closed(name))
    }

    /// True where the Gateway is for this gateway's workload (G-1).
    pub fn selects(&self, gateway: &NamespacedName) -> bool {
        self.plans.selected.contains(gateway)
    }
    /// True where a route sends to some backend of the host.
    pub fn reaches(&self, host: &Hostname) -> bool {
        self.table.records.get(host).is_some_and(|r| !r.backends.is_empty())
    }
    /// The Services of ours that translate ports (G-2).
    pub fn translators(&self) -> impl Iterator<Item = &Hostname> {
        self.plans.services.iter()
    }
}

#[derive(Default)]
struct Counting<'a> {
    objects: BTreeMap<ObjectRef, Used>,
    /// Routes are shared by virtual hosts; each counts once.
    seen: BTreeSet<*const Route>,
    routes_to: HashMap<&'a Arc<BackendKey>, usize>,
}

impl<'a> Counting<'a> {
    fn object(&mut self, object: &ObjectRef) -> &mut Used {
        if !self.objects.contains_key(object) {
            self.objects.insert(object.clone(), Used::default());
        }
        self.objects.entry(object.clone()).or_default()
    }

    fn route(&mut self, route: &'a Arc<Route>) {
        if !self.seen.insert(Arc::as_ptr(route)) {
            return;
        }
        let root = route.rule.root.as_deref().map(|(root, _)| root);
        let own = route.rule.object();
        for object in std::iter::once(&own).chain(root) {
            self.object(object).routes += 1;
        }
        if let Action::Forward(forward) = &route.action {
            let objects = || std::iter::once(&own).chain(root);
            self.send(objects(), &forward.destinations.list);
            self.send(objects(), forward.mirrors.iter().map(|m| &m.destination));
        }
    }

    fn send<'b>(&mut self, objects: impl IntoIterator<Item = &'b ObjectRef>, to: impl IntoIterator<Item = &'a Destination>) {
        let keys: BTreeSet<&'a Arc<BackendKey>> = to.into_iter().filter(|d| d.slot.is_ok()).map(|d| &d.key).collect();
        for object in objects {
            self.object(object).backends.extend(keys.iter().map(|k| (*k).clone()));
        }
        for key in keys {
            *self.routes_to.entry(key).or_default() += 1;
        }
    }

    fn hide(&mut self, route: &Route, older: &Route) {
        let (by, own) = (older.rule.object(), route.rule.object());
        if by != own {
            self.object(&own).hidden_by.get_or_insert(by);
        }
    }
}
