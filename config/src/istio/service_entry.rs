//! ServiceEntry: a service that no Kubernetes Service describes (contract 1.6, 7).
#![expect(missing_docs, reason = "fields and variants carry Istio's names; contract 1.6 has a row for each")]

use super::workload::WorkloadEntry;
use super::{WorkloadSelector, choice, message};

message! {
    /// The spec of a ServiceEntry.
    pub struct ServiceEntry {
        pub hosts: Vec<String>,
        /// IPs or CIDRs.
        pub addresses: Vec<String>,
        pub ports: Vec<ServicePort>,
        pub location: Location,
        pub resolution: Resolution,
        pub endpoints: Vec<WorkloadEntry>,
        pub workload_selector: Option<WorkloadSelector>,
        pub export_to: Vec<String>,
        pub subject_alt_names: Vec<String>,
    }
    /// `spec.ports[]`
    pub struct ServicePort {
        pub number: u32,
        pub name: String,
        /// "" is detected (section 9).
        pub protocol: String,
        /// 0 is `number`.
        pub target_port: u32,
    }
}

choice! {
    /// Whether the service belongs to the mesh (S-4).
    pub enum Location {
        MeshExternal,
        MeshInternal,
    }
    /// Where the service's endpoints come from (S-2).
    pub enum Resolution {
        None,
        Static,
        Dns,
        DnsRoundRobin,
        DynamicDns,
    }
}
