//! Kubernetes objects as JSON, as short as a test wants them, and where an API server has them.

use serde_json::{Value, json};

/// The objects of a YAML text.
pub fn objects(text: &str) -> Vec<Value> {
    use serde::Deserialize;
    let all = serde_yaml::Deserializer::from_str(text).map(|d| Value::deserialize(d).expect("an object in YAML"));
    all.filter(|v| !v.is_null()).collect()
}

/// A secret of `namespace` that names members, each with its kubeconfig.
pub fn remote_secret(namespace: &str, name: &str, members: &[(&str, &str)]) -> Value {
    let data: serde_json::Map<String, Value> = members.iter().map(|(cluster, text)| ((*cluster).to_owned(), json!(text))).collect();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace, "labels": {"istio/multiCluster": "true"}},
        "stringData": data})
}

pub(super) const ISTIO: [(&str, &str); 7] = [
    ("Gateway", "gateways"),
    ("VirtualService", "virtualservices"),
    ("DestinationRule", "destinationrules"),
    ("ServiceEntry", "serviceentries"),
    ("WorkloadEntry", "workloadentries"),
    ("WorkloadGroup", "workloadgroups"),
    ("EnvoyFilter", "envoyfilters"),
];

pub(super) fn definition(kind: &str, plural: &str) -> Value {
    let versions: &[&str] = if kind == "EnvoyFilter" { &["v1alpha3"] } else { &["v1alpha3", "v1beta1", "v1"] };
    let versions: Vec<Value> = versions
        .iter()
        .map(|v| {
            json!({"name": v, "served": true, "storage": *v == versions[versions.len() - 1], "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
        })
        .collect();
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("{plural}.networking.istio.io")},
        "spec": {"group": "networking.istio.io", "scope": "Namespaced", "versions": versions,
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")}}})
}

pub(super) fn path(object: &Value) -> String {
    let (version, kind) = (object["apiVersion"].as_str().unwrap_or_default(), object["kind"].as_str().unwrap_or_default());
    let plural = match kind {
        "CustomResourceDefinition" => "customresourcedefinitions".to_owned(),
        "NetworkPolicy" => "networkpolicies".to_owned(),
        _ => ISTIO.iter().find(|(k, _)| *k == kind).map_or_else(|| format!("{}s", kind.to_lowercase()), |(_, plural)| (*plural).to_owned()),
    };
    let root = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    let scope = object["metadata"]["namespace"].as_str().map(|n| format!("/namespaces/{n}")).unwrap_or_default();
    format!("{root}{scope}/{plural}/{}", object["metadata"]["name"].as_str().unwrap_or_default())
}

/// A Namespace.
pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// A Service with one port, `http` 80.
pub fn service(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": {"ports": [{"name": "http", "port": 80}]}})
}

/// A slice of a service, named like it: IPv4 addresses that are ready on port 8080.
pub fn slice(namespace: &str, service: &str, addresses: &[&str]) -> Value {
    let endpoints: Vec<Value> = addresses.iter().map(|a| json!({"addresses": [a], "conditions": {"ready": true}})).collect();
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "endpoints": endpoints,
        "metadata": {"name": service, "namespace": namespace, "labels": {"kubernetes.io/service-name": service}},
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]})
}

/// An object of Istio's networking group.
pub fn istio(kind: &str, namespace: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": format!("networking.istio.io/{}", if kind == "EnvoyFilter" { "v1alpha3" } else { "v1" }), "kind": kind,
        "metadata": {"name": name, "namespace": namespace}, "spec": spec})
}
