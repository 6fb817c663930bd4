//! WorkloadEntry and WorkloadGroup: endpoints that are no pods (contract 1.6, 7).
#![expect(missing_docs, reason = "fields and variants carry Istio's names; contract 1.6 has a row for each")]

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::message;
use crate::object::Labels;

message! {
    /// The spec of a WorkloadEntry, an inline endpoint of a ServiceEntry, and a WorkloadGroup's template.
    pub struct WorkloadEntry {
        /// IP, FQDN or `unix://path`; "" only with `network`.
        pub address: String,
        pub ports: BTreeMap<Arc<str>, u32>,
        pub labels: Labels,
        pub network: String,
        pub locality: String,
        /// 0 is 1 (S-8).
        pub weight: u32,
        pub service_account: String,
        /// Not part of the spec: `status.conditions[type=Healthy]`, as far as it is there (S-10).
        #[serde(skip)]
        pub healthy: Option<bool>,
    }
    /// The spec of a WorkloadGroup.
    pub struct WorkloadGroup {
        pub metadata: GroupMetadata,
        pub template: Option<WorkloadEntry>,
        pub probe: Option<ReadinessProbe>,
    }
    /// `spec.metadata`: copied to the entries that the group makes.
    pub struct GroupMetadata {
        pub labels: Labels,
        pub annotations: Labels,
    }
    /// `spec.probe`; a zero number is Istio's default.
    pub struct ReadinessProbe {
        pub initial_delay_seconds: i32,
        pub timeout_seconds: i32,
        pub period_seconds: i32,
        pub success_threshold: i32,
        pub failure_threshold: i32,
        pub http_get: Option<HttpHealthCheck>,
        pub tcp_socket: Option<TcpHealthCheck>,
        pub exec: Option<ExecHealthCheck>,
        pub grpc: Option<GrpcHealthCheck>,
    }
    /// `spec.probe.httpGet`
    pub struct HttpHealthCheck {
        /// "" is `/`.
        pub path: String,
        pub port: u32,
        pub host: String,
        /// "" is HTTP.
        pub scheme: String,
        pub http_headers: Vec<HttpHeader>,
    }
    /// `spec.probe.tcpSocket`
    pub struct TcpHealthCheck {
        pub host: String,
        pub port: u32,
    }
    /// `spec.probe.exec`
    pub struct ExecHealthCheck {
        pub command: Vec<String>,
    }
    /// `spec.probe.grpc`
    pub struct GrpcHealthCheck {
        pub port: u32,
        pub service: String,
    }
}

/// `spec.probe.httpGet.httpHeaders[]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpHeader {
    pub name: String,
    pub value: String,
}
