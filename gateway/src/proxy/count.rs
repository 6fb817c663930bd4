//! What a request means for the counts of its backend and its endpoints (contract/envoy.md 1.2), each counted when it happens.
//!
//! Answers of ours that no attempt preceded (faults, preflights) are nobody's but ours, as under Envoy, whose router never sees them.

use isthmus_core::balance::outlier::Outcome;
use isthmus_core::decide::Step;
use isthmus_core::failure::{Failure, Flag, GRPC_STATUS, Reply};

use super::relay::Relay;
use crate::observe::Counter;

impl Relay<'_, '_, '_> {
    /// Counts what the last event made of the attempt.
    pub(super) fn count_outcome(&mut self) {
        let Some(outcome) = self.exchange.take_outcome() else { return };
        let (Some(slot), Some(member)) = (self.exchange.slot(), self.exchange.member()) else { return };
        let traffic = &self.engine.observe.traffic;
        traffic.attempt(slot, &member.state, outcome);
        if outcome == Outcome::Late && self.exchange.details() != Failure::RouteTimeout.row().details {
            traffic.count(slot, None, Counter::PerTryTimeout);
        }
    }

    /// Counts something that is the backend's alone.
    pub(super) fn count(&self, counter: Counter) {
        if let Some(slot) = self.exchange.slot() {
            self.engine.observe.traffic.count(slot, None, counter);
        }
    }

    /// Counts a request that goes on, or away, before it had its connection.
    pub(super) fn left_waiting(&self, step: Step) -> Step {
        self.count(Counter::Cancelled);
        step
    }

    /// Counts an answer of ours; gRPC's says 200, and means what it would have been.
    pub(super) fn count_reply(&self, reply: &Reply) {
        const OTHERS: [Failure; 3] = [Failure::RouteTimeout, Failure::PerTryTimeout, Failure::UpstreamProtocol];
        let meant = || OTHERS.iter().map(|failure| failure.row()).find(|row| row.details == self.exchange.details());
        let grpc = reply.headers.contains_key(GRPC_STATUS);
        self.count_answer(if grpc { meant().map_or(503, |row| row.status) } else { reply.status });
    }

    /// Counts the answer that the client is about to get.
    pub(super) fn count_answer(&self, status: u16) {
        let Some(slot) = self.exchange.slot() else { return };
        let (details, flags) = (self.exchange.details(), self.exchange.flags());
        let says = |failure: Failure| details == failure.row().details;
        let nobody = says(Failure::NoHealthyUpstream);
        if self.exchange.attempts() == 0 && !nobody && !says(Failure::Overflow) && !says(Failure::RouteTimeout) {
            return;
        }
        self.engine.observe.traffic.answered(slot, status);
        if nobody {
            self.count(Counter::NoneHealthy);
        }
        if flags.has(Flag::RetriesExhausted) {
            self.count(Counter::RetryLimit);
        } else if self.exchange.attempts() > 1 && details == "via_upstream" && !flags.has(Flag::Overflow) {
            self.count(Counter::RetrySuccess);
        }
        self.count_lateness();
    }

    /// Counts that the route's time is over, where it is.
    pub(super) fn count_lateness(&self) {
        if self.exchange.details() == Failure::RouteTimeout.row().details {
            self.count(Counter::Timeout);
        }
    }
}
