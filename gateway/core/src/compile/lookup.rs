//! Which DestinationRule is for a service, seen from this gateway (D-1..D-7), and the names that stand for services (V-20).
//!
//! The rules are indexed by namespace and host and merged per host, so that one changed rule costs the merge of its own
//! host. What a changed rule may have touched is told by its host, a wildcard included.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use isthmus_config::name::Hostname;
use isthmus_config::object::Kind;

use super::merge::{Rule, Source, merge, words};
use crate::model::{Changes, NamespacedName, Service, World};

/// A host as rules write it: a short name is a service of `namespace`; anything with a dot or `*`, or an address, stays (V-20, D-5).
pub fn qualify(host: &str, namespace: &str, domain: &str) -> Hostname {
    if host.contains(['.', '*', ':']) { Hostname::new(host) } else { Hostname::new(&format!("{host}.{namespace}.svc.{domain}")) }
}

/// Every DestinationRule, ready to be looked up.
#[derive(Debug, Default)]
pub struct Rules {
    namespaces: HashMap<Arc<str>, Namespace>,
    /// Where each object was put, for taking it out again.
    placed: HashMap<NamespacedName, Hostname>,
}

/// Rules by host; the specific ones are found by hash, the wildcards are tried longest first.
#[derive(Debug, Default)]
struct Table {
    exact: HashMap<Hostname, Vec<Arc<Rule>>>,
    wildcards: BTreeMap<Hostname, Vec<Arc<Rule>>>,
}

impl Table {
    fn put(&mut self, host: &Hostname, rules: Vec<Arc<Rule>>) {
        match (host.is_wildcard(), rules.is_empty()) {
            (false, false) => drop(self.exact.insert(host.clone(), rules)),
            (false, true) => drop(self.exact.remove(host)),
            (true, false) => drop(self.wildcards.insert(host.clone(), rules)),
            (true, true) => drop(self.wildcards.remove(host)),
        }
    }
    fn find(&self, host: &Hostname) -> Option<&[Arc<Rule>]> {
        let exact = self.exact.get(host);
        exact.or_else(|| self.wildcards.iter().find(|(h, _)| h.covers(host)).map(|(_, r)| r)).map(Vec::as_slice)
    }
}

/// An exportTo as it is written.
type Words = BTreeSet<Arc<str>>;

#[derive(Debug, Default)]
struct Namespace {
    objects: HashMap<Hostname, Vec<NamespacedName>>,
    /// Rules that clients of this very namespace may see (D-1).
    local: Table,
    /// Rules that are not for this namespace alone (D-3).
    exported: Table,
    /// Rules for this namespace alone; read when it is the root namespace and the client lives there (D-1).
    private: Table,
}

impl Rules {
    /// Takes changes in and tells the hosts, as rules write them, whose rules may differ.
    pub fn update(&mut self, world: &World, changes: &Changes) -> BTreeSet<Hostname> {
        let mut stale: BTreeSet<(Arc<str>, Hostname)> = BTreeSet::new();
        let names: Vec<NamespacedName> = if changes.all {
            *self = Self::default();
            world.documents.destination_rules.keys().collect()
        } else {
            let rules = changes.objects.iter().filter(|o| o.kind == Kind::DestinationRule);
            rules.map(|o| (o.namespace.clone(), o.name.clone())).collect()
        };
        for name in names {
            let namespace = self.namespaces.entry(name.0.clone()).or_default();
            if let Some(host) = self.placed.remove(&name) {
                if let Some(list) = namespace.objects.get_mut(&host) {
                    list.retain(|n| *n != name);
                }
                stale.insert((name.0.clone(), host));
            }
            if let Some(object) = world.documents.destination_rules.get(&name) {
                let host = qualify(&object.spec.host, &name.0, &world.gateway.domain);
                namespace.objects.entry(host.clone()).or_default().push(name.clone());
                self.placed.insert(name.clone(), host.clone());
                stale.insert((name.0, host));
            }
        }
        for (namespace, host) in &stale {
            self.rebuild(world, namespace, host);
        }
        stale.into_iter().map(|(_, host)| host).collect()
    }

    fn rebuild(&mut self, world: &World, name: &Arc<str>, host: &Hostname) {
        let Some(namespace) = self.namespaces.get_mut(name) else { return };
        let hidden = world.mesh.default_destination_rule_export_to.iter().any(|word| word == ".");
        let sources = namespace.objects.get(host).into_iter().flatten().filter_map(|n| world.documents.destination_rules.get(n));
        let sources: Vec<(&Source, Words)> = sources.map(|o| (o, words(o))).collect();
        if sources.is_empty() {
            namespace.objects.remove(host);
        }
        let own = |w: &Words| if w.is_empty() { hidden } else { w.len() == 1 && (w.contains(".") || w.contains(name)) };
        let local = |w: &Words| w.is_empty() || w.contains("*") || w.contains(".") || w.contains(name);
        let some = |keep: &dyn Fn(&Words) -> bool| merge(sources.iter().filter(|(_, w)| keep(w)).map(|(o, _)| (*o).clone()).collect());
        let (local, exported, private) = (some(&local), some(&|w| !own(w)), some(&own));
        namespace.local.put(host, local);
        namespace.exported.put(host, exported);
        namespace.private.put(host, private);
    }

    /// The rule for a service, seen from the gateway's namespace.
    pub fn find(&self, world: &World, service: &Service) -> Option<Arc<Rule>> {
        let client = &world.gateway.namespace;
        let root: &str = &world.mesh.root_namespace;
        let host = &service.hostname;
        let own = self.namespaces.get(client);
        let first = own.and_then(|n| if **client == *root { n.private.find(host) } else { n.local.find(host) });
        if let Some(rules) = first {
            return choose(rules.iter(), world, true);
        }
        [&*service.namespace, root].into_iter().find_map(|name| {
            let rules = self.namespaces.get(name)?.exported.find(host)?;
            choose(rules.iter().filter(|r| r.is_shown_to(client)), world, name == &**client)
        })
    }
}

/// Of the rules for one host: one that selects this very workload, else the last for everybody (D-7, D-13).
fn choose<'a>(rules: impl Iterator<Item = &'a Arc<Rule>> + Clone, world: &World, own_namespace: bool) -> Option<Arc<Rule>> {
    let labels = &world.gateway.labels;
    let selects = |r: &&Arc<Rule>| r.selector.as_ref().is_some_and(|s| own_namespace && s.iter().all(|(k, v)| labels.get(k) == Some(v)));
    let chosen = rules.clone().find(selects).or_else(|| rules.filter(|r| r.selector.is_none()).last());
    chosen.cloned()
}
