//! Gateway: which servers a gateway workload offers (contract 1.3).
#![expect(missing_docs, reason = "fields and variants carry Istio's names; contract 1.3 has a row for each")]

use super::{choice, message};
use crate::object::Labels;

message! {
    /// The spec of a Gateway.
    pub struct Gateway {
        /// Labels of the gateway workloads, in any namespace; empty selects all.
        pub selector: Labels,
        pub servers: Vec<Server>,
    }
    /// `spec.servers[]`
    pub struct Server {
        pub port: Port,
        /// IP or unix socket; "" is the wildcard address.
        pub bind: String,
        /// Each `[ns/]dnsName`.
        pub hosts: Vec<String>,
        pub tls: Option<ServerTlsSettings>,
        pub name: String,
        pub default_endpoint: String,
    }
    /// `spec.servers[].port`
    pub struct Port {
        pub number: u32,
        /// As written; compare without case.
        pub protocol: String,
        pub name: String,
        /// Deprecated and refused where set.
        pub target_port: u32,
    }
    /// `spec.servers[].tls`
    pub struct ServerTlsSettings {
        pub https_redirect: bool,
        pub mode: ServerTlsMode,
        pub server_certificate: String,
        pub private_key: String,
        pub ca_certificates: String,
        pub ca_crl: String,
        pub credential_name: String,
        pub credential_names: Vec<String>,
        pub ca_cert_credential_name: String,
        pub tls_certificates: Vec<TlsCertificate>,
        pub subject_alt_names: Vec<String>,
        pub verify_certificate_spki: Vec<String>,
        pub verify_certificate_hash: Vec<String>,
        pub min_protocol_version: TlsProtocol,
        pub max_protocol_version: TlsProtocol,
        pub cipher_suites: Vec<String>,
        pub ecdh_curves: Vec<String>,
        pub insecure_skip_verify: Option<bool>,
    }
    /// `spec.servers[].tls.tlsCertificates[]`
    pub struct TlsCertificate {
        pub server_certificate: String,
        pub private_key: String,
        pub ca_certificates: String,
    }
}

choice! {
    /// What a TLS server does with the handshake.
    pub enum ServerTlsMode {
        Passthrough,
        Simple,
        Mutual,
        AutoPassthrough,
        IstioMutual,
        OptionalMutual,
    }
    /// A TLS version.
    pub enum TlsProtocol {
        TlsAuto,
        #[serde(rename = "TLSV1_0")]
        Tls10,
        #[serde(rename = "TLSV1_1")]
        Tls11,
        #[serde(rename = "TLSV1_2")]
        Tls12,
        #[serde(rename = "TLSV1_3")]
        Tls13,
    }
}
