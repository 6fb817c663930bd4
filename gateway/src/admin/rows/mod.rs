//! What is in force as rows: the admin port sends them, `isthmus get` prints them. Columns are istioctl's (proxy-config.md);
//! what we add is for `-o wide`.

mod backends;
mod endpoints;
mod listeners;
mod routes;
mod standing;

pub(crate) use backends::{BackendRow, HeldRow};
pub(crate) use endpoints::EndpointRow;
pub(crate) use listeners::ListenerRow;
pub(crate) use routes::RouteRow;
pub(crate) use standing::{ClusterRow, ProblemRow};
