//! The machine: one request from its route to its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue};
use rand::RngCore;
use smallvec::SmallVec;

use crate::balance::outlier::{Ejection, Outcome};
use crate::balance::{EndpointState, InFlight, Ledger, Member, Picked, Remote, UpstreamProtocol, View};
use crate::failure::{Failure, Flag, Flags, told_grpc_status};
use crate::policy::{ResetKind, Timeouts, is_grpc};
use crate::route::Head;
use crate::snapshot::Held;

use super::limits::Holds;
use super::plan::Plan;
use super::{Attempt, Downstream, Event, Reset, Step};

/// Where the machine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// A delay, a back-off or a wait for an endpoint runs.
    Waiting,
    /// It stands in line for a connection.
    Queued,
    /// An attempt runs and has not answered.
    Trying,
    /// The response is being passed on.
    Answering,
    /// Nothing more comes.
    Done,
}

/// How often a request that waits for an endpoint looks for one.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// One request's decisions.
#[derive(Debug)]
pub struct Exchange {
    pub(super) held: Held,
    pub(super) plan: Option<Plan>,
    pub(super) phase: Phase,
    /// Position of the destination drawn.
    pub(super) destination: u32,
    pub(super) hash: Option<u64>,
    pub(super) set_cookie: Option<String>,
    pub(super) cors_origin: Option<HeaderValue>,
    pub(super) mirrors: SmallVec<[u32; 2]>,
    pub(super) tried: SmallVec<[Arc<EndpointState>; 3]>,
    /// Which priorities retries keep away from, where the route asks for it.
    pub(super) remote: Option<Box<Remote>>,
    pub(super) member: Option<Member>,
    pub(super) in_flight: Option<InFlight>,
    pub(super) outcome: Option<Outcome>,
    pub(super) holds: Holds,
    pub(super) ejections: SmallVec<[Ejection; 1]>,
    pub(super) attempts: u32,
    pub(super) connected: bool,
    pub(super) replayable: bool,
    pub(super) grpc: bool,
    pub(super) http2: bool,
    pub(super) first_try: Option<Instant>,
    pub(super) timeouts: Timeouts,
    /// End of the route's time; runs from the request's end.
    pub(super) route_deadline: Option<Instant>,
    /// End of the attempt's time.
    pub(super) try_deadline: Option<Instant>,
    pub(super) request_ended: Option<Instant>,
    /// Since when the attempt waits for an endpoint.
    pub(super) waits: Option<Instant>,
    pub(super) flags: Flags,
    pub(super) details: &'static str,
}

impl Exchange {
    /// Starts on a route that [`find`](super::find) named.
    pub fn begin(held: Held, head: &Head<'_>, down: &Downstream, now: Instant, rng: &mut dyn RngCore, ledger: Ledger) -> (Self, Step) {
        let route = held.route();
        let grpc = is_grpc(head.headers);
        let mut exchange = Self {
            plan: None,
            phase: Phase::Waiting,
            destination: 0,
            hash: None,
            set_cookie: None,
            cors_origin: None,
            mirrors: SmallVec::new(),
            tried: SmallVec::new(),
            remote: None,
            member: None,
            in_flight: None,
            outcome: None,
            holds: Holds::default(),
            ejections: SmallVec::new(),
            attempts: 0,
            connected: false,
            replayable: true,
            grpc,
            http2: down.http2,
            first_try: None,
            timeouts: Timeouts::default(),
            route_deadline: None,
            try_deadline: None,
            request_ended: None,
            waits: None,
            flags: Flags::default(),
            details: "via_upstream",
            held: held.clone(),
        };
        let drawn = rng.next_u32();
        let delay = route.fault.as_ref().and_then(|fault| fault.delay(drawn));
        exchange.plan = Some(exchange.planned(route, head, down, rng));
        if let Some(delay) = delay {
            exchange.flags.set(Flag::DelayInjected);
            return (exchange, Step::Wait(now + delay));
        }
        let step = exchange.go_on(now, rng, ledger);
        (exchange, step)
    }

    /// Takes in what happened and says what to do.
    pub fn next(&mut self, event: Event<'_>, now: Instant, rng: &mut dyn RngCore, ledger: Ledger) -> Step {
        if self.phase == Phase::Done {
            return Step::End;
        }
        match event {
            Event::Woke => self.woke(now, rng, ledger),
            Event::Granted(only) => self.granted(only, now, rng, ledger),
            Event::Refused => self.refused(),
            Event::Connected => {
                self.connected = true;
                self.judge(Outcome::Connected);
                self.arm(now);
                Step::Go
            }
            Event::ConnectFailed(error) => self.broken(error.failure(), ResetKind::Connect, now, rng),
            Event::RequestEnd => {
                if self.request_ended.is_none() {
                    self.request_ended = Some(now);
                    self.start_clock(now);
                    self.arm(now);
                }
                Step::Go
            }
            Event::ResponseHead { status, headers } => self.answered(status, headers, now, rng),
            Event::Reset { reset, sent } => {
                let (failure, kind) = match reset {
                    Reset::Terminated => (Failure::Terminated, if sent { ResetKind::Reset } else { ResetKind::BeforeRequest }),
                    Reset::Remote => (Failure::RemoteReset, ResetKind::Reset),
                    Reset::Refused => (Failure::RemoteReset, ResetKind::RefusedStream),
                    Reset::Protocol => (Failure::UpstreamProtocol, ResetKind::Protocol),
                };
                self.broken(failure, kind, now, rng)
            }
            Event::ResponseEnd => self.done(Step::End),
            Event::Expired => self.expired(now, rng),
            Event::ClientGone => {
                self.flags.set(Flag::ClientGone);
                self.details = "downstream_remote_disconnect";
                self.done(Step::End)
            }
        }
    }

    /// The route's time runs from the later of the request's end and the first attempt: an injected delay is outside it (V-41).
    pub(super) fn start_clock(&mut self, now: Instant) {
        if self.request_ended.is_some() && self.first_try.is_some() && self.route_deadline.is_none() {
            self.route_deadline = self.timeouts.route.map(|t| now + t);
        }
    }

    /// The per-try time runs from the later of the request's end and the attempt's connection, until the response's head.
    fn arm(&mut self, now: Instant) {
        if self.connected && self.request_ended.is_some() && self.try_deadline.is_none() && self.phase == Phase::Trying {
            self.try_deadline = self.timeouts.per_try.map(|t| now + t);
        }
    }

    fn woke(&mut self, now: Instant, rng: &mut dyn RngCore, ledger: Ledger) -> Step {
        if self.phase != Phase::Waiting {
            return Step::Go;
        }
        if self.route_deadline.is_some_and(|d| d <= now) {
            return self.expired(now, rng);
        }
        self.go_on(now, rng, ledger)
    }

    /// The delay or back-off is over: the known answer, or the next attempt.
    fn go_on(&mut self, now: Instant, rng: &mut dyn RngCore, ledger: Ledger) -> Step {
        match self.plan.take() {
            Some(Plan::Answer(reply, details, flag)) => {
                self.flags.set(flag);
                self.details = details;
                self.done(Step::Answer(reply))
            }
            Some(Plan::Send) | None => self.attempt(None, now, rng, ledger),
        }
    }

    /// The next attempt, at the endpoint of `only` where one is named.
    pub(super) fn attempt(&mut self, only: Option<&Arc<EndpointState>>, now: Instant, rng: &mut dyn RngCore, ledger: Ledger) -> Step {
        let Some(slot) = self.slot().cloned() else { return self.fail(Failure::NoCluster) };
        let view = slot.view.load();
        if let Some(step) = self.queue(&slot, &view, now, rng, ledger) {
            return step;
        }
        let avoid = if self.forward().is_some_and(|f| f.retry.previous_hosts) { &self.tried[..] } else { &[] };
        let named = only.and_then(|only| view.at(only));
        let load = self.remote.as_mut().and_then(|remote| remote.load(&view, &self.tried));
        let picked = named.or_else(|| view.pick_within(load, self.hash, avoid, ledger, rng));
        let Some(Picked { member, policy, panic }) = picked else { return self.without_endpoint(&view, now, ledger) };
        if !self.enter(&slot, &view, now, ledger) {
            return self.fail(Failure::Overflow);
        }
        drop(view);
        self.attempts += 1;
        self.first_try.get_or_insert(now);
        self.start_clock(now);
        self.tried.push(member.state.clone());
        self.in_flight = match ledger {
            Ledger::Live => Some(member.state.enter()),
            Ledger::Peek => None,
        };
        self.member = Some(member.clone());
        self.phase = Phase::Trying;
        self.connected = false;
        self.try_deadline = None;
        Step::Try(Attempt { number: self.attempts, member, slot, protocol: self.protocol(policy.protocol), policy, panic })
    }

    /// In what an endpoint is spoken to.
    pub(super) fn protocol(&self, asked: UpstreamProtocol) -> UpstreamProtocol {
        match asked {
            UpstreamProtocol::SameAsClient if self.http2 => UpstreamProtocol::Http2,
            UpstreamProtocol::SameAsClient => UpstreamProtocol::Http1,
            told @ (UpstreamProtocol::Http1 | UpstreamProtocol::Http2) => told,
        }
    }

    /// No endpoint may get traffic: waited for where the rule asks for it, within the route's time; else answered so.
    fn without_endpoint(&mut self, view: &View, now: Instant, ledger: Ledger) -> Step {
        let since = *self.waits.get_or_insert(now);
        let Some(until) = look_again(view, since, now).filter(|_| ledger == Ledger::Live) else {
            return self.fail(Failure::NoHealthyUpstream);
        };
        self.first_try.get_or_insert(now);
        self.start_clock(now);
        self.phase = Phase::Waiting;
        Step::Wait(self.route_deadline.map_or(until, |d| until.min(d)))
    }

    /// The endpoint answered: retried where the policy wants it and it can be, else passed on.
    fn answered(&mut self, status: u16, headers: &HeaderMap, now: Instant, rng: &mut dyn RngCore) -> Step {
        if self.phase != Phase::Trying {
            return Step::Go;
        }
        let told = told_grpc_status(headers);
        let grpc = told.filter(|_| self.grpc);
        self.judge(Outcome::Answer(grpc.map_or(status, http_status)));
        self.holds.retry = None;
        let wanted = self.forward().is_some_and(|f| f.retry.wants_status(status, told, headers));
        if wanted && let Some(step) = self.again(now, rng) {
            return step;
        }
        self.try_deadline = None;
        self.phase = Phase::Answering;
        self.details = "via_upstream";
        Step::Forward
    }

    /// The attempt broke.
    fn broken(&mut self, failure: Failure, kind: ResetKind, now: Instant, rng: &mut dyn RngCore) -> Step {
        match self.phase {
            Phase::Waiting | Phase::Queued | Phase::Done => Step::Go,
            Phase::Answering => {
                self.flags.set(failure.row().flag);
                self.details = failure.after_response();
                self.done(Step::Cut)
            }
            Phase::Trying => {
                self.judge(if kind == ResetKind::PerTryTimeout { Outcome::Late } else { Outcome::Broken });
                self.holds.retry = None;
                let wanted = self.forward().is_some_and(|f| f.retry.wants_reset(kind));
                if wanted && let Some(step) = self.again(now, rng) {
                    return step;
                }
                self.fail(failure)
            }
        }
    }

    fn expired(&mut self, now: Instant, rng: &mut dyn RngCore) -> Step {
        if self.route_deadline.is_some_and(|d| d <= now) {
            if self.phase == Phase::Answering {
                self.flags.set(Flag::Timeout);
                self.details = Failure::RouteTimeout.row().details;
                return self.done(Step::Cut);
            }
            if self.phase == Phase::Trying {
                self.judge(Outcome::Late);
            }
            return self.fail(Failure::RouteTimeout);
        }
        if self.phase == Phase::Trying && self.try_deadline.is_some_and(|d| d <= now) {
            return self.broken(Failure::PerTryTimeout, ResetKind::PerTryTimeout, now, rng);
        }
        Step::Go
    }

    /// Counts what the attempt came to; limits and faults of our own never come here (D-40), nor do attempts only looked at.
    fn judge(&mut self, outcome: Outcome) {
        if self.in_flight.is_none() {
            return;
        }
        self.outcome = Some(outcome);
        let ejection = self.member.as_ref().and_then(|member| self.slot()?.judge(member, outcome));
        self.ejections.extend(ejection);
    }

    /// Another attempt after the back-off, where one is left. Says in the flags that none is.
    fn again(&mut self, now: Instant, rng: &mut dyn RngCore) -> Option<Step> {
        let retry = &self.forward()?.retry;
        if !self.replayable {
            return None;
        }
        if self.attempts > retry.attempts {
            self.flags.set(Flag::RetriesExhausted);
            return None;
        }
        let wait = retry.backoff(self.attempts, unit(rng));
        if !self.enter_retry(now) {
            return None;
        }
        self.in_flight = None;
        self.holds.request = None;
        self.try_deadline = None;
        self.phase = Phase::Waiting;
        let until = now + wait;
        Some(Step::Wait(self.route_deadline.map_or(until, |d| until.min(d))))
    }

    pub(super) fn fail(&mut self, failure: Failure) -> Step {
        let row = failure.row();
        self.flags.set(row.flag);
        self.details = row.details;
        let begun = self.attempts + u32::from(self.phase == Phase::Queued);
        let reply = failure.reply(begun > 1, self.grpc);
        self.done(Step::Answer(reply))
    }

    /// What is held goes back; who was tried last stays known for the log.
    fn done(&mut self, step: Step) -> Step {
        self.phase = Phase::Done;
        self.route_deadline = None;
        self.try_deadline = None;
        self.in_flight = None;
        self.holds = Holds::default();
        step
    }
}

/// When to look again for an endpoint where none may get traffic, for whoever waits since then; `None` once that was long enough.
pub fn look_again(view: &View, since: Instant, now: Instant) -> Option<Instant> {
    let until = since + view.policy.endpoint_wait;
    (now < until).then(|| until.min(now + LOOK_AGAIN))
}

/// The HTTP status that a gRPC status stands for.
fn http_status(grpc: u32) -> u16 {
    match grpc {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

/// A number in [0, 1).
fn unit(rng: &mut dyn RngCore) -> f64 {
    f64::from(rng.next_u32()) / (f64::from(u32::MAX) + 1.0)
}
