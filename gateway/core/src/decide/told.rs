//! What can be asked of an exchange: its timers, its route, whom it tries, and what the log tells of it.

use std::sync::Arc;
use std::time::Instant;

use crate::balance::outlier::{Ejection, Outcome};
use crate::balance::{Member, Slot};
use crate::failure::Flags;
use crate::policy::Timeouts;
use crate::snapshot::{Action, Destination, Forward, Route};

use super::exchange::{Exchange, Phase};

impl Exchange {
    /// When [`Event::Expired`](super::Event::Expired) is due.
    pub fn expires(&self) -> Option<Instant> {
        match (self.route_deadline, self.try_deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
    /// The route.
    pub fn route(&self) -> &Route {
        self.held.route()
    }
    /// Lets go of the world and keeps the route: for upgrades and long streams.
    pub fn keep(&mut self) {
        self.held.keep();
    }
    pub(super) fn forward(&self) -> Option<&Forward> {
        match &self.route().action {
            Action::Forward(forward) => Some(forward),
            Action::Redirect(_) | Action::Direct(_) => None,
        }
    }
    /// The destination drawn, for routes that forward.
    pub fn destination(&self) -> Option<&Destination> {
        self.forward()?.destinations.list.get(self.destination as usize)
    }
    /// The backend drawn, where it exists.
    pub fn slot(&self) -> Option<&Arc<Slot>> {
        self.destination()?.slot.as_ref().ok()
    }
    /// Who gets a copy of the request; drawn once.
    pub fn mirrors(&self) -> impl Iterator<Item = &Destination> {
        let forward = self.forward();
        self.mirrors.iter().filter_map(move |i| forward?.mirrors.get(*i as usize).map(|m| &m.destination))
    }
    /// True while another attempt may need the request's body again.
    pub fn may_retry(&self) -> bool {
        self.replayable && self.phase != Phase::Answering && self.phase != Phase::Done
    }
    /// The body is longer than what is kept for replay: no more attempts.
    pub fn unreplayable(&mut self) {
        self.replayable = false;
    }
    /// The response flags so far.
    pub fn flags(&self) -> Flags {
        self.flags
    }
    /// `response_code_details`.
    pub fn details(&self) -> &'static str {
        self.details
    }
    /// The endpoint tried last.
    pub fn member(&self) -> Option<&Member> {
        self.member.as_ref()
    }
    /// Endpoints that this exchange's attempts have ejected; each is told once. They are out already: views and timers follow.
    pub fn take_ejections(&mut self) -> impl Iterator<Item = Ejection> + '_ {
        self.ejections.drain(..)
    }
    /// What the last event made of the attempt, for whoever counts; told once.
    pub fn take_outcome(&mut self) -> Option<Outcome> {
        self.outcome.take()
    }
    /// How many attempts there were.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }
    pub(super) fn timeouts(&self) -> Timeouts {
        self.timeouts
    }
    pub(super) fn request_ended_at(&self) -> Option<Instant> {
        self.request_ended
    }
}
