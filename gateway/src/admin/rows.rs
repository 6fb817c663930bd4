//! What is in force as rows: the admin port sends them, `isthmus get` prints them. Columns are istioctl's (proxy-config.md);
//! what we add is for `-o wide`.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use isthmus_config::object::ObjectRef;
use isthmus_config::problem::{Problem, Severity};
use isthmus_core::balance::Slot;
use isthmus_core::balance::across::named;
use isthmus_core::balance::breaker::{Usage, Usages};
use isthmus_core::explain::EjectionTold;
use isthmus_core::model::{Endpoint, Health, Protocol, Resolution};
use isthmus_core::snapshot::{Action, Front, HttpFront, Listener, Route, VirtualHost};
use serde::{Deserialize, Serialize};

use super::now::{Backend, Now};

/// A socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListenerRow {
    pub(crate) address: String,
    pub(crate) port: u16,
    #[serde(rename = "match")]
    pub(crate) matches: String,
    pub(crate) destination: String,
    /// The ports of its servers, by which `try` and `explain` find it.
    pub(crate) server_ports: Vec<u16>,
    pub(crate) hosts: Vec<String>,
    pub(crate) gateways: Vec<String>,
    /// Where its servers are reached from outside the cluster, by the Services that select this gateway.
    pub(crate) urls: Vec<String>,
    /// The socket's state where the gateway runs; why it stays closed.
    pub(crate) state: String,
}

/// A route of a virtual host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RouteRow {
    /// The route configuration, `http.80`.
    pub(crate) name: String,
    pub(crate) virtual_host: String,
    pub(crate) domains: Vec<String>,
    #[serde(rename = "match")]
    pub(crate) matches: String,
    pub(crate) virtual_service: String,
    /// All conditions in the words of Istio's fields.
    pub(crate) conditions: String,
    pub(crate) route: String,
    pub(crate) namespace: String,
    pub(crate) path: String,
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) port: u16,
    /// Backends with their shares.
    pub(crate) backends: Vec<ShareRow>,
}

/// A route's backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ShareRow {
    pub(crate) backend: String,
    pub(crate) share: f64,
}

/// What a route can send to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BackendRow {
    pub(crate) backend: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) subset: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) destination_rule: String,
    pub(crate) namespace: String,
    pub(crate) used: bool,
    pub(crate) endpoints: usize,
    pub(crate) healthy: usize,
    /// How long connecting took of late, in milliseconds.
    #[serde(default)]
    pub(crate) connect_ms: Option<f64>,
    /// What limits are about, where a route sends to it; `None` elsewhere.
    pub(crate) usage: Option<UsageRow>,
}

/// What a backend holds, beside its limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UsageRow {
    /// Open connections (maxConnections).
    pub(crate) connections: HeldRow,
    /// Requests that wait for one (http1MaxPendingRequests).
    pub(crate) pending: HeldRow,
    /// Requests in flight (http2MaxRequests); peak and total only where there is a limit or a budget.
    pub(crate) requests: HeldRow,
    /// Retries (maxRetries, or what the budget allows now).
    pub(crate) retries: HeldRow,
}

/// One kind of what a backend holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldRow {
    pub(crate) limit: Option<u32>,
    pub(crate) used: u32,
    pub(crate) peak: u32,
    pub(crate) total: u64,
    /// How often the limit was in the way.
    pub(crate) overflow: u64,
}

impl From<Usage> for HeldRow {
    fn from(Usage { limit, used, peak, taken, overflow }: Usage) -> Self {
        Self { limit, used, peak, total: taken, overflow }
    }
}

impl UsageRow {
    fn of(slot: &Slot) -> Self {
        let Usages { connections, pending, requests, retries, .. } = slot.usage();
        Self { connections: connections.into(), pending: pending.into(), requests: requests.into(), retries: retries.into() }
    }
}

/// An address behind a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointRow {
    pub(crate) endpoint: String,
    pub(crate) status: String,
    pub(crate) outlier_check: String,
    pub(crate) backend: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) cluster: String,
    pub(crate) network: String,
    pub(crate) locality: String,
    pub(crate) workload: String,
    pub(crate) namespace: String,
    pub(crate) weight: u32,
    pub(crate) active: u32,
    /// How often it was ejected.
    pub(crate) ejections: u32,
    /// The ejection that it is in, or the last one as long as that has an effect on the next.
    pub(crate) ejection: Option<EjectionTold>,
    pub(crate) source: String,
    /// Since when its probe fails, and why.
    pub(crate) probe: String,
    /// The gateways of its network that it is behind, or "".
    pub(crate) gateways: String,
    /// Why it gets no traffic, where that is not its status; or "".
    pub(crate) why: String,
}

/// A Kubernetes cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterRow {
    pub(crate) name: String,
    pub(crate) secret: String,
    pub(crate) status: String,
    pub(crate) istiod: String,
    pub(crate) revision: String,
    pub(crate) endpoints: usize,
    pub(crate) reason: String,
    /// For how many seconds it has not been read; absent while it is.
    pub(crate) age: Option<u64>,
    /// What is in force of it was read from disk.
    pub(crate) from_disk: bool,
    /// What went wrong last and when (UTC), also after it has come back.
    pub(crate) last_error: String,
}

/// Something wrong (design 5: the shape of `check -o json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProblemRow {
    pub(crate) severity: String,
    pub(crate) code: String,
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl ProblemRow {
    /// A problem, its place looked up.
    pub(crate) fn of(problem: &Problem) -> Self {
        let spot = problem.origin.spot(&problem.path);
        let (kind, namespace, name) = match &problem.object {
            Some(ObjectRef { kind, namespace, name }) => (kind.as_str(), &**namespace, &**name),
            None => ("", "", ""),
        };
        Self {
            severity: problem.severity.to_string(),
            code: problem.code.to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            path: problem.path.clone(),
            file: problem.origin.file.to_string(),
            line: spot.line,
            column: spot.column,
            message: problem.message.clone(),
            hint: problem.hint.clone(),
        }
    }
}

impl Now {
    /// `get listeners`.
    pub(crate) fn listener_rows(&self) -> Vec<ListenerRow> {
        self.snapshot.listeners.iter().map(|listener| self.listener_row(listener)).collect()
    }
    fn listener_row(&self, listener: &Listener) -> ListenerRow {
        let (destination, closed) = match &listener.front {
            Front::Http(http) => (format!("Route: {}", http.name), None),
            Front::Tcp(tcp) => match &tcp.destinations.list[..] {
                [only] => (format!("Cluster: {}", only.key), None),
                _ => ("Cluster: ".to_owned(), None),
            },
            Front::Closed(reason) => ("Closed".to_owned(), Some(format!("closed: {reason}"))),
        };
        let mut server_ports: Vec<u16> = listener.servers.iter().map(|s| s.port).collect();
        server_ports.dedup();
        let mut hosts: Vec<String> = listener.servers.iter().flat_map(|s| s.hosts.iter().map(|h| h.to_string())).collect();
        hosts.dedup();
        let mut gateways: Vec<String> = listener.servers.iter().map(|s| format!("{}.{}", s.gateway.name, s.gateway.namespace)).collect();
        gateways.dedup();
        let urls = self.urls(listener, &server_ports);
        let socket = self.sockets.iter().find(|(key, _)| *key == listener.key).map(|(_, state)| state.clone());
        ListenerRow {
            address: listener.key.bind.to_string(),
            port: listener.key.port,
            matches: "ALL".to_owned(),
            destination,
            server_ports,
            hosts,
            gateways,
            urls,
            state: closed.or(socket).unwrap_or_default(),
        }
    }
    /// Each address of each Service port that leads to the socket.
    fn urls(&self, listener: &Listener, server_ports: &[u16]) -> Vec<String> {
        let scheme = listener.servers.first().map_or("tcp", |server| match server.protocol {
            Protocol::Https => "https",
            Protocol::Tls => "tls",
            Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb | Protocol::HttpProxy => "http",
            Protocol::Tcp | Protocol::Mongo | Protocol::Redis | Protocol::Mysql | Protocol::Udp | Protocol::Auto => "tcp",
        });
        let doors = self.doors.iter().filter(|door| door.leads_to(listener.key.port, server_ports));
        let named = |(host, port): &(Arc<str>, u16)| match host.parse::<IpAddr>() {
            Ok(ip) => format!("{scheme}://{}", SocketAddr::new(ip, *port)),
            Err(_) => format!("{scheme}://{host}:{port}"),
        };
        let mut urls: Vec<String> = doors.flat_map(|door| door.addresses.iter().map(named)).collect();
        urls.sort();
        urls.dedup();
        urls
    }
    /// `get routes`.
    pub(crate) fn route_rows(&self) -> Vec<RouteRow> {
        let mut rows = Vec::new();
        for listener in &self.snapshot.listeners {
            let Front::Http(http) = &listener.front else { continue };
            let port = listener.servers.first().map_or(listener.key.port, |s| s.port);
            if http.virtual_hosts.is_empty() {
                rows.push(RouteRow { virtual_host: format!("blackhole:{port}"), domains: vec!["*".to_owned()], ..empty(http, port, "404") });
            }
            for (host, domains) in collapsed(http) {
                if host.routes.is_empty() || host.https_redirect {
                    let answer = if host.https_redirect { "301" } else { "404" };
                    rows.push(RouteRow { virtual_host: host.name.to_string(), domains, ..empty(http, port, answer) });
                    continue;
                }
                rows.extend(host.routes.iter().map(|route| RouteRow { domains: domains.clone(), ..route_row(http, host, route, port) }));
            }
        }
        rows
    }
    /// `get backends`.
    pub(crate) fn backend_rows(&self) -> Vec<BackendRow> {
        let rows = self.backends.iter().map(|backend| BackendRow {
            backend: backend.key.to_string(),
            host: backend.key.host.to_string(),
            port: backend.key.port,
            subset: backend.key.subset.to_string(),
            kind: match backend.service.resolution {
                Resolution::Static => "EDS",
                Resolution::None => "ORIGINAL_DST",
                Resolution::Dns => "STRICT_DNS",
                Resolution::DnsRoundRobin => "LOGICAL_DNS",
                Resolution::DynamicDns => "DYNAMIC_DNS",
            }
            .to_owned(),
            destination_rule: backend.rules.join(", "),
            namespace: backend.service.namespace.to_string(),
            used: backend.slot.is_some(),
            endpoints: backend.view.members.len(),
            healthy: backend.view.eligible().count(),
            usage: backend.slot.as_deref().map(UsageRow::of),
            connect_ms: backend.slot.as_ref().and_then(|s| s.connect_time()).map(|t| (t.as_secs_f64() * 1e5).round() / 100.0),
        });
        rows.collect()
    }
    /// `get endpoints`.
    pub(crate) fn endpoint_rows(&self) -> Vec<EndpointRow> {
        let mut rows = Vec::new();
        for backend in &self.backends {
            rows.extend(backend.view.members.iter().map(|member| {
                let (state, workload) = (&member.state, &member.endpoint.workload);
                EndpointRow {
                    outlier_check: if state.is_ejected() { "FAILED" } else { "OK" }.to_owned(),
                    active: state.active(),
                    ejections: state.ejections(),
                    ejection: self.stays.of(state),
                    probe: self.failing.get(&(workload.cluster.clone(), (*member.endpoint.source).clone())).cloned().unwrap_or_default(),
                    ..endpoint_row(backend, &member.endpoint)
                }
            }));
            rows.extend(backend.left_out.iter().map(|(endpoint, why)| {
                let (gateways, why) = (endpoint.gateways().map(|g| named(&g.list)).unwrap_or_default(), format!("behind gateways, {why}"));
                EndpointRow { status: "UNREACHABLE".to_owned(), gateways, why, ..endpoint_row(backend, endpoint) }
            }));
        }
        rows.sort_by(|a, b| (&a.backend, &a.endpoint).cmp(&(&b.backend, &b.endpoint)));
        rows
    }
    /// `get clusters`.
    pub(crate) fn cluster_rows(&self) -> Vec<ClusterRow> {
        self.clusters.clone()
    }
    /// `get problems`: those of objects, and sockets that could not be bound.
    pub(crate) fn problem_rows(&self) -> Vec<ProblemRow> {
        let refused = self.sockets.iter().filter(|(_, state)| state.starts_with("refused"));
        let refused = refused.map(|(key, state)| ProblemRow::of(&Problem::new(Severity::Error, "ISM0502", format!("listener {key} {state}"))));
        refused.chain(self.problems.iter().map(ProblemRow::of)).collect()
    }
}

fn endpoint_row(backend: &Backend, endpoint: &Endpoint) -> EndpointRow {
    let workload = &endpoint.workload;
    let status = match endpoint.health {
        Health::Healthy => "HEALTHY",
        Health::Unhealthy => "UNHEALTHY",
        Health::Draining => "DRAINING",
    };
    EndpointRow {
        endpoint: endpoint.address.to_string(),
        status: status.to_owned(),
        outlier_check: "OK".to_owned(),
        backend: backend.key.to_string(),
        host: backend.key.host.to_string(),
        port: backend.key.port,
        cluster: workload.cluster.to_string(),
        network: workload.network.to_string(),
        locality: endpoint.locality().to_string(),
        workload: workload.name.to_string(),
        namespace: workload.namespace.to_string(),
        weight: endpoint.weight,
        active: 0,
        ejections: 0,
        ejection: None,
        source: endpoint.source.to_string(),
        probe: String::new(),
        gateways: String::new(),
        why: String::new(),
    }
}

/// Virtual hosts by name, those with the same routes as one with all their domains, as istioctl shows them (G-43). The most
/// specific host gives the name.
fn collapsed(http: &HttpFront) -> Vec<(&VirtualHost, Vec<String>)> {
    let mut hosts: Vec<&VirtualHost> = http.virtual_hosts.iter().map(|host| &**host).collect();
    hosts.sort_by(|a, b| a.domains.cmp(&b.domains));
    let (mut seen, mut collapsed) = (HashMap::new(), Vec::<(&VirtualHost, Vec<String>)>::new());
    for host in hosts {
        let routes: Vec<*const Route> = host.routes.iter().map(Arc::as_ptr).collect();
        let at = *seen.entry((routes, host.https_redirect)).or_insert(collapsed.len());
        if at == collapsed.len() {
            collapsed.push((host, Vec::new()));
        }
        if let Some((_, domains)) = collapsed.get_mut(at) {
            domains.extend(host.domains.iter().map(|d| d.to_string()));
        }
    }
    collapsed.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    collapsed
}

fn empty(http: &HttpFront, port: u16, answer: &str) -> RouteRow {
    RouteRow {
        name: http.name.to_string(),
        virtual_host: String::new(),
        domains: Vec::new(),
        matches: "/*".to_owned(),
        virtual_service: answer.to_owned(),
        conditions: String::new(),
        route: String::new(),
        namespace: String::new(),
        path: String::new(),
        file: String::new(),
        line: 0,
        port,
        backends: Vec::new(),
    }
}

fn route_row(http: &HttpFront, host: &VirtualHost, route: &Route, port: u16) -> RouteRow {
    let object = &route.rule.object;
    let backends = match &route.action {
        Action::Forward(forward) => {
            let list = forward.destinations.list.iter().enumerate();
            list.map(|(i, d)| ShareRow { backend: d.key.to_string(), share: forward.destinations.share(i) }).collect()
        }
        Action::Redirect(_) | Action::Direct(_) => Vec::new(),
    };
    RouteRow {
        virtual_host: host.name.to_string(),
        domains: Vec::new(),
        matches: route.matches.path(),
        conditions: route.matches.to_string(),
        route: route.name.to_string(),
        namespace: object.namespace.to_string(),
        path: route.rule.path.to_string(),
        file: route.rule.origin.file.to_string(),
        line: route.rule.spot().line,
        backends,
        ..empty(http, port, &format!("{}.{}", object.name, object.namespace))
    }
}
