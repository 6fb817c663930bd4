//! The table of events and steps: what the machine answers to each turn of a request. Any engine must agree with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use isthmus_config::istio::virtual_service::{HttpFaultInjection, HttpRetry, VirtualService};
use isthmus_config::object::{Kind, Meta, Object, ObjectRef, Origin};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::{ConnectError, Downstream, Event, Exchange, Reset, Step};
use crate::balance::{BackendKey, BackendPolicy, Lb, Ledger, Line, Slot, view};
use crate::model::{Address, Endpoint, Health, Place, Workload};
use crate::policy::{Fault, RetryPolicy, RouteTimeout};
use crate::route::{Head, HeaderEdits, Match};
use crate::snapshot::{Action, Destination, Destinations, Forward, Held, Route, RuleOrigin};

mod limits;

const MS: Duration = Duration::from_millis(1);

fn slot(endpoints: usize) -> Arc<Slot> {
    patient_slot(endpoints, Duration::ZERO)
}

/// Requests wait so long where there is no endpoint.
fn patient_slot(endpoints: usize, endpoint_wait: Duration) -> Arc<Slot> {
    slot_of(endpoints, BackendPolicy { endpoint_wait, ..BackendPolicy::default() })
}

fn slot_of(endpoints: usize, policy: BackendPolicy) -> Arc<Slot> {
    let source = Arc::new(ObjectRef::new(Kind::EndpointSlice, "default", "a"));
    let endpoints: Vec<Arc<Endpoint>> = (1..=endpoints)
        .map(|i| {
            Arc::new(Endpoint {
                address: Address::Socket(([10, 0, 0, i as u8], 8080).into()),
                port_name: "http".into(),
                weight: 1,
                health: Health::Healthy,
                workload: Arc::new(Workload { name: format!("a-{i}").into(), ..Workload::default() }),
                source: source.clone(),
                passage: None,
            })
        })
        .collect();
    let policy = BackendPolicy { lb: Lb::RoundRobin, ..policy };
    let key = BackendKey { host: "a.default.svc.cluster.local".into(), port: 80, subset: "".into() };
    Arc::new(Slot::new(key, view(&policy.into(), &Arc::default(), &endpoints.iter().collect::<Vec<_>>(), None, 0)))
}

/// A rule written as YAML: `timeout`, `retries`, `fault`.
fn route(rule: &str, slot: Result<Arc<Slot>, Arc<str>>) -> Route {
    #[derive(serde::Deserialize, Default)]
    #[serde(default, rename_all = "camelCase", deny_unknown_fields)]
    struct Rule {
        timeout: Option<isthmus_config::value::Duration>,
        retries: Option<HttpRetry>,
        fault: Option<HttpFaultInjection>,
    }
    let rule: Rule = if rule.is_empty() { Rule::default() } else { serde_json::from_str(rule).expect("a rule") };
    let destination = Destination {
        weight: 0,
        key: Arc::new(BackendKey { host: "a".into(), port: 80, subset: "".into() }),
        slot,
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
        hash: None,
    };
    Route {
        name: "default".into(),
        rule: RuleOrigin {
            source: Arc::new(Object { meta: Meta::default(), spec: VirtualService::default(), origin: Origin::default() }),
            path: "spec.http[0]".into(),
            root: None,
        },
        matches: Match::any(),
        action: Action::Forward(Forward {
            destinations: Destinations::new(vec![destination]),
            rewrite: None,
            timeout: RouteTimeout(rule.timeout.map(|t| t.0)),
            retry: RetryPolicy::new(rule.retries.as_ref(), None, false).into(),
            mirrors: Box::default(),
        }),
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
        cors: None,
        fault: Some(Box::new(Fault::new(rule.fault.as_ref()).expect("a fault"))),
    }
}

/// A GET of `http://a.com/` that took `route`.
fn begin(route: Held, headers: &HeaderMap, now: Instant, rng: &mut SmallRng, ledger: Ledger) -> (Exchange, Step) {
    let head = Head { method: "GET", scheme: "http", authority: "a.com", path: "/", query: None, headers };
    let down = Downstream { peer: ([127, 0, 0, 1], 4000).into(), local: ([127, 0, 0, 1], 80).into(), client: [127, 0, 0, 1].into(), http2: false };
    Exchange::begin(route, &head, &down, now, rng, ledger)
}

/// Events as words, `+N` for N milliseconds that pass; steps come back as words.
fn play(route: Route, headers: &HeaderMap, events: &str) -> String {
    let mut rng = SmallRng::seed_from_u64(1);
    let start = Instant::now();
    let mut now = start;
    let (mut exchange, step) = begin(Held::Kept(Arc::new(route)), headers, now, &mut rng, Ledger::Live);
    let mut told = vec![word(&step)];
    let member = |e: &Exchange| e.member().map(|m| m.state.active());
    for event in events.split_whitespace() {
        if let Some(ms) = event.strip_prefix('+') {
            now += MS * ms.parse().expect("milliseconds");
            continue;
        }
        let empty = HeaderMap::new();
        let event = match event {
            "woke" => Event::Woke,
            "granted" => Event::Granted(None),
            "full" => Event::Refused,
            "connected" => Event::Connected,
            "refused" => Event::ConnectFailed(ConnectError::Refused),
            "late" => Event::ConnectFailed(ConnectError::Timeout),
            "sent" => Event::RequestEnd,
            "closed" => Event::Reset { reset: Reset::Terminated, sent: true },
            "unsent" => Event::Reset { reset: Reset::Terminated, sent: false },
            "refused-stream" => Event::Reset { reset: Reset::Refused, sent: true },
            "garbage" => Event::Reset { reset: Reset::Protocol, sent: true },
            "end" => Event::ResponseEnd,
            "expired" => Event::Expired,
            "gone" => Event::ClientGone,
            "long" => {
                exchange.unreplayable();
                continue;
            }
            status => Event::ResponseHead { status: status.parse().expect("a status or a known word"), headers: &empty },
        };
        told.push(word(&exchange.next(event, now, &mut rng, Ledger::Live)));
    }
    if matches!(told.last().map(String::as_str), Some("end" | "cut")) || told.last().is_some_and(|t| t.starts_with("answer")) {
        assert_eq!(member(&exchange).unwrap_or(0), 0, "an ended exchange holds nothing");
    }
    format!("{} [{} {}]", told.join(" "), exchange.flags(), exchange.details())
}

fn word(step: &Step) -> String {
    match step {
        Step::Go => "-".into(),
        Step::Wait(_) => "wait".into(),
        Step::Queue { .. } => "queue".into(),
        Step::Try(attempt) => format!("try{}", attempt.number),
        Step::Forward => "forward".into(),
        Step::Answer(reply) => format!("answer{}", reply.status),
        Step::Cut => "cut".into(),
        Step::End => "end".into(),
    }
}

#[test]
fn events_and_steps() {
    let two = || Ok(slot(2));
    let none = || Ok(slot(0));
    let waiting = || Ok(patient_slot(0, 50 * MS));
    let unknown = || Err("no such service".into());
    let rule = |text: &str| text.to_owned();
    type Backend<'a> = &'a dyn Fn() -> Result<Arc<Slot>, Arc<str>>;
    let rows: Vec<(&str, String, Backend<'_>, &str, &str)> = vec![
        ("plain", rule(""), &two, "connected sent 200 end", "try1 - - forward end [- via_upstream]"),
        ("an answer before the request's end", rule(""), &two, "connected 200 sent end", "try1 - forward - end [- via_upstream]"),
        (
            "V-31 connect failures are retried twice",
            rule(""),
            &two,
            "refused woke refused woke refused",
            "try1 wait try2 wait try3 answer503 [URX,UF upstream_reset_before_response_started{remote_connection_failure}]",
        ),
        ("endpoint-wait: nobody comes", rule(""), &waiting, "+20 woke +20 woke +10 woke", "wait wait wait answer503 [UH no_healthy_upstream]"),
        (
            "endpoint-wait: not beyond the route's time",
            rule(r#"{"timeout": "30ms"}"#),
            &waiting,
            "sent +20 woke +10 woke",
            "wait - wait answer504 [UT response_timeout]",
        ),
        ("V-31 a 503 is not retried", rule(""), &two, "connected sent 503 end", "try1 - - forward end [- via_upstream]"),
        (
            "V-31 a closed connection is not retried",
            rule(""),
            &two,
            "connected sent closed",
            "try1 - - answer503 [UC upstream_reset_before_response_started{connection_termination}]",
        ),
        (
            "refused streams are retried",
            rule(""),
            &two,
            "connected sent refused-stream woke connected 200 end",
            "try1 - - wait try2 - forward end [- via_upstream]",
        ),
        (
            "V-32 attempts 0",
            rule(r#"{"retries": {"attempts": 0}}"#),
            &two,
            "refused",
            "try1 answer503 [UF upstream_reset_before_response_started{remote_connection_failure}]",
        ),
        (
            "Ex 30 retryOn 503",
            rule(r#"{"retries": {"attempts": 1, "retryOn": "503"}}"#),
            &two,
            "connected sent 503 woke connected 503 end",
            "try1 - - wait try2 - forward end [URX via_upstream]",
        ),
        (
            "Ex 30 connect failures no longer",
            rule(r#"{"retries": {"attempts": 1, "retryOn": "503"}}"#),
            &two,
            "refused",
            "try1 answer503 [UF upstream_reset_before_response_started{remote_connection_failure}]",
        ),
        (
            "a body too long to keep",
            rule(r#"{"retries": {"attempts": 3, "retryOn": "5xx"}}"#),
            &two,
            "connected long sent 500 end",
            "try1 - - forward end [- via_upstream]",
        ),
        (
            "V-30 the route's time",
            rule(r#"{"timeout": "1s"}"#),
            &two,
            "connected +5000 expired sent +1000 expired",
            "try1 - - - answer504 [UT response_timeout]",
        ),
        (
            "a timeout after the response began",
            rule(r#"{"timeout": "1s"}"#),
            &two,
            "connected sent 200 +1000 expired",
            "try1 - - forward cut [UT response_timeout]",
        ),
        (
            "Ex 33 per-try time",
            rule(r#"{"timeout": "3s", "retries": {"attempts": 2, "perTryTimeout": "2s", "retryOn": "5xx"}}"#),
            &two,
            "connected sent +2000 expired woke connected +1000 expired",
            "try1 - - wait try2 - answer504 [UT response_timeout]",
        ),
        (
            "Ex 33 the default retryOn does not retry it",
            rule(r#"{"retries": {"attempts": 2, "perTryTimeout": "2s"}}"#),
            &two,
            "connected sent +2000 expired",
            "try1 - - answer504 [UT upstream_per_try_timeout]",
        ),
        (
            "per-try times used up",
            rule(r#"{"retries": {"attempts": 1, "perTryTimeout": "1s", "retryOn": "5xx"}}"#),
            &two,
            "connected sent +1000 expired woke connected +1000 expired",
            "try1 - - wait try2 - answer504 [URX,UT upstream_per_try_timeout]",
        ),
        (
            "the route's time ends a back-off",
            rule(r#"{"timeout": "1s", "retries": {"attempts": 2, "retryOn": "5xx"}}"#),
            &two,
            "connected sent +999 500 +1 woke",
            "try1 - - wait answer504 [UT response_timeout]",
        ),
        (
            "Ex 41 a delay is outside the timeout",
            rule(r#"{"timeout": "1s", "fault": {"delay": {"fixedDelay": "5s", "percentage": {"value": 100}}}}"#),
            &two,
            "sent +5000 woke connected 200 end",
            "wait - try1 - forward end [DI via_upstream]",
        ),
        (
            "V-41 abort",
            rule(r#"{"fault": {"abort": {"httpStatus": 418, "percentage": {"value": 100}}}}"#),
            &two,
            "",
            "answer418 [FI fault_filter_abort]",
        ),
        ("Ex 40 abort without percentage", rule(r#"{"fault": {"abort": {"httpStatus": 418}}}"#), &two, "", "try1 [- via_upstream]"),
        (
            "V-41 delay, then abort",
            rule(
                r#"{"fault": {"delay": {"fixedDelay": "1s", "percentage": {"value": 100}}, "abort": {"httpStatus": 503, "percentage": {"value": 100}}}}"#,
            ),
            &two,
            "+1000 woke",
            "wait answer503 [DI,FI fault_filter_abort]",
        ),
        ("V-25 no endpoints", rule(""), &none, "", "answer503 [UH no_healthy_upstream]"),
        ("V-21 no such backend", rule(""), &unknown, "", "answer503 [NC cluster_not_found]"),
        ("not HTTP", rule(""), &two, "connected sent garbage", "try1 - - answer502 [UPE upstream_reset_before_response_started{protocol_error}]"),
        (
            "died in mid-response",
            rule(r#"{"retries": {"attempts": 3, "retryOn": "5xx"}}"#),
            &two,
            "connected sent 200 closed",
            "try1 - - forward cut [UC upstream_reset_after_response_started{connection_termination}]",
        ),
        ("the client left", rule(""), &two, "connected gone 200", "try1 - end end [DC downstream_remote_disconnect]"),
        (
            "reset-before-request",
            rule(r#"{"retries": {"attempts": 1, "retryOn": "reset-before-request"}}"#),
            &two,
            "connected unsent woke connected 200 end",
            "try1 - wait try2 - forward end [- via_upstream]",
        ),
    ];
    for (about, rule, backend, events, want) in rows {
        assert_eq!(play(route(&rule, backend()), &HeaderMap::new(), events), want, "{about}");
    }
}

#[test]
fn a_retry_goes_elsewhere_and_holds_one_endpoint_at_a_time() {
    let slot = slot(2);
    let headers = HeaderMap::new();
    let mut rng = SmallRng::seed_from_u64(3);
    let now = Instant::now();
    let (mut exchange, first) = begin(Held::Kept(Arc::new(route("", Ok(slot)))), &headers, now, &mut rng, Ledger::Live);
    exchange.next(Event::ConnectFailed(ConnectError::Failed), now, &mut rng, Ledger::Live);
    let second = exchange.next(Event::Woke, now + 25 * MS, &mut rng, Ledger::Live);
    let (Step::Try(first), Step::Try(second)) = (first, second) else { panic!("two attempts") };
    assert_ne!(first.member.address(), second.member.address());
    assert_eq!((first.member.state.active(), second.member.state.active()), (0, 1));
    drop(exchange);
    assert_eq!(second.member.state.active(), 0);
}

#[test]
fn a_request_that_waits_goes_to_the_endpoint_that_comes() {
    let (empty, full) = (patient_slot(0, 50 * MS), slot(1));
    let route = Held::Kept(Arc::new(route("", Ok(empty.clone()))));
    let (headers, mut rng, now) = (HeaderMap::new(), SmallRng::seed_from_u64(1), Instant::now());
    let (mut exchange, step) = begin(route.clone(), &headers, now, &mut rng, Ledger::Live);
    assert_eq!(word(&step), "wait");
    empty.show(full.view.load_full());
    assert_eq!(word(&exchange.next(Event::Woke, now + 20 * MS, &mut rng, Ledger::Live)), "try1");
    empty.show(patient_slot(0, 50 * MS).view.load_full());
    let (_, step) = begin(route, &headers, now, &mut rng, Ledger::Peek);
    assert_eq!(word(&step), "answer503", "who only looks does not wait");
}

#[test]
fn retries_leave_their_localities_after_two_where_asked_v36() {
    use crate::balance::setting::{Setting, Stand};
    let plain = slot(2);
    let at = |i: usize, locality: &str| {
        let endpoint = &plain.view.load().members[i].endpoint;
        let place = Arc::new(Place { locality: locality.into(), ..Place::default() });
        let workload = Workload { place, ..(*endpoint.workload).clone() };
        Arc::new(Endpoint { workload: Arc::new(workload), ..(**endpoint).clone() })
    };
    let endpoints = [at(0, "r1/z1"), at(1, "r2/z1")];
    let setting = Setting::Failover { labels: vec![], regions: vec![], weighted: false };
    let stand = Stand { locality: "r1/z1".into(), ..Stand::default() };
    let line = Line { setting: Arc::new(setting), stand: Arc::new(stand), outlier: None };
    let view = view(&Arc::default(), &Arc::new(line), &endpoints.iter().collect::<Vec<_>>(), None, 0);
    let slot = Arc::new(Slot::new(plain.key.clone(), view));
    for (asked, want) in [(false, [0, 0, 0, 0]), (true, [0, 0, 1, 1])] {
        let rule = format!(r#"{{"retries": {{"attempts": 3, "retryOn": "5xx", "retryRemoteLocalities": {asked}}}}}"#);
        let route = Held::Kept(Arc::new(route(&rule, Ok(slot.clone()))));
        let (headers, mut rng, mut now) = (HeaderMap::new(), SmallRng::seed_from_u64(1), Instant::now());
        let (mut exchange, _) = begin(route, &headers, now, &mut rng, Ledger::Live);
        let mut seen = Vec::new();
        for attempt in 0..4 {
            let tried = exchange.member().expect("a member").address().clone();
            seen.push(slot.view.load().members.iter().position(|m| *m.address() == tried).expect("of the backend"));
            if attempt < 3 {
                exchange.next(Event::ResponseHead { status: 503, headers: &headers }, now, &mut rng, Ledger::Live);
                now += Duration::from_secs(1);
                exchange.next(Event::Woke, now, &mut rng, Ledger::Live);
            }
        }
        assert_eq!(seen, want, "retryRemoteLocalities {asked}");
    }
}
