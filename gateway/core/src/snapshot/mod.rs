//! The routes in force: immutable, numbered, published by one pointer swap.
//!
//! A snapshot holds listeners, their virtual hosts and routes; a route holds [`Slot`]s, whose endpoints live outside
//! (see `balance`), so an endpoint change makes no new snapshot. Records that a change did not touch are the same `Arc`.

mod dump;
mod held;
mod routes;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use isthmus_config::istio::virtual_service::VirtualService;
use isthmus_config::name::Hostname;
use isthmus_config::object::{Kind, Object, ObjectRef, Origin, Spot};
use serde::Serialize;

use crate::balance::{BackendKey, HashKey, Slot};
use crate::model::Protocol;
use crate::policy::{Cors, Fault, Mirror, RetryPolicy, RouteTimeout};
use crate::route::{DirectResponse, HeaderEdits, HostTable, Match, Redirect, Rewrite};

pub use dump::Dump;
pub use held::{Held, Pin};
pub use routes::{Part, Routes};

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ListenKey {
    /// The address.
    pub bind: IpAddr,
    /// The port that is listened on, which is not always the server's (G-2).
    pub port: u16,
}

impl fmt::Display for ListenKey {
    /// The listener's name as users see it (G-4).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.bind, self.port)
    }
}

/// Everything that is routed, at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Counts up with every publication.
    pub generation: u64,
    /// Listeners, sorted by key.
    pub listeners: Vec<Arc<Listener>>,
}

impl Snapshot {
    /// The listener at `key`, and its position.
    pub fn listener(&self, key: &ListenKey) -> Option<(usize, &Arc<Listener>)> {
        let i = self.listeners.binary_search_by(|l| l.key.cmp(key)).ok()?;
        Some((i, &self.listeners[i]))
    }
}

/// A Gateway's server as it took part in a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerInfo {
    /// The Gateway object.
    pub gateway: ObjectRef,
    /// Where that object stands.
    pub origin: Origin,
    /// Its position in `spec.servers`.
    pub index: usize,
    /// The server's own port number, which `match.port` compares (V-3).
    pub port: u16,
    /// The server port's name.
    pub port_name: Arc<str>,
    /// The server's protocol.
    pub protocol: Protocol,
    /// Its hosts as written.
    pub hosts: Vec<Arc<str>>,
}

/// One socket's worth of configuration.
#[derive(Debug)]
pub struct Listener {
    /// Where.
    pub key: ListenKey,
    /// The servers merged into it, oldest first.
    pub servers: Vec<ServerInfo>,
    /// What it does with a connection.
    pub front: Front,
    /// What the mesh asks of every connection here.
    pub options: Arc<ConnectionOptions>,
}

/// What the mesh's gateway topology and path settings ask of a listener (contract 10.6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// A PROXY protocol header is expected on every connection.
    pub proxy_protocol: bool,
    /// How many proxies in front of us are trusted.
    pub trusted_proxies: u32,
    /// How far paths are normalised before matching.
    pub path_normalization: crate::route::PathNormalization,
}

/// What a listener does with a connection.
#[derive(Debug)]
pub enum Front {
    /// Requests are routed by host.
    Http(HttpFront),
    /// Bytes go to one weighted choice of backends (G-45).
    Tcp(Arc<TcpFront>),
    /// TLS servers: listed and counted in conflicts; the port stays closed, for the reason given.
    Closed(Arc<str>),
}

/// The virtual hosts of a listener.
#[derive(Debug)]
pub struct HttpFront {
    /// The route configuration's name as users see it, `http.8080` (G-4).
    pub name: Arc<str>,
    /// Host name to position in `virtual_hosts` (G-26).
    pub hosts: Arc<HostTable>,
    /// The virtual hosts; none means that every request is answered 404 (G-42).
    pub virtual_hosts: Vec<Arc<VirtualHost>>,
}

/// The routes of one host.
#[derive(Debug)]
pub struct VirtualHost {
    /// The host that it answers for.
    pub domain: Hostname,
    /// The server's own port.
    pub port: u16,
    /// Every plaintext request is answered 301 to https (G-40).
    pub https_redirect: bool,
    /// Its routes, in the order in which they are tried (G-31).
    pub routes: Routes,
}

impl VirtualHost {
    /// `host:server port` (G-4).
    pub fn name(&self) -> String {
        format!("{}:{}", self.domain, self.port)
    }
}

/// Which rule of which object made a route.
#[derive(Clone, Debug)]
pub struct RuleOrigin {
    /// The VirtualService; of a delegate, the delegate.
    pub source: Arc<Object<VirtualService>>,
    /// `spec.http[2].match[0]`, or the rule itself where it has no match.
    pub path: Arc<str>,
    /// The root VirtualService and its rule, where a delegate supplied this one (V-60).
    pub root: Option<Box<(ObjectRef, Arc<str>)>>,
}

impl RuleOrigin {
    /// The object's name.
    pub fn object(&self) -> ObjectRef {
        ObjectRef::new(Kind::VirtualService, self.source.meta.namespace.clone(), self.source.meta.name.clone())
    }
    /// Where the object stands.
    pub fn origin(&self) -> &Origin {
        &self.source.origin
    }
    /// Line and column of the rule.
    pub fn spot(&self) -> Spot {
        self.origin().spot(&self.path)
    }
    /// True where both are the same rule of the same objects, whatever these ask for.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.object() == other.object() && self.path == other.path && self.root == other.root
    }
}

/// One match block with its action (G-34).
#[derive(Clone, Debug)]
pub struct Route {
    /// Name as users see it (G-35).
    pub name: Arc<str>,
    /// Which rule made it.
    pub rule: RuleOrigin,
    /// When it applies.
    pub matches: Match,
    /// What it does.
    pub action: Action,
    /// Edits of the request on its way to the endpoint, rule level.
    pub request_headers: HeaderEdits,
    /// Edits of the response, rule level; also of redirects and direct responses.
    pub response_headers: HeaderEdits,
    /// Cross-origin rules.
    pub cors: Option<Box<Cors>>,
    /// Faults injected before anything is tried.
    pub fault: Option<Box<Fault>>,
}

/// What a route does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Sends the request to an endpoint.
    Forward(Forward),
    /// Sends the client elsewhere.
    Redirect(Redirect),
    /// Answers by itself.
    Direct(DirectResponse),
}

/// How a request is sent on.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Where to, with weights; never empty.
    pub destinations: Destinations,
    /// Path and authority edits.
    pub rewrite: Option<Box<Rewrite>>,
    /// How long the answer may take.
    pub timeout: RouteTimeout,
    /// When it is tried again; rules that ask for the same share it.
    pub retry: Arc<RetryPolicy>,
    /// Who gets a copy.
    pub mirrors: Box<[Mirror<Destination>]>,
}

/// Destinations drawn by weight (V-22, V-23).
#[derive(Clone, Debug)]
pub struct Destinations {
    /// The destinations with a share.
    pub list: Box<[Destination]>,
    /// Running sums of the weights, for the draw.
    pub sums: Box<[u64]>,
    /// The rule names one destination: what it says of headers and retries is read so, however many have a share (V-35, V-46).
    pub single: bool,
}

impl Destinations {
    /// One takes everything, whatever its weight; of several, those of weight 0 are left out (V-22, V-23).
    pub fn new(mut list: Vec<Destination>) -> Self {
        let single = list.len() == 1;
        if !single {
            list.retain(|d| d.weight > 0);
        }
        let sums = list
            .iter()
            .scan(0u64, |sum, d| {
                *sum += u64::from(d.weight.max(1));
                Some(*sum)
            })
            .collect();
        Self { list: list.into(), sums, single }
    }
    /// Draws one and says its position; `random` is any number.
    pub fn draw(&self, random: u64) -> Option<(usize, &Destination)> {
        let at = if self.list.len() < 2 {
            0
        } else {
            let point = random % self.sums.last()?;
            self.sums.partition_point(|s| *s <= point)
        };
        Some((at, self.list.get(at)?))
    }
    /// The share of the destination at `index`, 0 to 1.
    pub fn share(&self, index: usize) -> f64 {
        let Some(total) = self.sums.last() else { return 0.0 };
        let before = index.checked_sub(1).map_or(0, |i| self.sums[i]);
        (self.sums[index] - before) as f64 / *total as f64
    }
}

/// One destination of a route.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Its weight as written.
    pub weight: u32,
    /// The backend asked for, whether or not it exists.
    pub key: Arc<BackendKey>,
    /// The backend, or why there is none (V-21, V-25: 503 NC).
    pub slot: Result<Arc<Slot>, Arc<str>>,
    /// Edits of the request, destination level.
    pub request_headers: HeaderEdits,
    /// Edits of the response, destination level.
    pub response_headers: HeaderEdits,
    /// Which text of the request decides among endpoints, where the backend hashes (D-31).
    pub hash: Option<Box<HashKey>>,
}

/// A byte stream's way.
#[derive(Debug)]
pub struct TcpFront {
    /// Which rule made it, where there is one; none means that the port is not opened (G-47).
    pub rule: RuleOrigin,
    /// Where to, drawn once per connection (V-72).
    pub destinations: Destinations,
}
