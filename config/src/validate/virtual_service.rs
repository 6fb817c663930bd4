//! Admission of a VirtualService (contract 1.4); its HTTP routes are in `http_route`.

use std::ops::Range;

use super::{Checker, grammar, http_route, unreachable};
use crate::istio::virtual_service::{Destination, L4MatchAttributes, RouteDestination, TlsMatchAttributes, VirtualService};
use crate::name::Hostname;
use crate::object::{Kind, Labels, Object};
use crate::problem::Problem;

/// What is wrong with a VirtualService by itself.
pub fn virtual_service(object: &Object<VirtualService>) -> Vec<Problem> {
    virtual_service_after(object, None)
}

/// As [`virtual_service`], where nothing was wrong with an earlier version: what stands at its beginning and end as it stood there is
/// not looked at rule by rule again, for there may be thousands, and regexes cost.
pub fn virtual_service_after(object: &Object<VirtualService>, sound: Option<&Object<VirtualService>>) -> Vec<Problem> {
    let mut c = Checker::new(Kind::VirtualService, object);
    let spec = &object.spec;
    let (delegate, at_mesh) = (spec.hosts.is_empty(), spec.gateways.is_empty() || spec.gateways.iter().any(|g| g == "mesh"));
    if delegate {
        for (field, given) in [("gateways", !spec.gateways.is_empty()), ("tls", !spec.tls.is_empty()), ("tcp", !spec.tcp.is_empty())] {
            if given {
                c.error(field, "a delegate (a VirtualService without hosts) takes http rules only");
            }
        }
    }
    gateways(&mut c, &spec.gateways);
    hosts(&mut c, spec, at_mesh);
    if spec.http.is_empty() && spec.tls.is_empty() && spec.tcp.is_empty() {
        c.error("", "one of http, tls and tcp is needed");
    }
    for i in changed(spec, sound.map(|object| &object.spec)) {
        c.nth("http", i, |c| http_route::http_route(c, &spec.http[i], delegate, at_mesh));
    }
    c.each("tls", &spec.tls, |c, route| {
        if route.r#match.is_empty() {
            c.error("match", "a tls rule needs at least one match");
        }
        c.each("match", &route.r#match, |c, matched| tls_match(c, matched, spec));
        destinations(c, &route.route);
    });
    c.each("tcp", &spec.tcp, |c, route| {
        c.each("match", &route.r#match, tcp_match);
        destinations(c, &route.route);
    });
    c.export_to(&spec.export_to, false);
    unreachable::unreachable(&mut c, spec);
    c.problems
}

/// The rules that differ from those of a sound version; all where it asked for other hosts or gateways, on which their verdict depends.
fn changed(spec: &VirtualService, sound: Option<&VirtualService>) -> Range<usize> {
    let (new, all) = (&spec.http, 0..spec.http.len());
    let Some(old) = sound.filter(|sound| sound.hosts == spec.hosts && sound.gateways == spec.gateways).map(|sound| &sound.http) else { return all };
    let first = new.iter().zip(old).take_while(|(new, old)| new == old).count();
    let rest = (&new[first..], &old[first..]);
    let last = rest.0.iter().rev().zip(rest.1.iter().rev()).take_while(|(new, old)| new == old).count();
    first..new.len() - last
}

fn hosts(c: &mut Checker<'_>, spec: &VirtualService, at_mesh: bool) {
    let sni = spec.tls.iter().any(|route| route.r#match.iter().any(|m| !m.sni_hosts.is_empty()));
    let before = c.problems.len();
    c.each("hosts", &spec.hosts, |c, host| {
        let verdict = if at_mesh { grammar::wildcard_domain(host) } else { grammar::gateway_bound_host(host, sni) };
        match verdict {
            Err(message) if !grammar::is_ip(host) => c.error("", message),
            Ok(()) if at_mesh && host == "*" => c.error("", "`*` needs gateways: it cannot stand for every host of the mesh"),
            Ok(()) | Err(_) => {}
        }
    });
    if c.problems.len() > before {
        return;
    }
    let names: Vec<Hostname> = spec.hosts.iter().map(|h| Hostname::new(h)).collect();
    for (i, name) in names.iter().enumerate() {
        if let Some(earlier) = names[..i].iter().find(|earlier| earlier.intersect(name).is_some()) {
            c.nth("hosts", i, |c| c.error("", format!("{name} overlaps with {earlier} above")));
        }
    }
}

/// Gateway names: `name`, `ns/name`, `./name`, or the old FQDN [W].
pub(super) fn gateways(c: &mut Checker<'_>, names: &[String]) {
    c.each("gateways", names, |c, name| match name.split_once('/') {
        None => {
            if let Some((short, namespace)) = name.split_once('.') {
                let namespace = namespace.split('.').next().unwrap_or_default();
                c.warning("", format!("{name:?} is the old form; write \"{namespace}/{short}\""));
            }
            c.check("", grammar::fqdn(name));
        }
        Some((namespace, gateway)) => {
            if namespace != "." {
                c.check("", grammar::dns_label(namespace).map_err(|_| format!("{namespace:?} is no namespace")));
            }
            c.check("", grammar::dns_label(gateway).map_err(|_| format!("{gateway:?} is no gateway's name")));
        }
    });
}

/// Conditions that HTTP, TLS and TCP matches share.
pub(super) fn connection_match(c: &mut Checker<'_>, port: u32, labels: &Labels, names: &[String]) {
    if port != 0 {
        c.check("port", grammar::port(port));
    }
    c.labels("sourceLabels", labels);
    gateways(c, names);
}

fn tls_match(c: &mut Checker<'_>, matched: &TlsMatchAttributes, spec: &VirtualService) {
    if matched.sni_hosts.is_empty() {
        c.error("sniHosts", "a tls match needs at least one SNI host");
    }
    let at_gateways = !spec.gateways.iter().any(|g| g == "mesh");
    let hosts: Vec<Hostname> = spec.hosts.iter().map(|h| Hostname::new(h)).collect();
    c.each("sniHosts", &matched.sni_hosts, |c, host| {
        let verdict = if at_gateways { grammar::gateway_bound_host(host, true) } else { grammar::wildcard_domain(host) };
        match verdict {
            Err(_) if grammar::is_ip(host) => c.warning("", format!("{host:?} is an address: clients send names as SNI")),
            Err(message) => c.error("", message),
            Ok(()) if hosts.iter().any(|h| h.covers(&Hostname::new(host))) => {}
            Ok(()) => c.error("", format!("{host:?} is not among the VirtualService's hosts: {}", spec.hosts.join(", "))),
        }
    });
    c.each("destinationSubnets", &matched.destination_subnets, |c, subnet| c.check("", grammar::subnet(subnet)));
    connection_match(c, matched.port, &matched.source_labels, &matched.gateways);
}

fn tcp_match(c: &mut Checker<'_>, matched: &L4MatchAttributes) {
    c.each("destinationSubnets", &matched.destination_subnets, |c, subnet| c.check("", grammar::subnet(subnet)));
    if !matched.source_subnet.is_empty() {
        c.deprecated("sourceSubnet", "is deprecated");
    }
    connection_match(c, matched.port, &matched.source_labels, &matched.gateways);
}

fn destinations(c: &mut Checker<'_>, routes: &[RouteDestination]) {
    if routes.is_empty() {
        c.error("route", "a destination is needed");
    }
    c.each("route", routes, |c, route| weighed(c, &route.destination, route.weight));
    weights(c, routes.iter().map(|route| route.weight));
}

/// One destination with its weight.
pub(super) fn weighed(c: &mut Checker<'_>, to: &Destination, weight: i32) {
    c.at("destination", |c| destination(c, to));
    c.check("weight", grammar::not_negative(weight));
}

/// Several destinations whose weights are all zero would leave none to choose.
pub(super) fn weights(c: &mut Checker<'_>, weights: impl Iterator<Item = i32> + Clone) {
    if weights.clone().count() > 1 && weights.map(i64::from).sum::<i64>() == 0 {
        c.error("route", "the weights of several destinations are all 0");
    }
}

/// A destination: host, subset and port.
pub(super) fn destination(c: &mut Checker<'_>, destination: &Destination) {
    if destination.host == "*" {
        c.error("host", "`*` is no destination");
    } else {
        c.check("host", grammar::wildcard_domain(&destination.host));
    }
    if !destination.subset.is_empty() {
        c.check("subset", grammar::dns_label(&destination.subset));
    }
    c.some("port", destination.port.as_ref(), |c, port| c.check("number", grammar::port(port.number)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(hosts: &[&str], uris: &[&str]) -> Object<VirtualService> {
        let rule = |uri: &&str| serde_json::json!({"match": [{"uri": {"regex": uri}}], "route": [{"destination": {"host": "s"}}]});
        let http: Vec<_> = uris.iter().map(rule).collect();
        let spec = serde_json::from_value(serde_json::json!({"hosts": hosts, "gateways": ["gw"], "http": http})).expect("a VirtualService");
        Object { meta: crate::object::Meta { name: "v".into(), namespace: "n".into(), ..Default::default() }, spec, origin: Default::default() }
    }

    /// Which rules are looked at after `a b c`, each of which is sound; what is found is what is found without knowing that.
    #[test]
    fn rules_that_stand_as_they_stood_are_not_looked_at_again() {
        let host = ["a.example"].as_slice();
        let sound = object(host, &["a", "b", "c"]);
        for (hosts, uris, want, problems) in [
            (host, ["a", "b", "c"].as_slice(), 3..3, 0),
            (host, &["a", "(", "c"], 1..2, 1),
            (host, &["(", "a", "b", "c"], 0..1, 1),
            (host, &["a", "b", "c", "("], 3..4, 1),
            (host, &["a", "c"], 1..1, 0),
            (host, &["a", "b"], 2..2, 0),
            (host, &["(", "b", "["], 0..3, 2),
            (host, &["a", "a", "b", "c"], 1..2, 2),
            (&["b.example"], &["a", "b", "c"], 0..3, 0),
            (&[], &["a", "b", "c"], 0..3, 1),
        ] {
            let new = object(hosts, uris);
            assert_eq!(changed(&new.spec, Some(&sound.spec)), want, "{uris:?}");
            let found = virtual_service_after(&new, Some(&sound));
            assert_eq!(found, virtual_service(&new), "{uris:?}");
            assert_eq!(found.len(), problems, "{uris:?} {found:?}");
        }
    }
}
