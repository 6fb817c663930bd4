//! What an exchange makes of the two heads: the request's on its way to the endpoint, the response's on its way back.
//!
//! Of one destination, its own operations come after the rule's; of several, before them, so that the rule's `set` wins
//! (V-45..V-47). The authority comes from the rewrite, else the rule, else the destination.

use std::net::SocketAddr;
use std::time::Instant;

use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue};

use crate::policy::tell_grpc_timeout;
use crate::route::{Facts, Head, HeaderEdits, authority, forwarding};

use super::{Downstream, Exchange};

/// A request's head for one attempt. The method stays.
#[derive(Debug)]
pub struct RequestHead {
    /// The authority, where it differs from the client's.
    pub authority: Option<String>,
    /// Path and query, where they differ from the client's after normalisation.
    pub target: Option<String>,
    /// The header fields, without `host`.
    pub headers: HeaderMap,
}

impl Exchange {
    /// The head to send to the endpoint of the present attempt. `head` holds the client's fields after
    /// [`forwarding::receive`]; `upgrade` keeps what a protocol switch needs.
    pub fn request_head(&self, head: &Head<'_>, down: &Downstream, upgrade: bool, now: Instant) -> RequestHead {
        let mut headers = head.headers.clone();
        if upgrade {
            forwarding::strip_upgrade_request(&mut headers);
        } else {
            forwarding::strip_request(&mut headers);
        }
        let (Some(forward), Some(destination)) = (self.forward(), self.destination()) else {
            return RequestHead { authority: None, target: None, headers };
        };
        let route = self.route();
        let single = forward.destinations.single;
        self.in_order(single, &route.request_headers, &destination.request_headers, head, down, |edits, facts| {
            edits.apply_to_request(&mut headers, facts);
        });
        let authority = authority(forward.rewrite.as_deref(), &route.request_headers, &destination.request_headers).filter(|a| *a != head.authority);
        let target = forward.rewrite.as_ref().and_then(|r| r.target(head, &route.matches));
        let original = target.as_ref().map(|_| whole(head));
        forwarding::tell_original(&mut headers, original.as_deref(), authority.map(|_| head.authority));
        let elapsed = self.request_ended_at().map(|at| now.saturating_duration_since(at)).unwrap_or_default();
        let expected = self.timeouts().expected(elapsed);
        forwarding::tell_attempt(&mut headers, self.attempts(), expected);
        tell_grpc_timeout(&mut headers, expected);
        RequestHead { authority: authority.map(str::to_owned), target, headers }
    }

    /// Edits the endpoint's response head on its way to the client. `head` is the request's.
    pub fn response_head(&self, status: u16, headers: &mut HeaderMap, head: &Head<'_>, down: &Downstream, now: Instant) {
        if status == 101 {
            forwarding::strip_upgrade_response(headers);
        } else {
            forwarding::strip_response(headers);
        }
        let route = self.route();
        if let (Some(origin), Some(cors)) = (&self.cors_origin, &route.cors) {
            cors.apply(origin, headers);
        }
        if let (Some(forward), Some(destination)) = (self.forward(), self.destination()) {
            let single = forward.destinations.single;
            self.in_order(single, &route.response_headers, &destination.response_headers, head, down, |edits, facts| {
                edits.apply_to_response(status, headers, head.headers, facts);
            });
        }
        if let Some(cookie) = self.set_cookie.as_deref().and_then(|c| HeaderValue::from_str(c).ok()) {
            headers.append(SET_COOKIE, cookie);
        }
        if let Some(first) = self.first_try {
            forwarding::tell_service_time(headers, now.saturating_duration_since(first));
        }
        forwarding::sign(headers);
    }

    /// Runs the two levels of edits in their order, and nothing where both are empty.
    fn in_order(
        &self,
        single: bool,
        rule: &HeaderEdits,
        destination: &HeaderEdits,
        head: &Head<'_>,
        down: &Downstream,
        mut apply: impl FnMut(&HeaderEdits, &Facts<'_>),
    ) {
        if rule.is_empty() && destination.is_empty() {
            return;
        }
        let target = whole(head);
        let facts = facts(head, down, &self.route().name, &target);
        let (first, second) = if single { (rule, destination) } else { (destination, rule) };
        apply(first, &facts);
        apply(second, &facts);
    }
}

/// What formats in header values can name.
pub(super) fn facts<'a>(head: &Head<'a>, down: &Downstream, route: &'a str, target: &'a str) -> Facts<'a> {
    Facts {
        client: SocketAddr::new(down.client, if down.client == down.peer.ip() { down.peer.port() } else { 0 }),
        peer: down.peer,
        local: down.local,
        protocol: if down.http2 { "HTTP/2" } else { "HTTP/1.1" },
        server_name: None,
        route,
        method: head.method,
        scheme: head.scheme,
        authority: head.authority,
        target,
    }
}

/// Path and query.
pub(super) fn whole(head: &Head<'_>) -> String {
    match head.query {
        Some(query) => format!("{}?{query}", head.path),
        None => head.path.to_owned(),
    }
}
