//! One endpoint of a backend, beside the state that outlives views.

use std::sync::Arc;

use super::slot::EndpointState;
use super::warmup::WHOLE;
use crate::model::{Address, Endpoint, Health};

/// One endpoint in a view.
#[derive(Clone, Debug)]
pub struct Member {
    /// The endpoint, shared with the catalog.
    pub endpoint: Arc<Endpoint>,
    /// Its state, which outlives this view.
    pub state: Arc<EndpointState>,
}

impl Member {
    /// True where both are the same endpoint, unchanged.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.endpoint, &other.endpoint) && Arc::ptr_eq(&self.state, &other.state)
    }
    /// Its address, which the access log writes and hashes read.
    pub fn address(&self) -> &Address {
        &self.endpoint.address
    }
    /// Its share among its equals, at least 1.
    pub fn weight(&self) -> u32 {
        self.endpoint.weight.max(1)
    }
    /// How much of its share it gets for now, in ten-thousandths: less while it warms up, where `warms` says so, or is on trial.
    pub(super) fn portion(&self, warms: bool) -> u32 {
        let warmth = if warms { self.state.warmth() } else { WHOLE };
        if self.state.is_on_trial() { (warmth / TRICKLE).max(1) } else { warmth }
    }
    /// True where it may get traffic.
    pub fn is_eligible(&self) -> bool {
        self.endpoint.health == Health::Healthy && self.endpoint.address.is_known() && !self.state.is_ejected()
    }
}

/// An endpoint on trial gets one part of so many of its share.
const TRICKLE: u32 = 10;
