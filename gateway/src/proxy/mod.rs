//! The engine: bytes to events, steps to bytes. What a request means is decided by `isthmus_core::decide`.
//!
//! One engine serves HTTP/1.0, HTTP/1.1 and HTTP/2 on both sides (docs/decisions/0001-engine.md). Pingora's sessions read
//! HTTP/1; we write it ourselves.

mod attempt;
mod body;
mod client;
mod count;
mod encode;
mod endpoint;
mod guard;
mod http1;
mod http2;
mod kept;
mod line;
mod mirror;
mod open2;
mod relay;
mod request;
mod tcp;
mod tunnel;
mod worker;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use isthmus_core::balance::Ledger;
use isthmus_core::balance::outlier::Ejection;
use isthmus_core::decide::{Downstream, Exchange, Found, find};
use isthmus_core::failure::{Failure, Flag, Flags, Reply};
use isthmus_core::route::forwarding;
use isthmus_core::snapshot::ListenKey;
use rand::Rng;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::time::Sleep;

pub(crate) use http1::serve as http1;
pub(crate) use http2::serve as http2;
pub(crate) use mirror::Mirrors;
pub(crate) use tcp::serve as tcp;
pub(crate) use worker::Published;

use crate::observe::{Observe, Record, RequestPart};
use crate::upstream::Upstream;
use body::Body;
use client::{Client, Sent};
use kept::Kept;
use relay::{Ending, Relay};
use request::Request;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Engine {
    /// The routes in force.
    pub(crate) published: Arc<Published>,
    /// Connections to endpoints.
    pub(crate) upstream: Arc<Upstream>,
    /// Access log and metrics.
    pub(crate) observe: Arc<Observe>,
    /// Copies under way.
    pub(crate) mirrors: Arc<Mirrors>,
    /// Where endpoints that were ejected are told.
    pub(crate) ejections: UnboundedSender<Ejection>,
}

impl Engine {
    /// An engine with nothing routed, for so many worker threads.
    pub(crate) fn new(workers: usize, observe: Arc<Observe>, ejections: UnboundedSender<Ejection>) -> Self {
        Self {
            published: Arc::new(Published::new(workers)),
            upstream: Arc::new(Upstream::new(workers, &observe.traffic)),
            observe,
            mirrors: Arc::default(),
            ejections,
        }
    }
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Visit {
    /// What all connections share.
    pub(crate) engine: Arc<Engine>,
    /// The listener that took it.
    pub(crate) key: ListenKey,
    /// Who is connected, or whom the PROXY header names.
    pub(crate) peer: SocketAddr,
    /// Our address on it.
    pub(crate) local: SocketAddr,
    /// The socket is going: no more requests after those under way.
    pub(crate) closing: Closing,
}

/// Says that a socket is going.
#[derive(Clone, Debug)]
pub(crate) struct Closing {
    flag: Arc<AtomicBool>,
    told: watch::Receiver<bool>,
}

/// Tells the connections of a socket that it is going.
#[derive(Debug)]
pub(crate) struct Closer {
    flag: Arc<AtomicBool>,
    tell: watch::Sender<bool>,
}

impl Closer {
    /// A socket that stays.
    pub(crate) fn new() -> (Self, Closing) {
        let (tell, told) = watch::channel(false);
        let flag = Arc::<AtomicBool>::default();
        (Self { flag: flag.clone(), tell }, Closing { flag, told })
    }
    /// It goes.
    pub(crate) fn close(&self) {
        self.flag.store(true, Ordering::Relaxed);
        self.tell.send_replace(true);
    }
}

impl Closing {
    /// Ready once the socket goes.
    pub(crate) async fn told(&mut self) {
        // An error says that whoever could tell is gone, which comes to the same.
        let _ = self.told.wait_for(|told| *told).await;
    }
    /// True once the socket goes.
    pub(crate) fn is_told(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }
}

/// Serves one request, from its head to its last byte and its line in the access log. Where a tunnel has begun, the rest is
/// the caller's, its line included.
async fn exchange(
    visit: &Visit,
    request: &mut Request,
    client: &mut Client<'_>,
    body: &mut Body<'_>,
    hold: Pin<&mut Sleep>,
) -> Option<(Exchange, Ending)> {
    let engine = &*visit.engine;
    let mut rng = worker::chance();
    let pin = engine.published.pin();
    let mode = pin.snapshot.listener(&visit.key).map(|(_, l)| (l.options.trusted_proxies, l.options.path_normalization));
    let (trusted_proxies, normalization) = mode.unwrap_or_default();
    // A tunnel is no route's business (6.6).
    if request.method == http::Method::CONNECT {
        refuse(visit, request, client, body, Failure::NoRoute).await;
        return None;
    }
    if let Err(failure) = request.settle(normalization) {
        refuse(visit, request, client, body, failure).await;
        return None;
    }
    let arrival = forwarding::Arrival { peer: visit.peer.ip(), local: visit.local.ip(), tls: false, trusted_proxies, random: rng.random() };
    let trial = engine.observe.trials.take(&mut request.headers);
    let address = forwarding::receive(&mut request.headers, &arrival);
    let down = Downstream { peer: visit.peer, local: visit.local, client: address, http2: request.version == request::Version::Http2 };
    if isthmus_core::policy::is_grpc(&request.headers) {
        body.count_messages();
        client.count_messages();
    }
    let found = worker::with_scratch(|scratch| find(&pin, &visit.key, &request.head(), scratch));
    drop(pin);
    let held = match found {
        Found::Route(held) => held,
        Found::Answer { reply, details, flag } => {
            answer(visit, request, client, body, reply, details, flag).await;
            return None;
        }
    };
    let (exchange, first) = Exchange::begin(held, &request.head(), &down, Instant::now(), &mut rng, Ledger::Live);
    let mut relay = Relay {
        engine,
        request,
        down: &down,
        exchange,
        rng,
        client,
        body,
        trial,
        ending: Ending::default(),
        kept: Kept::default(),
        grant: None,
        hold,
    };
    relay.run(first).await;
    let Relay { exchange, mut ending, .. } = relay;
    ending.messages = body.messages();
    if ending.tunnel.is_some() {
        return Some((exchange, ending));
    }
    record(visit, request, client.sent(), body.received(), Some(&exchange), &ending);
    None
}

/// Answers a request that is wrong in itself.
async fn refuse(visit: &Visit, request: &Request, client: &mut Client<'_>, body: &mut Body<'_>, failure: Failure) {
    let row = failure.row();
    answer(visit, request, client, body, failure.reply(false, false), row.details, row.flag).await;
}

/// Answers without a route.
async fn answer(visit: &Visit, request: &Request, client: &mut Client<'_>, body: &mut Body<'_>, mut reply: Reply, details: &'static str, flag: Flag) {
    body.discard().await;
    reply.close |= !body.is_over();
    let mut flags = Flags::default();
    flags.set(flag);
    let ending = Ending { flags, details: Some(details), ..Ending::default() };
    if client.reply(reply).is_err() || client.drained().await.is_err() {
        client.cut();
    }
    record(visit, request, client.sent(), body.received(), None, &ending);
}

/// Hands the request to the access log and the metrics.
fn record(visit: &Visit, request: &Request, sent: &Sent, received: u64, exchange: Option<&Exchange>, ending: &Ending) {
    let told = ending.told.as_ref();
    let path = match told.and_then(|t| t.target.as_deref()) {
        Some(target) => target.into(),
        None => request.onward(),
    };
    let mut flags = ending.flags;
    if let Some(exchange) = exchange {
        // What the request did wrong itself is told instead of what that led to.
        flags = if ending.flags.is_empty() { exchange.flags() } else { ending.flags };
    }
    let slot = exchange.and_then(Exchange::slot);
    let backend = exchange.filter(|_| slot.is_none()).and_then(Exchange::destination).map(|d| d.key.to_string());
    visit.engine.observe.ended(&Record {
        start: request.wall,
        duration: request.started.elapsed(),
        request: Some(RequestPart {
            method: request.method.as_str(),
            original_path: &request.target,
            path: &path,
            protocol: request.version.as_str(),
            authority: told.and_then(|t| t.authority.as_deref()).unwrap_or(&request.authority),
            headers: told.map_or(&request.headers, |t| &t.headers),
            grpc: sent.messages.map(|sent| (ending.messages.unwrap_or(0), sent.count())),
        }),
        code: sent.status,
        flags,
        details: ending.details.or(exchange.map(Exchange::details)).unwrap_or(""),
        transport_failure: ending.transport,
        received,
        sent: sent.bytes,
        response: sent.headers.as_ref(),
        grpc_status: ending.grpc_status,
        backend: slot.map(|s| s.name()).or(backend.as_deref()).unwrap_or(""),
        slot,
        member: exchange.and_then(Exchange::member),
        upstream_local: ending.local,
        local: visit.local,
        peer: visit.peer,
        server_name: "",
        route: exchange.map_or("", |e| &e.route().name),
    });
}

#[cfg(test)]
mod tests;
