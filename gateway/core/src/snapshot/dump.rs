//! The one printed form of what is in force: goldens, the admin port and `get -o yaml` show this.
//!
//! It says the same for the same content: no generation, no addresses in memory, no cursors.

use std::sync::Arc;

use serde::Serialize;

use super::{Action, Destination, Destinations, Front, Listener, Route, RuleOrigin, Snapshot, VirtualHost};
use crate::balance::setting::Setting;
use crate::balance::{Slot, View};
use crate::route::HeaderEdits;

/// A snapshot and its backends, ready to be written.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dump {
    listeners: Vec<ListenerDump>,
    backends: Vec<BackendDump>,
}

impl Dump {
    /// Prints `snapshot` and the present views of `slots`.
    pub fn of<'a>(snapshot: &Snapshot, slots: impl IntoIterator<Item = &'a Arc<Slot>>) -> Self {
        let listeners = snapshot.listeners.iter().map(|l| ListenerDump::of(l)).collect();
        Self { listeners, backends: slots.into_iter().map(|s| BackendDump::of(s, &s.view.load())).collect() }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ListenerDump {
    name: String,
    servers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp: Option<TcpDump>,
    #[serde(skip_serializing_if = "Option::is_none")]
    routes: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    virtual_hosts: Vec<HostDump>,
    #[serde(skip_serializing_if = "Option::is_none")]
    options: Option<String>,
}

impl ListenerDump {
    fn of(listener: &Listener) -> Self {
        let server =
            |s: &super::ServerInfo| format!("{} servers[{}] {} {:?} {}: {}", s.gateway, s.index, s.port_name, s.protocol, s.port, s.hosts.join(" "));
        let mut dump = Self {
            name: listener.key.to_string(),
            servers: listener.servers.iter().map(server).collect(),
            closed: None,
            tcp: None,
            routes: None,
            virtual_hosts: Vec::new(),
            options: (*listener.options != super::ConnectionOptions::default()).then(|| format!("{:?}", listener.options)),
        };
        match &listener.front {
            Front::Http(http) => {
                dump.routes = Some(http.name.clone());
                dump.virtual_hosts = http.virtual_hosts.iter().map(|h| HostDump::of(h)).collect();
            }
            Front::Tcp(tcp) => dump.tcp = Some(TcpDump { rule: rule(&tcp.rule), to: destinations(&tcp.destinations) }),
            Front::Closed(why) => dump.closed = Some(why.clone()),
        }
        dump
    }
}

#[derive(Debug, Serialize)]
struct TcpDump {
    rule: String,
    to: Vec<DestinationDump>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HostDump {
    name: String,
    domains: [String; 1],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    https_redirect: bool,
    routes: Vec<RouteDump>,
}

impl HostDump {
    fn of(host: &VirtualHost) -> Self {
        Self {
            name: host.name(),
            domains: [host.domain.to_string()],
            https_redirect: host.https_redirect,
            routes: host.routes.iter().map(|r| RouteDump::of(r)).collect(),
        }
    }
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct RouteDump {
    name: Arc<str>,
    rule: String,
    r#match: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    to: Vec<DestinationDump>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    direct: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rewrite: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retries: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mirrors: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_headers: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_headers: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cors: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

impl RouteDump {
    fn of(route: &Route) -> Self {
        let mut dump = Self {
            name: route.name.clone(),
            rule: rule(&route.rule),
            r#match: route.matches.to_string(),
            request_headers: edits(&route.request_headers),
            response_headers: edits(&route.response_headers),
            cors: route.cors.as_ref().map(|c| format!("{c:?}")),
            fault: route.fault.as_ref().map(|fault| format!("{fault:?}")),
            ..Self::default()
        };
        match &route.action {
            Action::Forward(forward) => {
                dump.to = destinations(&forward.destinations);
                dump.rewrite = forward.rewrite.as_ref().map(|r| format!("{r:?}"));
                dump.timeout = forward.timeout.0.map(|t| format!("{t:?}"));
                dump.retries = (*forward.retry != crate::policy::RetryPolicy::new(None, None, false)).then(|| retries(&forward.retry));
                dump.mirrors = forward.mirrors.iter().map(|m| format!("{} of a million to {}", m.share.per_million(), to(&m.destination))).collect();
            }
            Action::Redirect(redirect) => dump.redirect = Some(format!("{redirect:?}")),
            Action::Direct(direct) => dump.direct = Some(format!("{} {:?}", direct.status.as_u16(), String::from_utf8_lossy(&direct.body))),
        }
        dump
    }
}

fn retries(policy: &crate::policy::RetryPolicy) -> String {
    if policy.attempts == 0 {
        return "none".into();
    }
    let on: Vec<&str> = policy.on.names().collect();
    let mut text = format!("{} on {}", policy.attempts, on.join(","));
    if !policy.status_codes.is_empty() {
        text += &format!(" {:?}", policy.status_codes);
    }
    if let Some(limit) = policy.per_try_timeout {
        text += &format!(", {limit:?} each");
    }
    if !policy.previous_hosts {
        text += ", previous hosts too";
    }
    text + &format!(", back-off {:?}..{:?}", policy.backoff_base, policy.backoff_max)
}

fn rule(origin: &RuleOrigin) -> String {
    match origin.root.as_deref() {
        Some((root, path)) => format!("{} {} through {root} {path}", origin.object(), origin.path),
        None => format!("{} {}", origin.object(), origin.path),
    }
}

fn edits(edits: &HeaderEdits) -> Option<String> {
    (!edits.is_empty()).then(|| format!("{edits:?}"))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DestinationDump {
    backend: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_headers: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_headers: Option<String>,
}

fn destinations(destinations: &Destinations) -> Vec<DestinationDump> {
    let alone = destinations.list.len() == 1;
    let one = |(i, d): (usize, &Destination)| DestinationDump {
        backend: to(d),
        share: (!alone).then(|| (destinations.share(i) * 10_000.0).round() / 10_000.0),
        hash: d.hash.as_ref().map(|h| format!("{h:?}")),
        request_headers: edits(&d.request_headers),
        response_headers: edits(&d.response_headers),
    };
    destinations.list.iter().enumerate().map(one).collect()
}

fn to(destination: &Destination) -> String {
    match &destination.slot {
        Ok(slot) => slot.key.to_string(),
        Err(why) => format!("{} does not exist: {why}", destination.key),
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BackendDump {
    name: String,
    policy: String,
    /// By priority and locality, where they are told apart.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    line: Vec<String>,
    endpoints: Vec<String>,
}

impl BackendDump {
    fn of(slot: &Slot, view: &View) -> Self {
        let member = |m: &crate::balance::Member| {
            let e = &m.endpoint;
            let who = [e.workload.cluster().as_str(), e.locality().as_str(), &e.workload.name]
                .into_iter()
                .filter(|t| !t.is_empty())
                .collect::<Vec<_>>()
                .join(" ");
            format!("{} weight {} {:?} {who}", e.address, e.weight, e.health).trim_end().to_owned()
        };
        Self {
            name: slot.key.to_string(),
            policy: format!("{:?}", view.policy),
            line: line(view),
            endpoints: view.members.iter().map(member).collect(),
        }
    }
}

fn line(view: &View) -> Vec<String> {
    if *view.line.setting == Setting::Off {
        return Vec::new();
    }
    let one = |s: crate::balance::Standing| {
        let weight = s.weight.map(|w| format!(" w{w}")).unwrap_or_default();
        let hosts: Vec<String> = s.members.iter().map(|i| view.members[*i as usize].address().to_string()).collect();
        format!("P{} {:?}{weight} {:.1} %: {}", s.priority, s.locality.as_str(), s.share * 100.0, hosts.join(", "))
    };
    view.standings().into_iter().map(one).collect()
}
