//! Gateways: servers that meet on one port and host (IST0145), ports that no Service of ours has (IST0162),
//! TCP ports named for HTTP.

use std::sync::Arc;

use isthmus_config::istio::gateway::{Gateway, Server};
use isthmus_config::object::{Kind, Object};
use isthmus_config::problem::{Problem, Severity};

use super::services::says_http;
use super::{Scene, code, finding, reference};

pub(super) fn find(scene: &Scene<'_>, problems: &mut Vec<Problem>) {
    let mut gateways: Vec<&Arc<Object<Gateway>>> = scene.world.documents.gateways.values().collect();
    gateways.sort_by(|a, b| a.by_age(b));
    for (i, object) in gateways.iter().enumerate() {
        for (s, server) in object.spec.servers.iter().enumerate() {
            let path = format!("spec.servers[{s}]");
            for older in &gateways[..i] {
                if older.spec.selector == object.spec.selector && older.spec.servers.iter().any(|o| meets(o, server)) {
                    let message = format!("{} has the same selector, port {} and host", reference(Kind::Gateway, older), server.port.number);
                    problems.push(finding(Severity::Error, "IST0145", message, Kind::Gateway, object, path.clone()));
                }
            }
        }
        ports(scene, object, problems);
        for (s, server) in object.spec.servers.iter().enumerate() {
            if server.port.protocol.eq_ignore_ascii_case("tcp") && says_http(&server.port.name) {
                let message = format!(
                    "port {} is named {} and declared TCP: it carries bytes, and requests are not told apart",
                    server.port.number, server.port.name
                );
                let path = format!("spec.servers[{s}].port.protocol");
                problems.push(finding(Severity::Warning, code::TCP_NAMED_HTTP, message, Kind::Gateway, object, path).hint("set protocol: HTTP"));
            }
        }
    }
}

/// True where two servers claim one host on one port and address.
fn meets(a: &Server, b: &Server) -> bool {
    a.port.number == b.port.number && a.bind == b.bind && a.hosts.iter().any(|h| b.hosts.contains(h))
}

fn ports(scene: &Scene<'_>, object: &Arc<Object<Gateway>>, problems: &mut Vec<Problem>) {
    let name = (object.meta.namespace.clone(), object.meta.name.clone());
    let services: Vec<_> = scene.compiler.translators().filter_map(|h| scene.world.catalog.services.get(h)).collect();
    if services.is_empty() || !scene.compiler.selects(&name) {
        return;
    }
    for (s, server) in object.spec.servers.iter().enumerate() {
        let number = u16::try_from(server.port.number).unwrap_or(0);
        if scene.world.gateway.ports.contains_key(&number) || services.iter().any(|service| service.port(number).is_some()) {
            continue;
        }
        let names: Vec<&str> = services.iter().map(|s| s.hostname.as_str()).collect();
        let message = format!("port {number} is on no Service of the gateway ({}): clients from outside cannot reach it", names.join(", "));
        problems.push(finding(Severity::Warning, "IST0162", message, Kind::Gateway, object, format!("spec.servers[{s}].port.number")));
    }
}
