//! MeshConfig: the mesh-wide settings that a gateway takes (contract 10.6), with Istio's defaults.
//!
//! A key that is not here is a warning with its path, raised by whoever reads the text; it is never refused, since a mesh's
//! own MeshConfig says much that only sidecars and the control plane need.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::istio::destination_rule::{
    ConnectionPoolSettings, H2UpgradePolicy, LocalityLoadBalancerSetting, OutlierDetection, ZoneAwareLoadBalancerSetting,
};
use crate::istio::virtual_service::HttpRetry;
use crate::value::Duration;

/// Mesh-wide settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshConfig {
    /// How long connecting may take where no DestinationRule says.
    pub connect_timeout: Duration,
    /// The namespace whose rules hold for every other (D-2, F-1).
    pub root_namespace: Arc<str>,
    /// exportTo of services that say nothing.
    pub default_service_export_to: Vec<String>,
    /// exportTo of VirtualServices that say nothing.
    pub default_virtual_service_export_to: Vec<String>,
    /// exportTo of DestinationRules that say nothing (D-6).
    pub default_destination_rule_export_to: Vec<String>,
    /// Locality load balancing where no DestinationRule says (L-20).
    pub locality_lb_setting: Option<LocalityLoadBalancerSetting>,
    /// Zone-aware setting where no DestinationRule says (L-20).
    pub zone_aware_lb_setting: Option<ZoneAwareLoadBalancerSetting>,
    /// Mesh mTLS towards endpoints that take it (D-50); absent means that it is wanted.
    pub enable_auto_mtls: Option<bool>,
    /// Retries of routes that say nothing (V-31).
    pub default_http_retry_policy: Option<HttpRetry>,
    /// Fills blocks that no DestinationRule sets (D-23).
    pub default_traffic_policy: Option<DefaultTrafficPolicy>,
    /// HTTP/2 towards endpoints that did not ask for it.
    pub h2_upgrade_policy: H2UpgradePolicy,
    /// How often a failing name is asked for again (S-2).
    pub dns_refresh_rate: Duration,
    /// Where the access log goes; empty for nowhere.
    pub access_log_file: String,
    /// Text or JSON.
    pub access_log_encoding: AccessLogEncoding,
    /// A format of the user's own.
    pub access_log_format: String,
    /// clusterLocal hosts (M-30).
    pub service_settings: Vec<ServiceSetting>,
    /// SPIFFE trust domain, where it is not `cluster.local`.
    pub trust_domain: Option<Arc<str>>,
    /// How far paths are normalised before matching (G-49).
    pub path_normalization: PathNormalizationSetting,
    /// What every proxy takes as its default.
    pub default_config: ProxyConfig,
    /// Networks and their gateways (M-31, M-33).
    pub mesh_networks: BTreeMap<Arc<str>, MeshNetwork>,
    /// Namespaces to read (M-28); empty for all.
    pub discovery_selectors: Vec<serde_json::Value>,
}

impl Default for MeshConfig {
    fn default() -> Self {
        let all = || vec!["*".to_owned()];
        let seconds = |s| Duration(std::time::Duration::from_secs(s));
        Self {
            connect_timeout: seconds(10),
            root_namespace: "istio-system".into(),
            default_service_export_to: all(),
            default_virtual_service_export_to: all(),
            default_destination_rule_export_to: all(),
            locality_lb_setting: None,
            zone_aware_lb_setting: None,
            enable_auto_mtls: None,
            default_http_retry_policy: None,
            default_traffic_policy: None,
            h2_upgrade_policy: H2UpgradePolicy::default(),
            dns_refresh_rate: seconds(60),
            access_log_file: String::new(),
            access_log_encoding: AccessLogEncoding::default(),
            access_log_format: String::new(),
            service_settings: Vec::new(),
            trust_domain: None,
            path_normalization: PathNormalizationSetting::default(),
            default_config: ProxyConfig::default(),
            mesh_networks: BTreeMap::new(),
            discovery_selectors: Vec::new(),
        }
    }
}

/// Blocks for DestinationRules that have none (D-23).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DefaultTrafficPolicy {
    /// Connection pool.
    pub connection_pool: Option<ConnectionPoolSettings>,
    /// Outlier detection.
    pub outlier_detection: Option<OutlierDetection>,
}

/// The access log's form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum AccessLogEncoding {
    /// Istio's text line.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Hosts that stay in their cluster (M-30).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSetting {
    /// What holds for them.
    pub settings: ServiceSettingValues,
    /// The hosts, wildcards included.
    pub hosts: Vec<String>,
}

/// What holds for some hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSettingValues {
    /// Endpoints of the caller's own cluster only.
    pub cluster_local: bool,
}

/// `pathNormalization`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PathNormalizationSetting {
    /// How far.
    pub normalization: PathNormalizationType,
}

/// How far a path is normalised before matching.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PathNormalizationType {
    /// As Istio's default, which is BASE.
    #[default]
    Default,
    /// Not at all.
    None,
    /// Dot segments and unreserved escapes.
    Base,
    /// Also doubled slashes.
    MergeSlashes,
    /// Also escaped slashes.
    DecodeAndMergeSlashes,
}

/// `defaultConfig`, as far as a gateway takes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyConfig {
    /// What stands in front of the gateway.
    pub gateway_topology: GatewayTopology,
}

/// What stands in front of the gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayTopology {
    /// Trusted proxies in front of us, which append to x-forwarded-for.
    pub num_trusted_proxies: u32,
    /// Connections begin with a PROXY protocol header.
    pub proxy_protocol: Option<ProxyProtocolSetting>,
    /// What becomes of client certificates' details; with the TLS issue.
    pub forward_client_cert_details: Option<String>,
}

/// `proxyProtocol: {}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyProtocolSetting {}

/// One network of `meshNetworks`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshNetwork {
    /// Which endpoints are of it.
    pub endpoints: Vec<NetworkEndpoints>,
    /// How it is reached from outside.
    pub gateways: Vec<NetworkGateway>,
}

/// Endpoints of a network: by cluster or by address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkEndpoints {
    /// A cluster.
    pub from_registry: Option<String>,
    /// An address range.
    pub from_cidr: Option<String>,
}

/// A gateway of a network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkGateway {
    /// A service of that network's cluster.
    pub registry_service_name: Option<String>,
    /// An address.
    pub address: Option<String>,
    /// The port.
    pub port: u16,
}
