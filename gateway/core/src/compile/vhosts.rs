//! Virtual hosts from fragments, and listeners from virtual hosts (G-26, G-30, G-31, G-40, G-42, G-45, G-47).
//!
//! A virtual host keeps who offers it routes, in order of precedence, so a VirtualService that changes costs its own routes
//! there. It is made again only when one of its fragments, its name or its redirect changed; a listener only when one of its
//! virtual hosts did.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use isthmus_config::istio::virtual_service::VirtualService;
use isthmus_config::name::Hostname;
use isthmus_config::object::Object;

use super::bind::{Bound, Exported};
use super::fragments::Fragment;
use super::listeners::Planned;
use crate::model::NamespacedName;
use crate::route::HostTable;
use crate::snapshot::{ConnectionOptions, Front, HttpFront, ListenKey, Listener, Part, Route, Routes, TcpFront, VirtualHost};

/// The place of a VirtualService among those that offer routes for a host, by way of one server (G-30).
#[derive(Clone, Debug)]
pub(super) struct Rank {
    /// The server's position.
    pub(super) server: usize,
    exported: Option<Exported>,
    object: Arc<Object<VirtualService>>,
}

impl Rank {
    pub(super) fn of(bound: &Bound, server: usize) -> Self {
        Self { server, exported: bound.exported, object: bound.object.clone() }
    }
    /// The VirtualService.
    pub(super) fn name(&self) -> NamespacedName {
        (self.object.meta.namespace.clone(), self.object.meta.name.clone())
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.server, self.exported).cmp(&(other.server, other.exported)).then_with(|| self.object.by_age(&other.object))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Rank {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Rank {}

/// A VirtualService that offers routes by way of one server.
pub(super) type Offer = (Rank, Arc<Fragment>);

/// An offer that was taken.
#[derive(Debug)]
struct Member {
    rank: Rank,
    fragment: Arc<Fragment>,
    /// The number of its part of the routes; `None` where its routes stand there already and can never be reached again.
    part: Option<u32>,
}

/// A virtual host and what it was made from.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// By rank.
    members: Vec<Member>,
    /// How many parts there are, and the numbers of those that are empty.
    parts: u32,
    free: Vec<u32>,
    /// `None` where nothing is routed: no member, and no redirect.
    pub(super) built: Option<Arc<VirtualHost>>,
}

/// The virtual hosts of each listener, most specific first.
pub(super) type Nodes = BTreeMap<ListenKey, BTreeMap<Hostname, Node>>;

/// Parts of the routes that differ, by number; an empty one is gone.
#[derive(Default)]
struct Changes {
    parts: Vec<(u32, Part)>,
    /// All parts have other numbers than before, and these are all there are.
    renumbered: bool,
}

/// As many are put in their places one by one.
const FEW: usize = 16;

impl Node {
    /// Takes in what some ranks offer now, in order; what is not among `offers` offers nothing. The ranks of one VirtualService
    /// come together.
    pub(super) fn update(&mut self, planned: &Planned, domain: &Hostname, ranks: &BTreeSet<Rank>, offers: Vec<Offer>) {
        let changes = if self.differs(ranks, &offers) { self.place(ranks, offers) } else { Changes::default() };
        let redirects = |server: usize| planned.servers.get(server).is_some_and(|s| s.redirect);
        let naming = planned.servers.iter().position(|s| s.redirect && s.hosts.iter().any(|(_, h)| h == domain));
        let https_redirect = naming.is_some() || self.members.iter().any(|m| redirects(m.rank.server));
        if self.members.is_empty() && !https_redirect {
            *self = Self::default();
            return;
        }
        // The port in its name is that of the first server that offers it.
        let first = self.members.first().map(|m| m.rank.server).into_iter().chain(naming).min().unwrap_or(0);
        let port = planned.servers.get(first).map_or(0, |s| s.info.port);
        let same = self.built.as_ref().is_some_and(|built| built.https_redirect == https_redirect && built.port == port);
        if same && changes.parts.is_empty() && !changes.renumbered {
            return;
        }
        let nothing = Routes::default();
        let previous = self.built.as_ref().filter(|_| !changes.renumbered).map_or(&nothing, |built| &built.routes);
        let routes = previous.with(&changes.parts, self.members.iter().filter_map(|m| m.part));
        self.built = Some(Arc::new(VirtualHost { domain: domain.clone(), port, https_redirect, routes }));
    }

    /// True where some rank offers other routes than it did.
    fn differs(&self, ranks: &BTreeSet<Rank>, offers: &[Offer]) -> bool {
        ranks.iter().any(|rank| {
            let before = self.find(rank).ok().map(|at| &self.members[at].fragment);
            let after = offers.binary_search_by(|(r, _)| r.cmp(rank)).ok().map(|at| &offers[at].1);
            match (before, after) {
                (Some(before), Some(after)) => !Arc::ptr_eq(before, after),
                (None, None) => false,
                (Some(_), None) | (None, Some(_)) => true,
            }
        })
    }

    /// Puts the offers of some ranks in the place of those before.
    fn place(&mut self, ranks: &BTreeSet<Rank>, offers: Vec<Offer>) -> Changes {
        let mut changes = Changes::default();
        let mut old = self.take(ranks);
        let mut standing: BTreeMap<NamespacedName, Vec<Arc<Fragment>>> = BTreeMap::new();
        let mut new = Vec::with_capacity(offers.len());
        for (rank, fragment) in offers {
            let standing = standing.entry(rank.name()).or_default();
            let part = (!standing.iter().any(|other| repeats(other, &fragment))).then(|| {
                let same = old.binary_search_by(|m| m.rank.cmp(&rank)).ok().and_then(|at| old[at].part.take());
                // Of empty parts none that is left just now: it stood elsewhere in the order.
                let part = same.or_else(|| self.free.pop()).unwrap_or(self.parts);
                self.parts = self.parts.max(part + 1);
                changes.parts.push((part, fragment.routes.clone()));
                standing.push(fragment.clone());
                part
            });
            new.push(Member { rank, fragment, part });
        }
        let left: Vec<u32> = old.iter().filter_map(|m| m.part).collect();
        changes.parts.extend(left.iter().map(|part| (*part, Part::default())));
        self.free.extend(left);
        self.put(new);
        if self.free.len() > self.members.len() { self.renumber() } else { changes }
    }

    /// Gives all parts new numbers, so that no history leaves many that are empty.
    fn renumber(&mut self) -> Changes {
        self.free = Vec::new();
        let mut parts = Vec::with_capacity(self.members.len());
        for (number, member) in (0..).zip(self.members.iter_mut().filter(|m| m.part.is_some())) {
            member.part = Some(number);
            parts.push((number, member.fragment.routes.clone()));
        }
        self.parts = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        Changes { parts, renumbered: true }
    }

    fn find(&self, rank: &Rank) -> Result<usize, usize> {
        self.members.binary_search_by(|m| m.rank.cmp(rank))
    }

    fn take(&mut self, ranks: &BTreeSet<Rank>) -> Vec<Member> {
        if ranks.len() <= FEW {
            return ranks.iter().filter_map(|rank| Some(self.members.remove(self.find(rank).ok()?))).collect();
        }
        let (taken, stay) = std::mem::take(&mut self.members).into_iter().partition(|m| ranks.contains(&m.rank));
        self.members = stay;
        taken
    }

    fn put(&mut self, members: Vec<Member>) {
        if members.len() > FEW {
            self.members.extend(members);
            self.members.sort_by(|a, b| a.rank.cmp(&b.rank));
            return;
        }
        if self.members.is_empty() {
            self.members.reserve_exact(members.len());
        }
        for member in members {
            let at = self.find(&member.rank).unwrap_or_else(|at| at);
            self.members.insert(at, member);
        }
    }
}

/// One VirtualService on two servers of one listener: routes that stand there already can never be reached again.
fn repeats(standing: &Fragment, fragment: &Fragment) -> bool {
    let same = |(a, b): (&Arc<Route>, &Arc<Route>)| a.rule.is(&b.rule) && a.name == b.name;
    standing.delegates == fragment.delegates
        && standing.routes.len() == fragment.routes.len()
        && standing.routes.iter().zip(&*fragment.routes).all(same)
}

/// The listener of an HTTP plan; `previous` lends its table where the hosts are the same.
pub(super) fn http<'a>(
    planned: &Planned,
    hosts: impl Iterator<Item = &'a Arc<VirtualHost>>,
    options: &Arc<ConnectionOptions>,
    previous: Option<&Listener>,
) -> Listener {
    let virtual_hosts: Vec<Arc<VirtualHost>> = hosts.cloned().collect();
    let same = |front: &HttpFront| {
        front.virtual_hosts.len() == virtual_hosts.len() && front.virtual_hosts.iter().zip(&virtual_hosts).all(|(a, b)| a.domain == b.domain)
    };
    let table = match previous.map(|l| &l.front) {
        Some(Front::Http(front)) if same(front) => front.hosts.clone(),
        Some(Front::Http(_) | Front::Tcp(_) | Front::Closed(_)) | None => {
            let entries = (0u32..).zip(&virtual_hosts).map(|(i, host)| (host.domain.clone(), i));
            Arc::new(HostTable::build(entries))
        }
    };
    listener(planned, Front::Http(HttpFront { name: planned.name.clone(), hosts: table, virtual_hosts }), options)
}

/// The listener of a TCP plan; without a route its port is held and not opened (G-8, G-47).
pub(super) fn tcp(planned: &Planned, front: Option<Arc<TcpFront>>, options: &Arc<ConnectionOptions>) -> Listener {
    let front = front.map_or_else(|| Front::Closed("no VirtualService has a tcp route for this server".into()), Front::Tcp);
    listener(planned, front, options)
}

/// The listener of a TLS plan, which stays closed.
pub(super) fn tls(planned: &Planned, options: &Arc<ConnectionOptions>) -> Listener {
    listener(planned, Front::Closed("not in force yet: TLS".into()), options)
}

fn listener(planned: &Planned, front: Front, options: &Arc<ConnectionOptions>) -> Listener {
    Listener { key: planned.key.clone(), servers: planned.servers.iter().map(|s| s.info.clone()).collect(), front, options: options.clone() }
}

/// True where two listeners show the same.
pub(super) fn same(a: &Listener, b: &Listener) -> bool {
    let fronts = match (&a.front, &b.front) {
        (Front::Http(a), Front::Http(b)) => {
            a.name == b.name
                && a.virtual_hosts.len() == b.virtual_hosts.len()
                && a.virtual_hosts.iter().zip(&b.virtual_hosts).all(|(a, b)| Arc::ptr_eq(a, b))
        }
        (Front::Tcp(a), Front::Tcp(b)) => Arc::ptr_eq(a, b),
        (Front::Closed(a), Front::Closed(b)) => a == b,
        (Front::Http(_) | Front::Tcp(_) | Front::Closed(_), _) => false,
    };
    fronts && a.servers == b.servers && a.options == b.options
}

/// The virtual hosts that exist of one listener, most specific first.
pub(super) fn of<'a>(nodes: &'a Nodes, key: &ListenKey) -> impl Iterator<Item = &'a Arc<VirtualHost>> {
    nodes.get(key).into_iter().flatten().filter_map(|(_, node)| node.built.as_ref())
}
