//! Which kinds there are, and what becomes of each: read, warned of, left alone or refused.

use crate::decode::nearest;
use crate::object::Kind;

/// What becomes of an object of some apiVersion and kind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Istio's networking API, read strictly.
    Istio(Kind),
    /// Kubernetes' own kinds, of which we read some fields.
    Kubernetes(Kind),
    /// Istio would enforce it at this gateway and we do not.
    Unenforced,
    /// Lives beside the rules; no business of a gateway.
    NotUsed,
    /// Meant for us, and not readable.
    Refused { message: String, hint: Option<String> },
}

const ISTIO: [Kind; 7] =
    [Kind::Gateway, Kind::VirtualService, Kind::DestinationRule, Kind::ServiceEntry, Kind::WorkloadEntry, Kind::WorkloadGroup, Kind::EnvoyFilter];
const CORE: [Kind; 5] = [Kind::Service, Kind::Pod, Kind::Node, Kind::Namespace, Kind::Secret];
const ISTIO_GROUPS: [&str; 4] = ["networking.istio.io", "security.istio.io", "telemetry.istio.io", "extensions.istio.io"];

/// What becomes of `kind` in `api_version` (contract 1.1).
pub(crate) fn fate(api_version: &str, kind: &str) -> Fate {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let named = |kinds: &[Kind]| kinds.iter().find(|k| k.as_str() == kind).copied();
    match group {
        "networking.istio.io" => match named(&ISTIO) {
            Some(known) => served(Fate::Istio(known), api_version, kind, version, istio_versions(known)),
            None if matches!(kind, "Sidecar" | "ProxyConfig") => Fate::Unenforced,
            None => {
                let names = ISTIO.iter().map(|k| k.as_str()).chain(["Sidecar", "ProxyConfig"]);
                let hint = nearest(kind, names).map(|name| format!("did you mean `{name}`?"));
                Fate::Refused { message: format!("{group} has no kind {kind:?}"), hint }
            }
        },
        "security.istio.io" | "telemetry.istio.io" | "extensions.istio.io" | "gateway.networking.k8s.io" => Fate::Unenforced,
        "" => named(&CORE).map_or(Fate::NotUsed, |known| served(Fate::Kubernetes(known), api_version, kind, version, &["v1"])),
        "discovery.k8s.io" if kind == "EndpointSlice" => served(Fate::Kubernetes(Kind::EndpointSlice), api_version, kind, version, &["v1"]),
        _ if group.contains("istio") => match nearest(group, ISTIO_GROUPS) {
            Some(meant) => Fate::Refused { message: format!("no such API group: {group:?}"), hint: Some(format!("did you mean `{meant}`?")) },
            None => Fate::NotUsed,
        },
        _ => Fate::NotUsed,
    }
}

fn istio_versions(kind: Kind) -> &'static [&'static str] {
    if kind == Kind::EnvoyFilter { &["v1alpha3"] } else { &["v1", "v1beta1", "v1alpha3"] }
}

fn served(fate: Fate, api_version: &str, kind: &str, version: &str, versions: &[&str]) -> Fate {
    if versions.contains(&version) {
        fate
    } else {
        Fate::Refused { message: format!("{kind} is not served in {api_version:?}"), hint: Some(format!("its versions: {}", versions.join(", "))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_fate() {
        let refused = |message: &str, hint: &str| Fate::Refused { message: message.to_owned(), hint: Some(hint.to_owned()) };
        for (api_version, kind, want) in [
            ("networking.istio.io/v1", "VirtualService", Fate::Istio(Kind::VirtualService)),
            ("networking.istio.io/v1alpha3", "EnvoyFilter", Fate::Istio(Kind::EnvoyFilter)),
            ("networking.istio.io/v1", "EnvoyFilter", refused("EnvoyFilter is not served in \"networking.istio.io/v1\"", "its versions: v1alpha3")),
            (
                "networking.istio.io/v2",
                "Gateway",
                refused("Gateway is not served in \"networking.istio.io/v2\"", "its versions: v1, v1beta1, v1alpha3"),
            ),
            (
                "networking.istio.io/v1",
                "VirtualServices",
                refused("networking.istio.io has no kind \"VirtualServices\"", "did you mean `VirtualService`?"),
            ),
            ("networking.istio.oi/v1", "Gateway", refused("no such API group: \"networking.istio.oi\"", "did you mean `networking.istio.io`?")),
            ("network.istio.io/v1", "Gateway", refused("no such API group: \"network.istio.io\"", "did you mean `networking.istio.io`?")),
            ("networking.istio.io/v1", "Sidecar", Fate::Unenforced),
            ("security.istio.io/v1", "AuthorizationPolicy", Fate::Unenforced),
            ("gateway.networking.k8s.io/v1", "Gateway", Fate::Unenforced),
            ("install.istio.io/v1alpha1", "IstioOperator", Fate::NotUsed),
            ("v1", "Service", Fate::Kubernetes(Kind::Service)),
            ("v1", "ConfigMap", Fate::NotUsed),
            ("serving.knative.dev/v1", "Service", Fate::NotUsed),
            ("apps/v1", "Deployment", Fate::NotUsed),
            ("discovery.k8s.io/v1", "EndpointSlice", Fate::Kubernetes(Kind::EndpointSlice)),
        ] {
            assert_eq!(fate(api_version, kind), want, "{api_version} {kind}");
        }
    }
}
