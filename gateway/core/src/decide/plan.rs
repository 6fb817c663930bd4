//! What a request will come to once injected faults are over, told before anything is tried.
//!
//! Faults come first, then CORS, then the route's own action (contract/envoy.md 0, 7). The destination is drawn here, once.

use http::header::LOCATION;
use http::{HeaderValue, Method};
use rand::RngCore;

use super::edit::{facts, whole};
use super::{Downstream, Exchange};
use crate::failure::{Failure, Flag, Reply};
use crate::policy::{AbortStatus, CorsAnswer};
use crate::route::Head;
use crate::snapshot::{Action, Forward, Route};

/// What comes once the faults are over.
#[derive(Debug)]
pub(super) enum Plan {
    /// The answer is known: an abort, a preflight, a redirect, a direct response, a backend that does not exist.
    Answer(Reply, &'static str, Flag),
    /// The request is sent on.
    Send,
}

impl Exchange {
    /// What comes after the delay. Faults come first, then CORS, then the route's own action (contract/envoy.md 0, 7).
    pub(super) fn planned(&mut self, route: &Route, head: &Head<'_>, down: &Downstream, rng: &mut dyn RngCore) -> Plan {
        let drawn = rng.next_u32();
        if let Some(abort) = route.fault.as_ref().and_then(|fault| fault.abort(drawn)) {
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
        self.remote = forward.retry.remote_localities.then(Box::default);
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
}

fn failed(failure: Failure, grpc: bool) -> Plan {
    let row = failure.row();
    Plan::Answer(failure.reply(false, grpc), row.details, row.flag)
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
