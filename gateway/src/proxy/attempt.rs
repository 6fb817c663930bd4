//! One attempt: a connection to its endpoint, the request's head on it, and what becomes of it afterwards.

use std::time::Instant;

use isthmus_core::balance::UpstreamProtocol;
use isthmus_core::decide::{Attempt, Event, RequestHead, Step};

use super::encode::{self, Framing};
use super::endpoint::{Http1Reader, Reader, Writer};
use super::relay::Relay;
use super::{open2, worker};
use crate::upstream::{Lane, dial};

impl Relay<'_, '_, '_> {
    pub(super) async fn attempt(&mut self, attempt: &Attempt) -> Step {
        let told = self.exchange.request_head(&self.request.head(), self.down, self.request.upgrade, Instant::now());
        let engine = self.engine;
        let http2 = attempt.protocol == UpstreamProtocol::Http2 && !self.request.upgrade;
        let (mut reader, mut writer, slot) = if http2 {
            let last = self.body.is_over() && self.kept.pieces().is_empty();
            let request = match open2::request(self.request, &told, self.exchange_authority(&told)) {
                Ok(request) => request,
                Err(reset) => return self.tell(Event::Reset { reset, sent: false }),
            };
            match self.during(open2::open(&engine.upstream.sets, attempt, request, last)).await {
                Err(step) => return step,
                Ok(Err(failed)) => {
                    self.ending.transport = failed.reason();
                    return self.tell(Event::ConnectFailed(failed));
                }
                Ok(Ok((slot, response, stream))) => {
                    self.ending.local = slot.local();
                    (Reader::Http2Head(response), Writer::Http2(stream), Some(slot))
                }
            }
        } else {
            let lane = match engine.upstream.pool.take(worker::number(), &attempt.member.state) {
                Some(lane) => lane,
                None => match self.during(dial(&attempt.member.endpoint.address, attempt.connect_timeout)).await {
                    Err(step) => return step,
                    Ok(Ok(stream)) => Lane::new(stream),
                    Ok(Err(failed)) => {
                        self.ending.transport = failed.reason();
                        return self.tell(Event::ConnectFailed(failed));
                    }
                },
            };
            let Lane { wire, mut out, local } = lane;
            self.ending.local = local;
            let framing = self.framing();
            let target = told.target.as_deref().map_or_else(|| self.request.onward(), Into::into);
            encode::request(out.head(), &self.request.method, &target, self.exchange_authority(&told), &told.headers, framing);
            let before = out.written();
            let reader = Http1Reader::new(wire, self.request.method == http::Method::HEAD, self.request.upgrade);
            (Reader::Http1(reader), Writer::Http1 { out, framing, before }, None)
        };
        self.ending.transport = "";
        self.ending.told = Some(told);
        if self.body.is_over() {
            self.mirror();
        }
        let step = self.tell(Event::Connected);
        if !matches!(step, Step::Go) {
            return step;
        }
        let step = self.converse(&mut reader, &mut writer).await;
        self.part(reader, writer, attempt);
        drop(slot);
        step
    }

    fn exchange_authority<'a>(&'a self, told: &'a RequestHead) -> &'a str {
        told.authority.as_deref().unwrap_or(&self.request.authority)
    }

    /// How an HTTP/1 endpoint learns where the body ends.
    fn framing(&self) -> Framing {
        let method = &self.request.method;
        match self.request.length {
            _ if self.request.upgrade => Framing::None,
            Some(length) => Framing::Length(length),
            None if self.request.has_body => Framing::Chunked,
            None if *method == http::Method::POST || *method == http::Method::PUT || *method == http::Method::PATCH => Framing::Length(0),
            None => Framing::None,
        }
    }

    /// Gives the connection back, where it can carry another request.
    fn part(&mut self, reader: Reader, writer: Writer, attempt: &Attempt) {
        let (Reader::Http1(reader), Writer::Http1 { out, .. }) = (reader, writer) else { return };
        if self.client.status() == 101 {
            self.ending.tunnel = reader.into_wire().map(|wire| (wire, out));
            return;
        }
        if !self.body.is_over() || !out.is_drained() {
            return;
        }
        if let Some(wire) = reader.reuse() {
            let lane = Lane { wire, out, local: self.ending.local };
            self.engine.upstream.pool.put(worker::number(), &attempt.member.state, lane, attempt.idle_timeout);
        }
    }
}
