//! What the gateway itself does to the headers of requests and responses (contract envoy.md 8.1).
//!
//! Before routing: hop-by-hop fields go, fields that only we may set are taken from outsiders, and the client's address
//! is settled. After routing: what the backend is told about the original request. Framing (`content-length`,
//! `transfer-encoding`) is the engine's own and is never named by a client's `connection` field.

use std::net::IpAddr;
use std::time::Duration;

use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};
use smallvec::SmallVec;
use uuid::Builder;

use super::condition::joined;
use crate::text;

/// The name that responses carry, where Istio's gateway says `istio-envoy`.
pub const SERVER: HeaderValue = HeaderValue::from_static("isthmus");

/// The addresses that a request has come through, comma separated.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The scheme that the client used.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Names one request through all services.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The trusted client's address.
pub const X_ENVOY_EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");
/// Counts the attempts of a request, from 1.
pub const X_ENVOY_ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
/// How long we shall wait for the answer, milliseconds.
pub const X_ENVOY_EXPECTED_RQ_TIMEOUT_MS: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
/// The target before a rewrite.
pub const X_ENVOY_ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
/// The authority before a rewrite.
pub const X_ENVOY_ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");
/// How long the backend took, all attempts included, milliseconds.
pub const X_ENVOY_UPSTREAM_SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

/// Fields that only we, or a proxy inside, may set. Everyone is outside (Envoy's default since 1.33).
const OURS: [&str; 25] = [
    "x-envoy-internal",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-original-path",
    "x-envoy-original-host",
    "x-envoy-original-url",
    "x-envoy-attempt-count",
    "x-envoy-ip-tags",
    "x-envoy-external-address",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-upstream-stream-duration-ms",
    "x-forwarded-client-cert",
    "x-request-id",
];

/// Fields about one connection, beside those that `connection` names.
const HOP_BY_HOP: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// What is known of a request's way to us.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The other end of the connection.
    pub peer: IpAddr,
    /// An address of ours, told in place of a loopback peer.
    pub local: IpAddr,
    /// True where the connection is TLS.
    pub tls: bool,
    /// How many proxies in front of us are trusted.
    pub trusted_proxies: u32,
    /// Any number, for the request's id.
    pub random: u128,
}

/// Cleans a request's fields and adds what every backend is told. Returns the client's address.
///
/// The first thing that is done to a request: what its `connection` field names goes before our own fields come, so that
/// a client cannot name those. Of hop-by-hop fields only a proper request to switch protocols is left, and `te: trailers`.
pub fn receive(headers: &mut HeaderMap, arrival: &Arrival) -> IpAddr {
    if asks_to_switch(headers) {
        strip_upgrade_request(headers);
    } else {
        strip_request(headers);
    }
    let client = trusted_client(headers, arrival.peer, arrival.trusted_proxies);
    remove_all(headers, |name| name.as_str().starts_with("x-") && OURS.contains(&name.as_str()));
    let hop = if arrival.peer.is_loopback() { arrival.local } else { arrival.peer };
    let mut addresses = joined(&headers.get_all(X_FORWARDED_FOR));
    if !addresses.is_empty() {
        addresses.push(b',');
    }
    addresses.extend_from_slice(&text::ip(hop));
    set(headers, X_FORWARDED_FOR, &addresses);
    if arrival.trusted_proxies == 0 || !headers.contains_key(X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(if arrival.tls { "https" } else { "http" }));
    }
    set(headers, X_ENVOY_EXTERNAL_ADDRESS, &text::ip(client));
    let id = Builder::from_random_bytes(arrival.random.to_be_bytes()).into_uuid();
    set(headers, X_REQUEST_ID, id.hyphenated().encode_lower(&mut [0; 36]).as_bytes());
    client
}

/// The client behind `trusted_proxies` proxies: that many addresses from the right of what they wrote; else the peer.
pub fn trusted_client(headers: &HeaderMap, peer: IpAddr, trusted_proxies: u32) -> IpAddr {
    let Some(skip) = trusted_proxies.checked_sub(1) else { return peer };
    let addresses = joined(&headers.get_all(X_FORWARDED_FOR));
    let nth = addresses.rsplit(|b| *b == b',').nth(skip as usize);
    nth.and_then(|address| str::from_utf8(address).ok()?.trim().parse().ok()).unwrap_or(peer)
}

/// Removes what is about the client's connection only. `te` stays as `trailers` or goes.
pub fn strip_request(headers: &mut HeaderMap) {
    let trailers = lists(headers, &header::TE, "trailers");
    strip(headers);
    headers.remove(header::TE);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// As [`strip_request`] for a request that may switch protocols: `upgrade` stays, and `connection` names it alone.
pub fn strip_upgrade_request(headers: &mut HeaderMap) {
    let protocol = headers.get(header::UPGRADE).cloned();
    strip_request(headers);
    if let Some(protocol) = protocol {
        headers.insert(header::UPGRADE, protocol);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

/// Removes what is about the backend's connection only.
pub fn strip_response(headers: &mut HeaderMap) {
    strip(headers);
}

/// As [`strip_response`] for a 101: `upgrade` stays, and `connection` names it alone.
pub fn strip_upgrade_response(headers: &mut HeaderMap) {
    let protocol = headers.get(header::UPGRADE).cloned();
    strip(headers);
    if let Some(protocol) = protocol {
        headers.insert(header::UPGRADE, protocol);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

/// Tells a backend what it cannot see: target and authority before they were rewritten.
pub fn tell_original(headers: &mut HeaderMap, target: Option<&str>, authority: Option<&str>) {
    if let Some(target) = target {
        set(headers, X_ENVOY_ORIGINAL_PATH, target.as_bytes());
    }
    if let Some(authority) = authority {
        set(headers, X_ENVOY_ORIGINAL_HOST, authority.as_bytes());
    }
}

/// Tells a backend about one attempt: its number from 1, and how long we shall wait, where there is a limit.
pub fn tell_attempt(headers: &mut HeaderMap, number: u32, expected: Option<Duration>) {
    headers.insert(X_ENVOY_ATTEMPT_COUNT, HeaderValue::from(number));
    match expected {
        Some(wait) => drop(headers.insert(X_ENVOY_EXPECTED_RQ_TIMEOUT_MS, milliseconds(wait))),
        None => drop(headers.remove(X_ENVOY_EXPECTED_RQ_TIMEOUT_MS)),
    }
}

/// Puts our name on any response.
pub fn sign(headers: &mut HeaderMap) {
    headers.insert(header::SERVER, SERVER);
}

/// Tells the client how long the backend took, all attempts and waits between them included.
pub fn tell_service_time(headers: &mut HeaderMap, took: Duration) {
    headers.insert(X_ENVOY_UPSTREAM_SERVICE_TIME, milliseconds(took));
}

/// True where a request properly asks to switch protocols; to h2c it cannot (8.3). Envoy does not look at the method.
fn asks_to_switch(headers: &HeaderMap) -> bool {
    let protocol = headers.get(header::UPGRADE).filter(|protocol| !protocol.as_bytes().eq_ignore_ascii_case(b"h2c"));
    protocol.is_some() && lists(headers, &header::CONNECTION, "upgrade")
}

fn milliseconds(time: Duration) -> HeaderValue {
    HeaderValue::from(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(value) {
        headers.insert(name, value);
    }
}

/// True where a comma list has `word` among its members, in any case.
fn lists(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).any(|member| member.split(';').next().is_some_and(|m| m.trim().eq_ignore_ascii_case(word)))
}

fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let values = headers.get_all(header::CONNECTION).iter().filter_map(|v| v.to_str().ok());
        let named: Vec<HeaderName> = values.flat_map(|v| v.split(',')).filter_map(|name| name.trim().parse().ok()).collect();
        for name in named {
            // Whoever could remove these would choose how the next hop reads the message, or whom it trusts.
            if name != header::CONTENT_LENGTH && name != header::HOST && name != header::TE && name != header::COOKIE {
                headers.remove(name);
            }
        }
    }
    remove_all(headers, |name| HOP_BY_HOP.contains(name));
}

/// Removes the fields that are `unwanted`: one look at what is there, where a removal by name hashes each name.
fn remove_all(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    let gone: SmallVec<[HeaderName; 4]> = headers.keys().filter(|name| unwanted(name)).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests;
