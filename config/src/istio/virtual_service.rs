//! VirtualService: how requests for a host are routed (contract 1.4).
#![expect(missing_docs, reason = "fields and variants carry Istio's names; contract 1.4 has a row for each")]

use serde::{Deserialize, Serialize};

use super::{PortSelector, choice, message};
use crate::object::{ByKey, Labels};
use crate::value::{Bytes, Duration, Percent, StringMatch};

message! {
    /// The spec of a VirtualService.
    pub struct VirtualService {
        /// Empty makes it a delegate.
        pub hosts: Vec<String>,
        /// Empty means `mesh`.
        pub gateways: Vec<String>,
        pub http: Vec<HttpRoute>,
        pub tls: Vec<TlsRoute>,
        pub tcp: Vec<TcpRoute>,
        pub export_to: Vec<String>,
    }
    /// `spec.http[]`. There are thousands: what few of them have is in boxes.
    pub struct HttpRoute {
        pub name: Box<str>,
        /// Any of these; none matches all.
        pub r#match: Vec<HttpMatchRequest>,
        pub route: Vec<HttpRouteDestination>,
        pub redirect: Option<Box<HttpRedirect>>,
        pub direct_response: Option<Box<HttpDirectResponse>>,
        pub delegate: Option<Box<Delegate>>,
        pub rewrite: Option<Box<HttpRewrite>>,
        /// Absent is no timeout.
        pub timeout: Option<Duration>,
        pub retries: Option<Box<HttpRetry>>,
        pub fault: Option<Box<HttpFaultInjection>>,
        pub mirror: Option<Box<Destination>>,
        pub mirrors: Vec<HttpMirrorPolicy>,
        pub mirror_percentage: Option<Percent>,
        /// Deprecated for `mirrorPercentage`.
        pub mirror_percent: Option<u32>,
        pub cors_policy: Option<Box<CorsPolicy>>,
        pub headers: Option<Box<Headers>>,
    }
    /// `spec.http[].match[]`: all that is set must hold.
    pub struct HttpMatchRequest {
        pub name: Box<str>,
        pub uri: Option<StringMatch>,
        pub scheme: Option<Box<StringMatch>>,
        pub method: Option<Box<StringMatch>>,
        pub authority: Option<Box<StringMatch>>,
        pub headers: ByKey<StringMatch>,
        pub without_headers: ByKey<StringMatch>,
        pub query_params: ByKey<StringMatch>,
        /// The server's port; 0 is any.
        pub port: u32,
        pub source_labels: Labels,
        pub source_namespace: Box<str>,
        pub gateways: Vec<String>,
        pub ignore_uri_case: bool,
        pub stat_prefix: Box<str>,
    }
    /// `spec.http[].route[]`
    pub struct HttpRouteDestination {
        pub destination: Destination,
        pub weight: i32,
        pub headers: Option<Box<Headers>>,
    }
    /// Where requests go.
    pub struct Destination {
        /// Short name, FQDN or ServiceEntry host.
        pub host: String,
        pub subset: String,
        pub port: Option<PortSelector>,
    }
    /// `spec.http[].redirect`
    pub struct HttpRedirect {
        pub uri: String,
        pub prefix_rewrite: String,
        pub authority: String,
        pub port: Option<u32>,
        pub derive_port: Option<RedirectPortSelection>,
        pub scheme: String,
        /// 0 means 301.
        pub redirect_code: u32,
    }
    /// `spec.http[].directResponse`
    pub struct HttpDirectResponse {
        pub status: u32,
        pub body: Option<HttpBody>,
    }
    /// `spec.http[].delegate`
    pub struct Delegate {
        pub name: String,
        /// "" is the root's namespace.
        pub namespace: String,
    }
    /// `spec.http[].rewrite`
    pub struct HttpRewrite {
        pub uri: String,
        pub authority: String,
        pub uri_regex_rewrite: Option<RegexRewrite>,
    }
    /// `spec.http[].rewrite.uriRegexRewrite`
    pub struct RegexRewrite {
        pub r#match: String,
        pub rewrite: String,
    }
    /// `spec.http[].retries`
    pub struct HttpRetry {
        pub attempts: i32,
        pub per_try_timeout: Option<Duration>,
        /// Comma list; "" is the default list.
        pub retry_on: String,
        pub retry_remote_localities: Option<bool>,
        /// Absent is true.
        pub retry_ignore_previous_hosts: Option<bool>,
        pub backoff: Option<Duration>,
    }
    /// `spec.http[].fault`
    pub struct HttpFaultInjection {
        pub delay: Option<Delay>,
        pub abort: Option<Abort>,
    }
    /// `spec.http[].fault.delay`
    pub struct Delay {
        pub fixed_delay: Option<Duration>,
        /// Accepted by Istio's schema, supported by nobody.
        pub exponential_delay: Option<Duration>,
        pub percentage: Option<Percent>,
        /// Deprecated for `percentage`.
        pub percent: i32,
    }
    /// `spec.http[].fault.abort`
    pub struct Abort {
        pub http_status: Option<i32>,
        pub grpc_status: Option<String>,
        pub http2_error: Option<String>,
        pub percentage: Option<Percent>,
    }
    /// `spec.http[].mirrors[]`
    pub struct HttpMirrorPolicy {
        pub destination: Destination,
        pub percentage: Option<Percent>,
    }
    /// `spec.http[].corsPolicy`
    pub struct CorsPolicy {
        /// Deprecated exact form of `allowOrigins`.
        pub allow_origin: Vec<String>,
        pub allow_origins: Vec<StringMatch>,
        pub allow_methods: Vec<String>,
        pub allow_headers: Vec<String>,
        pub expose_headers: Vec<String>,
        pub max_age: Option<Duration>,
        pub allow_credentials: Option<bool>,
        pub unmatched_preflights: UnmatchedPreflights,
    }
    /// Header edits of a route or a destination.
    pub struct Headers {
        pub request: Option<HeaderOperations>,
        pub response: Option<HeaderOperations>,
    }
    /// Edits of one side's headers.
    pub struct HeaderOperations {
        pub set: Labels,
        pub add: Labels,
        pub remove: Vec<String>,
    }
    /// `spec.tls[]`
    pub struct TlsRoute {
        pub r#match: Vec<TlsMatchAttributes>,
        pub route: Vec<RouteDestination>,
    }
    /// `spec.tls[].match[]`
    pub struct TlsMatchAttributes {
        pub sni_hosts: Vec<String>,
        pub destination_subnets: Vec<String>,
        /// 0 is any.
        pub port: u32,
        pub source_labels: Labels,
        pub source_namespace: String,
        pub gateways: Vec<String>,
    }
    /// `spec.tcp[]`
    pub struct TcpRoute {
        pub r#match: Vec<L4MatchAttributes>,
        pub route: Vec<RouteDestination>,
    }
    /// `spec.tcp[].match[]`
    pub struct L4MatchAttributes {
        pub destination_subnets: Vec<String>,
        /// 0 is any.
        pub port: u32,
        /// Deprecated.
        pub source_subnet: String,
        pub source_labels: Labels,
        pub source_namespace: String,
        pub gateways: Vec<String>,
    }
    /// `spec.tls[].route[]`, `spec.tcp[].route[]`
    pub struct RouteDestination {
        pub destination: Destination,
        pub weight: i32,
    }
}

choice! {
    /// Which port a redirect names when it gives none itself.
    pub enum RedirectPortSelection {
        FromProtocolDefault,
        FromRequestPort,
    }
    /// What happens to a preflight request whose origin is not allowed; unspecified forwards.
    pub enum UnmatchedPreflights {
        Unspecified,
        Forward,
        Ignore,
    }
}

/// `spec.http[].directResponse.body`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HttpBody {
    String(String),
    /// Base64 in YAML.
    Bytes(Bytes),
}
