//! From Gateway objects to listeners: which servers share a port, and which are left out, and why (G-1..G-8, G-40, G-41, P-4).
//!
//! Gateways are taken by age and servers in declared order, so "first" is "oldest" everywhere below. A server that leads
//! nowhere still holds its port (G-8). TLS servers take part in every conflict; their port stays closed for now.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use isthmus_config::istio::gateway::{Gateway, Server, ServerTlsMode};
use isthmus_config::name::Hostname;
use isthmus_config::object::{Kind, Object, ObjectRef};
use isthmus_config::problem::{Problem, Severity};

use super::report::code;
use crate::model::{Address, NamespacedName, Protocol, Service, ServiceKind, TargetPort, World};
use crate::snapshot::{ListenKey, ServerInfo};

/// What a listener's servers have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Family {
    /// Requests by host.
    Http,
    /// One byte stream.
    Tcp,
    /// TLS, terminated or not: told apart by SNI.
    Tls,
}

/// Who of the VirtualServices may use a server's host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    Anyone,
    Namespace(Arc<str>),
}

/// A server as what comes through it is told apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Door {
    pub(super) listener: ListenKey,
    /// Its position among the servers of the listener.
    pub(super) server: usize,
    pub(super) family: Family,
    pub(super) gateway: NamespacedName,
    /// The server's own port (V-3).
    pub(super) port: u16,
}

/// A server that is part of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlannedServer {
    pub(super) info: ServerInfo,
    pub(super) door: Arc<Door>,
    pub(super) hosts: Vec<(Admitted, Hostname)>,
    /// Every plaintext request is sent to https (G-40).
    pub(super) redirect: bool,
}

/// A listener before anything is bound to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) key: ListenKey,
    pub(super) family: Family,
    pub(super) servers: Vec<PlannedServer>,
    /// The configuration's name as users see it (G-4).
    pub(super) name: Arc<str>,
}

/// Every listener, and what was left out.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plans {
    pub(super) listeners: BTreeMap<ListenKey, Planned>,
    /// Gateways whose selector is met.
    pub(super) selected: BTreeSet<NamespacedName>,
    pub(super) problems: Vec<Problem>,
    /// Services that translate ports; a change of theirs is read here.
    pub(super) services: BTreeSet<Hostname>,
}

/// True where a Service may decide listening ports (G-2).
pub(super) fn translates(service: &Service, world: &World) -> bool {
    const OFF: &str = "experimental.istio.io/disable-gateway-port-translation";
    let gateway = &world.gateway;
    let here = service.origin.cluster.is_empty() || gateway.cluster.is_empty() || service.origin.cluster == gateway.cluster;
    service.kind == ServiceKind::Kubernetes
        && here
        && service.namespace == gateway.namespace
        && !service.selector.is_empty()
        && service.selector.iter().all(|(k, v)| gateway.labels.get(k) == Some(v))
        && !service.labels.contains_key(OFF)
}

/// Plans every listener of the gateway.
pub(super) fn plan(world: &World) -> Plans {
    let mut plans = Plans::default();
    let mut services: Vec<&Arc<Service>> = world.catalog.services.values().filter(|s| translates(s, world)).collect();
    services.sort_by(|a, b| a.hostname.as_str().cmp(b.hostname.as_str()));
    plans.services = services.iter().map(|s| s.hostname.clone()).collect();
    let labels = &world.gateway.labels;
    let mut gateways: Vec<&Arc<Object<Gateway>>> = world.documents.gateways.values().collect();
    gateways.retain(|g| g.spec.selector.iter().all(|(k, v)| labels.get(k) == Some(v)));
    gateways.sort_by(|a, b| a.by_age(b));
    for gateway in gateways {
        plans.selected.insert((gateway.meta.namespace.clone(), gateway.meta.name.clone()));
        for (index, server) in gateway.spec.servers.iter().enumerate() {
            if let Err(problem) = plans.add(world, &services, gateway, index, server) {
                let object = ObjectRef::new(Kind::Gateway, gateway.meta.namespace.clone(), gateway.meta.name.clone());
                plans.problems.push(problem.of(object, &gateway.origin));
            }
        }
    }
    plans
}

impl Plans {
    fn add(
        &mut self,
        world: &World,
        services: &[&Arc<Service>],
        gateway: &Object<Gateway>,
        index: usize,
        server: &Server,
    ) -> Result<(), Box<Problem>> {
        let path = format!("spec.servers[{index}]");
        let warn = |field: &str, code, message: String| Problem::new(Severity::Warning, code, message).at(format!("{path}{field}"));
        let number = u16::try_from(server.port.number).ok().filter(|n| *n > 0);
        let number = number
            .ok_or_else(|| warn(".port.number", code::IGNORED, format!("{} is no port: the server is left out", server.port.number)))
            .map_err(Box::new)?;
        let family = Protocol::named(&server.port.protocol).and_then(family);
        let (protocol, family) = family
            .ok_or_else(|| {
                warn(".port.protocol", code::IGNORED, format!("a gateway serves nothing in {}: the server is left out", server.port.protocol))
            })
            .map_err(Box::new)?;
        let bind = match server.bind.as_str() {
            "" => world.gateway.bind,
            text => text
                .parse::<IpAddr>()
                .map_err(|_| warn(".bind", code::NOT_YET, format!("not in force yet: listening on {text}")))
                .map_err(Box::new)?,
        };
        let key = ListenKey { bind, port: listen_port(world, services, number) };
        let door = Door {
            listener: key.clone(),
            server: self.listeners.get(&key).map_or(0, |listener| listener.servers.len()),
            family,
            gateway: (gateway.meta.namespace.clone(), gateway.meta.name.clone()),
            port: number,
        };
        let planned = planned_server(gateway, index, server, door, protocol);
        let name = route_name(&key, &planned, family, server.bind.as_str());
        let Some(listener) = self.listeners.get_mut(&key) else {
            self.listeners.insert(key.clone(), Planned { key, family, servers: vec![planned], name });
            return Ok(());
        };
        let first = &listener.servers[0].info;
        let skipped = |why: String| {
            let message = format!("port {} is taken: {why}; the server is skipped", key.port);
            Box::new(warn("", code::CONFLICT, message).hint(format!("{} spec.servers[{}] is older", first.gateway, first.index)))
        };
        match (listener.family, family) {
            (Family::Http, Family::Http) | (Family::Tls, Family::Tls) => {}
            (Family::Tls, Family::Http | Family::Tcp) => return Err(skipped("a TLS server has it".into())),
            (Family::Http, Family::Tls | Family::Tcp) => return Err(skipped("an HTTP server has it".into())),
            (Family::Tcp, Family::Http | Family::Tls | Family::Tcp) => return Err(skipped("a TCP server has it".into())),
        }
        if server.tls.is_some() {
            let others = listener.servers.iter().filter(|s| tls_of(world, s).is_some());
            if let Some(host) = others.flat_map(|s| &s.info.hosts).find(|h| server.hosts.iter().any(|own| **own == ***h)) {
                return Err(skipped(format!("another server with tls names the host {host} (G-6)")));
            }
            let twin = |s: &&PlannedServer| {
                s.door.gateway == planned.door.gateway && s.info.port_name == planned.info.port_name && s.info.protocol == Protocol::Https
            };
            if protocol == Protocol::Https && listener.servers.iter().any(|s| twin(&s)) {
                return Err(skipped(format!("the port name {} is used twice in one Gateway (G-7)", planned.info.port_name)));
            }
        }
        listener.servers.push(planned);
        Ok(())
    }
}

/// How a server's protocol is handled (P-4).
fn family(protocol: Protocol) -> Option<(Protocol, Family)> {
    let family = match protocol {
        Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb => Family::Http,
        Protocol::Https | Protocol::Tls => Family::Tls,
        Protocol::Tcp | Protocol::Mongo | Protocol::Redis | Protocol::Mysql => Family::Tcp,
        Protocol::HttpProxy | Protocol::Udp | Protocol::Auto => return None,
    };
    Some((protocol, family))
}

/// The tls block of a planned server.
fn tls_of<'a>(world: &'a World, server: &PlannedServer) -> Option<&'a isthmus_config::istio::gateway::ServerTlsSettings> {
    world.documents.gateways.get(&server.door.gateway)?.spec.servers.get(server.info.index)?.tls.as_ref()
}

fn planned_server(gateway: &Object<Gateway>, index: usize, server: &Server, door: Door, protocol: Protocol) -> PlannedServer {
    let namespace = &gateway.meta.namespace;
    let hosts = server.hosts.iter().map(|host| match host.split_once('/') {
        None | Some(("*", _)) => (Admitted::Anyone, Hostname::new(host.rsplit('/').next().unwrap_or(host))),
        Some((".", name)) => (Admitted::Namespace(namespace.clone()), Hostname::new(name)),
        Some((other, name)) => (Admitted::Namespace(other.into()), Hostname::new(name)),
    });
    let plaintext = protocol.is_http();
    PlannedServer {
        hosts: hosts.collect(),
        redirect: plaintext && server.tls.as_ref().is_some_and(|t| t.https_redirect),
        info: ServerInfo {
            gateway: ObjectRef::new(Kind::Gateway, namespace.clone(), gateway.meta.name.clone()),
            origin: gateway.origin.clone(),
            index,
            port: door.port,
            port_name: server.port.name.as_str().into(),
            protocol,
            hosts: server.hosts.iter().map(|h| h.as_str().into()).collect(),
        },
        door: Arc::new(door),
    }
}

/// The port to listen on: isthmus.yaml, else a Service of ours, else the number itself (G-2).
fn listen_port(world: &World, services: &[&Arc<Service>], number: u16) -> u16 {
    if let Some(port) = world.gateway.ports.get(&number) {
        return *port;
    }
    let found = services.iter().find_map(|s| s.port(number).map(|p| (s, p)));
    found.map_or(number, |(service, port)| match &port.target {
        TargetPort::Same => number,
        TargetPort::Number(target) => *target,
        TargetPort::Name(_) => {
            let endpoints = world.catalog.endpoints.get(&service.hostname).map_or(&[][..], |e| e);
            let own = endpoints.iter().filter(|e| e.port_name == port.name && *e.workload.cluster() == world.gateway.cluster);
            let ports = own.map(|e| match &e.address {
                Address::Socket(address) => address.port(),
                Address::Unresolved(_, port) | Address::Hidden(port) => *port,
                Address::Unix(_) => number,
            });
            ports.min().unwrap_or(number)
        }
    })
}

/// `http.8080`, or for TLS the name of the one server (G-4).
fn route_name(key: &ListenKey, server: &PlannedServer, family: Family, bind: &str) -> Arc<str> {
    let bind = if bind.is_empty() { String::new() } else { format!(".{bind}") };
    match family {
        Family::Http => format!("http.{}{bind}", key.port),
        Family::Tls => format!("https.{}.{}.{}.{}{bind}", server.info.port, server.info.port_name, server.door.gateway.1, server.door.gateway.0),
        Family::Tcp => format!("tcp.{}{bind}", key.port),
    }
    .into()
}

/// Why a TLS server's port stays closed.
pub(super) fn tls_problem(world: &World, server: &PlannedServer) -> Problem {
    let mode = tls_of(world, server).map_or(ServerTlsMode::Passthrough, |t| t.mode);
    let text = match mode {
        ServerTlsMode::Passthrough => "PASSTHROUGH",
        ServerTlsMode::Simple => "SIMPLE",
        ServerTlsMode::Mutual => "MUTUAL",
        ServerTlsMode::AutoPassthrough => "AUTO_PASSTHROUGH",
        ServerTlsMode::IstioMutual => "ISTIO_MUTUAL",
        ServerTlsMode::OptionalMutual => "OPTIONAL_MUTUAL",
    };
    Problem::new(Severity::Warning, code::NOT_YET, format!("not in force yet: TLS ({text}); the port stays closed"))
        .of(server.info.gateway.clone(), &server.info.origin)
        .at(format!("spec.servers[{}].tls", server.info.index))
}
