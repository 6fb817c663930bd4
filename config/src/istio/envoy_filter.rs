//! EnvoyFilter: patches of Envoy's own configuration (contract 1.7, 8).
//!
//! Patch values stay as JSON: what they mean is decided where they are applied, and what we do not know is reported there.
#![expect(missing_docs, reason = "fields and variants carry Istio's names; contract 1.7 has a row for each")]

use serde_json::Value;

use super::{WorkloadSelector, choice, message};
use crate::object::Labels;

message! {
    /// The spec of an EnvoyFilter.
    pub struct EnvoyFilter {
        pub workload_selector: Option<WorkloadSelector>,
        pub target_refs: Vec<PolicyTargetReference>,
        pub config_patches: Vec<EnvoyConfigObjectPatch>,
        /// Lower is applied first (F-2).
        pub priority: i32,
    }
    /// `spec.targetRefs[]`
    pub struct PolicyTargetReference {
        pub group: String,
        pub kind: String,
        pub name: String,
        pub namespace: String,
    }
    /// `spec.configPatches[]`
    pub struct EnvoyConfigObjectPatch {
        pub apply_to: ApplyTo,
        pub r#match: Option<EnvoyConfigObjectMatch>,
        pub patch: Option<Patch>,
    }
    /// `spec.configPatches[].match`
    pub struct EnvoyConfigObjectMatch {
        pub context: PatchContext,
        pub proxy: Option<ProxyMatch>,
        pub listener: Option<ListenerMatch>,
        pub route_configuration: Option<RouteConfigurationMatch>,
        pub cluster: Option<ClusterMatch>,
        pub waypoint: Option<WaypointMatch>,
    }
    /// `match.proxy`
    pub struct ProxyMatch {
        /// RE2 over the proxy's version.
        pub proxy_version: String,
        pub metadata: Labels,
    }
    /// `match.listener`
    pub struct ListenerMatch {
        /// The listening port (F-5); 0 is any.
        pub port_number: u32,
        pub port_name: String,
        pub name: String,
        pub listener_filter: String,
        pub filter_chain: Option<FilterChainMatch>,
    }
    /// `match.listener.filterChain`
    pub struct FilterChainMatch {
        pub name: String,
        pub sni: String,
        pub transport_protocol: String,
        pub application_protocols: String,
        pub destination_port: u32,
        pub transport_socket: Option<NameMatch>,
        pub filter: Option<FilterMatch>,
    }
    /// `…filter`
    pub struct FilterMatch {
        pub name: String,
        pub sub_filter: Option<NameMatch>,
    }
    /// Something that is matched by its name alone.
    pub struct NameMatch {
        pub name: String,
    }
    /// `match.routeConfiguration`
    pub struct RouteConfigurationMatch {
        /// The server's port (F-5); 0 is any.
        pub port_number: u32,
        pub port_name: String,
        /// `ns/name`
        pub gateway: String,
        pub name: String,
        pub vhost: Option<VirtualHostMatch>,
    }
    /// `match.routeConfiguration.vhost`
    pub struct VirtualHostMatch {
        /// `host:serverPort` (F-21)
        pub name: String,
        pub domain_name: String,
        pub route: Option<RouteMatch>,
    }
    /// `match.routeConfiguration.vhost.route`
    pub struct RouteMatch {
        pub name: String,
        pub action: RouteAction,
    }
    /// `match.cluster`
    pub struct ClusterMatch {
        pub port_number: u32,
        pub service: String,
        pub subset: String,
        /// Where set, it alone counts.
        pub name: String,
    }
    /// `match.waypoint`
    pub struct WaypointMatch {
        pub port_number: u32,
        pub filter: Option<FilterMatch>,
        pub route: Option<NameMatch>,
    }
    /// `spec.configPatches[].patch`
    pub struct Patch {
        pub operation: Operation,
        /// Any Envoy object.
        pub value: Option<Value>,
        pub filter_class: FilterClass,
    }
}

choice! {
    /// What is patched.
    pub enum ApplyTo {
        Invalid,
        Listener,
        FilterChain,
        NetworkFilter,
        HttpFilter,
        RouteConfiguration,
        VirtualHost,
        HttpRoute,
        Cluster,
        ExtensionConfig,
        Bootstrap,
        ListenerFilter,
    }
    /// Whose configuration is patched.
    pub enum PatchContext {
        Any,
        SidecarInbound,
        SidecarOutbound,
        Gateway,
        Waypoint,
    }
    /// How it is patched.
    pub enum Operation {
        Invalid,
        Merge,
        Add,
        Remove,
        InsertBefore,
        InsertAfter,
        InsertFirst,
        Replace,
        MergeAndReplaceList,
    }
    /// Where in the chain an ADD goes.
    pub enum FilterClass {
        Unspecified,
        Authn,
        Authz,
        Stats,
    }
    /// What a route does.
    pub enum RouteAction {
        Any,
        Route,
        Redirect,
        DirectResponse,
    }
}
