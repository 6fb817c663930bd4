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
use super::listeners::{Door, Family};
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

impl FragmentKey {
    /// What a VirtualService offers to what comes through a door.
    pub(super) fn of(service: &NamespacedName, door: &Door) -> Self {
        Self { service: service.clone(), gateway: door.gateway.clone(), port: door.port, family: door.family }
    }
    /// True where it is offered there.
    pub(super) fn is_behind(&self, door: &Door) -> bool {
        (&self.gateway, self.port, self.family) == (&door.gateway, door.port, door.family)
    }
}

/// What it compiles to.
#[derive(Debug, Default)]
pub(super) struct Fragment {
    /// None behind a catch-all (G-33).
    pub(super) routes: Part,
    pub(super) tcp: Option<Arc<TcpFront>>,
    pub(super) problems: Vec<Problem>,
    /// VirtualServices read beside the root, also those that do not exist.
    pub(super) delegates: Few<NamespacedName>,
    pub(super) hosts: Few<Hostname>,
    pub(super) backends: Few<Arc<BackendKey>>,
}

/// A destination, looked up.
pub(super) struct Found {
    pub(super) key: Arc<BackendKey>,
    pub(super) slot: Result<Arc<Slot>, Arc<str>>,
    pub(super) hash: Option<Box<HashKey>>,
}

/// What a fragment is made in: the world, and what it has read so far.
pub(super) struct Making<'a> {
    pub(super) world: &'a World,
    pub(super) key: &'a Arc<FragmentKey>,
    pub(super) fragment: Fragment,
    hosts: BTreeSet<Hostname>,
    backends: BTreeSet<Arc<BackendKey>>,
    rules: &'a Rules,
    pub(super) table: &'a mut Hosts<Arc<FragmentKey>>,
    pub(super) patterns: &'a mut Patterns,
}

/// Compiles one fragment.
pub(super) fn make(
    world: &World,
    rules: &Rules,
    table: &mut Hosts<Arc<FragmentKey>>,
    patterns: &mut Patterns,
    key: &Arc<FragmentKey>,
    root: &Arc<Object<VirtualService>>,
) -> Fragment {
    let fragment = Fragment::default();
    let mut making = Making { world, key, fragment, hosts: BTreeSet::new(), backends: BTreeSet::new(), rules, table, patterns };
    let expansion = expand(world, root);
    let delegates: BTreeSet<NamespacedName> = expansion.delegates.into_iter().collect();
    making.fragment.problems = expansion.problems;
    match key.family {
        Family::Http => making.fragment.routes = routes::compile(&mut making, &expansion.rules),
        Family::Tcp => tcp::compile(&mut making, root),
        Family::Tls => {}
    }
    let Making { fragment, hosts, backends, .. } = making;
    Fragment { delegates: delegates.into(), hosts: hosts.into(), backends: backends.into(), ..fragment }
}

/// An alias may point at an alias; further than this it points nowhere.
const ALIASES: usize = 10;

impl Making<'_> {
    /// The host by the name that all share, and what it is.
    fn facts(&mut self, host: Hostname) -> (Hostname, Arc<Facts>) {
        let (host, facts) = self.table.read(self.world, self.rules, host, self.key);
        self.hosts.insert(host.clone());
        (host, facts)
    }

    /// The backend that a destination names, or why there is none (V-20, V-21, V-24..V-26).
    pub(super) fn find(&mut self, asked: &Asked, namespace: &str) -> Found {
        let (mut host, mut facts) = self.facts(qualify(&asked.host, namespace, &self.world.gateway.domain));
        for _ in 0..ALIASES {
            let Standing::Alias(target) = &facts.standing else { break };
            (host, facts) = self.facts(target.clone());
        }
        let named = asked.port.as_ref().map(|p| u16::try_from(p.number).unwrap_or(0));
        let port = named.unwrap_or(match &facts.standing {
            Standing::Ports(ports) if ports.len() == 1 => ports[0],
            Standing::Unknown | Standing::Hidden | Standing::Alias(_) | Standing::Ports(_) => self.key.port,
        });
        let key = BackendKey { host, port, subset: shared(&asked.subset) };
        let hash = facts.hash(&key.subset, named).map(Box::new);
        let slot = check(&facts, &key).and_then(|()| self.table.slot(self.world, &key).ok_or_else(|| format!("{}: no such service", key.host)));
        match slot {
            Ok(slot) => {
                self.backends.insert(slot.key.clone());
                Found { key: slot.key.clone(), slot: Ok(slot), hash }
            }
            Err(why) => Found { key: key.into(), slot: Err(why.into()), hash },
        }
    }

    /// Reports a line about a rule.
    pub(super) fn tell(&mut self, origin: &crate::snapshot::RuleOrigin, path: String, code: &'static str, message: String) {
        self.fragment.problems.push(Problem::new(Severity::Warning, code, message).of(origin.object(), origin.origin()).at(path));
    }
}

/// A text to hold; what is empty takes no room.
pub(super) fn shared(text: &str) -> Arc<str> {
    if text.is_empty() { Arc::default() } else { text.into() }
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
