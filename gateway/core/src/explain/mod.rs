//! One request's decision told step by step, by the functions that decide for real.
//!
//! The listener, `find`, `Route::matches` and the exchange are those of the data path, with [`Ledger::Peek`], so what is
//! told is what happens. Chance is told as shares and odds. Nothing is taken: no turn, no permit.

mod answer;
mod place;
mod words;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderValue};
use isthmus_config::name::Locality;
use isthmus_config::object::{ObjectRef, Origin};

use crate::balance::{EndpointState, Ledger, Member, View};
use crate::decide::{Downstream, Exchange, Found, Step, find};
use crate::failure::Flags;
use crate::route::forwarding::{Arrival, receive};
use crate::route::{Head, Scratch, Target, without_port};
use crate::snapshot::{Action, Destination, Front, Held, HttpFront, Listener, Pin, RuleOrigin, Snapshot, VirtualHost};

pub use answer::{
    AnswerTold, DestinationTold, Edit, EjectionTold, EndpointTold, Explanation, LimitTold, ListenerTold, LocalityTold, PassedOver, Place,
    PriorityTold, RouteTold, ServerTold, VirtualHostTold,
};
use words::{Chosen, edits, in_words};

/// The request to explain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The method.
    pub method: String,
    /// True for https.
    pub tls: bool,
    /// The server's port, from the URL.
    pub port: u16,
    /// The authority as the client would send it.
    pub authority: String,
    /// Path and query.
    pub target: String,
    /// Further header fields.
    pub headers: HeaderMap,
    /// Who asks.
    pub client: IpAddr,
    /// Where the gateway stands, instead of where it does.
    pub from: Option<Locality>,
}

/// Who asks where nobody is named: an address for documentation (RFC 5737).
pub const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Routes told before the winner at most; of more, the first ones and how many there were.
const TOLD: usize = 200;
/// Endpoints told of one destination at most.
const ENDPOINTS: usize = 50;

/// Who knows of an ejection why and for how long; nobody does where nothing runs.
pub type Stay<'a> = &'a dyn Fn(&EndpointState) -> Option<EjectionTold>;

/// Tells how `question` is decided under `snapshot`.
pub fn explain(snapshot: &Arc<Snapshot>, question: &Question, stay: Stay<'_>, now: Instant) -> Explanation {
    let mut told = Explanation::of(question);
    let Some(listener) = listener(snapshot, question, &mut told) else { return told };
    let http = match &listener.front {
        Front::Http(http) => http,
        Front::Tcp(tcp) => {
            told.notes.push(format!("the listener carries bytes: every connection goes by {}, whatever the request", place_text(&tcp.rule)));
            return told;
        }
        Front::Closed(reason) => {
            told.notes.push(format!("the port is closed: {reason}"));
            return told;
        }
    };
    let target = match Target::parse(&question.target, listener.options.path_normalization) {
        Ok(target) => target,
        Err(error) => {
            told.notes.push(format!("the path is refused: {error}"));
            return told;
        }
    };
    let mut headers = question.headers.clone();
    let bind = if listener.key.bind.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { listener.key.bind };
    let local = SocketAddr::new(bind, listener.key.port);
    let arrival =
        Arrival { peer: question.client, local: bind, tls: question.tls, trusted_proxies: listener.options.trusted_proxies, random: u128::MAX };
    let client = receive(&mut headers, &arrival);
    let head = Head {
        method: &question.method,
        scheme: if question.tls { "https" } else { "http" },
        authority: target.authority.unwrap_or(&question.authority),
        path: &target.path,
        query: target.query,
        headers: &headers,
    };
    if *target.path != *question.target.split('?').next().unwrap_or_default() {
        told.notes.push(format!("the path is matched as {:?}, its normal form", target.path));
    }
    let down = Downstream { peer: SocketAddr::new(question.client, 0), local, client, http2: false };
    let Some(host) = virtual_host(http, &head, &mut told) else { return told };
    let pin = Arc::new(Pin { snapshot: snapshot.clone() });
    let found = find(&pin, &listener.key, &head, &mut Scratch::default());
    match found {
        Found::Answer { reply, details, flag } => {
            if !host.https_redirect {
                passed_over(host, host.routes.len(), &head, &mut told);
            }
            let mut flags = Flags::default();
            flags.set(flag);
            told.answer = Some(AnswerTold::of(&reply, details, flags));
        }
        Found::Route(held) => {
            let at = host.routes.iter().position(|route| std::ptr::eq(&**route, held.route())).unwrap_or_default();
            passed_over(host, at, &head, &mut told);
            let seen = place::seen_from(held.clone(), question.from.as_ref());
            route(&seen, at, &head, &down, now, &mut told);
            present(&held, stay, &mut told);
        }
    }
    told
}

/// The listener of the server with the question's port.
fn listener<'a>(snapshot: &'a Snapshot, question: &Question, told: &mut Explanation) -> Option<&'a Listener> {
    let with_port = |l: &&Arc<Listener>| l.servers.iter().any(|s| s.port == question.port);
    let Some(listener) = snapshot.listeners.iter().find(with_port) else {
        let mut ports: Vec<u16> = snapshot.listeners.iter().flat_map(|l| l.servers.iter().map(|s| s.port)).collect();
        ports.sort_unstable();
        ports.dedup();
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        let ports = if ports.is_empty() { "no server is in force at all".to_owned() } else { format!("servers have {}", ports.join(", ")) };
        told.notes.push(format!("no Gateway server with port {}: nothing listens ({ports})", question.port));
        return None;
    };
    told.listener = Some(ListenerTold { name: listener.key.to_string(), address: listener.key.bind, port: listener.key.port });
    told.servers = listener
        .servers
        .iter()
        .map(|server| ServerTold {
            place: place(&server.gateway, &format!("spec.servers[{}]", server.index), &server.origin),
            port: server.port,
            protocol: format!("{:?}", server.protocol).to_ascii_uppercase(),
            hosts: server.hosts.iter().map(|h| h.to_string()).collect(),
        })
        .collect();
    Some(listener)
}

fn virtual_host<'a>(http: &'a HttpFront, head: &Head<'_>, told: &mut Explanation) -> Option<&'a VirtualHost> {
    let Some(at) = http.hosts.find(head.authority) else {
        let reply = crate::failure::Failure::NoRoute.reply(false, false);
        let row = crate::failure::Failure::NoRoute.row();
        let mut flags = Flags::default();
        flags.set(row.flag);
        told.answer = Some(AnswerTold::of(&reply, row.details, flags));
        let mut domains: Vec<String> = http.virtual_hosts.iter().map(|v| v.domain.to_string()).collect();
        let more = domains.len().saturating_sub(20);
        domains.truncate(20);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let known = if domains.is_empty() { "there is none".to_owned() } else { format!("there are {}{more}", domains.join(", ")) };
        told.notes.push(format!("no virtual host answers for {:?}: {known}", without_port(head.authority)));
        return None;
    };
    let host = &http.virtual_hosts[at as usize];
    let name = without_port(head.authority).to_ascii_lowercase();
    let domain = Some(&host.domain).filter(|d| d.covers(&name.as_str().into()));
    told.virtual_host =
        Some(VirtualHostTold { name: host.name(), domain: domain.map(|d| d.to_string()).unwrap_or_default(), routes: host.routes.len() });
    if host.https_redirect {
        told.notes.push("a server of this port asks for httpsRedirect: every plaintext request is answered 301".to_owned());
    }
    Some(host)
}

/// Every route before the winner, with the condition that failed.
fn passed_over(host: &VirtualHost, winner: usize, head: &Head<'_>, told: &mut Explanation) {
    told.passed_over = host
        .routes
        .iter()
        .take(winner.min(TOLD))
        .enumerate()
        .filter_map(|(position, route)| {
            let mismatch = route.matches.matches(head).err()?;
            Some(PassedOver { position, name: route.name.to_string(), rule: place_of(&route.rule), reason: mismatch.to_string() })
        })
        .collect();
    if winner > TOLD {
        told.notes.push(format!("{} more routes before the winner are not told", winner - TOLD));
    }
}

fn route(held: &Held, position: usize, head: &Head<'_>, down: &Downstream, now: Instant, told: &mut Explanation) {
    let route = held.route();
    let mut rule = RouteTold {
        position,
        name: route.name.to_string(),
        rule: place_of(&route.rule),
        root: route.rule.root.as_deref().map(|(object, path)| format!("{object} {path}")),
        matched: route.matches.to_string(),
        words: in_words(route),
        edits: Vec::new(),
    };
    match &route.action {
        Action::Redirect(_) | Action::Direct(_) => {
            let (exchange, step) = first_step(held, head, down, now, &mut Chosen::first());
            if let Step::Answer(reply) = step {
                told.answer = Some(AnswerTold::of(&reply, exchange.details(), exchange.flags()));
            }
        }
        Action::Forward(forward) => {
            for (i, destination) in forward.destinations.list.iter().enumerate() {
                let before = i.checked_sub(1).map_or(0, |i| forward.destinations.sums[i]);
                let (exchange, step) = first_step(held, head, down, now, &mut Chosen::draws(before));
                let edits = edits(&exchange, head, down, now);
                if i == 0 {
                    rule.edits.clone_from(&edits);
                }
                let mut one = destination_told(destination, forward.destinations.share(i), &step);
                if forward.destinations.list.len() > 1 && edits != rule.edits {
                    one.edits = edits;
                }
                if let (Step::Answer(reply), 1) = (&step, forward.destinations.list.len()) {
                    told.answer = Some(AnswerTold::of(reply, exchange.details(), exchange.flags()));
                }
                if let Ok(slot) = &destination.slot {
                    told.from = slot.view.load().line.stand.locality.to_string();
                }
                told.destinations.push(one);
            }
        }
    }
    told.route = Some(rule);
}

/// What the running process knows of the backends, wherever the gateway is supposed to stand: limits, and why endpoints are ejected.
fn present(held: &Held, stay: Stay<'_>, told: &mut Explanation) {
    let Action::Forward(forward) = &held.route().action else { return };
    for (destination, told) in forward.destinations.list.iter().zip(&mut told.destinations) {
        let Ok(slot) = &destination.slot else { continue };
        told.limits = LimitTold::all(slot);
        let view = slot.view.load();
        let ejected = |address: &str| view.members.iter().find(|m| m.state.is_ejected() && m.address().to_string() == address);
        for endpoint in &mut told.endpoints {
            endpoint.ejection = ejected(&endpoint.address).and_then(|m| stay(&m.state));
        }
    }
}

/// What the machine does first, the delay of a fault left out.
fn first_step(held: &Held, head: &Head<'_>, down: &Downstream, now: Instant, rng: &mut Chosen) -> (Exchange, Step) {
    let (mut exchange, mut step) = Exchange::begin(held.clone(), head, down, now, rng, Ledger::Peek);
    if let Step::Wait(until) = step {
        step = exchange.next(crate::decide::Event::Woke, until, rng, Ledger::Peek);
    }
    (exchange, step)
}

fn destination_told(destination: &Destination, share: f64, step: &Step) -> DestinationTold {
    let mut told = DestinationTold {
        backend: destination.key.to_string(),
        host: destination.key.host.to_string(),
        port: destination.key.port,
        subset: destination.key.subset.to_string(),
        share,
        problem: None,
        balancing: String::new(),
        limits: Vec::new(),
        lined_up: String::new(),
        priorities: Vec::new(),
        endpoints: Vec::new(),
        more_endpoints: 0,
        edits: Vec::new(),
    };
    let slot = match &destination.slot {
        Ok(slot) => slot,
        Err(reason) => {
            told.problem = Some(format!("{reason}: answered 503 NC"));
            return told;
        }
    };
    let view = slot.view.load();
    told.balancing = words::balancing(&view, destination.hash.as_deref());
    let hashed = match (step, &view.policy.lb, &destination.hash) {
        (Step::Try(attempt), crate::balance::Lb::RingHash { .. } | crate::balance::Lb::Maglev { .. }, Some(_)) => Some(attempt.member.clone()),
        _ => None,
    };
    told.lined_up = place::lined_up(&view);
    if view.eligible().next().is_some() {
        told.lined_up += &words::left_out(&view);
    }
    let standings = view.standings();
    told.priorities = PriorityTold::of(&view, &standings);
    let odds = odds(&view, hashed.as_ref());
    told.more_endpoints = view.members.len().saturating_sub(ENDPOINTS);
    told.endpoints = place::in_line(&view, &standings)
        .into_iter()
        .take(ENDPOINTS)
        .map(|(i, priority)| EndpointTold::of(&view.members[i], priority, odds[i]))
        .collect();
    if view.eligible().next().is_none() {
        told.problem = Some(if view.members.is_empty() {
            format!("it has no endpoints: answered 503 UH{}{}", words::after(&view), words::left_out(&view))
        } else {
            format!("none of its {} endpoints may get traffic: answered 503 UH{}", view.members.len(), words::after(&view)) + &words::left_out(&view)
        });
    }
    told
}

/// How likely each member is, in order. Of a hash, the one it names.
fn odds(view: &View, hashed: Option<&Member>) -> Vec<f64> {
    match hashed {
        Some(one) => view.members.iter().map(|m| f64::from(u8::from(m.address() == one.address()))).collect(),
        None => view.odds(),
    }
}

fn place_of(rule: &RuleOrigin) -> Place {
    place(&rule.object(), &rule.path, rule.origin())
}

fn place(object: &ObjectRef, path: &str, origin: &Origin) -> Place {
    let spot = origin.spot(path);
    Place {
        kind: object.kind.as_str().to_owned(),
        namespace: object.namespace.to_string(),
        name: object.name.to_string(),
        path: path.to_owned(),
        file: origin.file.to_string(),
        line: spot.line,
    }
}

fn place_text(rule: &RuleOrigin) -> String {
    place_of(rule).to_string()
}

/// Reads `name: value` pairs; those that are no header fields are left out by the caller's own check.
pub fn fields<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        if let (Ok(name), Ok(value)) = (http::HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
    headers
}
