//! DestinationRule: how a host's endpoints are spoken to (contract 1.5).
#![expect(missing_docs, reason = "fields and variants carry Istio's names; contract 1.5 has a row for each")]

use std::collections::BTreeMap;

use super::{LabelSelector, PortSelector, choice, message};
use crate::object::Labels;
use crate::value::Duration;

message! {
    /// The spec of a DestinationRule.
    pub struct DestinationRule {
        pub host: String,
        pub traffic_policy: Option<TrafficPolicy>,
        pub subsets: Vec<Subset>,
        pub export_to: Vec<String>,
        pub workload_selector: Option<LabelSelector>,
    }
    /// `spec.subsets[]`
    pub struct Subset {
        pub name: String,
        /// Empty selects all endpoints.
        pub labels: Labels,
        pub traffic_policy: Option<TrafficPolicy>,
    }
    /// `spec.trafficPolicy`, `spec.subsets[].trafficPolicy`
    pub struct TrafficPolicy {
        pub load_balancer: Option<LoadBalancerSettings>,
        pub connection_pool: Option<ConnectionPoolSettings>,
        pub outlier_detection: Option<OutlierDetection>,
        pub tls: Option<ClientTlsSettings>,
        pub port_level_settings: Vec<PortTrafficPolicy>,
        pub tunnel: Option<TunnelSettings>,
        pub proxy_protocol: Option<ProxyProtocol>,
        pub retry_budget: Option<RetryBudget>,
    }
    /// `trafficPolicy.portLevelSettings[]`: replaces all four blocks (D-20).
    pub struct PortTrafficPolicy {
        pub port: Option<PortSelector>,
        pub load_balancer: Option<LoadBalancerSettings>,
        pub connection_pool: Option<ConnectionPoolSettings>,
        pub outlier_detection: Option<OutlierDetection>,
        pub tls: Option<ClientTlsSettings>,
    }
    /// `trafficPolicy.loadBalancer`
    pub struct LoadBalancerSettings {
        pub simple: Option<SimpleLb>,
        pub consistent_hash: Option<ConsistentHashLb>,
        /// In the newest schema, read by no control plane yet.
        pub backend_utilization: Option<serde_json::Value>,
        pub locality_lb_setting: Option<LocalityLoadBalancerSetting>,
        pub zone_aware_lb_setting: Option<ZoneAwareLoadBalancerSetting>,
        pub warmup: Option<WarmupConfiguration>,
        /// Deprecated for `warmup`.
        pub warmup_duration_secs: Option<Duration>,
    }
    /// `loadBalancer.consistentHash`
    pub struct ConsistentHashLb {
        pub http_header_name: Option<String>,
        pub http_cookie: Option<HttpCookie>,
        pub use_source_ip: Option<bool>,
        pub http_query_parameter_name: Option<String>,
        pub ring_hash: Option<RingHash>,
        pub maglev: Option<Maglev>,
        /// Deprecated for `ringHash.minimumRingSize`; 0 is unset.
        pub minimum_ring_size: u64,
    }
    /// `consistentHash.httpCookie`
    pub struct HttpCookie {
        pub name: String,
        pub path: String,
        /// Absent: never create the cookie. Zero: session cookie.
        pub ttl: Option<Duration>,
        pub attributes: Vec<CookieAttribute>,
    }
    /// `consistentHash.httpCookie.attributes[]`
    pub struct CookieAttribute {
        pub name: String,
        pub value: String,
    }
    /// `consistentHash.ringHash`
    pub struct RingHash {
        /// 0 means 1024.
        pub minimum_ring_size: u64,
    }
    /// `consistentHash.maglev`
    pub struct Maglev {
        /// 0 means 65537.
        pub table_size: u64,
    }
    /// `loadBalancer.localityLbSetting`, also in MeshConfig
    pub struct LocalityLoadBalancerSetting {
        pub distribute: Vec<Distribute>,
        pub failover: Vec<Failover>,
        pub failover_priority: Vec<String>,
        /// Absent is true.
        pub enabled: Option<bool>,
    }
    /// `localityLbSetting.distribute[]`
    pub struct Distribute {
        pub from: String,
        pub to: BTreeMap<String, u32>,
    }
    /// `localityLbSetting.failover[]`
    pub struct Failover {
        pub from: String,
        pub to: String,
    }
    /// `loadBalancer.zoneAwareLbSetting`, also in MeshConfig
    pub struct ZoneAwareLoadBalancerSetting {
        pub enabled: Option<bool>,
        pub failover: Vec<Failover>,
        pub failover_priority: Vec<String>,
        /// Absent means 6.
        pub min_cluster_size: Option<u64>,
    }
    /// `loadBalancer.warmup`
    pub struct WarmupConfiguration {
        pub duration: Option<Duration>,
        /// Absent means 10.
        pub minimum_percent: Option<f64>,
        /// Absent means 1.
        pub aggression: Option<f64>,
    }
    /// `trafficPolicy.connectionPool`
    pub struct ConnectionPoolSettings {
        pub tcp: Option<TcpSettings>,
        pub http: Option<HttpSettings>,
    }
    /// `connectionPool.tcp`
    pub struct TcpSettings {
        /// 0 is unset.
        pub max_connections: i32,
        pub connect_timeout: Option<Duration>,
        pub tcp_keepalive: Option<TcpKeepalive>,
        pub max_connection_duration: Option<Duration>,
        /// Zero disables.
        pub idle_timeout: Option<Duration>,
    }
    /// `connectionPool.tcp.tcpKeepalive`
    pub struct TcpKeepalive {
        /// 0 is the system's.
        pub probes: u32,
        pub time: Option<Duration>,
        pub interval: Option<Duration>,
    }
    /// `connectionPool.http`; a zero number is unset.
    pub struct HttpSettings {
        pub http1_max_pending_requests: i32,
        pub http2_max_requests: i32,
        pub max_requests_per_connection: i32,
        pub max_retries: i32,
        pub idle_timeout: Option<Duration>,
        pub h2_upgrade_policy: H2UpgradePolicy,
        pub use_client_protocol: bool,
        pub max_concurrent_streams: i32,
        pub http2_keep_alive: Option<ConnectionKeepalive>,
    }
    /// `connectionPool.http.http2KeepAlive`
    pub struct ConnectionKeepalive {
        pub interval: Option<Duration>,
        pub timeout: Option<Duration>,
    }
    /// `trafficPolicy.outlierDetection`
    pub struct OutlierDetection {
        /// Deprecated, without effect.
        pub consecutive_errors: i32,
        pub split_external_local_origin_errors: bool,
        pub consecutive_local_origin_failures: Option<u32>,
        pub consecutive_gateway_errors: Option<u32>,
        /// Absent means 5, 0 disables.
        pub consecutive_5xx_errors: Option<u32>,
        pub interval: Option<Duration>,
        pub base_ejection_time: Option<Duration>,
        /// 0 means 10.
        pub max_ejection_percent: i32,
        pub min_health_percent: i32,
        /// Where set, these alone are errors.
        pub outlier_detection_http_error_codes: Vec<u32>,
    }
    /// `trafficPolicy.tls`; the message's absence is auto mTLS.
    pub struct ClientTlsSettings {
        pub mode: ClientTlsMode,
        pub client_certificate: String,
        pub private_key: String,
        pub ca_certificates: String,
        pub ca_crl: String,
        pub credential_name: String,
        pub subject_alt_names: Vec<String>,
        pub sni: String,
        pub insecure_skip_verify: Option<bool>,
    }
    /// `trafficPolicy.tunnel`
    pub struct TunnelSettings {
        /// CONNECT (also "") or POST.
        pub protocol: String,
        pub target_host: String,
        pub target_port: u32,
    }
    /// `trafficPolicy.proxyProtocol`: the header sent upstream.
    pub struct ProxyProtocol {
        pub version: ProxyProtocolVersion,
    }
    /// `trafficPolicy.retryBudget`
    pub struct RetryBudget {
        /// Absent means 20.
        pub percent: Option<f64>,
        /// 0 means 3.
        pub min_retry_concurrency: u32,
        pub budget_interval: Option<Duration>,
    }
}

choice! {
    /// `loadBalancer.simple`; LEAST_CONN and UNSPECIFIED are LEAST_REQUEST (D-30).
    pub enum SimpleLb {
        Unspecified,
        LeastConn,
        Random,
        Passthrough,
        RoundRobin,
        LeastRequest,
    }
    /// Whether HTTP/1.1 requests go upstream as HTTP/2; DEFAULT is the mesh's.
    pub enum H2UpgradePolicy {
        Default,
        DoNotUpgrade,
        Upgrade,
    }
    /// How a connection to an endpoint is secured.
    pub enum ClientTlsMode {
        Disable,
        Simple,
        Mutual,
        IstioMutual,
    }
    /// Which PROXY header.
    pub enum ProxyProtocolVersion {
        V1,
        V2,
    }
}
