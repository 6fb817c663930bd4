//! The smallest part that is compiled at once: one VirtualService as one server port of one Gateway sees it.
//!
//! A fragment is shared by all virtual hosts that the VirtualService serves there. It keeps what it read (hosts, objects) and
//! what it names (backends), so it is run again exactly when one of those changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use isthmus_config::istio::virtual_service::{Destination as Asked, VirtualService};
use isthmus_config::name::Hostname;
use isthmus_config::object::Object;
use isthmus_config::problem::{Problem, Severity};

use super::delegate::expand;
use super::few::Few;
use super::hosts::{Facts, Hosts, Standing};
use super::listeners::Family;
use super::lookup::{Rules, qualify};
use super::{routes, tcp};
use crate::balance::{BackendKey, HashKey, Slot};
use crate::model::{NamespacedName, World};
use crate::route::Patterns;
use crate::snapshot::{Part, TcpFront};

/// Which VirtualService, seen from which port of which Gateway.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FragmentKey {
    pub(super) service: NamespacedName,
    pub(super) gateway: NamespacedName,
    /// The server's own port.
    pub(super) port: u16,
    /// Whether its requests or its bytes are routed there (V-74).
    pub(super) family: Family,
}

/// What it compiles to.
#[derive(Debug, Default)]
pub(super) struct Fragment {
    /// None behind a catch-all (G-33).
    pub(super) routes: Part,
    pub(super) tcp: Option<Arc<TcpFront>>,
    pub(super) problems: Vec<Problem>,
    /// VirtualServices read: the root and its delegates, also those that do not exist.
    pub(super) objects: Few<NamespacedName>,
    pub(super) hosts: Few<Hostname>,
    pub(super) backends: Few<BackendKey>,
}

/// A destination, looked up.
pub(super) struct Found {
    pub(super) key: BackendKey,
    pub(super) slot: Result<Arc<Slot>, Arc<str>>,
    pub(super) hash: Option<Box<HashKey>>,
}

/// What a fragment is made in: the world, and what it has read so far.
pub(super) struct Making<'a> {
    pub(super) world: &'a World,
    pub(super) key: &'a FragmentKey,
    pub(super) fragment: Fragment,
    hosts: BTreeSet<Hostname>,
    backends: BTreeSet<BackendKey>,
    rules: &'a Rules,
    table: &'a mut Hosts<FragmentKey>,
    pub(super) patterns: &'a mut Patterns,
}

/// Compiles one fragment.
pub(super) fn make(
    world: &World,
    rules: &Rules,
    table: &mut Hosts<FragmentKey>,
    patterns: &mut Patterns,
    key: &FragmentKey,
    root: &Object<VirtualService>,
) -> Fragment {
    let fragment = Fragment::default();
    let mut making = Making { world, key, fragment, hosts: BTreeSet::new(), backends: BTreeSet::new(), rules, table, patterns };
    let expansion = expand(world, root);
    let objects: BTreeSet<NamespacedName> = [key.service.clone()].into_iter().chain(expansion.delegates).collect();
    making.fragment.problems = expansion.problems;
    match key.family {
        Family::Http => making.fragment.routes = routes::compile(&mut making, &expansion.rules),
        Family::Tcp => tcp::compile(&mut making, root),
        Family::Tls => {}
    }
    let Making { fragment, hosts, backends, .. } = making;
    Fragment { objects: objects.into(), hosts: hosts.into(), backends: backends.into(), ..fragment }
}

/// An alias may point at an alias; further than this it points nowhere.
const ALIASES: usize = 10;

impl Making<'_> {
    fn facts(&mut self, host: &Hostname) -> Arc<Facts> {
        self.hosts.insert(host.clone());
        self.table.read(self.world, self.rules, host, self.key)
    }

    /// The backend that a destination names, or why there is none (V-20, V-21, V-24..V-26).
    pub(super) fn find(&mut self, asked: &Asked, namespace: &str) -> Found {
        let mut host = qualify(&asked.host, namespace, &self.world.gateway.domain);
        let mut facts = self.facts(&host);
        for _ in 0..ALIASES {
            let Standing::Alias(target) = &facts.standing else { break };
            host = target.clone();
            facts = self.facts(&host);
        }
        let named = asked.port.as_ref().map(|p| u16::try_from(p.number).unwrap_or(0));
        let port = named.unwrap_or(match &facts.standing {
            Standing::Ports(ports) if ports.len() == 1 => ports[0],
            Standing::Unknown | Standing::Hidden | Standing::Alias(_) | Standing::Ports(_) => self.key.port,
        });
        let key = BackendKey { host, port, subset: asked.subset.as_str().into() };
        let slot = check(&facts, &key).and_then(|()| {
            let slot = self.table.slot(self.world, &key).ok_or_else(|| format!("{}: no such service", key.host))?;
            self.backends.insert(key.clone());
            Ok(slot)
        });
        Found { hash: facts.hash(&key.subset, named).map(Box::new), slot: slot.map_err(Arc::from), key }
    }

    /// Reports a line about a rule.
    pub(super) fn tell(&mut self, origin: &crate::snapshot::RuleOrigin, path: String, code: &'static str, message: String) {
        self.fragment.problems.push(Problem::new(Severity::Warning, code, message).of(origin.object.clone(), &origin.origin).at(path));
    }
}

/// Why a backend does not exist.
fn check(facts: &Facts, key: &BackendKey) -> Result<(), String> {
    let BackendKey { host, port, subset } = key;
    match &facts.standing {
        Standing::Unknown => Err(format!("{host}: no such service")),
        Standing::Hidden => Err(format!("{host}: the service is not exported to the gateway's namespace")),
        Standing::Alias(_) => Err(format!("{host}: an ExternalName that leads nowhere")),
        Standing::Ports(ports) if !ports.contains(port) => {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            Err(format!("{host}: no port {port}; the service has {}", if ports.is_empty() { "none".into() } else { ports.join(", ") }))
        }
        Standing::Ports(_) if !facts.has_subset(subset) => {
            let subsets: Vec<&str> = facts.subsets().iter().map(|s| &**s).collect();
            Err(format!("{host}: no subset {subset}; declared: {}", if subsets.is_empty() { "none".into() } else { subsets.join(", ") }))
        }
        Standing::Ports(_) => Ok(()),
    }
}
