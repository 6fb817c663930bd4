//! A client's HTTP/1 connection: one request after another, until it ends or becomes a tunnel.
//!
//! A head is looked at by `guard` before Pingora's codec reads it, so that there is one way only to read it. A connection
//! whose request was not read to its end is closed, after its answer has had time to arrive; what stays unread on it never
//! becomes a request.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use http::header::HOST;
use http::{HeaderMap, Method, Request as Message};
use isthmus_core::decide::Exchange;
use isthmus_core::failure::{Failure, Flags};
use pingora_core::protocols::http::v1::server::HttpSession;
use pingora_http::RequestHeader;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::body::Body;
use super::client::{Client, Sent};
use super::guard::{self, Facts, Scan};
use super::relay::{Ending, HOLD};
use super::request::{Request, Version};
use super::tunnel::{self, Limits, OnDrop, Passed};
use super::{Visit, exchange, record};
use crate::upstream::{Lane, Outgoing, Wire};

/// How long a connection may stay unused.
const IDLE: Duration = Duration::from_secs(3600);

/// How long a head may take from its first byte to its last.
const HEAD: Duration = Duration::from_secs(60);

/// How long a connection that must close is still read, so that its last answer is not lost.
const LINGER: Duration = Duration::from_secs(1);

/// What came of waiting for a head.
enum Wait {
    /// It is there.
    Head(Facts),
    /// It is wrong.
    Wrong(Failure),
    /// There will be none.
    Over,
}

/// Serves a connection of which `ahead` has been read.
pub(crate) async fn serve(visit: Visit, stream: TcpStream, ahead: BytesMut) {
    let (read, write) = stream.into_split();
    let mut wire = Box::new(Wire::new(read, ahead));
    let mut out = Outgoing::new(write);
    let mut idle = Box::pin(sleep_until(Instant::now() + IDLE));
    let mut hold = Box::pin(sleep_until(Instant::now() + HOLD));
    let mut closing = visit.closing.clone();
    let mut going = std::pin::pin!(closing.told());
    loop {
        let facts = match head(&mut wire, idle.as_mut(), going.as_mut()).await {
            Wait::Head(facts) => facts,
            Wait::Wrong(failure) => {
                wrong(&visit, &mut out, failure).await;
                return linger(*wire, out).await;
            }
            Wait::Over => return,
        };
        match one(&visit, wire, &mut out, facts, hold.as_mut()).await {
            After::Next(next) => wire = next,
            After::Close(Some(wire)) => return linger(*wire, out).await,
            After::Close(None) => return,
            After::Tunnel(wire, tunnel) => return tunnel.run(&visit, *wire, out).await,
        }
        if visit.closing.is_told() {
            return;
        }
    }
}

/// What comes after a request.
enum After {
    Next(Box<Wire>),
    /// Nothing; what is left is read for a while where the request was not read whole.
    Close(Option<Box<Wire>>),
    Tunnel(Box<Wire>, Box<Tunnel>),
}

/// A request that has become a tunnel.
struct Tunnel {
    request: Request,
    sent: Sent,
    exchange: Exchange,
    ending: Ending,
}

impl Tunnel {
    async fn run(self, visit: &Visit, near: Wire, near_out: Outgoing) {
        let Self { request, mut sent, exchange, mut ending } = self;
        let Some(Lane { wire: far, out: far_out, local: _, life }) = ending.tunnel.take() else { return };
        let passed = Passed::default();
        let told = OnDrop(|| {
            sent.bytes = passed.sent.load(Ordering::Relaxed);
            record(visit, &request, &sent, passed.received.load(Ordering::Relaxed), Some(&exchange), &ending);
        });
        tunnel::join(near, near_out, *far, far_out, &passed, Limits::default()).await;
        drop((told, life));
    }
}

async fn head(wire: &mut Wire, mut idle: Pin<&mut Sleep>, mut going: Pin<&mut impl Future<Output = ()>>) -> Wait {
    let mut scan = Scan::default();
    let mut deadline = None;
    let used = Instant::now();
    loop {
        if scan.is_fresh() {
            wire.skip(guard::blank(wire.ahead()));
        }
        if !wire.ahead().is_empty() {
            match scan.more(wire.ahead()) {
                Ok(Some(facts)) => return Wait::Head(facts),
                Ok(None) => {}
                Err(failure) if guard::is_http(wire.ahead()) => return Wait::Wrong(failure),
                Err(_) => return Wait::Over,
            }
            deadline.get_or_insert_with(|| Instant::now() + HEAD);
        }
        let read = match deadline {
            Some(deadline) => match tokio::time::timeout_at(deadline, wire.more()).await {
                Ok(read) => read,
                Err(_) => return Wait::Wrong(Failure::HeadTimeout),
            },
            None => tokio::select! {
                biased;
                read = wire.more() => read,
                () = &mut going => return Wait::Over,
                () = &mut idle => {
                    // The timer is set once an hour, not once a request.
                    if used.elapsed() >= IDLE {
                        return Wait::Over;
                    }
                    idle.as_mut().reset(used + IDLE);
                    continue;
                }
            },
        };
        match read {
            Ok(0) | Err(_) => return Wait::Over,
            Ok(_) => {}
        }
    }
}

async fn one(visit: &Visit, mut wire: Box<Wire>, out: &mut Outgoing, mut facts: Facts, hold: Pin<&mut Sleep>) -> After {
    let target = target(&mut wire, &mut facts);
    wire.serve_exactly(facts.length);
    if facts.chunked {
        wire.expect_chunks();
    }
    let mut session = HttpSession::new(wire);
    session.set_read_timeout(None);
    session.set_pipelining_enabled(true);
    if !matches!(session.read_request().await, Ok(Some(_))) {
        wrong(visit, out, Failure::BadRequest).await;
        return After::Close(into_wire(session.into_inner()));
    }
    let mut request = arrived(&mut session, target, facts);
    let has_body = request.has_body;
    let version = request.version;
    let closing = visit.closing.flag.clone();
    let mut client = Client::http1(out, version == Version::Http10, facts.close, &closing, facts.head);
    let mut body = if has_body { Body::http1(&mut session) } else { Body::nothing() };
    let tunnel = exchange(visit, &mut request, &mut client, &mut body, hold).await;
    let (whole, closes, ended) = (body.is_over(), client.closes(), client.has_ended());
    if let Some((exchange, ending)) = tunnel {
        let sent = client.into_sent();
        return match into_wire(session.into_inner()) {
            Some(wire) => After::Tunnel(wire, Box::new(Tunnel { request, sent, exchange, ending })),
            None => After::Close(None),
        };
    }
    if closes || !whole {
        return After::Close(into_wire(session.into_inner()).filter(|_| !whole || ended));
    }
    session.set_server_keepalive(Some(0));
    match session.reuse().await {
        Ok(Some(kept)) => {
            let (stream, more) = kept.into_parts();
            match into_wire(stream) {
                Some(mut wire) => {
                    if let Some(more) = more {
                        wire.put_back(more);
                    }
                    After::Next(wire)
                }
                None => After::Close(None),
            }
        }
        Ok(None) | Err(_) => After::Close(None),
    }
}

/// The request's target. One that is not a path is kept from the codec, which would hold its authority against `host`;
/// ours replaces that (8.2).
fn target(wire: &mut Wire, facts: &mut Facts) -> String {
    let head = &wire.ahead()[..facts.length];
    let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
    let mut words = line.split(|b| *b == b' ').map(|word| String::from_utf8_lossy(word));
    let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next()) else { return String::new() };
    let target = target.into_owned();
    if !target.starts_with('/') {
        let plain = BytesMut::from(format!("{method} / {version}").as_bytes());
        let taken = line.len();
        facts.length = facts.length - taken + plain.len();
        wire.skip(taken);
        wire.put_back(plain);
    }
    target
}

fn into_wire(stream: pingora_core::protocols::Stream) -> Option<Box<Wire>> {
    let mut wire = stream.into_any().downcast::<Wire>().ok()?;
    wire.open();
    Some(wire)
}

/// Takes the request out of the session, which keeps what it needs to read the body.
fn arrived(session: &mut HttpSession, target: String, facts: Facts) -> Request {
    session.is_body_done();
    let (nothing, ()) = Message::new(()).into_parts();
    let head = std::mem::replace(session.req_header_mut(), RequestHeader::from(nothing));
    let mut parts: http::request::Parts = head.into();
    let authority = parts.headers.remove(HOST).and_then(|h| h.to_str().ok().map(str::to_owned)).unwrap_or_default();
    let version = if facts.http10 { Version::Http10 } else { Version::Http11 };
    let mut request = Request::new(parts.method, target, authority, parts.headers, version);
    request.length = request.headers.get(http::header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.trim().parse().ok());
    request.has_body = facts.body && !facts.upgrade;
    request.upgrade = facts.upgrade;
    request
}

/// Answers a head that is wrong, which no route ever sees.
async fn wrong(visit: &Visit, out: &mut Outgoing, failure: Failure) {
    let request = Request::new(Method::default(), "-".to_owned(), "-".to_owned(), HeaderMap::new(), Version::Http11);
    let row = failure.row();
    let mut flags = Flags::default();
    flags.set(row.flag);
    let closing = visit.closing.flag.clone();
    let mut client = Client::http1(out, false, true, &closing, false);
    if client.reply(failure.reply(false, false)).is_err() || client.drained().await.is_err() {
        client.cut();
    }
    let ending = Ending { flags, details: Some(row.details), ..Ending::default() };
    record(visit, &request, client.sent(), 0, None, &ending);
}

/// Closes our side, and reads what still comes for a moment: a close with bytes unread would take the answer back.
async fn linger(mut wire: Wire, mut out: Outgoing) {
    let last = async {
        if out.drained().await.is_err() || tokio::io::AsyncWriteExt::shutdown(&mut out.into_half()).await.is_err() {
            return;
        }
        loop {
            wire.skip(wire.ahead().len());
            if !matches!(wire.more().await, Ok(1..)) {
                return;
            }
        }
    };
    // The client has had its moment.
    let _ = tokio::time::timeout(LINGER, last).await;
}
