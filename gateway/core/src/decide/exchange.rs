//! The machine: one request from its route to its end.

use std::sync::Arc;
use std::time::Instant;

use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, Method};
use rand::RngCore;
use smallvec::SmallVec;

use crate::balance::{EndpointState, InFlight, Ledger, Member, Slot, UpstreamProtocol};
use crate::failure::{Failure, Flag, Flags, Reply};
use crate::policy::{AbortStatus, CorsAnswer, ResetKind, Timeouts, is_grpc};
use crate::route::Head;
use crate::snapshot::{Action, Destination, Forward, Held, Route};

use super::edit::{facts, whole};
use super::{Attempt, ConnectError, Downstream, Event, Reset, Step};

/// What comes once the faults are over.
#[derive(Debug)]
enum Plan {
    /// The answer is known: an abort, a preflight, a redirect, a direct response, a backend that does not exist.
    Answer(Reply, &'static str, Flag),
    /// The request is sent on.
    Send,
}

/// Where the machine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A delay or a back-off runs.
    Waiting,
    /// An attempt runs and has not answered.
    Trying,
    /// The response is being passed on.
    Answering,
    /// Nothing more comes.
    Done,
}

/// One request's decisions.
#[derive(Debug)]
pub struct Exchange {
    pub(super) held: Held,
    plan: Option<Plan>,
    phase: Phase,
    /// Position of the destination drawn.
    destination: u32,
    hash: Option<u64>,
    pub(super) set_cookie: Option<String>,
    pub(super) cors_origin: Option<HeaderValue>,
    mirrors: SmallVec<[u32; 2]>,
    tried: SmallVec<[Arc<EndpointState>; 3]>,
    member: Option<Arc<Member>>,
    in_flight: Option<InFlight>,
    attempts: u32,
    connected: bool,
    replayable: bool,
    grpc: bool,
    http2: bool,
    pub(super) first_try: Option<Instant>,
    timeouts: Timeouts,
    /// End of the route's time; runs from the request's end.
    route_deadline: Option<Instant>,
    /// End of the attempt's time.
    try_deadline: Option<Instant>,
    request_ended: Option<Instant>,
    flags: Flags,
    details: &'static str,
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
            member: None,
            in_flight: None,
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
            flags: Flags::default(),
            details: "via_upstream",
            held: held.clone(),
        };
        let delay = route.fault.delay(rng.next_u32());
        exchange.plan = Some(exchange.planned(route, head, down, rng));
        if let Some(delay) = delay {
            exchange.flags.set(Flag::DelayInjected);
            return (exchange, Step::Wait(now + delay));
        }
        let step = exchange.go_on(now, rng, ledger);
        (exchange, step)
    }

    /// What comes after the delay. Faults come first, then CORS, then the route's own action (contract/envoy.md 0, 7).
    fn planned(&mut self, route: &Route, head: &Head<'_>, down: &Downstream, rng: &mut dyn RngCore) -> Plan {
        if let Some(abort) = route.fault.abort(rng.next_u32()) {
            return Plan::Answer(abort_reply(abort, self.grpc), "fault_filter_abort", Flag::FaultInjected);
        }
        if let Some(cors) = &route.cors {
            match cors.judge(&Method::from_bytes(head.method.as_bytes()).unwrap_or_default(), head.headers) {
                CorsAnswer::Pass => {}
                CorsAnswer::Allowed(origin) => self.cors_origin = Some(origin),
                CorsAnswer::Answer(headers) => return Plan::Answer(Reply { headers, ..Reply::empty(200) }, "cors_response", Flag::None),
            }
        }
        match &route.action {
            Action::Redirect(redirect) => {
                let mut reply = Reply::empty(redirect.status().as_u16());
                match HeaderValue::from_str(&redirect.location(head, down.local.port(), &route.matches)) {
                    Ok(location) => reply.headers.insert(LOCATION, location),
                    Err(_) => return failed(Failure::BadPath, self.grpc),
                };
                Plan::Answer(self.local(route, head, down, reply), "direct_response", Flag::None)
            }
            Action::Direct(direct) => {
                let text = String::from_utf8_lossy(&direct.body);
                let mut reply = Reply::text(direct.status.as_u16(), text, self.grpc);
                if !self.grpc {
                    reply.body = direct.body.clone();
                }
                Plan::Answer(self.local(route, head, down, reply), "direct_response", Flag::None)
            }
            Action::Forward(forward) => self.destined(forward, head, down, rng),
        }
    }

    /// Draws destination and mirrors, and hashes.
    fn destined(&mut self, forward: &Forward, head: &Head<'_>, down: &Downstream, rng: &mut dyn RngCore) -> Plan {
        let random = if forward.destinations.list.len() > 1 { rng.next_u64() } else { 0 };
        let Some((at, destination)) = forward.destinations.draw(random) else { return failed(Failure::NoCluster, self.grpc) };
        self.destination = at as u32;
        if destination.slot.is_err() {
            return failed(Failure::NoCluster, self.grpc);
        }
        if let Some(key) = &destination.hash {
            let hashed = key.hash(head.headers, head.query, down.client, down.local);
            (self.hash, self.set_cookie) = (hashed.hash, hashed.set_cookie);
        }
        self.mirrors = (0u32..).zip(&forward.mirrors).filter(|(_, m)| m.share.takes(rng.next_u32())).map(|(i, _)| i).collect();
        self.timeouts = forward.timeout.resolve(head.headers, forward.retry.per_try_timeout);
        self.replayable = forward.retry.attempts > 0;
        Plan::Send
    }

    /// A redirect or direct response takes the route's response edits.
    fn local(&self, route: &Route, head: &Head<'_>, down: &Downstream, mut reply: Reply) -> Reply {
        if let Some((origin, cors)) = self.cors_origin.as_ref().zip(route.cors.as_ref()) {
            cors.apply(origin, &mut reply.headers);
        }
        if !route.response_headers.is_empty() {
            let target = whole(head);
            let facts = facts(head, down, &route.name, &target);
            route.response_headers.apply_to_response(reply.status, &mut reply.headers, head.headers, &facts);
        }
        reply
    }

    /// Takes in what happened and says what to do.
    pub fn next(&mut self, event: Event<'_>, now: Instant, rng: &mut dyn RngCore, ledger: Ledger) -> Step {
        if self.phase == Phase::Done {
            return Step::End;
        }
        match event {
            Event::Woke => self.woke(now, rng, ledger),
            Event::Connected => {
                self.connected = true;
                self.arm(now);
                Step::Go
            }
            Event::ConnectFailed(error) => {
                let failure = match error {
                    ConnectError::Failed => Failure::ConnectFailed,
                    ConnectError::Timeout => Failure::ConnectTimeout,
                };
                self.broken(failure, ResetKind::Connect, now, rng)
            }
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
    fn start_clock(&mut self, now: Instant) {
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
            Some(Plan::Send) | None => self.attempt(now, rng, ledger),
        }
    }

    fn attempt(&mut self, now: Instant, rng: &mut dyn RngCore, ledger: Ledger) -> Step {
        let Some(slot) = self.slot().cloned() else { return self.fail(Failure::NoCluster) };
        let avoid = if self.forward().is_some_and(|f| f.retry.previous_hosts) { &self.tried[..] } else { &[] };
        let Some(picked) = slot.pick(self.hash, avoid, ledger, rng) else { return self.fail(Failure::NoHealthyUpstream) };
        let member = picked.member;
        let policy = picked.policy;
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
        let protocol = match policy.protocol {
            UpstreamProtocol::SameAsClient if self.http2 => UpstreamProtocol::Http2,
            UpstreamProtocol::SameAsClient => UpstreamProtocol::Http1,
            told @ (UpstreamProtocol::Http1 | UpstreamProtocol::Http2) => told,
        };
        Step::Try(Attempt {
            number: self.attempts,
            member,
            slot,
            connect_timeout: policy.connect_timeout,
            idle_timeout: policy.idle_timeout,
            protocol,
        })
    }

    /// The endpoint answered: retried where the policy wants it and it can be, else passed on.
    fn answered(&mut self, status: u16, headers: &HeaderMap, now: Instant, rng: &mut dyn RngCore) -> Step {
        if self.phase != Phase::Trying {
            return Step::Go;
        }
        if self.forward().is_some_and(|f| f.retry.wants_status(status, grpc_status(headers), headers)) {
            if let Some(step) = self.again(now, rng) {
                return step;
            }
        }
        self.try_deadline = None;
        self.phase = Phase::Answering;
        self.details = "via_upstream";
        Step::Forward
    }

    /// The attempt broke.
    fn broken(&mut self, failure: Failure, kind: ResetKind, now: Instant, rng: &mut dyn RngCore) -> Step {
        match self.phase {
            Phase::Waiting | Phase::Done => Step::Go,
            Phase::Answering => {
                self.flags.set(failure.row().flag);
                self.details = match failure {
                    Failure::UpstreamProtocol => "upstream_reset_after_response_started{protocol_error}",
                    Failure::RemoteReset => "upstream_reset_after_response_started{remote_reset}",
                    _ => "upstream_reset_after_response_started{connection_termination}",
                };
                self.done(Step::Cut)
            }
            Phase::Trying => {
                if self.forward().is_some_and(|f| f.retry.wants_reset(kind)) {
                    if let Some(step) = self.again(now, rng) {
                        return step;
                    }
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
            return self.fail(Failure::RouteTimeout);
        }
        if self.phase == Phase::Trying && self.try_deadline.is_some_and(|d| d <= now) {
            return self.broken(Failure::PerTryTimeout, ResetKind::PerTryTimeout, now, rng);
        }
        Step::Go
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
        self.in_flight = None;
        self.try_deadline = None;
        self.phase = Phase::Waiting;
        let until = now + wait;
        Some(Step::Wait(self.route_deadline.map_or(until, |d| until.min(d))))
    }

    fn fail(&mut self, failure: Failure) -> Step {
        let row = failure.row();
        self.flags.set(row.flag);
        self.details = row.details;
        let reply = failure.reply(self.attempts > 1, self.grpc);
        self.done(Step::Answer(reply))
    }

    /// What is held goes back; who was tried last stays known for the log.
    fn done(&mut self, step: Step) -> Step {
        self.phase = Phase::Done;
        self.route_deadline = None;
        self.try_deadline = None;
        self.in_flight = None;
        step
    }
}

/// What can be asked of it.
impl Exchange {
    /// When [`Event::Expired`] is due.
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
    pub fn member(&self) -> Option<&Arc<Member>> {
        self.member.as_ref()
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

fn failed(failure: Failure, grpc: bool) -> Plan {
    let row = failure.row();
    Plan::Answer(failure.reply(false, grpc), row.details, row.flag)
}

/// The gRPC status in a response's head.
fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// A number in [0, 1).
fn unit(rng: &mut dyn RngCore) -> f64 {
    f64::from(rng.next_u32()) / (f64::from(u32::MAX) + 1.0)
}

/// An injected failure's answer (V-42; contract/envoy.md 7).
fn abort_reply(abort: AbortStatus, grpc: bool) -> Reply {
    const TEXT: &str = "fault filter abort";
    match abort {
        AbortStatus::Http(status) => Reply::text(status.as_u16(), TEXT, grpc),
        AbortStatus::Grpc(status) if grpc => Reply::grpc(status, TEXT),
        AbortStatus::Grpc(_) => Reply::text(200, TEXT, false),
    }
}
