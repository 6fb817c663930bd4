//! What is told about the gateway: what is in force as rows, readiness, metrics, the admin port.

mod api;
mod check;
mod envoy;
mod hosts;
mod now;
mod ready;
mod rows;
mod serve;
mod stats;

pub(crate) use api::{Ask, Desk, ExplainForm, Office, Questions, WhatifForm, admin};
pub(crate) use check::{Answered, Checked, Findings, InForceRow, Posted, alone, over, posted};
pub(crate) use now::{Now, name_of};
pub(crate) use ready::Readiness;
pub(crate) use rows::{BackendRow, ClusterRow, EndpointRow, HeldRow, ListenerRow, ProblemRow, RouteRow};
pub(crate) use serve::{Scrape, metrics, serve, status};

/// The code of problems that only say that a kind is not used (discovery's).
pub(crate) const NOT_USED: &str = "ISM0203";

#[cfg(test)]
mod tests;
