//! Which endpoint gets a request: a [`Slot`] per backend that lasts over snapshots, and a [`View`] of its endpoints now.
//!
//! A view is built by one pure function from endpoints and policy; the control thread publishes it by pointer swap. Picks
//! are O(1): cursors, alias tables and hash tables are made when the view is made. Endpoint state (requests in flight)
//! belongs to (backend, address, workload) and outlives views, so an endpoint that comes back finds its counts.

pub mod across;
pub mod breaker;
mod ejected;
mod hash;
mod level;
mod limits;
pub mod locality;
mod measure;
mod member;
mod meter;
pub mod outlier;
mod pick;
mod policy;
mod pool;
pub mod priority;
mod remote;
pub mod setting;
mod slot;
mod suppose;
mod tally;
mod view;
mod warmup;
mod window;
mod zones;

/// Counters import atomics from here, so that the model checker can give them its own (`tests/tests/interleavings.rs`).
use std::sync::atomic;

pub use hash::{HashKey, HashTable, Hashed};
pub use level::Level;
pub use limits::{Budget, Limits};
pub use member::Member;
pub use pick::{Ledger, Picked};
pub use policy::{BackendPolicy, Keeping, Lb, Probes, UpstreamProtocol};
pub use pool::Pool;
pub use remote::Remote;
pub use slot::{BackendKey, EndpointState, InFlight, Slot};
pub use suppose::Standing;
pub use tally::Tallied;
pub use view::{Line, View, view};
pub use warmup::WarmUp;
