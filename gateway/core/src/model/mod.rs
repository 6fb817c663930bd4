//! The world as facts: services, endpoints, the Istio objects in force, and who the gateway is.
//!
//! Everything is frozen and shared by `Arc`, and so are the parts of its maps: a new [`World`] costs what differs in it. Services and their
//! endpoints are separate records: an endpoint change leaves the service (its ports) untouched, and with it every route.

mod endpoint;
mod named_ports;
mod objects;
mod passage;
mod protocol;
mod service;
mod shards;
mod world;

pub use endpoint::{Address, CLUSTER, Endpoint, HOSTNAME, Health, Kin, NETWORK, Place, REGION, SUBZONE, Workload, ZONE};
pub use named_ports::{NamedPort, NamedPorts};
pub use objects::Objects;
pub use passage::{Gateways, NetworkGateway, Passage, TLS_MODE};
pub use protocol::Protocol;
pub use service::{Distribution, ExportTo, Port, Resolution, Service, ServiceKind, TargetPort, Unmet};
pub use shards::{Iter, Shards};
pub use world::{Catalog, Changes, Documents, GatewayIdentity, NamespacedName, World};
