//! One request from its route to its end: the machine decides, this obeys.
//!
//! Everything that can happen to a request is waited for in one place: a piece of its body, the endpoint taking or saying
//! something, the client taking more or leaving, time passing. Each becomes an event for the machine, whose step is
//! obeyed. Nothing is decided here; what cannot be done (a body that is not framed as it says) ends the request.

use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use isthmus_core::balance::Ledger;
use isthmus_core::decide::{Downstream, Event, Exchange, RequestHead, Reset, Step};
use isthmus_core::failure::{Failure, Flag, Flags, told_grpc_status};
use isthmus_core::route::forwarding;
use rand::rngs::SmallRng;
use tokio::time::Sleep;

use super::body::{Body, BodyError, Piece};
use super::client::{Client, Notice};
use super::encode::Framing;
use super::endpoint::{Heard, Reader, Writer};
use super::kept::Kept;
use super::request::Request;
use super::{Engine, mirror};
use crate::observe::{Counter, Trial};
use crate::upstream::{Grant, Lane};

/// After so long a request lets go of the world it was routed in.
pub(super) const HOLD: Duration = Duration::from_secs(5);

/// How long a client may take to take the end of its answer.
const PATIENCE: Duration = Duration::from_secs(3600);

/// One request under way.
pub(super) struct Relay<'r, 'c, 'b> {
    pub(super) engine: &'r Engine,
    pub(super) request: &'r Request,
    pub(super) down: &'r Downstream,
    pub(super) exchange: Exchange,
    pub(super) rng: SmallRng,
    pub(super) client: &'r mut Client<'c>,
    pub(super) body: &'r mut Body<'b>,
    pub(super) trial: Option<Trial>,
    pub(super) ending: Ending,
    pub(super) kept: Kept,
    /// The connection, or the room for one, that the line has given.
    pub(super) grant: Option<Grant>,
    /// Rings when it is time to let go of the world; one timer serves all requests of a connection.
    pub(super) hold: Pin<&'r mut Sleep>,
}

/// What is told of a request beside what its exchange knows.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// Flags of our own.
    pub(super) flags: Flags,
    /// Details of our own, where the exchange's do not say it.
    pub(super) details: Option<&'static str>,
    /// Why a connection failed, as the system says it.
    pub(super) transport: &'static str,
    /// Our address towards the endpoint.
    pub(super) local: Option<std::net::SocketAddr>,
    /// What the endpoint was told.
    pub(super) told: Option<RequestHead>,
    /// gRPC messages of the request, for gRPC.
    pub(super) messages: Option<u64>,
    /// `grpc-status` of the answer.
    pub(super) grpc_status: Option<u8>,
    /// The connection to the endpoint, once it is a tunnel.
    pub(super) tunnel: Option<Lane>,
}

/// How far the request's body is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    /// It comes.
    Body,
    /// It has been written.
    Over,
    /// The endpoint takes no more of it.
    Refused,
}

impl Relay<'_, '_, '_> {
    /// Runs to the end.
    pub(super) async fn run(&mut self, first: Step) {
        if self.exchange.mirrors().next().is_some() {
            self.kept.copying();
        }
        if self.body.is_over() {
            self.tell(Event::RequestEnd);
        }
        let mut step = first;
        loop {
            step = match step {
                Step::Wait(until) => match self.during(tokio::time::sleep_until(until.into())).await {
                    Ok(()) => self.tell(Event::Woke),
                    Err(step) => step,
                },
                Step::Queue { slot, protocol } => self.stand(&slot, protocol).await,
                Step::Try(attempt) => {
                    if attempt.panic {
                        self.count(Counter::Panic);
                    }
                    self.attempt(&attempt).await
                }
                Step::Answer(mut reply) => {
                    self.count_reply(&reply);
                    self.body.discard().await;
                    reply.close |= !self.body.is_over();
                    if let Some(trial) = self.trial {
                        trial.tell(&mut reply.headers, self.backend(), self.exchange.member(), self.exchange.flags());
                    }
                    self.ending.grpc_status = grpc_status(&reply.headers);
                    if self.client.reply(reply).is_err() {
                        self.client.cut();
                    }
                    break;
                }
                Step::Cut => {
                    self.client.cut();
                    break;
                }
                Step::End | Step::Go | Step::Forward => break,
            };
        }
        if self.client.has_ended() && tokio::time::timeout(PATIENCE, self.client.drained()).await.is_err() {
            self.client.cut();
        }
    }

    pub(super) fn tell(&mut self, event: Event<'_>) -> Step {
        let step = self.exchange.next(event, Instant::now(), &mut self.rng, Ledger::Live);
        self.count_outcome();
        for ejection in self.exchange.take_ejections() {
            // Nobody hears it only when the process ends.
            drop(self.engine.ejections.send(ejection));
        }
        step
    }

    fn backend(&self) -> &str {
        self.exchange.slot().map_or("", |s| s.name())
    }

    /// Waits for `work`, unless the time is over or the client leaves.
    pub(super) async fn during<F: Future>(&mut self, work: F) -> Result<F::Output, Step> {
        tokio::pin!(work);
        loop {
            let expires = self.exchange.expires();
            let event = tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                Notice::Gone = std::future::poll_fn(|cx| self.client.poll_notice(false, cx)) => Event::ClientGone,
                () = passed(expires), if expires.is_some() => Event::Expired,
            };
            let step = self.tell(event);
            if !matches!(step, Step::Go) {
                return Err(step);
            }
        }
    }

    /// Sends the request and passes on the answer.
    pub(super) async fn converse(&mut self, reader: &mut Reader, writer: &mut Writer) -> Step {
        let mut sending = self.resend(writer);
        let mut begun = false;
        let mut holds = true;
        loop {
            let expires = self.exchange.expires();
            let client_ready = !begun || self.client.is_ready();
            let room = writer.has_room();
            let busy = sending != Sending::Refused && (!writer.is_drained() || sending == Sending::Body && !room);
            let step = tokio::select! {
                biased;
                heard = reader.next(), if client_ready => match heard {
                    Heard::Inform(status, mut headers) => {
                        forwarding::strip_response(&mut headers);
                        if self.client.inform(status, &headers).is_err() { self.tell(Event::ClientGone) } else { Step::Go }
                    }
                    Heard::Head { status, headers, length, last } => {
                        let step = self.head(status, headers, length, last);
                        begun = matches!(step, Step::Forward);
                        match begun {
                            // A tunnel's exchange ends with the tunnel.
                            true if status == 101 => {
                                self.exchange.keep();
                                Step::End
                            }
                            true if last => self.tell(Event::ResponseEnd),
                            true => Step::Go,
                            false => step,
                        }
                    }
                    Heard::Piece(bytes) => match self.client.piece(bytes) {
                        Ok(()) => Step::Go,
                        Err(e) => self.unwritten(&e),
                    },
                    Heard::Body(bytes, last) => match self.client.body(bytes, last) {
                        Ok(()) if last => self.tell(Event::ResponseEnd),
                        Ok(()) => Step::Go,
                        Err(e) => self.unwritten(&e),
                    },
                    Heard::End(trailers) => {
                        if let Some(status) = trailers.as_ref().and_then(grpc_status) {
                            self.ending.grpc_status = Some(status);
                        }
                        let done = match trailers {
                            Some(trailers) => self.client.trailers(trailers),
                            None => self.client.body(Bytes::new(), true),
                        };
                        match done {
                            Ok(()) => self.tell(Event::ResponseEnd),
                            Err(e) => self.unwritten(&e),
                        }
                    }
                    Heard::Broken(reset) => self.tell(Event::Reset { reset, sent: writer.has_sent() }),
                },
                piece = self.body.next(), if sending == Sending::Body && room => match piece {
                    Ok(Piece::Bytes(bytes)) => {
                        self.kept.keep(&bytes, &mut self.exchange);
                        let last = self.body.is_over();
                        if writer.body(bytes, last).is_err() {
                            sending = Sending::Refused;
                        }
                        if last {
                            sending = if sending == Sending::Body { Sending::Over } else { sending };
                            self.mirror();
                            self.tell(Event::RequestEnd)
                        } else {
                            Step::Go
                        }
                    }
                    Ok(Piece::End) => {
                        sending = if writer.body(Bytes::new(), true).is_ok() { Sending::Over } else { Sending::Refused };
                        self.mirror();
                        self.tell(Event::RequestEnd)
                    }
                    Err(BodyError::Gone) => self.tell(Event::ClientGone),
                    Err(BodyError::Malformed) => self.malformed(),
                },
                taken = std::future::poll_fn(|cx| writer.poll_room(cx)), if busy => {
                    // The endpoint takes no more, but may have answered: that is read next.
                    if taken.is_err() {
                        sending = Sending::Refused;
                    }
                    Step::Go
                }
                notice = std::future::poll_fn(|cx| self.client.poll_notice(!client_ready, cx)) => match notice {
                    Notice::Ready => Step::Go,
                    Notice::Gone => self.tell(Event::ClientGone),
                },
                () = passed(expires), if expires.is_some() => self.tell(Event::Expired),
                () = self.hold.as_mut(), if holds => {
                    holds = self.hold_on();
                    Step::Go
                }
            };
            if matches!(step, Step::Go) {
                continue;
            }
            let finished = self.client.has_ended() || self.client.status() == 101;
            if matches!(step, Step::Cut) {
                self.count_lateness();
            }
            if matches!(step, Step::Cut | Step::End) && !finished {
                self.client.cut();
                return Step::End;
            }
            return step;
        }
    }

    /// Lets go of the world once the request is old; true while it is not.
    pub(super) fn hold_on(&mut self) -> bool {
        let until = self.request.started + HOLD;
        if until <= Instant::now() {
            self.exchange.keep();
            return false;
        }
        self.hold.as_mut().reset(until.into());
        true
    }

    /// Writes what was kept of the body, and says how far it is.
    fn resend(&mut self, writer: &mut Writer) -> Sending {
        let over = self.body.is_over();
        let count = self.kept.pieces().len();
        for (at, bytes) in self.kept.pieces().iter().enumerate() {
            if writer.body(bytes.clone(), over && at + 1 == count).is_err() {
                return Sending::Refused;
            }
        }
        if !over {
            return Sending::Body;
        }
        let nothing = count == 0;
        if let (true, Writer::Http1 { framing, .. }) = (nothing, &mut *writer) {
            // A body that turned out to be empty still has its end written.
            let chunked = *framing == Framing::Chunked;
            if writer.body(Bytes::new(), chunked).is_err() {
                return Sending::Refused;
            }
        }
        Sending::Over
    }

    /// Sends the copies, once, when the request is whole.
    pub(super) fn mirror(&mut self) {
        if let (Some(body), Some(told)) = (self.kept.copy(), &self.ending.told) {
            mirror::send(self.engine, &self.exchange, self.request, told, body, &mut self.rng);
        }
    }

    /// The final head has come: passed on, unless the machine wants something else.
    fn head(&mut self, status: u16, mut headers: HeaderMap, length: Option<u64>, last: bool) -> Step {
        let step = self.tell(Event::ResponseHead { status, headers: &headers });
        if !matches!(step, Step::Forward) {
            return step;
        }
        self.count_answer(status);
        self.ending.grpc_status = grpc_status(&headers);
        self.exchange.response_head(status, &mut headers, &self.request.head(), self.down, Instant::now());
        if let Some(trial) = self.trial {
            trial.tell(&mut headers, self.backend(), self.exchange.member(), self.exchange.flags());
        }
        match self.client.begin(status, headers, length, last) {
            Ok(()) => Step::Forward,
            Err(e) => self.unwritten(&e),
        }
    }

    /// The response could not be written: it is longer or shorter than it said, or the client is gone.
    fn unwritten(&mut self, e: &std::io::Error) -> Step {
        if e.kind() == std::io::ErrorKind::InvalidData {
            return self.tell(Event::Reset { reset: Reset::Protocol, sent: true });
        }
        self.tell(Event::ClientGone)
    }

    /// The request's body is not framed as it says.
    pub(super) fn malformed(&mut self) -> Step {
        self.tell(Event::ClientGone);
        let row = Failure::BadRequest.row();
        self.ending.flags.set(Flag::DownstreamProtocol);
        self.ending.details = Some(row.details);
        if self.client.has_begun() { Step::End } else { Step::Answer(Failure::BadRequest.reply(false, false)) }
    }
}

/// Pends until a moment, and for ever without one.
pub(super) async fn passed(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn grpc_status(headers: &HeaderMap) -> Option<u8> {
    told_grpc_status(headers).and_then(|status| u8::try_from(status).ok())
}
