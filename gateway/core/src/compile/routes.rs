//! From the rules of a VirtualService to routes (G-32..G-35, V-1..V-3, V-20..V-26, V-46, V-47).
//!
//! A rule with several match blocks becomes as many routes. Blocks that are not for this gateway or port are left out here,
//! so that a request is compared with nothing but its own properties. Behind the first catch-all nothing follows (G-33).

use std::sync::Arc;

use isthmus_config::istio::virtual_service::{Destination as Asked, HttpMatchRequest, HttpRoute, HttpRouteDestination};
use isthmus_config::object::Labels;

use super::bind::gateway_name;
use super::delegate::{Block, Rule};
use super::fragments::{Making, shared};
use super::report::code;
use crate::policy::{Cors, Fault, Mirror, RetryPolicy, RouteTimeout};
use crate::route::{DirectResponse, HeaderEdits, Match, Redirect, Rewrite};
use crate::snapshot::{Action, Destination, Destinations, Forward, Part, Route, RuleOrigin};

/// What of a rule cannot be compiled: field and reason.
type Refused = (String, String);

/// Compiles every rule that this gateway and port may see, as far as the first catch-all.
pub(super) fn compile(making: &mut Making<'_>, rules: &[Rule<'_>]) -> Part {
    let mut routes = Vec::new();
    for rule in rules {
        for (field, about) in not_yet(&rule.http) {
            making.tell(&rule.origin, format!("{}.{field}", rule.origin.path), code::NOT_YET, format!("not in force yet: {about}"));
        }
        let blocks: Vec<Option<&Block<'_>>> = if rule.blocks.is_empty() { vec![None] } else { rule.blocks.iter().map(Some).collect() };
        for block in blocks {
            if block.is_some_and(|(b, _)| !admits(making, b, &rule.namespace)) {
                continue;
            }
            match route(making, rule, block) {
                Ok(route) => {
                    let last = route.matches.is_catch_all();
                    routes.push(Arc::new(route));
                    if last {
                        return routes.into();
                    }
                }
                Err((field, reason)) => {
                    let path = match block {
                        Some((_, path)) if field.starts_with("match.") => format!("{path}.{}", &field["match.".len()..]),
                        Some(_) | None => format!("{}.{field}", rule.origin.path),
                    };
                    making.tell(&rule.origin, path, code::REFUSED, format!("{reason}: the rule is left out"));
                }
            }
        }
    }
    routes.into()
}

fn admits(making: &Making<'_>, block: &HttpMatchRequest, namespace: &Arc<str>) -> bool {
    (block.port == 0 || block.port == u32::from(making.key.port))
        && through(making, &block.gateways, &block.source_labels, &block.source_namespace, namespace)
}

/// Whether a block is for this gateway: by name where it names gateways, else by what it asks of the source (V-2).
pub(super) fn through(making: &Making<'_>, gateways: &[String], labels: &Labels, source: &str, namespace: &Arc<str>) -> bool {
    let gateway = &making.world.gateway;
    if !gateways.is_empty() {
        return gateways.iter().any(|g| gateway_name(g, namespace).as_ref() == Some(&making.key.gateway));
    }
    labels.iter().all(|(k, v)| gateway.labels.get(k) == Some(v)) && (source.is_empty() || source == &*gateway.namespace)
}

/// A negative weight is refused by the API; here it is none.
pub(super) fn weight(written: i32) -> u32 {
    u32::try_from(written).unwrap_or(0)
}

fn route(making: &mut Making<'_>, rule: &Rule<'_>, block: Option<&Block<'_>>) -> Result<Route, Refused> {
    let http: &HttpRoute = &rule.http;
    let matches = match block {
        Some((b, _)) => Match::compile(b, making.patterns).map_err(|e| (format!("match.{}", e.field), e.reason))?,
        None => Match::any(),
    };
    let edits = http.headers.as_ref();
    let mut request_headers =
        HeaderEdits::request(edits.and_then(|h| h.request.as_ref())).map_err(|e| (format!("headers.request.{}", e.field), e.reason))?;
    let mut response_headers =
        HeaderEdits::response(edits.and_then(|h| h.response.as_ref())).map_err(|e| (format!("headers.response.{}", e.field), e.reason))?;
    let action = if let Some(redirect) = &http.redirect {
        Action::Redirect(Redirect::new(redirect).map_err(|e| (format!("redirect.{}", e.field), e.reason))?)
    } else if let Some(direct) = &http.direct_response {
        Action::Direct(DirectResponse::new(direct).map_err(|e| (format!("directResponse.{}", e.field), e.reason))?)
    } else {
        let mut forward = forward(making, http, &rule.namespace)?;
        // Of a single destination the edits join the rule's, behind them (V-46).
        if let [only] = &mut *forward.destinations.list {
            request_headers = request_headers.followed_by(&std::mem::take(&mut only.request_headers));
            response_headers = response_headers.followed_by(&std::mem::take(&mut only.response_headers));
        }
        Action::Forward(forward)
    };
    Ok(Route {
        name: name(http, block.map(|(b, _)| &*b.name)),
        rule: RuleOrigin { path: block.map_or_else(|| rule.origin.path.clone(), |(_, path)| path.clone()), ..rule.origin.clone() },
        matches,
        action,
        request_headers,
        response_headers,
        cors: http
            .cors_policy
            .as_deref()
            .map(|policy| Cors::new(policy, making.patterns).map(Box::new))
            .transpose()
            .map_err(|e| (format!("corsPolicy.{}", e.field), e.reason))?,
        fault: fault(http)?,
    })
}

/// The name that users see (G-35).
fn name(http: &HttpRoute, block: Option<&str>) -> Arc<str> {
    match (&*http.name, block) {
        ("", None) => "default".into(),
        (rule, None | Some("")) => shared(rule),
        (rule, Some(block)) => format!("{rule}.{block}").into(),
    }
}

fn forward(making: &mut Making<'_>, http: &HttpRoute, namespace: &Arc<str>) -> Result<Forward, Refused> {
    let list = http.route.iter().enumerate().map(|(i, d)| destination(making, i, d, namespace)).collect::<Result<Vec<_>, _>>()?;
    if list.is_empty() {
        return Err(("route".into(), "the rule has no action".into()));
    }
    let destinations = Destinations::new(list);
    let hashed = destinations.single && destinations.list.iter().any(|only| only.hash.is_some());
    let mesh = making.world.mesh.clone();
    let retry = RetryPolicy::new(http.retries.as_deref(), mesh.default_http_retry_policy.as_ref(), hashed);
    let retry = making.table.common.retries.of(retry);
    let rewrite = http
        .rewrite
        .as_deref()
        .map(|rewrite| Rewrite::new(rewrite, making.patterns).map(Box::new))
        .transpose()
        .map_err(|e| (format!("rewrite.{}", e.field), e.reason))?;
    Ok(Forward { destinations, rewrite, timeout: RouteTimeout(http.timeout.map(|t| t.0)), retry, mirrors: mirrors(making, http, namespace) })
}

fn destination(making: &mut Making<'_>, i: usize, asked: &HttpRouteDestination, namespace: &Arc<str>) -> Result<Destination, Refused> {
    let found = making.find(&asked.destination, namespace);
    let edits = asked.headers.as_ref();
    let request =
        HeaderEdits::request(edits.and_then(|h| h.request.as_ref())).map_err(|e| (format!("route[{i}].headers.request.{}", e.field), e.reason))?;
    let response =
        HeaderEdits::response(edits.and_then(|h| h.response.as_ref())).map_err(|e| (format!("route[{i}].headers.response.{}", e.field), e.reason))?;
    Ok(Destination {
        weight: weight(asked.weight),
        key: found.key,
        slot: found.slot,
        request_headers: request,
        response_headers: response,
        hash: found.hash,
    })
}

/// Who gets a copy, each drawn by itself (V-43).
fn mirrors(making: &mut Making<'_>, http: &HttpRoute, namespace: &Arc<str>) -> Box<[Mirror<Destination>]> {
    let resolve = |mirror: Mirror<Asked>| {
        mirror.map(|asked| {
            let found = making.find(&asked, namespace);
            let edits = HeaderEdits::default;
            Destination { weight: 0, key: found.key, slot: found.slot, request_headers: edits(), response_headers: edits(), hash: found.hash }
        })
    };
    Mirror::of(http).into_iter().map(resolve).collect()
}

/// The faults of a rule without those that no gateway injects.
fn fault(http: &HttpRoute) -> Result<Option<Box<Fault>>, Refused> {
    let mut fault = http.fault.clone();
    if let Some(fault) = &mut fault {
        fault.delay.take_if(|d| d.fixed_delay.is_none() && d.exponential_delay.is_some());
        fault.abort.take_if(|a| a.http_status.is_none() && a.grpc_status.is_none() && a.http2_error.is_some());
    }
    let fault = Fault::new(fault.as_deref()).map_err(|e| (format!("fault.{}", e.field), e.reason))?;
    Ok((fault != Fault::default()).then(|| Box::new(fault)))
}

/// Fields of a rule that are accepted and not in force, with what they are about.
fn not_yet(http: &HttpRoute) -> Vec<(&'static str, &'static str)> {
    let fault = http.fault.as_ref();
    let asked = [
        (fault.and_then(|f| f.delay.as_ref()).is_some_and(|d| d.exponential_delay.is_some()), "fault.delay.exponentialDelay", "delays that grow"),
        (fault.and_then(|f| f.abort.as_ref()).is_some_and(|a| a.http2_error.is_some()), "fault.abort.http2Error", "aborts by an HTTP/2 error"),
    ];
    asked.into_iter().filter(|(set, _, _)| *set).map(|(_, field, about)| (field, about)).collect()
}
