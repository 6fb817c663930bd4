//! The passes over a compiler's records, in order, each noting for the next what is to be run again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use isthmus_config::mesh::PathNormalizationType;
use isthmus_config::name::{ClusterId, Hostname, Locality};
use isthmus_config::object::{Kind, ObjectRef};

use super::bind::{Binding, Bound, bind};
use super::fragments::{Fragment, FragmentKey, make};
use super::listeners::{Door, Family, Planned, plan, tls_problem, translates};
use super::vhosts::{self, Offer, Rank};
use super::{Compiler, Counters, Entry, Plan, Report, later};
use crate::balance::{Slot, View};
use crate::model::{Changes, Health, NamespacedName, World};
use crate::route::PathNormalization;
use crate::snapshot::{ConnectionOptions, ListenKey, Listener, Snapshot};

/// What one compilation has found to do.
#[derive(Debug, Default)]
pub(super) struct Pass {
    counters: Counters,
    views: Vec<(Arc<Slot>, Arc<View>)>,
    /// The listeners' plans differ.
    replanned: bool,
    /// Fragments to make again.
    fragments: BTreeSet<Arc<FragmentKey>>,
    /// Virtual hosts to look at, and those of their offers that may be others.
    hosts: BTreeMap<(ListenKey, Hostname), BTreeSet<Rank>>,
    /// Listeners to make again.
    fronts: BTreeSet<ListenKey>,
    /// Hosts that may have lost their readers.
    sweep: BTreeSet<Hostname>,
    /// Something that the report tells of was run.
    retell: bool,
}

impl Pass {
    /// Notes that a VirtualService may offer other routes than it did.
    fn look(&mut self, bound: &Bound) {
        for Binding { door, domains } in bound.servers.iter().filter(|b| b.door.family == Family::Http) {
            for domain in domains {
                self.hosts.entry((door.listener.clone(), domain.clone())).or_default().insert(Rank::of(bound, door.server));
            }
        }
    }
}

impl Compiler {
    /// Rules and hosts: what a host is to routes, and the views of its backends.
    pub(super) fn hosts(&mut self, world: &World, changes: &Changes, pass: &mut Pass) {
        let touched = self.rules.update(world, changes);
        let mut stale: BTreeSet<Hostname> = BTreeSet::new();
        if changes.all {
            stale.extend(self.table.records.keys().cloned());
            pass.fragments.extend(self.fragments.keys().cloned());
        } else {
            let known = |h: &&Hostname| self.table.records.contains_key(*h);
            stale.extend(changes.services.iter().chain(&changes.endpoints).filter(known).cloned());
            for host in &touched {
                if host.is_wildcard() {
                    stale.extend(self.table.records.keys().filter(|h| host.covers(h)).cloned());
                } else if known(&host) {
                    stale.insert(host.clone());
                }
            }
        }
        for host in &stale {
            if self.table.look(world, &self.rules, host) {
                pass.fragments.extend(self.table.records.get(host).into_iter().flat_map(|r| r.readers.iter().cloned()));
            }
            self.table.refresh(world, host, &mut pass.views);
        }
    }

    /// Listeners as the Gateways ask for them.
    pub(super) fn listeners(&mut self, world: &World, changes: &Changes, pass: &mut Pass) {
        let translator = |h: &Hostname| self.plans.services.contains(h) || world.catalog.services.get(h).is_some_and(|s| translates(s, world));
        let asked = changes.all
            || changes.objects.iter().any(|o| o.kind == Kind::Gateway)
            || changes.services.iter().any(translator)
            || changes.endpoints.iter().any(|h| self.plans.services.contains(h));
        if !asked {
            return;
        }
        let options = options(world);
        if *self.options != options {
            self.options = Arc::new(options);
            pass.fronts.extend(self.listeners.keys().cloned());
        }
        let plans = plan(world);
        if plans == self.plans {
            return;
        }
        self.plans = plans;
        pass.replanned = true;
        pass.retell = true;
        pass.fronts.extend(self.plans.listeners.keys().cloned());
        let known = self.nodes.iter().flat_map(|(listener, hosts)| hosts.keys().map(|host| (listener.clone(), host.clone())));
        pass.hosts.extend(known.map(|host| (host, BTreeSet::new())));
        let redirects = self
            .plans
            .listeners
            .values()
            .flat_map(|p| p.servers.iter().filter(|s| s.redirect).flat_map(|s| s.hosts.iter().map(|(_, h)| (p.key.clone(), h.clone()))));
        redirects.for_each(|host| {
            pass.hosts.entry(host).or_default();
        });
    }

    /// Where gateways like this one stand, as the endpoints of the Services that select it tell (L-34).
    pub(super) fn callers(&mut self, world: &World, changes: &Changes, pass: &mut Pass) {
        let own = &self.plans.services;
        if !(changes.all || pass.replanned || changes.endpoints.iter().any(|h| own.contains(h))) {
            return;
        }
        let endpoints = own.iter().filter_map(|host| world.catalog.endpoints.get(host)).flat_map(|list| list.iter());
        let gateways: BTreeMap<(&ClusterId, &str, &str), &Locality> = endpoints
            .filter(|e| e.health == Health::Healthy && !e.workload.name.is_empty())
            .map(|e| ((e.workload.cluster(), &**e.workload.namespace(), &*e.workload.name), e.workload.locality()))
            .collect();
        let mut callers: BTreeMap<&Locality, u32> = BTreeMap::new();
        for locality in gateways.into_values() {
            *callers.entry(locality).or_default() += 1;
        }
        for host in self.table.stand_beside(callers.into_iter().map(|(locality, n)| (locality.clone(), n)).collect()) {
            self.table.refresh(world, &host, &mut pass.views);
        }
    }

    /// VirtualServices to servers; notes the fragments that are missing and the hosts that gain or lose an offer.
    pub(super) fn bind(&mut self, world: &World, changes: &Changes, pass: &mut Pass) {
        let names: BTreeSet<NamespacedName> = if changes.all || pass.replanned {
            self.bound.keys().cloned().chain(world.documents.virtual_services.keys()).collect()
        } else {
            let services = changes.objects.iter().filter(|o| o.kind == Kind::VirtualService);
            services.map(|o| (o.namespace.clone(), o.name.clone())).collect()
        };
        for name in names {
            pass.counters.bound_run += 1;
            pass.retell = true;
            let changed = changes.all || changes.objects.contains(&ObjectRef::new(Kind::VirtualService, name.0.clone(), name.1.clone()));
            let old = self.bound.remove(&name);
            let before: Vec<FragmentKey> = old.iter().flat_map(|old| &old.servers).map(|b| FragmentKey::of(&name, &b.door)).collect();
            if changed {
                pass.fragments.extend(self.readers.get(&name).into_iter().flatten().cloned());
            }
            if let Some(old) = &old {
                self.withdraw(&name, old, pass);
            }
            if let Some(object) = world.documents.virtual_services.get(&name) {
                let bound = bind(world, &self.plans.listeners, object);
                self.offer(&name, &bound, pass);
                self.bound.insert(name.clone(), bound);
            }
            let kept = self.bound.get(&name);
            let stays = |key: &FragmentKey| kept.is_some_and(|kept| kept.servers.iter().any(|b| key.is_behind(&b.door)));
            pass.fragments.extend(before.into_iter().filter(|key| changed || !stays(key)).map(Arc::new));
        }
    }

    fn withdraw(&mut self, name: &NamespacedName, old: &Bound, pass: &mut Pass) {
        pass.look(old);
        for Binding { door, .. } in &old.servers {
            let entry: Entry = (door.server, name.clone());
            if let Some(entries) = self.streams.get_mut(&door.listener) {
                entries.remove(&entry);
                if entries.is_empty() {
                    self.streams.remove(&door.listener);
                }
                pass.fronts.insert(door.listener.clone());
            }
        }
    }

    fn offer(&mut self, name: &NamespacedName, bound: &Bound, pass: &mut Pass) {
        pass.look(bound);
        for Binding { door, .. } in &bound.servers {
            if door.family != Family::Http {
                let entry: Entry = (door.server, name.clone());
                self.streams.entry(door.listener.clone()).or_default().insert(entry);
                pass.fronts.insert(door.listener.clone());
            }
            let key = FragmentKey::of(name, door);
            if !self.fragments.contains_key(&key) {
                pass.fragments.insert(key.into());
            }
        }
    }

    /// Fragments: routes of one VirtualService for one server port. Those that nobody binds any more go.
    pub(super) fn fragments(&mut self, world: &World, pass: &mut Pass) {
        for key in std::mem::take(&mut pass.fragments) {
            let bound = self.bound.get(&key.service);
            let doors: Vec<&Door> = bound.into_iter().flat_map(|b| &b.servers).map(|b| &*b.door).filter(|door| key.is_behind(door)).collect();
            let fresh = match bound {
                Some(bound) if !doors.is_empty() => {
                    Some(Arc::new(make(world, &self.rules, &mut self.table, &mut self.patterns, &key, &bound.object)))
                }
                Some(_) | None => None,
            };
            bound.into_iter().for_each(|bound| pass.look(bound));
            for door in &doors {
                if self.streams.contains_key(&door.listener) {
                    pass.fronts.insert(door.listener.clone());
                }
            }
            pass.retell = true;
            self.replace(key, fresh, pass);
        }
    }

    /// Puts a fragment in its place; what differs from the one before is held, or let go.
    fn replace(&mut self, key: Arc<FragmentKey>, fresh: Option<Arc<Fragment>>, pass: &mut Pass) {
        let old = self.fragments.remove(&key).unwrap_or_default();
        pass.counters.fragments_run += u64::from(fresh.is_some());
        let nothing = Fragment::default();
        let new = fresh.as_deref().unwrap_or(&nothing);
        for object in new.delegates.without(&old.delegates) {
            self.readers.entry(object.clone()).or_default().insert(key.clone());
        }
        for object in old.delegates.without(&new.delegates) {
            if let Some(readers) = self.readers.get_mut(object) {
                readers.remove(&key);
                if readers.is_empty() {
                    self.readers.remove(object);
                }
            }
        }
        self.table.hold(new.backends.without(&old.backends));
        self.table.release(old.backends.without(&new.backends));
        self.table.forget(old.hosts.without(&new.hosts), &key);
        pass.sweep.extend(old.backends.without(&new.backends).map(|backend| backend.host.clone()));
        pass.sweep.extend(old.hosts.without(&new.hosts).cloned());
        if let Some(fresh) = fresh {
            self.fragments.insert(key, fresh);
        }
    }

    /// Virtual hosts from the fragments that are offered for them.
    pub(super) fn virtual_hosts(&mut self, pass: &mut Pass) {
        for (key, ranks) in std::mem::take(&mut pass.hosts) {
            let mut node = self.nodes.get_mut(&key.0).and_then(|hosts| hosts.remove(&key.1)).unwrap_or_default();
            let before = node.built.clone();
            match self.plans.listeners.get(&key.0).filter(|p| p.family == Family::Http) {
                Some(planned) => node.update(planned, &key.1, &ranks, ranks.iter().filter_map(|rank| self.offered(&key, rank)).collect()),
                None => node.built = None,
            }
            let same = match (&before, &node.built) {
                (Some(before), Some(after)) => Arc::ptr_eq(before, after),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            if !same {
                pass.fronts.insert(key.0.clone());
                pass.counters.vhosts_run += u64::from(node.built.is_some());
            }
            if node.built.is_some() {
                self.nodes.entry(key.0).or_default().insert(key.1, node);
            }
        }
    }

    /// What a rank offers for a host; `None` where nobody has it any more, or it has no routes.
    fn offered(&self, (listener, host): &(ListenKey, Hostname), rank: &Rank) -> Option<Offer> {
        let name = rank.name();
        let bound = self.bound.get(&name)?;
        let serves = |b: &&Binding| b.door.listener == *listener && b.door.server == rank.server && b.domains.contains(host);
        let Binding { door, .. } = bound.servers.iter().find(serves)?;
        let now = Rank::of(bound, rank.server);
        let fragment = self.fragments.get(&FragmentKey::of(&name, door))?;
        (now == *rank && !fragment.routes.is_empty()).then(|| (now, fragment.clone()))
    }

    /// Listeners from their virtual hosts, or from the one stream that they carry.
    pub(super) fn fronts(&mut self, world: &World, pass: &mut Pass) {
        let before = self.listeners.len();
        self.listeners.retain(|key, _| self.plans.listeners.contains_key(key));
        let mut changed = before != self.listeners.len() || self.snapshot.is_none();
        for key in std::mem::take(&mut pass.fronts) {
            let Some(planned) = self.plans.listeners.get(&key) else { continue };
            let previous = self.listeners.get(&key);
            let fresh = match planned.family {
                Family::Http => vhosts::http(planned, vhosts::of(&self.nodes, &key), &self.options, previous.map(|l| &**l)),
                Family::Tcp => vhosts::tcp(planned, self.stream(planned), &self.options),
                Family::Tls => vhosts::tls(planned, &self.options),
            };
            pass.counters.listeners_run += 1;
            if previous.is_some_and(|p| vhosts::same(p, &fresh)) {
                continue;
            }
            self.listeners.insert(key, Arc::new(fresh));
            changed = true;
        }
        if changed {
            let generation = world.generation.max(self.snapshot.as_ref().map_or(0, |s| s.generation + 1));
            let listeners: Vec<Arc<Listener>> = self.listeners.values().cloned().collect();
            self.snapshot = Some(Arc::new(Snapshot { generation, listeners }));
            pass.retell = true;
            pass.replanned = true;
        } else {
            pass.replanned = false;
        }
    }

    /// The first stream offered to a TCP server, in order of precedence (G-45).
    fn stream(&self, planned: &Planned) -> Option<Arc<crate::snapshot::TcpFront>> {
        let server = planned.servers.first()?;
        let entries = self.streams.get(&planned.key)?;
        let mut offers: Vec<(&Bound, &NamespacedName)> = entries.iter().filter_map(|(_, name)| Some((self.bound.get(name)?, name))).collect();
        offers.sort_by(|(a, _), (b, _)| a.order(b));
        offers.into_iter().find_map(|(_, name)| self.fragments.get(&FragmentKey::of(name, &server.door))?.tcp.clone())
    }

    /// What is left: hosts that nobody names, the report, the plan.
    pub(super) fn finish(&mut self, world: &World, changes: &Changes, mut pass: Pass) -> Plan {
        self.table.sweep(&pass.sweep);
        pass.views.retain(|(slot, _)| self.table.names(slot));
        pass.counters.backends_run = self.table.take_runs();
        pass.retell |= later::update(&mut self.later, world, changes);
        if pass.retell {
            let mut problems = self.plans.problems.clone();
            for planned in self.plans.listeners.values() {
                match planned.family {
                    Family::Tls => problems.extend(planned.servers.iter().map(|s| tls_problem(world, s))),
                    Family::Http | Family::Tcp => {}
                }
            }
            problems.extend(self.fragments.values().flat_map(|f| f.problems.iter().cloned()));
            problems.extend(self.later.values().flatten().cloned());
            self.report = Arc::new(Report::new(problems));
        }
        let snapshot = self.snapshot.clone().filter(|_| pass.replanned);
        let warming = self.table.take_warming();
        Plan { snapshot, views: pass.views, warming, report: self.report.clone(), counters: pass.counters }
    }
}

/// What the mesh asks of every connection (10.6).
fn options(world: &World) -> ConnectionOptions {
    let topology = &world.mesh.default_config.gateway_topology;
    ConnectionOptions {
        proxy_protocol: topology.proxy_protocol.is_some(),
        trusted_proxies: topology.num_trusted_proxies,
        path_normalization: match world.mesh.path_normalization.normalization {
            PathNormalizationType::None => PathNormalization::None,
            PathNormalizationType::Default | PathNormalizationType::Base => PathNormalization::Base,
            PathNormalizationType::MergeSlashes => PathNormalization::MergeSlashes,
            PathNormalizationType::DecodeAndMergeSlashes => PathNormalization::DecodeAndMergeSlashes,
        },
    }
}
