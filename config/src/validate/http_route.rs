//! Admission of a VirtualService's HTTP rules (contract 1.4).

use super::virtual_service::{connection_match, destination, weighed, weights};
use super::{Checker, grammar};
use crate::istio::virtual_service::{
    Abort, CorsPolicy, Delay, HeaderOperations, Headers, HttpBody, HttpDirectResponse, HttpMatchRequest, HttpRedirect, HttpRetry, HttpRewrite,
    HttpRoute,
};
use crate::value::{StringMatch, grpc_status};

const KB: usize = 1 << 10;

/// What Envoy retries upon, by name; status numbers are named too.
const RETRY_ON: [&str; 16] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"];

/// What is wrong with one rule. `delegate`: the VirtualService has no hosts; `at_mesh`: it applies to sidecars too.
pub(super) fn http_route(c: &mut Checker<'_>, route: &HttpRoute, delegate: bool, at_mesh: bool) {
    actions(c, route, delegate);
    c.each("match", &route.r#match, |c, matched| http_match(c, matched, at_mesh));
    c.some("headers", route.headers.as_deref(), headers);
    c.some("corsPolicy", route.cors_policy.as_deref(), cors);
    c.some("fault", route.fault.as_deref(), |c, fault| {
        if fault.delay.is_none() && fault.abort.is_none() {
            c.error("", "a fault needs a delay or an abort");
        }
        c.some("abort", fault.abort.as_ref(), abort);
        c.some("delay", fault.delay.as_ref(), delay);
    });
    if let Some(percent) = route.mirror_percent {
        c.deprecated("mirrorPercent", "is deprecated; use mirrorPercentage");
        c.check("mirrorPercent", grammar::whole_percent(i32::try_from(percent).unwrap_or(i32::MAX)));
    }
    c.some("mirrorPercentage", route.mirror_percentage.as_ref(), |c, share| c.check("value", mirrored(share.value)));
    c.some("mirror", route.mirror.as_deref(), destination);
    c.each("mirrors", &route.mirrors, |c, mirror| {
        c.at("destination", |c| destination(c, &mirror.destination));
        c.some("percentage", mirror.percentage.as_ref(), |c, share| c.check("value", mirrored(share.value)));
    });
    c.some("redirect", route.redirect.as_deref(), |c, to| redirect(c, to, &route.r#match));
    c.some("directResponse", route.direct_response.as_deref(), direct_response);
    c.some("retries", route.retries.as_deref(), retries);
    c.some("rewrite", route.rewrite.as_deref(), rewrite);
    authority_once(c, route);
    c.each("route", &route.route, |c, route| {
        weighed(c, &route.destination, route.weight);
        c.some("headers", route.headers.as_deref(), headers);
    });
    weights(c, route.route.iter().map(|route| route.weight));
    c.duration("timeout", route.timeout);
    c.some("delegate", route.delegate.as_ref(), |c, to| {
        if to.name.is_empty() {
            c.error("name", "a delegate needs a name");
        }
    });
}

fn mirrored(share: f64) -> super::Verdict {
    if (0.0..=100.0).contains(&share) { Ok(()) } else { Err(format!("expected 0 to 100 percent, found {share}")) }
}

/// Exactly one of route, redirect and directResponse; none of them beside a delegate.
fn actions(c: &mut Checker<'_>, route: &HttpRoute, delegate: bool) {
    if route.delegate.is_some() && !delegate {
        let beside =
            [("route", !route.route.is_empty()), ("redirect", route.redirect.is_some()), ("directResponse", route.direct_response.is_some())];
        for (field, _) in beside.iter().filter(|(_, given)| *given) {
            c.error(field, "cannot stand beside delegate");
        }
        return;
    }
    if route.delegate.is_some() {
        c.error("delegate", "a delegate cannot delegate");
    }
    let instead = match (&route.redirect, &route.direct_response) {
        (Some(_), _) => Some("redirect"),
        (None, Some(_)) => Some("directResponse"),
        (None, None) => None,
    };
    match instead {
        Some(action) => {
            let beside = [
                ("route", !route.route.is_empty()),
                ("fault", route.fault.is_some()),
                ("rewrite", route.rewrite.is_some()),
                ("directResponse", action == "redirect" && route.direct_response.is_some()),
            ];
            for (field, _) in beside.iter().filter(|(_, given)| *given) {
                c.error(field, format!("cannot stand beside {action}"));
            }
        }
        None if route.route.is_empty() => c.error("", "one of route, redirect and directResponse is needed"),
        None => {}
    }
    if route.mirror.is_some() && !route.mirrors.is_empty() {
        c.error("mirrors", "cannot stand beside mirror");
    }
}

fn http_match(c: &mut Checker<'_>, matched: &HttpMatchRequest, at_mesh: bool) {
    for (field, map) in [("headers", &matched.headers), ("withoutHeaders", &matched.without_headers)] {
        c.entries(field, map, |c, name, value| {
            c.check("", grammar::matched_header(name));
            if at_mesh && grammar::is_claim(name) {
                c.error("", "claims can be matched by rules that are bound to gateways only");
            }
            // `*` is no RE2, and stands for presence here.
            if !(field == "withoutHeaders" && *value == StringMatch::Regex("*".to_owned())) {
                c.check("", grammar::strict_pattern(value));
            }
        });
    }
    c.some("uri", matched.uri.as_ref(), |c, uri| c.check("", grammar::pattern(uri)));
    for (field, value) in [("scheme", &matched.scheme), ("method", &matched.method), ("authority", &matched.authority)] {
        c.some(field, value.as_ref(), |c, value| c.check("", grammar::strict_pattern(value)));
    }
    c.entries("queryParams", &matched.query_params, |c, _, value| c.check("", grammar::strict_pattern(value)));
    connection_match(c, matched.port, &matched.source_labels, &matched.gateways);
    if !matched.source_namespace.is_empty() {
        c.check("sourceNamespace", grammar::dns_label(&matched.source_namespace));
    }
}

fn headers(c: &mut Checker<'_>, headers: &Headers) {
    let edits = |c: &mut Checker<'_>, operations: &HeaderOperations, name: fn(&str) -> super::Verdict| {
        for (field, map) in [("set", &operations.set), ("add", &operations.add)] {
            c.entries(field, map, |c, header, value| c.check("", name(header).and_then(|()| grammar::header_value(value))));
        }
        c.each("remove", &operations.remove, |c, header| c.check("", grammar::plain_edited_header(header)));
    };
    c.some("request", headers.request.as_ref(), |c, operations| edits(c, operations, grammar::edited_header));
    c.some("response", headers.response.as_ref(), |c, operations| edits(c, operations, grammar::plain_edited_header));
}

/// The authority is set in one place at most: rewrite, set or add.
fn authority_once(c: &mut Checker<'_>, route: &HttpRoute) {
    let rewritten = route.rewrite.as_ref().is_some_and(|rewrite| !rewrite.authority.is_empty());
    let Some(request) = route.headers.as_ref().and_then(|headers| headers.request.as_ref()) else { return };
    let edits = request.set.keys().map(|name| ("set", name)).chain(request.add.keys().map(|name| ("add", name)));
    let places = edits.filter(|(_, name)| grammar::is_authority(name)).skip(usize::from(!rewritten));
    for (field, name) in places {
        c.at("headers", |c| c.at("request", |c| c.at(field, |c| c.error(name, "the authority is set in two places"))));
    }
}

fn cors(c: &mut Checker<'_>, policy: &CorsPolicy) {
    if !policy.allow_origin.is_empty() {
        c.deprecated("allowOrigin", "is deprecated; use allowOrigins");
    }
    c.each("allowOrigins", &policy.allow_origins, |c, origin| match origin {
        StringMatch::Exact(text) | StringMatch::Prefix(text) | StringMatch::Regex(text) if !text.is_empty() => c.check("", grammar::pattern(origin)),
        StringMatch::Exact(_) | StringMatch::Prefix(_) | StringMatch::Regex(_) | StringMatch::Present => c.error("", "an origin must not be empty"),
    });
    c.each("allowMethods", &policy.allow_methods, |c, method| {
        if !METHODS.contains(&method.as_str()) {
            c.error("", format!("expected one of {}, found {method:?}", METHODS.join(", ")));
        }
    });
    for (field, names) in [("allowHeaders", &policy.allow_headers), ("exposeHeaders", &policy.expose_headers)] {
        c.each(field, names, |c, name| c.check("", grammar::header_name(name)));
    }
    if let Some(age) = policy.max_age {
        c.check("maxAge", grammar::duration(age));
        if age.0.subsec_nanos() != 0 {
            c.error("maxAge", format!("expected whole seconds, found {age}"));
        }
    }
}

fn abort(c: &mut Checker<'_>, abort: &Abort) {
    c.some("percentage", abort.percentage.as_ref(), |c, share| c.check("value", grammar::percent(share.value)));
    let forms = [abort.http_status.is_some(), abort.grpc_status.is_some(), abort.http2_error.is_some()];
    match forms.iter().filter(|given| **given).count() {
        0 => c.warning("", "an abort without httpStatus or grpcStatus aborts nothing"),
        1 => {}
        _ => c.error("", "expected one of httpStatus and grpcStatus"),
    }
    if let Some(status) = abort.http_status {
        c.check("httpStatus", grammar::http_status(i64::from(status)));
    }
    if let Some(status) = abort.grpc_status.as_ref().filter(|status| grpc_status(status).is_none()) {
        c.error("grpcStatus", format!("expected a name such as NOT_FOUND, found {status:?}"));
    }
    if abort.http2_error.is_some() {
        c.error("http2Error", "is not supported");
    }
}

fn delay(c: &mut Checker<'_>, delay: &Delay) {
    c.some("percentage", delay.percentage.as_ref(), |c, share| c.check("value", grammar::percent(share.value)));
    if delay.percent != 0 {
        c.deprecated("percent", "is deprecated; use percentage");
        c.check("percent", grammar::whole_percent(delay.percent));
    }
    c.duration("fixedDelay", delay.fixed_delay);
    if delay.exponential_delay.is_some() {
        c.error("exponentialDelay", "is not supported");
    }
}

fn redirect(c: &mut Checker<'_>, redirect: &HttpRedirect, matches: &[HttpMatchRequest]) {
    if !redirect.uri.is_empty() && !redirect.prefix_rewrite.is_empty() {
        c.error("prefixRewrite", "cannot stand beside uri");
    } else if !redirect.prefix_rewrite.is_empty() && matches.iter().any(|m| !matches!(m.uri, None | Some(StringMatch::Prefix(_)))) {
        c.error("prefixRewrite", "needs every uri of the rule's matches to be a prefix");
    }
    if redirect.port.is_some() && redirect.derive_port.is_some() {
        c.error("derivePort", "cannot stand beside port");
    }
    let to = [&redirect.uri, &redirect.prefix_rewrite, &redirect.authority, &redirect.scheme];
    if to.iter().all(|text| text.is_empty()) && redirect.port.is_none() && redirect.derive_port.is_none() {
        c.error("", "a redirect needs a uri, prefixRewrite, authority, scheme or port");
    }
    match redirect.redirect_code {
        0 | 301 | 302 | 303 | 307 | 308 => {}
        code @ 300..=399 => c.warning("redirectCode", format!("{code} leaves the route without an action; 301, 302, 303, 307 and 308 take effect")),
        code => c.error("redirectCode", format!("expected a 3xx status, found {code}")),
    }
    if !matches!(redirect.scheme.as_str(), "" | "http" | "https") {
        c.error("scheme", format!("expected http or https, found {:?}", redirect.scheme));
    }
    if let Some(port) = redirect.port.filter(|port| *port != 0) {
        c.check("port", grammar::port(port));
    }
}

fn direct_response(c: &mut Checker<'_>, response: &HttpDirectResponse) {
    c.check("status", grammar::http_status(i64::from(response.status)));
    let size = match &response.body {
        None => 0,
        Some(HttpBody::String(text)) => text.len(),
        Some(HttpBody::Bytes(bytes)) => bytes.0.len(),
    };
    if size > KB * KB {
        c.error("body", format!("expected at most 1 MiB, found {size} bytes"));
    } else if size > 100 * KB {
        c.warning("body", format!("{size} bytes are much for a body that stands in a rule"));
    }
}

fn retries(c: &mut Checker<'_>, retries: &HttpRetry) {
    c.check("attempts", grammar::not_negative(retries.attempts));
    if retries.attempts == 0 && (retries.per_try_timeout.is_some() || !retries.retry_on.is_empty() || retries.retry_remote_localities.is_some()) {
        c.error("attempts", "0 turns retries off: nothing else may be set beside it");
    }
    c.duration("perTryTimeout", retries.per_try_timeout);
    c.duration("backoff", retries.backoff);
    let wrong = retries.retry_on.split(',').find(|token| !RETRY_ON.contains(token) && !is_status(token));
    if let Some(token) = wrong.filter(|_| !retries.retry_on.is_empty()) {
        let blanks = if RETRY_ON.contains(&token.trim()) { " (no blanks between the commas)" } else { "" };
        c.error("retryOn", format!("{token:?} is nothing to retry on{blanks}"));
    }
}

/// A registered HTTP status number.
fn is_status(token: &str) -> bool {
    let registered = |n: u16| matches!(n, 100..=103 | 200..=208 | 226 | 300..=305 | 307 | 308 | 400..=418 | 421..=426 | 428 | 429 | 431 | 451 | 500..=508 | 510 | 511);
    token.parse().is_ok_and(registered)
}

fn rewrite(c: &mut Checker<'_>, rewrite: &HttpRewrite) {
    if !rewrite.uri.is_empty() && rewrite.uri_regex_rewrite.is_some() {
        c.error("uriRegexRewrite", "cannot stand beside uri");
    }
    if rewrite.uri.is_empty() && rewrite.uri_regex_rewrite.is_none() && rewrite.authority.is_empty() {
        c.error("", "a rewrite needs a uri, uriRegexRewrite or authority");
    }
    c.some("uriRegexRewrite", rewrite.uri_regex_rewrite.as_ref(), |c, regex| {
        if regex.r#match.is_empty() || regex.rewrite.is_empty() {
            c.error("", "both match and rewrite are needed");
        } else {
            c.check("match", grammar::regex(&regex.r#match));
        }
    });
}
