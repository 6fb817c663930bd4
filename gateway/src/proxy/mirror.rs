//! Copies of requests, their authority unchanged: sent, and their answers forgotten (V-43).
//!
//! A copy is sent once the request is whole, so its body is bounded by what is kept for replay. Only so many are under way
//! at once; beyond that copies are dropped, so that a slow mirror costs nothing but itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use isthmus_core::balance::breaker::Resource;
use isthmus_core::balance::{Ledger, UpstreamProtocol};
use isthmus_core::decide::{Attempt, Exchange, RequestHead};
use rand::rngs::SmallRng;

use super::encode::{self, Framing};
use super::endpoint::{Heard, Http1Reader, Reader, Writer};
use super::request::Request;
use super::{Engine, open2, worker};
use crate::upstream::Lane;

/// Copies under way at once.
const MOST: usize = 1024;

/// How long a copy may take.
const LIMIT: Duration = Duration::from_secs(15);

/// Counts copies.
#[derive(Debug, Default)]
pub(crate) struct Mirrors {
    under_way: AtomicUsize,
    dropped: AtomicUsize,
}

impl Mirrors {
    /// Copies that were not sent because too many were under way.
    pub(crate) fn dropped(&self) -> usize {
        self.dropped.load(Ordering::Relaxed)
    }
    fn enter(self: &Arc<Self>) -> Option<UnderWay> {
        if self.under_way.fetch_add(1, Ordering::Relaxed) < MOST {
            return Some(UnderWay(self.clone()));
        }
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        self.dropped.fetch_add(1, Ordering::Relaxed);
        None
    }
}

struct UnderWay(Arc<Mirrors>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A copy as it is sent.
struct Copy {
    request: Request,
    told: RequestHead,
    authority: String,
    body: Vec<Bytes>,
}

/// Sends a copy to every mirror that was drawn.
pub(super) fn send(engine: &Engine, exchange: &Exchange, request: &Request, told: &RequestHead, body: Vec<Bytes>, rng: &mut SmallRng) {
    for destination in exchange.mirrors() {
        let Ok(slot) = &destination.slot else { continue };
        let Some(picked) = slot.pick(None, &[], Ledger::Live, rng) else { continue };
        let Some(under_way) = engine.mirrors.enter() else { continue };
        // A copy is a request like others; one that does not fit is dropped.
        let Some(request_permit) = slot.enter(Resource::Request, picked.policy.limits.requests) else { continue };
        let protocol = match picked.policy.protocol {
            UpstreamProtocol::SameAsClient if request.version == super::request::Version::Http2 => UpstreamProtocol::Http2,
            UpstreamProtocol::SameAsClient => UpstreamProtocol::Http1,
            told @ (UpstreamProtocol::Http1 | UpstreamProtocol::Http2) => told,
        };
        let attempt = Attempt { number: 1, member: picked.member, slot: slot.clone(), protocol, policy: picked.policy, panic: picked.panic };
        let copy = Copy {
            request: request.copy(body.iter().map(|b| b.len() as u64).sum()),
            told: RequestHead { authority: None, target: told.target.clone(), headers: told.headers.clone() },
            authority: told.authority.as_deref().unwrap_or(&request.authority).to_owned(),
            body: body.clone(),
        };
        let upstream = engine.upstream.clone();
        tokio::spawn(async move {
            let _in_flight = attempt.member.state.enter();
            let _ = tokio::time::timeout(LIMIT, copy.run(&upstream, &attempt)).await;
            drop((under_way, request_permit));
        });
    }
}

impl Copy {
    async fn run(self, upstream: &crate::upstream::Upstream, attempt: &Attempt) -> Option<()> {
        let empty = self.body.is_empty();
        let (mut reader, mut writer, _slot, kept) = if attempt.protocol == UpstreamProtocol::Http2 {
            let message = open2::request(&self.request, &self.told, &self.authority).ok()?;
            let (slot, response, stream) = open2::open(upstream, attempt, None, message, empty).await.ok()?;
            (Reader::Http2Head(response), Writer::Http2(stream), Some(slot), None)
        } else {
            let lane = upstream.lane(worker::number(), attempt, None).await.ok()?;
            let Lane { wire, mut out, local, life } = lane;
            let framing = if empty { Framing::None } else { Framing::Length(self.request.length.unwrap_or(0)) };
            let target = self.told.target.as_deref().map_or_else(|| self.request.onward(), Into::into);
            encode::request(out.head(), &self.request.method, &target, &self.authority, &self.told.headers, framing);
            let before = out.written();
            let reader = Http1Reader::new(wire, self.request.method == http::Method::HEAD, false);
            (Reader::Http1(reader), Writer::Http1 { out, framing, before }, None, Some((local, life)))
        };
        let count = self.body.len();
        for (at, bytes) in self.body.into_iter().enumerate() {
            writer.body(bytes, at + 1 == count).ok()?;
        }
        let heard = async {
            loop {
                match reader.next().await {
                    Heard::Inform(..) | Heard::Head { last: false, .. } | Heard::Piece(_) | Heard::Body(_, false) => {}
                    Heard::Head { .. } | Heard::Body(..) | Heard::End(_) => return Some(()),
                    Heard::Broken(_) => return None,
                }
            }
        };
        let written = async {
            match &mut writer {
                Writer::Http1 { out, .. } => out.drained().await.ok(),
                Writer::Http2(_) => Some(()),
            }
        };
        let (heard, written) = tokio::join!(heard, written);
        heard.and(written)?;
        if let (Reader::Http1(reader), Writer::Http1 { out, .. }, Some((local, life))) = (reader, writer, kept)
            && let Some(wire) = reader.reuse()
        {
            upstream.keep(worker::number(), attempt, Lane { wire, out, local, life });
        }
        Some(())
    }
}
