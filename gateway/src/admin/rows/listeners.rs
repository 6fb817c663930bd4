//! Sockets as rows: what listens, which routes it leads to, and where it is reached from outside.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use isthmus_core::model::Protocol;
use isthmus_core::snapshot::{Front, Listener};
use serde::{Deserialize, Serialize};

use crate::admin::now::Now;

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
}
