//! Which route a request takes: listener, virtual host, route (G-26, G-31, G-40).

use std::sync::Arc;

use http::HeaderValue;
use http::header::LOCATION;

use crate::failure::{Failure, Flag, Reply};
use crate::policy::is_grpc;
use crate::route::{Head, Redirect, Scratch};
use crate::snapshot::{Front, Held, ListenKey, Pin};

/// What was found.
#[derive(Debug)]
pub enum Found {
    /// A route.
    Route(Held),
    /// No route, but an answer.
    Answer {
        /// The answer.
        reply: Reply,
        /// `response_code_details`.
        details: &'static str,
        /// The flag.
        flag: Flag,
    },
}

/// Finds the route for `head` on the listener at `key`. A listener that is gone answers as one without routes.
pub fn find(pin: &Arc<Pin>, key: &ListenKey, head: &Head<'_>, scratch: &mut Scratch) -> Found {
    let Some((listener_at, listener)) = pin.snapshot.listener(key) else { return no_route(head, true) };
    let http = match &listener.front {
        Front::Http(http) => http,
        Front::Tcp(_) | Front::Closed(_) => return no_route(head, true),
    };
    let Some(host_at) = http.hosts.find(head.authority) else { return no_route(head, false) };
    let host = &http.virtual_hosts[host_at as usize];
    if host.https_redirect {
        return https(head);
    }
    match host.routes.find(head, scratch) {
        Some(position) => Found::Route(Held::Pinned(pin.clone(), listener_at as u32, host_at, position)),
        None => no_route(head, false),
    }
}

fn no_route(head: &Head<'_>, close: bool) -> Found {
    let failure = Failure::NoRoute;
    let mut reply = failure.reply(false, is_grpc(head.headers));
    reply.close |= close;
    Found::Answer { reply, details: failure.row().details, flag: failure.row().flag }
}

/// The whole virtual host answers 301 to https, with host, path and query as they came (G-40).
fn https(head: &Head<'_>) -> Found {
    let mut reply = Reply::empty(301);
    match HeaderValue::from_str(&Redirect::https_location(head)) {
        Ok(location) => {
            reply.headers.insert(LOCATION, location);
            Found::Answer { reply, details: "direct_response", flag: Flag::None }
        }
        Err(_) => {
            let failure = Failure::BadPath;
            Found::Answer { reply: failure.reply(false, false), details: failure.row().details, flag: failure.row().flag }
        }
    }
}
