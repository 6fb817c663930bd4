//! What is told about the running gateway: readiness, metrics, the admin port.

mod ready;
mod serve;

pub(crate) use ready::Readiness;
pub(crate) use serve::{metrics, serve, status};
