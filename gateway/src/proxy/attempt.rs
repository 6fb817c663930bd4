//! One attempt: a connection to its endpoint, the request's head on it, and what becomes of it afterwards.

use std::time::Instant;

use isthmus_core::balance::UpstreamProtocol;
use isthmus_core::decide::{Attempt, Event, RequestHead, Step};

use super::encode::{self, Framing};
use super::endpoint::{Http1Reader, Reader, Writer};
use super::relay::Relay;
use super::{open2, worker};
use crate::upstream::{Lane, Life, Missing};

impl Relay<'_, '_, '_> {
    pub(super) async fn attempt(&mut self, attempt: &Attempt) -> Step {
        let told = self.exchange.request_head(&self.request.head(), self.down, self.request.upgrade, Instant::now());
        let engine = self.engine;
        let http2 = attempt.protocol == UpstreamProtocol::Http2 && !self.request.upgrade;
        let grant = self.grant.take();
        let (mut reader, mut writer, slot, life) = if http2 {
            let last = self.body.is_over() && self.kept.pieces().is_empty();
            let request = match open2::request(self.request, &told, self.exchange_authority(&told)) {
                Ok(request) => request,
                Err(reset) => return self.tell(Event::Reset { reset, sent: false }),
            };
            match self.during(open2::open(&engine.upstream, attempt, grant, request, last)).await {
                Err(step) => return self.left_waiting(step),
                Ok(Err(missing)) => return self.without_connection(missing),
                Ok(Ok((slot, response, stream))) => {
                    self.ending.local = slot.local();
                    (Reader::Http2Head(response), Writer::Http2(stream), Some(slot), None)
                }
            }
        } else {
            let lane = match self.during(engine.upstream.lane(worker::number(), attempt, grant)).await {
                Err(step) => return self.left_waiting(step),
                Ok(Ok(lane)) => lane,
                Ok(Err(missing)) => return self.without_connection(missing),
            };
            let Lane { wire, mut out, local, life } = lane;
            self.ending.local = local;
            let framing = self.framing();
            let target = told.target.as_deref().map_or_else(|| self.request.onward(), Into::into);
            encode::request(out.head(), &self.request.method, &target, self.exchange_authority(&told), &told.headers, framing);
            let before = out.written();
            let reader = Http1Reader::new(wire, self.request.method == http::Method::HEAD, self.request.upgrade);
            (Reader::Http1(reader), Writer::Http1 { out, framing, before }, None, Some(life))
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
        self.part(reader, writer, life, attempt);
        drop(slot);
        step
    }

    /// The attempt got no connection.
    fn without_connection(&mut self, missing: Missing) -> Step {
        match missing {
            Missing::Full => self.tell(Event::Refused),
            Missing::Failed(failed) => {
                self.ending.transport = failed.reason();
                self.tell(Event::ConnectFailed(failed))
            }
        }
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
    fn part(&mut self, reader: Reader, writer: Writer, life: Option<Life>, attempt: &Attempt) {
        let (Reader::Http1(reader), Writer::Http1 { out, .. }, Some(life)) = (reader, writer, life) else { return };
        if self.client.status() == 101 {
            self.ending.tunnel = reader.into_wire().map(|wire| Lane { wire, out, local: self.ending.local, life });
            return;
        }
        if !self.body.is_over() || !out.is_drained() {
            return;
        }
        if let Some(wire) = reader.reuse() {
            self.engine.upstream.keep(worker::number(), attempt, Lane { wire, out, local: self.ending.local, life });
        }
    }
}
