//! A request that stands in line for a connection: what happens to it until its turn comes.
//!
//! Its body is read meanwhile, as far as it may be kept, so that the route's time begins when the request has come, as it does elsewhere. The client
//! that leaves, and the time that is over, end the wait.

use std::sync::Arc;

use isthmus_core::balance::{Slot, UpstreamProtocol};
use isthmus_core::decide::{Event, Step};

use super::body::{BodyError, Piece};
use super::client::Notice;
use super::relay::{Relay, passed};
use crate::upstream::{Asked, Ticket};

impl Relay<'_, '_, '_> {
    /// Stands in line at a backend.
    pub(super) async fn stand(&mut self, slot: &Arc<Slot>, protocol: UpstreamProtocol) -> Step {
        let engine = self.engine;
        let http2 = protocol == UpstreamProtocol::Http2 && !self.request.upgrade;
        let grant = match engine.upstream.queues.of(slot).ask(http2) {
            Asked::Granted(grant) => Some(grant),
            Asked::Refused => None,
            Asked::Waits(ticket) => match self.wait(ticket).await {
                Ok(grant) => grant,
                Err(step) => return self.left_waiting(step),
            },
        };
        let Some(grant) = grant else { return self.tell(Event::Refused) };
        let step = self.tell(Event::Granted(grant.only()));
        if matches!(step, Step::Try(_)) {
            self.grant = Some(grant);
        }
        step
    }

    async fn wait(&mut self, mut ticket: Ticket) -> Result<Option<crate::upstream::Grant>, Step> {
        let mut holds = true;
        loop {
            let expires = self.exchange.expires();
            let reads = !self.body.is_over() && self.kept.has_room();
            let step = tokio::select! {
                biased;
                grant = &mut ticket => return Ok(grant),
                Notice::Gone = std::future::poll_fn(|cx| self.client.poll_notice(false, cx)) => self.tell(Event::ClientGone),
                () = passed(expires), if expires.is_some() => self.tell(Event::Expired),
                piece = self.body.next(), if reads => match piece {
                    Ok(piece) => {
                        if let Piece::Bytes(bytes) = piece {
                            self.kept.keep_ahead(&bytes);
                        }
                        if self.body.is_over() { self.tell(Event::RequestEnd) } else { Step::Go }
                    }
                    Err(BodyError::Gone) => self.tell(Event::ClientGone),
                    Err(BodyError::Malformed) => self.malformed(),
                },
                () = self.hold.as_mut(), if holds => {
                    holds = self.hold_on();
                    Step::Go
                }
            };
            if !matches!(step, Step::Go) {
                return Err(step);
            }
        }
    }
}
