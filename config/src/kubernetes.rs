//! Kubernetes' own kinds, as far as a gateway reads them.
//!
//! Unknown fields are skipped here: these objects are written by Kubernetes, and most of what they hold is not ours.
#![expect(missing_docs, reason = "fields carry Kubernetes' names; kubernetes.io describes them")]

use std::sync::Arc;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::object::Labels;

/// A port number, or the name of a container port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PortOrName {
    Number(u16),
    Name(Arc<str>),
}

/// What clients of a Service see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ServiceType {
    #[default]
    ClusterIP,
    NodePort,
    LoadBalancer,
    ExternalName,
}

/// A Service: `spec`, and `status.loadBalancer.ingress`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    pub r#type: ServiceType,
    pub ports: Vec<ServicePort>,
    pub selector: Labels,
    /// "None" where headless.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Arc<str>,
    #[serde(rename = "externalIPs")]
    pub external_ips: Vec<Arc<str>>,
    pub external_name: Arc<str>,
    /// "Local", "Cluster" or "".
    pub internal_traffic_policy: Arc<str>,
    pub traffic_distribution: Arc<str>,
    #[serde(skip)]
    pub ingress: Vec<Ingress>,
}

/// `spec.ports[]` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    pub name: Arc<str>,
    pub port: u16,
    /// Absent is `port`.
    pub target_port: Option<PortOrName>,
    /// "" is TCP.
    pub protocol: Arc<str>,
    pub app_protocol: Arc<str>,
    /// 0 where there is none.
    pub node_port: u16,
}

/// `status.loadBalancer.ingress[]` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ingress {
    pub ip: Arc<str>,
    pub hostname: Arc<str>,
}

/// An EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSlice {
    /// "IPv4", "IPv6" or "FQDN".
    pub address_type: Arc<str>,
    pub ports: Vec<EndpointPort>,
    pub endpoints: Vec<SliceEndpoint>,
}

/// `ports[]` of an EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointPort {
    pub name: Arc<str>,
    /// Absent is every port.
    pub port: Option<u16>,
}

/// `endpoints[]` of an EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SliceEndpoint {
    pub addresses: Vec<Arc<str>>,
    pub conditions: EndpointConditions,
    pub node_name: Arc<str>,
    pub target_ref: Option<TargetRef>,
}

/// `endpoints[].conditions`; absent is not said (M-10..M-13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct EndpointConditions {
    pub ready: Option<bool>,
    pub serving: Option<bool>,
    pub terminating: Option<bool>,
}

/// `endpoints[].targetRef`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TargetRef {
    pub kind: Arc<str>,
    pub name: Arc<str>,
}

/// A Pod: some of `spec` and `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    pub node_name: Arc<str>,
    pub service_account_name: Arc<str>,
    /// The named and unnamed ports of all containers.
    pub ports: Vec<ContainerPort>,
    /// "Running", "Failed", …
    pub phase: Arc<str>,
    /// All addresses, the first one first.
    pub ips: Vec<Arc<str>>,
    /// Condition `Ready`; `None` where the status does not say.
    pub ready: Option<bool>,
    /// It has a `metadata.deletionTimestamp`: it is on its way out.
    pub leaving: bool,
}

/// `spec.containers[].ports[]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    pub name: Arc<str>,
    pub container_port: u16,
}

/// A Node: beside its labels, the addresses by which it is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    pub external_ips: Vec<Arc<str>>,
    pub internal_ips: Vec<Arc<str>>,
}

/// A Namespace: its labels and annotations are all that counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespace;

/// A Secret's type; what it holds is read where it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secret {
    pub r#type: Arc<str>,
}

/// The parts of any Kubernetes object that stand beside its metadata.
pub(crate) trait Wire: serde::de::DeserializeOwned + Default {
    /// What the object is to us.
    type Object;
    /// Flattens spec and status.
    fn into_object(self) -> Self::Object;
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireService {
    spec: Service,
    status: WireServiceStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireServiceStatus {
    load_balancer: WireLoadBalancer,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireLoadBalancer {
    ingress: Vec<Ingress>,
}

impl Wire for WireService {
    type Object = Service;
    fn into_object(self) -> Service {
        Service { ingress: self.status.load_balancer.ingress, ..self.spec }
    }
}

impl Wire for EndpointSlice {
    type Object = Self;
    fn into_object(self) -> Self {
        self
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct WirePod {
    metadata: WirePodMetadata,
    spec: WirePodSpec,
    status: WirePodStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WirePodMetadata {
    deletion_timestamp: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WirePodSpec {
    node_name: Arc<str>,
    service_account_name: Arc<str>,
    containers: Vec<WireContainer>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireContainer {
    ports: Vec<ContainerPort>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WirePodStatus {
    phase: Arc<str>,
    #[serde(rename = "podIP")]
    pod_ip: Arc<str>,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<WirePodIp>,
    conditions: Vec<Condition>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WirePodIp {
    ip: Arc<str>,
}

/// One entry of `status.conditions`, of a Pod or a WorkloadEntry.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Condition {
    r#type: Arc<str>,
    status: Arc<str>,
}

/// Whether the condition `name` is true, where it is there.
pub(crate) fn condition(conditions: &[Condition], name: &str) -> Option<bool> {
    conditions.iter().find(|c| *c.r#type == *name).map(|c| &*c.status == "True")
}

impl Wire for WirePod {
    type Object = Pod;
    fn into_object(self) -> Pod {
        let first = Some(self.status.pod_ip).filter(|ip| !ip.is_empty());
        let others = self.status.pod_ips.into_iter().map(|p| p.ip).filter(|ip| first.as_ref() != Some(ip) && !ip.is_empty());
        Pod {
            node_name: self.spec.node_name,
            service_account_name: self.spec.service_account_name,
            ports: self.spec.containers.into_iter().flat_map(|c| c.ports).collect(),
            phase: self.status.phase,
            ready: condition(&self.status.conditions, "Ready"),
            leaving: self.metadata.deletion_timestamp.is_some(),
            ips: first.iter().cloned().chain(others).collect(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireNode {
    status: WireNodeStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireNodeStatus {
    addresses: Vec<WireNodeAddress>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireNodeAddress {
    r#type: Arc<str>,
    address: Arc<str>,
}

impl Wire for WireNode {
    type Object = Node;
    fn into_object(self) -> Node {
        let of_type = |name: &str| self.status.addresses.iter().filter(|a| *a.r#type == *name).map(|a| a.address.clone()).collect();
        Node { external_ips: of_type("ExternalIP"), internal_ips: of_type("InternalIP") }
    }
}

#[derive(Default, Deserialize)]
pub(crate) struct WireNamespace {}

impl Wire for WireNamespace {
    type Object = Namespace;
    fn into_object(self) -> Namespace {
        Namespace
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct WireSecret {
    r#type: Arc<str>,
}

impl Wire for WireSecret {
    type Object = Secret;
    fn into_object(self) -> Secret {
        Secret { r#type: self.r#type }
    }
}
