//! One record per host that routes name: its service, its rule, what routes read of it, its backends and who reads it.
//!
//! Routes see [`Facts`] alone: whether the service is there, its port numbers, declared subsets, hash policies. Facts compare
//! by value, so a change that routes cannot see (an endpoint, a weight of a policy, a label) runs no route again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use isthmus_config::name::{Hostname, Locality};

use super::alike::Common;
use super::few::Few;
use super::lookup::Rules;
use super::merge::Rule;
use super::resolve::{Effective, HashRule, hash_for, hash_rules};
use crate::balance::across::{across, told};
use crate::balance::setting::{Callers, Setting, Stand};
use crate::balance::{BackendKey, HashKey, Line, Slot, View, view};
use crate::model::{Endpoint, GatewayIdentity, Health, Protocol, Resolution, Service, World};

/// What a host is to a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Standing {
    /// No service has that name.
    #[default]
    Unknown,
    /// Its service is not exported to the gateway's namespace (M-5).
    Hidden,
    /// Another host's name (V-26).
    Alias(Hostname),
    /// A service with these TCP ports.
    Ports(Vec<u16>),
}

/// What routes read of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Facts {
    pub(super) standing: Standing,
    /// Declared subsets; of a DNS service only those with an endpoint (contract 3.7).
    subsets: Vec<Arc<str>>,
    hashes: Vec<HashRule>,
}

impl Facts {
    fn of(service: Option<&Service>, rule: Option<&Rule>, endpoints: &[Arc<Endpoint>], gateway_namespace: &str) -> Self {
        let Some(service) = service else { return Self::default() };
        if !service.export_to.includes(gateway_namespace) {
            return Self { standing: Standing::Hidden, ..Self::default() };
        }
        if let Some(alias) = &service.alias {
            return Self { standing: Standing::Alias(alias.clone()), ..Self::default() };
        }
        let ports = service.ports.iter().filter(|p| p.protocol != Protocol::Udp).map(|p| p.number).collect();
        let by_name = matches!(service.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
        let subsets = rule.into_iter().flat_map(Rule::subsets);
        let subsets =
            subsets.filter(|s| !by_name || endpoints.iter().any(|e| e.workload.carries(&s.labels))).map(|s| s.name.as_str().into()).collect();
        Self { standing: Standing::Ports(ports), subsets, hashes: rule.map(hash_rules).unwrap_or_default() }
    }
    /// True where routes may name the subset; "" is the service itself.
    pub(super) fn has_subset(&self, name: &str) -> bool {
        name.is_empty() || self.subsets.iter().any(|s| **s == *name)
    }
    /// What a destination hashes, `port` being the one that the route names.
    pub(super) fn hash(&self, subset: &str, port: Option<u16>) -> Option<HashKey> {
        hash_for(&self.hashes, subset, port)
    }
    pub(super) fn subsets(&self) -> &[Arc<str>] {
        &self.subsets
    }
}

/// A backend that routes send to.
#[derive(Debug)]
pub(super) struct Backend {
    pub(super) slot: Arc<Slot>,
    /// What the slot shows once the plan is published.
    pub(super) view: Arc<View>,
    /// How many fragments name it.
    users: usize,
}

/// A host that routes name.
#[derive(Debug, Default)]
pub(super) struct Host<R: Ord> {
    pub(super) service: Option<Arc<Service>>,
    pub(super) rule: Option<Arc<Rule>>,
    pub(super) facts: Arc<Facts>,
    pub(super) readers: Few<R>,
    /// By port and subset.
    pub(super) backends: Vec<Backend>,
}

/// What locality rules know of this side.
#[derive(Debug)]
struct Place {
    stand: Arc<Stand>,
    callers: Callers,
}

/// Every host that routes name. `R` names a reader.
#[derive(Debug)]
pub(super) struct Hosts<R: Ord> {
    pub(super) records: HashMap<Hostname, Host<R>>,
    pub(super) common: Common,
    seed: u64,
    /// Where the gateway stands, and by which identity that was told.
    stand: Option<(Arc<GatewayIdentity>, Arc<Stand>)>,
    /// Where gateways like this one stand.
    callers: Callers,
    /// How many views were made since [`Self::take_runs`].
    runs: u64,
    /// Backends with a warm-up whose views were made since [`Self::take_warming`].
    warming: Vec<Arc<Slot>>,
}

impl<R: Ord + Clone> Hosts<R> {
    /// No host yet; the turns of ROUND_ROBIN begin where `seed` says.
    pub(super) fn new(seed: u64) -> Self {
        Self { records: HashMap::new(), common: Common::default(), seed, stand: None, callers: Callers::default(), runs: 0, warming: Vec::new() }
    }

    /// The host as everybody names it, and what its record says, which is made where it is missing. The reader is run again when the facts change.
    pub(super) fn read(&mut self, world: &World, rules: &Rules, host: Hostname, reader: &R) -> (Hostname, Arc<Facts>) {
        let host = match self.records.get_key_value(&host) {
            Some((known, _)) => known.clone(),
            None => {
                let host = world.catalog.services.get(&host).map_or(host, |service| service.hostname.clone());
                self.records
                    .insert(host.clone(), Host { service: None, rule: None, facts: Arc::default(), readers: Few::default(), backends: Vec::new() });
                self.look(world, rules, &host);
                host
            }
        };
        let record = self.records.get_mut(&host);
        let facts = record.map_or_else(Arc::default, |record| {
            if !record.readers.contains(reader) {
                record.readers.insert(reader.clone());
            }
            record.facts.clone()
        });
        (host, facts)
    }

    /// Looks service, rule and facts up anew; true where the facts differ.
    pub(super) fn look(&mut self, world: &World, rules: &Rules, host: &Hostname) -> bool {
        let Some(record) = self.records.get_mut(host) else { return false };
        record.service = world.catalog.services.get(host).cloned();
        record.rule = record.service.as_ref().and_then(|s| rules.find(world, s));
        let endpoints = world.catalog.endpoints.get(host).map_or(&[][..], |e| e);
        let facts = Facts::of(record.service.as_deref(), record.rule.as_deref(), endpoints, &world.gateway.namespace);
        if *record.facts == facts {
            return false;
        }
        record.facts = self.common.facts.of(facts);
        true
    }

    /// Takes in where gateways like this one stand; tells the hosts whose backends that concerns, where it differs.
    pub(super) fn stand_beside(&mut self, callers: Vec<(Locality, u32)>) -> Vec<Hostname> {
        if *self.callers == callers {
            return Vec::new();
        }
        self.callers = Arc::new(callers);
        let zoned = |r: &Host<R>| r.backends.iter().any(|b| matches!(*b.view.line.setting, Setting::Zoned { .. }));
        self.records.iter().filter(|(_, r)| zoned(r)).map(|(host, _)| host.clone()).collect()
    }

    fn place(&mut self, world: &World) -> Place {
        Place { stand: self.stand(world), callers: self.callers.clone() }
    }

    fn stand(&mut self, world: &World) -> Arc<Stand> {
        match &self.stand {
            Some((gateway, stand)) if Arc::ptr_eq(gateway, &world.gateway) => stand.clone(),
            _ => {
                let stand = Arc::new(Stand::of(&world.gateway));
                self.stand = Some((world.gateway.clone(), stand.clone()));
                stand
            }
        }
    }

    /// The slot of a backend whose facts say that it exists, made where it is missing.
    pub(super) fn slot(&mut self, world: &World, key: &BackendKey) -> Option<Arc<Slot>> {
        if let Some(backend) = self.records.get(&key.host)?.backend(key) {
            return Some(backend.slot.clone());
        }
        let place = self.place(world);
        let record = self.records.get_mut(&key.host)?;
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let view = record.view(world, &place, &mut self.common, (key.port, &key.subset), None, self.seed >> 33)?;
        self.runs += 1;
        let slot = Arc::new(Slot::new(key.clone(), view));
        let view = slot.view.load_full();
        self.warming.extend(view.policy.warm_up.is_some().then(|| slot.clone()));
        if let Err(place) = record.place(key) {
            record.backends.reserve_exact(1);
            record.backends.insert(place, Backend { slot: slot.clone(), view, users: 0 });
        }
        Some(slot)
    }

    /// What the slot of a backend would show that no route sends to; `None` where there is no such port or subset.
    pub(super) fn supposed(
        &self,
        world: &World,
        service: &Arc<Service>,
        rule: Option<&Arc<Rule>>,
        stand: &Arc<Stand>,
        (port, subset): (u16, &str),
    ) -> Option<View> {
        let host: Host<R> =
            Host { service: Some(service.clone()), rule: rule.cloned(), facts: Arc::default(), readers: Few::default(), backends: Vec::new() };
        let place = Place { stand: stand.clone(), callers: self.callers.clone() };
        host.view(world, &place, &mut Common::default(), (port, subset), None, 0)
    }

    /// Backends with a warm-up whose views were made since the last time.
    pub(super) fn take_warming(&mut self) -> Vec<Arc<Slot>> {
        std::mem::take(&mut self.warming)
    }

    /// How many views were made since the last time.
    pub(super) fn take_runs(&mut self) -> u64 {
        std::mem::take(&mut self.runs)
    }

    /// Makes the views of a host's backends anew and adds those that differ to `changed`.
    pub(super) fn refresh(&mut self, world: &World, host: &Hostname, changed: &mut Vec<(Arc<Slot>, Arc<View>)>) {
        let place = self.place(world);
        let Some(record) = self.records.get(host) else { return };
        let mut fresh = Vec::new();
        for (at, backend) in record.backends.iter().enumerate() {
            self.runs += 1;
            let BackendKey { port, subset, .. } = &*backend.slot.key;
            let view = record.view(world, &place, &mut self.common, (*port, subset), Some(&backend.view), self.seed >> 33);
            fresh.extend(view.filter(|v| !same(v, &backend.view)).map(|view| (at, Arc::new(view))));
        }
        let Some(record) = self.records.get_mut(host) else { return };
        for (at, view) in fresh {
            let backend = &mut record.backends[at];
            backend.view = view.clone();
            self.warming.extend(view.policy.warm_up.is_some().then(|| backend.slot.clone()));
            changed.push((backend.slot.clone(), view));
        }
    }

    /// True while some fragment names the slot's backend.
    pub(super) fn names(&self, slot: &Arc<Slot>) -> bool {
        let key = &slot.key;
        let backend = self.records.get(&key.host).and_then(|r| r.backend(key));
        backend.is_some_and(|b| Arc::ptr_eq(&b.slot, slot))
    }

    /// A fragment names the backends.
    pub(super) fn hold<'a>(&mut self, keys: impl IntoIterator<Item = &'a Arc<BackendKey>>) {
        for key in keys {
            if let Some(backend) = self.records.get_mut(&key.host).and_then(|r| r.backend_mut(key)) {
                backend.users += 1;
            }
        }
    }
    /// A fragment is gone, or names others now.
    pub(super) fn release<'a>(&mut self, keys: impl IntoIterator<Item = &'a Arc<BackendKey>>) {
        for key in keys {
            if let Some(backend) = self.records.get_mut(&key.host).and_then(|r| r.backend_mut(key)) {
                backend.users = backend.users.saturating_sub(1);
            }
        }
    }
    /// A reader no longer reads the hosts.
    pub(super) fn forget<'a>(&mut self, hosts: impl IntoIterator<Item = &'a Hostname>, reader: &R) {
        for host in hosts {
            if let Some(record) = self.records.get_mut(host) {
                record.readers.remove(reader);
            }
        }
    }
    /// Drops backends that nobody names and hosts that nobody reads.
    pub(super) fn sweep(&mut self, hosts: &BTreeSet<Hostname>) {
        for host in hosts {
            if let Some(record) = self.records.get_mut(host) {
                record.backends.retain(|b| b.users > 0);
                if record.readers.is_empty() && record.backends.is_empty() {
                    self.records.remove(host);
                }
            }
        }
    }
}

impl<R: Ord> Host<R> {
    fn place(&self, key: &BackendKey) -> Result<usize, usize> {
        self.backends.binary_search_by(|b| (b.slot.key.port, &b.slot.key.subset).cmp(&(key.port, &key.subset)))
    }
    fn backend(&self, key: &BackendKey) -> Option<&Backend> {
        self.place(key).ok().map(|at| &self.backends[at])
    }
    fn backend_mut(&mut self, key: &BackendKey) -> Option<&mut Backend> {
        self.place(key).ok().map(|at| &mut self.backends[at])
    }

    fn view(
        &self,
        world: &World,
        place: &Place,
        common: &mut Common,
        (port, subset): (u16, &str),
        previous: Option<&View>,
        seed: u64,
    ) -> Option<View> {
        let service = self.service.as_ref()?;
        let number = service.port(port)?;
        let effective = self.effective(world, port, subset);
        let policy = common.policies.of(effective.policy(number.protocol, &world.mesh));
        let setting = effective.locality(&world.mesh, service.distribution, &place.callers);
        let line = Line { setting: Arc::new(setting), stand: place.stand.clone(), outlier: effective.outlier().map(Arc::new) };
        let line = common.lines.of(line);
        let labels = match subset {
            "" => None,
            name => Some(&self.rule.as_ref()?.subset(name)?.labels),
        };
        let endpoints = match service.resolution {
            Resolution::DynamicDns => &[][..],
            Resolution::None | Resolution::Static | Resolution::Dns | Resolution::DnsRoundRobin => {
                world.catalog.endpoints.get(&service.hostname).map_or(&[][..], |e| e)
            }
        };
        // With minHealthPercent, unhealthy endpoints are left out and not only passed over; never where the service has a distribution (M-14).
        let all = policy.panic_below == 0 || service.distribution.is_some();
        let of_port = endpoints.iter().filter(|e| e.port_name == number.name && (all || e.health != Health::Unhealthy));
        let chosen: Vec<&Arc<Endpoint>> = of_port.filter(|e| labels.is_none_or(|l| e.workload.carries(l))).collect();
        if chosen.iter().all(|e| e.is_direct()) {
            return Some(view(&policy, &line, &chosen, previous, seed));
        }
        let across = across(&chosen, service.kind, world.gateway.mutual_tls);
        let mut view = view(&policy, &line, &across.dialled.iter().collect::<Vec<_>>(), previous, seed);
        view.left_out = told(across.left_out.into_iter().map(|(endpoint, why)| (&**endpoint, why))).into();
        Some(view)
    }

    fn effective<'a>(&'a self, world: &'a World, port: u16, subset: &str) -> Effective<'a> {
        Effective::of(self.rule.as_deref(), subset, port, &world.mesh)
    }
}

/// True where two views show the same.
fn same(a: &View, b: &View) -> bool {
    let asked = a.policy == b.policy && a.line == b.line && a.left_out == b.left_out;
    asked && a.members.len() == b.members.len() && a.members.iter().zip(&b.members).all(|(a, b)| a.is(b))
}
