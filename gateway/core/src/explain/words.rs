//! Policies in words, edits as differences, and draws that are chosen instead of left to chance.

use std::time::{Duration, Instant};

use http::HeaderMap;
use rand::RngCore;

use crate::balance::{HashKey, Lb, View};
use crate::decide::{Downstream, Exchange};
use crate::policy::{AbortStatus, RetryOn, RetryPolicy, Share};
use crate::route::Head;
use crate::snapshot::{Action, Forward, Route};

use super::Edit;

/// Numbers for the machine: no fault and no mirror that is not for all, and the destination that is asked for.
#[derive(Debug)]
pub(super) struct Chosen(u64);

impl Chosen {
    /// The first destination.
    pub(super) fn first() -> Self {
        Self(0)
    }
    /// The destination whose share begins at `point`.
    pub(super) fn draws(point: u64) -> Self {
        Self(point)
    }
}

impl RngCore for Chosen {
    fn next_u32(&mut self) -> u32 {
        u32::MAX
    }
    fn next_u64(&mut self) -> u64 {
        self.0
    }
    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        bytes.fill(0xff);
    }
}

/// Header fields that every request gets, which nobody asked a rule for.
const OURS: [&str; 8] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-request-id",
    "x-envoy-external-address",
    "x-envoy-attempt-count",
    "x-envoy-upstream-service-time",
    "x-envoy-expected-rq-timeout-ms",
    "server",
];

/// What becomes of the two heads.
pub(super) fn edits(exchange: &Exchange, head: &Head<'_>, down: &Downstream, now: Instant) -> Vec<Edit> {
    let mut edits = Vec::new();
    let sent = exchange.request_head(head, down, false, now);
    let mut line = |what: &str, before: String, after: Option<String>| {
        if let Some(after) = after.filter(|after| *after != before) {
            edits.push(Edit { of: "request".to_owned(), what: what.to_owned(), before: Some(before), after: Some(after) });
        }
    };
    let target = head.query.map_or_else(|| head.path.to_owned(), |query| format!("{}?{query}", head.path));
    line("path", target, sent.target.clone());
    line("authority", head.authority.to_owned(), sent.authority.clone());
    differences("request", head.headers, &sent.headers, &mut edits);
    let mut response = HeaderMap::new();
    exchange.response_head(200, &mut response, head, down, now);
    differences("response", &HeaderMap::new(), &response, &mut edits);
    edits
}

fn differences(of: &str, before: &HeaderMap, after: &HeaderMap, edits: &mut Vec<Edit>) {
    let text = |headers: &HeaderMap, name: &http::HeaderName| {
        let values: Vec<_> = headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    };
    let mut names: Vec<_> = before.keys().chain(after.keys()).filter(|name| !OURS.contains(&name.as_str())).collect();
    names.sort_by_key(|name| name.as_str());
    names.dedup();
    for name in names {
        let (before, after) = (text(before, name), text(after, name));
        if before != after {
            edits.push(Edit { of: of.to_owned(), what: name.to_string(), before, after });
        }
    }
}

/// Faults, cross-origin rules, timeouts, retries and mirrors of a route.
pub(super) fn in_words(route: &Route) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(delay) = route.fault.as_ref().and_then(|fault| fault.delay.as_ref()) {
        words.push(format!("{} wait {} before anything is tried (fault)", requests(delay.share), span(delay.fixed)));
    }
    if let Some(abort) = route.fault.as_ref().and_then(|fault| fault.abort.as_ref()) {
        let status = match abort.status {
            AbortStatus::Http(status) => status.as_str().to_owned(),
            AbortStatus::Grpc(status) => format!("gRPC status {status}"),
        };
        words.push(format!("{} are answered {status} by the gateway (fault)", requests(abort.share)));
    }
    if route.cors.is_some() {
        words.push("cross-origin rules: preflights are answered by the gateway".to_owned());
    }
    match &route.action {
        Action::Forward(forward) => forwarding(forward, &mut words),
        Action::Redirect(redirect) => words.push(format!("redirects with status {}", redirect.status().as_u16())),
        Action::Direct(direct) => words.push(format!("answers {} by itself", direct.status.as_u16())),
    }
    words
}

fn forwarding(forward: &Forward, words: &mut Vec<String>) {
    words.push(match forward.timeout.0 {
        Some(timeout) => format!("the answer may take {}, all attempts together; then 504 UT", span(timeout)),
        None => "the answer may take as long as it takes".to_owned(),
    });
    retries(&forward.retry, words);
    for mirror in &forward.mirrors {
        let missing = mirror.destination.slot.as_ref().err().map(|reason| format!(", which goes nowhere: {reason}")).unwrap_or_default();
        words.push(format!("{} are copied to {}{missing}", requests(mirror.share), mirror.destination.key));
    }
}

fn retries(retry: &RetryPolicy, words: &mut Vec<String>) {
    if retry.attempts == 0 {
        words.push("nothing is retried".to_owned());
        return;
    }
    let on: Vec<&str> = retry.on.names().collect();
    let per_try = retry.per_try_timeout.map(|t| format!(", each at most {}", span(t))).unwrap_or_default();
    words.push(format!("up to {} retries{per_try}, on {}", retry.attempts, on.join(", ")));
    if !retry.wants_status(503, None, &HeaderMap::new()) {
        let default = if retry.on == RetryOn::DEFAULT { "the default retryOn" } else { "this retryOn" };
        words.push(format!("a 503 answer is not retried under {default}"));
    }
    if !retry.status_codes.is_empty() {
        let codes: Vec<String> = retry.status_codes.iter().map(u16::to_string).collect();
        words.push(format!("answers {} are retried", codes.join(", ")));
    }
}

fn requests(share: Share) -> String {
    if share == Share::ALL { "all requests".to_owned() } else { format!("{} % of requests", f64::from(share.per_million()) / 10_000.0) }
}

fn span(duration: Duration) -> String {
    isthmus_config::value::Duration(duration).to_string()
}

/// Endpoints that are not in line since nothing leads to them, where there are any.
pub(super) fn left_out(view: &View) -> String {
    view.left_out.iter().map(|line| format!("; left out are {line}")).collect()
}

/// How long a request waits before it is answered that there is no endpoint.
pub(super) fn after(view: &View) -> String {
    let wait = view.policy.endpoint_wait;
    if wait.is_zero() { String::new() } else { format!(" after {}", span(wait)) }
}

/// How an endpoint is chosen.
pub(super) fn balancing(view: &View, hash: Option<&HashKey>) -> String {
    let by = match hash {
        None => "nothing of the request".to_owned(),
        Some(HashKey::Header(name)) => format!("header {name}"),
        Some(HashKey::Cookie { name, .. }) => format!("cookie {name}"),
        Some(HashKey::SourceAddress) => "the client's address".to_owned(),
        Some(HashKey::QueryParameter(name)) => format!("query parameter {name}"),
    };
    let how = match view.policy.lb {
        Lb::RoundRobin => "in turn, by weight (ROUND_ROBIN)".to_owned(),
        Lb::LeastRequest => "the least busy of up to 8, the less busy of two of more, by weight (LEAST_REQUEST)".to_owned(),
        Lb::Random => "any (RANDOM)".to_owned(),
        Lb::RingHash { .. } => format!("by {by} on a hash ring"),
        Lb::Maglev { .. } => format!("by {by} in a Maglev table"),
        Lb::Passthrough => "PASSTHROUGH, which a gateway cannot serve".to_owned(),
    };
    match view.policy.warm_up {
        Some(warm_up) => format!("{how}; new endpoints warm up for {:?}", warm_up.window),
        None => how,
    }
}
