//! What it means: from the world (services, endpoints, Istio objects) to routes, balancing and every decision about a request.
//!
//! Pure: time, randomness and lookups are arguments. The proxy, `explain`, what-if and the goldens call the same functions.
//! Rooms, in the order in which they may import one another: model < route, policy, balance < snapshot < compile < analyze,
//! snapshot < whatif, and failure < decide < explain.

pub mod analyze;
pub mod balance;
pub mod compile;
pub mod decide;
pub mod explain;
pub mod failure;
pub mod join;
pub mod model;
pub mod policy;
pub mod route;
pub mod snapshot;
pub mod text;
pub mod whatif;
