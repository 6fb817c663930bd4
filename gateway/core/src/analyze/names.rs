//! Every name that the files give, for "did you mean".

use std::collections::BTreeSet;

use isthmus_config::istio::virtual_service::VirtualService;
use isthmus_config::name::Hostname;
use isthmus_config::nearest;

use crate::compile::qualify;
use crate::model::{NamespacedName, World};

/// Hosts and Gateways by name.
pub(super) struct Names<'a> {
    world: &'a World,
    /// Hosts that exist as services.
    services: BTreeSet<Hostname>,
    /// Hosts that rules send to or are about, whether or not they exist.
    named: BTreeSet<Hostname>,
}

impl<'a> Names<'a> {
    pub(super) fn of(world: &'a World) -> Self {
        let domain = &world.gateway.domain;
        let mut named = BTreeSet::new();
        for object in world.documents.virtual_services.values() {
            named.extend(destinations(&object.spec).map(|host| qualify(host, &object.meta.namespace, domain)));
        }
        named.extend(world.documents.destination_rules.values().map(|o| qualify(&o.spec.host, &o.meta.namespace, domain)));
        Self { world, services: world.catalog.services.keys().cloned().collect(), named }
    }

    /// The service meant by a host that does not exist, as text for a hint: short where `text` is short.
    pub(super) fn host(&self, text: &str, namespace: &str) -> Option<String> {
        let domain = &self.world.gateway.domain;
        let host = qualify(text, namespace, domain);
        let found = [&self.services, &self.named].into_iter().find_map(|set| meant(set, &host, text, domain))?;
        let suffix = format!(".{namespace}.svc.{domain}");
        let short = (!text.contains('.')).then(|| found.strip_suffix(suffix.as_str()).map(str::to_owned)).flatten();
        Some(short.unwrap_or(found))
    }

    /// The Gateway meant by a name that no Gateway has.
    pub(super) fn gateway(&self, name: &NamespacedName) -> Option<String> {
        let all = || self.world.documents.gateways.keys();
        let elsewhere = all().find(|g| g.1 == name.1).map(|(n, g)| format!("{n}/{g}"));
        elsewhere.or_else(|| {
            let here = || self.world.documents.gateways.within(&name.0);
            nearest(&name.1, here().map(|gateway| &*gateway.meta.name)).map(str::to_owned)
        })
    }
}

/// The name of `set` that `host` was meant to be.
fn meant(set: &BTreeSet<Hostname>, host: &Hostname, text: &str, domain: &str) -> Option<String> {
    let names: Vec<&str> = set.iter().filter(|h| *h != host).map(Hostname::as_str).collect();
    let of_cluster = format!(".svc.{domain}");
    // A short name with its namespace, `reviews.bar`, is the commonest slip (V-20).
    let whole = format!("{text}{of_cluster}");
    if names.contains(&whole.as_str()) {
        return Some(whole);
    }
    let Some((label, rest)) = host.as_str().split_once('.').filter(|(_, rest)| rest.ends_with(&of_cluster)) else {
        return nearest(host.as_str(), names.iter().copied()).map(str::to_owned);
    };
    let beside = names.iter().filter_map(|n| n.split_once('.')).filter(|(_, r)| *r == rest).map(|(l, _)| l);
    // Of names as short as these, every one is near every other.
    let slip = if label.len() > 2 { nearest(label, beside).map(|l| format!("{l}.{rest}")) } else { None };
    slip.or_else(|| names.iter().find(|n| n.split_once('.').is_some_and(|(l, r)| l == label && r.ends_with(&of_cluster))).map(|n| (*n).to_owned()))
}

/// Every host that a VirtualService sends to, mirrors included.
fn destinations(spec: &VirtualService) -> impl Iterator<Item = &str> {
    let http = spec.http.iter().flat_map(|h| {
        let to = h.route.iter().map(|r| &r.destination);
        to.chain(h.mirror.as_deref()).chain(h.mirrors.iter().map(|m| &m.destination))
    });
    let tcp = spec.tcp.iter().flat_map(|t| &t.route).chain(spec.tls.iter().flat_map(|t| &t.route)).map(|r| &r.destination);
    http.chain(tcp).map(|d| d.host.as_str())
}
