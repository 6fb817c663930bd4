//! How limits hold a request back: its place in line, its permits, and what it gets where there is no room (contract/envoy.md 1).
//!
//! Overflow is never tried again and never held against an endpoint. A request that waits has no endpoint yet, so its per-try time does not
//! run; the route's does. A retry counts from the decision to its answer, back-off included.

use std::sync::Arc;
use std::time::Instant;

use rand::RngCore;

use super::Step;
use super::exchange::{Exchange, Phase};
use crate::balance::breaker::{Permit, Resource};
use crate::balance::{EndpointState, Ledger, Slot, View};
use crate::failure::{Failure, Flag};

/// What a request holds of its backend's limits.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// While it is in flight.
    pub(super) request: Option<Permit>,
    /// While it is a retry without an answer.
    pub(super) retry: Option<Permit>,
}

impl Exchange {
    /// Where connections are limited, a request stands in line for one before an endpoint is chosen. One that could not be sent anywhere does not.
    pub(super) fn queue(&mut self, slot: &Arc<Slot>, view: &View, now: Instant, rng: &mut dyn RngCore, ledger: Ledger) -> Option<Step> {
        let limited = view.policy.limits.connections.is_some() && ledger == Ledger::Live && self.phase != Phase::Queued;
        if !limited || view.pick(self.hash, &[], Ledger::Peek, rng).is_none() {
            return None;
        }
        self.first_try.get_or_insert(now);
        self.start_clock(now);
        self.phase = Phase::Queued;
        Some(Step::Queue { slot: slot.clone(), protocol: self.protocol(view.policy.protocol) })
    }

    /// There is a connection for it; `only` names the endpoint of one that is shared.
    pub(super) fn granted(&mut self, only: Option<&Arc<EndpointState>>, now: Instant, rng: &mut dyn RngCore, ledger: Ledger) -> Step {
        if self.phase == Phase::Queued { self.attempt(only, now, rng, ledger) } else { Step::Go }
    }

    /// There is no room for it.
    pub(super) fn refused(&mut self) -> Step {
        match self.phase {
            Phase::Queued | Phase::Trying => self.fail(Failure::Overflow),
            Phase::Waiting | Phase::Answering | Phase::Done => Step::Go,
        }
    }

    /// Counts the request in; false where there are too many.
    pub(super) fn enter(&mut self, slot: &Arc<Slot>, view: &View, now: Instant, ledger: Ledger) -> bool {
        let limits = &view.policy.limits;
        if ledger == Ledger::Peek {
            return true;
        }
        slot.begin_request(limits, now);
        self.holds.request = slot.enter(Resource::Request, limits.requests);
        self.holds.request.is_some()
    }

    /// Counts a retry in; false where there are too many, which the flags tell. The answer that asked for it stands.
    pub(super) fn enter_retry(&mut self, now: Instant) -> bool {
        // Who only looks takes none.
        if self.in_flight.is_none() {
            return true;
        }
        let Some(slot) = self.slot() else { return true };
        self.holds.retry = slot.enter_retry(&slot.view.load().policy.limits, now);
        if self.holds.retry.is_none() {
            self.flags.set(Flag::Overflow);
        }
        self.holds.retry.is_some()
    }
}
