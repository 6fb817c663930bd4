//! Routes as rows, those of virtual hosts that are alike shown once.

use std::collections::HashMap;
use std::sync::Arc;

use isthmus_core::snapshot::{Action, Front, HttpFront, Route, VirtualHost};
use serde::{Deserialize, Serialize};

use crate::admin::now::Now;

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

impl Now {
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
                    rows.push(RouteRow { virtual_host: host.name(), domains, ..empty(http, port, answer) });
                    continue;
                }
                rows.extend(host.routes.iter().map(|route| RouteRow { domains: domains.clone(), ..route_row(http, host, route, port) }));
            }
        }
        rows
    }
}

/// Virtual hosts by name, those with the same routes as one with all their domains, as istioctl shows them (G-43). The most
/// specific host gives the name.
fn collapsed(http: &HttpFront) -> Vec<(&VirtualHost, Vec<String>)> {
    let mut hosts: Vec<&VirtualHost> = http.virtual_hosts.iter().map(|host| &**host).collect();
    hosts.sort_by(|a, b| a.domain.cmp(&b.domain));
    let (mut seen, mut collapsed) = (HashMap::new(), Vec::<(&VirtualHost, Vec<String>)>::new());
    for host in hosts {
        let routes: Vec<*const Route> = host.routes.iter().map(Arc::as_ptr).collect();
        let at = *seen.entry((routes, host.https_redirect)).or_insert(collapsed.len());
        if at == collapsed.len() {
            collapsed.push((host, Vec::new()));
        }
        if let Some((_, domains)) = collapsed.get_mut(at) {
            domains.push(host.domain.to_string());
        }
    }
    collapsed.sort_by_cached_key(|(host, _)| host.name());
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
    let object = route.rule.object();
    let backends = match &route.action {
        Action::Forward(forward) => {
            let list = forward.destinations.list.iter().enumerate();
            list.map(|(i, d)| ShareRow { backend: d.key.to_string(), share: forward.destinations.share(i) }).collect()
        }
        Action::Redirect(_) | Action::Direct(_) => Vec::new(),
    };
    RouteRow {
        virtual_host: host.name(),
        domains: Vec::new(),
        matches: route.matches.path(),
        conditions: route.matches.to_string(),
        route: route.name.to_string(),
        namespace: object.namespace.to_string(),
        path: route.rule.path.to_string(),
        file: route.rule.origin().file.to_string(),
        line: route.rule.spot().line,
        backends,
        ..empty(http, port, &format!("{}.{}", object.name, object.namespace))
    }
}
