//! Virtual hosts from fragments, and listeners from virtual hosts (G-26, G-31, G-40, G-42, G-45, G-47).
//!
//! A virtual host is made again only when one of its fragments, its name or its redirect changed; a listener only when one of
//! its virtual hosts did.

use std::collections::BTreeMap;
use std::sync::Arc;

use isthmus_config::name::Hostname;

use super::fragments::{Fragment, Piece};
use super::listeners::Planned;
use crate::route::{HostTable, Match, RouteIndex};
use crate::snapshot::{ConnectionOptions, Front, HttpFront, ListenKey, Listener, TcpFront, VirtualHost};

/// A virtual host and what it was made from.
#[derive(Debug)]
pub(super) struct Node {
    inputs: Inputs,
    /// `None` where nothing is routed: no fragment has a route, and there is no redirect.
    pub(super) built: Option<Arc<VirtualHost>>,
}

/// What a virtual host is made from.
#[derive(Debug)]
pub(super) struct Inputs {
    /// In order of precedence (G-30); none is empty.
    pub(super) fragments: Vec<Arc<Fragment>>,
    pub(super) redirect: bool,
    /// The port in its name: that of the first server that offers it.
    pub(super) port: u16,
}

impl Inputs {
    fn same(&self, other: &Self) -> bool {
        self.redirect == other.redirect
            && self.port == other.port
            && self.fragments.len() == other.fragments.len()
            && self.fragments.iter().zip(&other.fragments).all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

/// Makes a virtual host; `None` where `previous` was made from the same.
pub(super) fn make(domain: &Hostname, mut inputs: Inputs, previous: Option<&Node>) -> Option<Node> {
    drop_repeated(&mut inputs.fragments);
    if previous.is_some_and(|p| p.inputs.same(&inputs)) {
        return None;
    }
    if inputs.fragments.is_empty() && !inputs.redirect {
        return Some(Node { inputs, built: None });
    }
    let pieces = || inputs.fragments.iter().flat_map(|f| &f.routes);
    let routes: Vec<_> = pieces().filter(|p| !p.catch_all).chain(pieces().filter(|p| p.catch_all)).map(|p| p.route.clone()).collect();
    let matches: Vec<&Match> = routes.iter().map(|r| &r.matches).collect();
    let index = match previous.and_then(|p| p.built.as_ref()) {
        Some(previous) => RouteIndex::rebuild(&matches, &previous.index),
        None => RouteIndex::build(&matches),
    };
    let name = format!("{domain}:{}", inputs.port).into();
    let built = VirtualHost { name, domains: vec![domain.clone()], https_redirect: inputs.redirect, routes, index };
    Some(Node { built: Some(Arc::new(built)), inputs })
}

/// One VirtualService on two servers of one listener: routes that stand there already can never be reached again.
fn drop_repeated(fragments: &mut Vec<Arc<Fragment>>) {
    let same = |a: &Piece, b: &Piece| a.route.rule == b.route.rule && Arc::ptr_eq(&a.route.name, &b.route.name) | (a.route.name == b.route.name);
    let mut kept: Vec<Arc<Fragment>> = Vec::with_capacity(fragments.len());
    for fragment in fragments.drain(..) {
        let repeats = |k: &Arc<Fragment>| {
            k.objects == fragment.objects && k.routes.len() == fragment.routes.len() && k.routes.iter().zip(&fragment.routes).all(|(a, b)| same(a, b))
        };
        if !kept.iter().any(repeats) {
            kept.push(fragment);
        }
    }
    *fragments = kept;
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
        front.virtual_hosts.len() == virtual_hosts.len() && front.virtual_hosts.iter().zip(&virtual_hosts).all(|(a, b)| a.domains == b.domains)
    };
    let table = match previous.map(|l| &l.front) {
        Some(Front::Http(front)) if same(front) => front.hosts.clone(),
        Some(Front::Http(_) | Front::Tcp(_) | Front::Closed(_)) | None => {
            let entries = (0u32..).zip(&virtual_hosts).flat_map(|(i, host)| host.domains.iter().map(move |d| (d.clone(), i)));
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
pub(super) fn of<'a>(nodes: &'a BTreeMap<(ListenKey, Hostname), Node>, key: &'a ListenKey) -> impl Iterator<Item = &'a Arc<VirtualHost>> {
    nodes.iter().filter(move |((k, _), _)| k == key).filter_map(|(_, node)| node.built.as_ref())
}
