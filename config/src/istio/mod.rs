//! Istio's networking API as plain values, one file a kind (contract 1.3-1.7).
//!
//! Field names are Istio's in snake case, type names are Istio's messages. A value here has the right shape and
//! nothing more: the admission rules are in `validate`. As in protobuf, an absent scalar is its zero value; where
//! Istio tells absence from zero, the field is an `Option`. Serialising drops what is unset, as protobuf JSON does.

use crate::object::Labels;

pub mod annotations;
pub mod destination_rule;
pub mod envoy_filter;
pub mod gateway;
pub mod service_entry;
pub mod virtual_service;
pub mod workload;

pub use destination_rule::DestinationRule;
pub use envoy_filter::EnvoyFilter;
pub use gateway::Gateway;
pub use service_entry::ServiceEntry;
pub use virtual_service::VirtualService;
pub use workload::{WorkloadEntry, WorkloadGroup};

/// Declares structs that read and write as protobuf JSON does: camelCase, absent means default, unset is not written.
macro_rules! message {
    ($($(#[$doc:meta])* pub struct $name:ident { $($(#[$field_doc:meta])* pub $field:ident : $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            $($(#[$field_doc])* #[serde(skip_serializing_if = "crate::istio::is_unset")] pub $field: $type,)*
        }
    )*};
}
pub(crate) use message;

/// Declares enums whose variants are written in SCREAMING_SNAKE_CASE; the first one is the default.
macro_rules! choice {
    ($($(#[$doc:meta])* pub enum $name:ident { $(#[$first_doc:meta])* $first:ident, $($(#[$variant_doc:meta])* $variant:ident,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
        pub enum $name {
            $(#[$first_doc])* #[default] $first,
            $($(#[$variant_doc])* $variant,)*
        }
    )*};
}
pub(crate) use choice;

/// True where a field holds its type's default, which is never written.
pub(crate) fn is_unset<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

message! {
    /// A port by number.
    pub struct PortSelector {
        /// 1..65535 where valid.
        pub number: u32,
    }
    /// Workloads by their labels, in the object's own namespace (ServiceEntry, EnvoyFilter).
    pub struct WorkloadSelector {
        /// All must be equal on the workload.
        pub labels: Labels,
    }
    /// Workloads by their labels, in the newer spelling (DestinationRule).
    pub struct LabelSelector {
        /// All must be equal on the workload.
        pub match_labels: Labels,
    }
}
