//! Which kinds are watched, and where an API server has them.

use std::collections::BTreeSet;

use isthmus_config::object::Kind;

/// A kind at an API server.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    pub(crate) kind: Kind,
    group: &'static str,
    /// Versions that we read, best first.
    pub(crate) versions: &'static [&'static str],
    plural: &'static str,
    /// Only here.
    namespace: Option<String>,
    selector: &'static str,
}

/// What every cluster supplies (M-26).
const OF_EVERY: [Kind; 6] = [Kind::Service, Kind::EndpointSlice, Kind::Pod, Kind::Node, Kind::Namespace, Kind::WorkloadEntry];
/// What the config cluster supplies beside.
pub(crate) const OF_CONFIG: [Kind; 6] =
    [Kind::Gateway, Kind::VirtualService, Kind::DestinationRule, Kind::ServiceEntry, Kind::WorkloadGroup, Kind::EnvoyFilter];

/// The kinds that are watched at a cluster.
pub(crate) fn kinds(is_config: bool) -> impl Iterator<Item = Kind> {
    let more: &[Kind] = if is_config { &OF_CONFIG } else { &[] };
    OF_EVERY.iter().chain(more).copied()
}

/// Group and name of every resource that is listed and watched at the API server of the config cluster or of a member: all
/// that an account of ours has to be allowed, but for the secrets of one namespace of the config cluster.
pub fn reads() -> BTreeSet<(&'static str, &'static str)> {
    // In a member the rules are compared with those in force, in the config cluster they are those.
    kinds(true).map(Resource::of).map(|resource| (resource.group, resource.plural)).collect()
}

impl Resource {
    pub(crate) fn of(kind: Kind) -> Self {
        const ISTIO: &str = "networking.istio.io";
        let (group, versions, plural): (_, &'static [&'static str], _) = match kind {
            Kind::Service => ("", &["v1"], "services"),
            Kind::EndpointSlice => ("discovery.k8s.io", &["v1"], "endpointslices"),
            Kind::Pod => ("", &["v1"], "pods"),
            Kind::Node => ("", &["v1"], "nodes"),
            Kind::Namespace => ("", &["v1"], "namespaces"),
            Kind::Secret => ("", &["v1"], "secrets"),
            Kind::Gateway => (ISTIO, &["v1", "v1beta1", "v1alpha3"], "gateways"),
            Kind::VirtualService => (ISTIO, &["v1", "v1beta1", "v1alpha3"], "virtualservices"),
            Kind::DestinationRule => (ISTIO, &["v1", "v1beta1", "v1alpha3"], "destinationrules"),
            Kind::ServiceEntry => (ISTIO, &["v1", "v1beta1", "v1alpha3"], "serviceentries"),
            Kind::WorkloadEntry => (ISTIO, &["v1", "v1beta1", "v1alpha3"], "workloadentries"),
            Kind::WorkloadGroup => (ISTIO, &["v1", "v1beta1", "v1alpha3"], "workloadgroups"),
            Kind::EnvoyFilter => (ISTIO, &["v1alpha3"], "envoyfilters"),
        };
        Self { kind, group, versions, plural, namespace: None, selector: "" }
    }

    /// The secrets of one namespace that name members (M-20).
    pub(crate) fn remote_secrets(namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), selector: "istio%2FmultiCluster%3Dtrue", ..Self::of(Kind::Secret) }
    }

    /// True where the kind may not be installed yet.
    pub(crate) fn is_custom(&self) -> bool {
        self.group == "networking.istio.io"
    }

    pub(crate) fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }

    fn path(&self, version: &str) -> String {
        let root = if self.group.is_empty() { format!("/api/{version}") } else { format!("/apis/{}/{version}", self.group) };
        let scope = self.namespace.as_ref().map(|n| format!("/namespaces/{n}")).unwrap_or_default();
        let selector = if self.selector.is_empty() { String::new() } else { format!("&labelSelector={}", self.selector) };
        format!("{root}{scope}/{}?{selector}", self.plural)
    }

    /// One page of a list.
    pub(crate) fn list(&self, version: &str, page: usize, next: Option<&str>) -> String {
        let next = next.map(|token| format!("&continue={token}")).unwrap_or_default();
        format!("{}&limit={page}{next}", self.path(version))
    }

    /// A watch from where a list or an earlier watch stopped, for at most so many seconds.
    pub(crate) fn watch(&self, version: &str, position: &str, seconds: u64) -> String {
        format!("{}&watch=1&resourceVersion={position}&allowWatchBookmarks=true&timeoutSeconds={seconds}", self.path(version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_address() {
        for (uri, want) in [
            (Resource::of(Kind::Pod).list("v1", 10, None), "/api/v1/pods?&limit=10"),
            (Resource::of(Kind::Gateway).list("v1beta1", 10, Some("x")), "/apis/networking.istio.io/v1beta1/gateways?&limit=10&continue=x"),
            (
                Resource::remote_secrets("istio-system").watch("v1", "7", 50),
                "/api/v1/namespaces/istio-system/secrets?&labelSelector=istio%2FmultiCluster%3Dtrue&watch=1&resourceVersion=7&allowWatchBookmarks=true&timeoutSeconds=50",
            ),
        ] {
            assert_eq!(uri, want);
        }
    }
}
