//! Joining: from what each cluster holds to one service and its endpoints (contract 5.1, 6.1, 7).
//!
//! A service is a host name. [`host`] builds it from the Kubernetes Services of that name in every cluster and from the
//! ServiceEntries that claim it; nothing is remembered between calls, so calling it for one host after a change and
//! for all hosts from nothing give the same. Addresses that DNS has to find stay [`crate::model::Address::Unresolved`]
//! until their answer is among the [`Facts`].

mod alone;
mod by_name;
mod cluster;
mod conflict;
mod doors;
mod facts;
pub mod gateways;
mod group;
pub mod locality;
mod merge;
pub mod network;
mod numbered;
mod places;
mod pods;
mod service_entry;
mod slices;

pub use by_name::ByName;
pub use cluster::Cluster;
pub use conflict::conflicts;
pub use doors::{Door, doors};
pub use facts::{Facts, Form, Mesh, Namespace, Node, Outside, ServiceFact};
pub use group::group_of;
pub use merge::{Joined, cluster_local_rules, host, kubernetes_host, kubernetes_name, placed};
pub use pods::{Addresses, Pod, PodFact, PodId, Pods};
pub use service_entry::{is_used, labels, names, reports_health, selects};
pub use slices::{Condition, Held, Slice, SliceEndpoint, SliceFact, SliceId};
