//! Drills of a single failure: what clients see when an endpoint, a zone or a cluster dies in one of the ways that endpoints die.
//!
//! Each has live pods, steady load and a network of its own, and holds pass lines by counts; what it measures is printed. Bounds of time are wide:
//! the machine may be busy.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use isthmus_tests::drill::{self, Load, Pod, Sample, failed};
use isthmus_tests::gateway::{Gateway, own_address};
use isthmus_tests::namespace::{self, Network};
use isthmus_tests::wait;

const CLIENTS: usize = 8;
/// On top of what a pass line allows: threads of a busy machine run late.
const SLACK: Duration = Duration::from_secs(2);
const SECOND: Duration = Duration::from_secs(1);

fn pods(network: &Network, names: [&'static str; 3]) -> [Pod; 3] {
    let mut last = 0;
    names.map(|name| {
        last += 1;
        let ip: IpAddr = [10, 244, 1, last].into();
        network.add(ip);
        Pod::start(ip, name)
    })
}

/// When the last of `samples` that `counts` was over, after `event`.
fn last_after(samples: &[Sample], event: Instant, counts: impl Fn(&Sample) -> bool) -> Duration {
    let over = samples.iter().filter(|s| counts(s)).map(|s| s.sent + s.took).max();
    over.map_or(Duration::ZERO, |t| t.saturating_duration_since(event))
}

const CONNECT: &str = "connectionPool: {tcp: {connectTimeout: 1s}}";
const EJECTION: &str = "outlierDetection: {consecutive5xxErrors: 1, interval: 1s, baseEjectionTime: 60s, maxEjectionPercent: 100}";
const IN_TURNS: &str = "loadBalancer: {simple: ROUND_ROBIN}";

#[test]
fn a_killed_endpoint_fails_only_what_is_in_flight() {
    namespace::inside("a_killed_endpoint_fails_only_what_is_in_flight", |network| {
        let [a, b, _] = pods(network, ["a", "b", "c"]);
        let endpoints = [(a.address, "r1/z1"), (b.address, "r1/z1")];
        let gateway = Gateway::start(own_address(), &drill::world(&endpoints, &format!("{{{CONNECT}}}"), ""));
        let load = Load::start(gateway.http(), CLIENTS);
        load.runs(200);
        a.kill();
        let dead = Instant::now();
        load.runs(400);
        let samples = load.stop();
        let failures = failed(&samples);
        namespace::measured(&format!("{} of {} requests failed", failures.len(), samples.len()));
        assert!(failures.len() <= CLIENTS, "only what was in flight: {failures:?}");
        assert!(failures.iter().all(|s| s.sent <= dead + SLACK), "none that was sent later: {failures:?}");
        assert!(samples.iter().all(|s| s.by != "a" || s.sent <= dead), "the dead answer nothing");
    });
}

#[test]
fn a_deleted_endpoint_fails_nothing() {
    namespace::inside("a_deleted_endpoint_fails_nothing", |network| {
        let [a, b, _] = pods(network, ["a", "b", "c"]);
        let both = [(a.address, "r1/z1"), (b.address, "r1/z1")];
        let policy = format!("{{{CONNECT}}}");
        let gateway = Gateway::start(own_address(), &drill::world(&both, &policy, ""));
        let load = Load::start(gateway.http(), CLIENTS);
        load.runs(200);
        let event = Instant::now();
        gateway.change(&drill::world(&both[1..], &policy, ""));
        load.runs(600);
        let samples = load.stop();
        let moved = a.last_hit().map_or(Duration::ZERO, |t| t.saturating_duration_since(event));
        namespace::measured(&format!("{} of {} requests failed, moved within {moved:?}", failed(&samples).len(), samples.len()));
        assert!(failed(&samples).is_empty(), "{:?}", failed(&samples));
        assert!(moved <= SECOND + SLACK, "it got requests for {moved:?}");
    });
}

#[test]
fn a_silent_endpoint_is_ejected_after_one_connect_timeout() {
    namespace::inside("a_silent_endpoint_is_ejected_after_one_connect_timeout", |network| {
        let [a, b, _] = pods(network, ["a", "b", "c"]);
        [&a, &b].iter().for_each(|p| p.close_each());
        // In turns, so that what is in flight at the silent one does not keep others from it.
        let policy = format!("{{{IN_TURNS}, {CONNECT}, {EJECTION}}}");
        let gateway = Gateway::start(own_address(), &drill::world(&[(a.address, "r1/z1"), (b.address, "r1/z1")], &policy, "timeout: 5s"));
        let load = Load::start(gateway.http(), CLIENTS);
        load.runs(200);
        // The packets begin to vanish somewhere between the two moments: all clients may have met the silent one before the second.
        let event = Instant::now();
        network.silence(a.address.ip());
        let silent = Instant::now();
        load.runs(100);
        assert!(wait::holds(30 * SECOND, || load.samples().iter().filter(|s| s.sent > silent + 5 * SECOND).count() >= 200), "the load goes on");
        let samples = load.stop();
        // What was answered late is an attempt at the silent one, done again elsewhere; what was in flight there is not answered.
        let late = |s: &Sample| s.status == 200 && s.sent > event && s.took >= Duration::from_millis(900);
        let moved = last_after(&samples, event, late);
        // A request whose connection stood when the packets began to vanish is in flight, not new.
        let lost = failed(&samples).into_iter().filter(|s| s.sent > silent).count();
        namespace::measured(&format!(
            "{} of {} failed ({lost} sent after), {} late, moved within {moved:?}",
            failed(&samples).len(),
            samples.len(),
            samples.iter().filter(|s| late(s)).count()
        ));
        assert_eq!(lost, 0, "{:?}", failed(&samples));
        assert!(moved <= 2 * SECOND + SLACK, "moved within connectTimeout + 1 s: {moved:?}");
        assert!(samples.iter().any(late), "some met the silent endpoint");
    });
}

#[test]
fn a_silent_endpoint_without_ejection_makes_late_but_fails_nothing() {
    namespace::inside("a_silent_endpoint_without_ejection_makes_late_but_fails_nothing", |network| {
        let [a, b, _] = pods(network, ["a", "b", "c"]);
        [&a, &b].iter().for_each(|p| p.close_each());
        let gateway = Gateway::start(
            own_address(),
            &drill::world(&[(a.address, "r1/z1"), (b.address, "r1/z1")], &format!("{{{IN_TURNS}, {CONNECT}}}"), "timeout: 8s"),
        );
        let load = Load::start(gateway.http(), CLIENTS);
        load.runs(100);
        network.silence(a.address.ip());
        let event = Instant::now();
        load.runs(100);
        let samples = load.stop();
        let after: Vec<_> = samples.iter().filter(|s| s.sent > event).collect();
        let late: Vec<_> = after.iter().filter(|s| s.took >= Duration::from_millis(900)).collect();
        let longest = after.iter().map(|s| s.took).max().unwrap_or_default();
        namespace::measured(&format!(
            "{} of {} late by connectTimeout, the longest took {longest:?}, {} failed",
            late.len(),
            after.len(),
            failed(&samples).len()
        ));
        assert!(after.iter().all(|s| s.status == 200), "{:?}", failed(&samples));
        assert!(!late.is_empty(), "those that meet the dead endpoint are late");
        // A retry may meet it again: two retries, then five more draws that pass over it.
        assert!(longest <= 3 * SECOND + SLACK, "late by connectTimeout an attempt: {longest:?}");
    });
}

#[test]
fn connections_that_fall_silent_end_at_the_route_timeout() {
    namespace::inside("connections_that_fall_silent_end_at_the_route_timeout", |network| {
        let [a, b, _] = pods(network, ["a", "b", "c"]);
        let policy = format!("{{{CONNECT}, {EJECTION}}}");
        let gateway = Gateway::start(own_address(), &drill::world(&[(a.address, "r1/z1"), (b.address, "r1/z1")], &policy, "timeout: 2s"));
        let load = Load::start(gateway.http(), CLIENTS);
        load.runs(200);
        let event = Instant::now();
        network.silence(a.address.ip());
        load.runs(20);
        assert!(wait::holds(30 * SECOND, || load.samples().iter().filter(|s| s.sent > event + 3 * SECOND).count() >= 200), "the load goes on");
        let samples = load.stop();
        let failures = failed(&samples);
        let moved = last_after(&samples, event, |s| s.status != 200);
        namespace::measured(&format!("{} of {} failed, the last {moved:?} after", failures.len(), samples.len()));
        assert!(!failures.is_empty(), "a connection that stood heard no more");
        assert!(
            failures.iter().all(|s| s.status == 504 && s.took >= 2 * SECOND && s.took <= 2 * SECOND + SLACK),
            "they end at the route timeout: {failures:?}"
        );
        // Each client loses at most one on a connection that stood, and one more may be sent before the first timeout tells.
        assert!(failures.len() <= 2 * CLIENTS, "{}", failures.len());
    });
}

#[test]
fn a_backend_turned_bad_is_ejected_and_returns() {
    namespace::inside("a_backend_turned_bad_is_ejected_and_returns", |network| {
        let [a, b, c] = pods(network, ["a", "b", "c"]);
        let policy = "{outlierDetection: {consecutive5xxErrors: 5, interval: 1s, baseEjectionTime: 6s, maxEjectionPercent: 50}}";
        let endpoints = [(a.address, "r1/z1"), (b.address, "r1/z1"), (c.address, "r1/z1")];
        let gateway = Gateway::start(own_address(), &drill::world(&endpoints, policy, ""));
        let load = Load::start(gateway.http(), CLIENTS);
        load.runs(200);
        a.answer(500);
        let hits = a.hits();
        assert!(wait::holds(10 * SECOND, || failed(&load.samples()).len() >= 5), "five answers of 500");
        let ejected = Instant::now();
        wait::stays(Duration::from_millis(300), || true);
        let quiet = a.hits();
        load.runs(200);
        assert!(ejected.elapsed() > 3 * SECOND || a.hits() == quiet, "an ejected endpoint gets nothing");
        let bad = failed(&load.samples()).len();
        a.answer(200);
        assert!(wait::holds(20 * SECOND, || a.hits() > quiet), "it returns after its time: {}", gateway.log());
        let back = a.last_hit().map_or(Duration::ZERO, |t| t.saturating_duration_since(ejected));
        load.runs(100);
        let samples = load.stop();
        namespace::measured(&format!("{bad} of {} failed before it was out ({} requests met it), back {back:?} after", samples.len(), quiet - hits));
        assert!((5..=5 + CLIENTS).contains(&bad), "five and what was in flight: {bad}");
        assert_eq!(failed(&samples).len(), bad, "none after it was well");
        assert!(back >= 3 * SECOND, "not before its time: {back:?}");
    });
}

#[test]
fn a_zone_that_is_killed_moves_to_the_next() {
    namespace::inside("a_zone_that_is_killed_moves_to_the_next", |network| {
        let [a, b, c] = pods(network, ["a", "b", "c"]);
        let policy = format!("{{{CONNECT}, loadBalancer: {{localityLbSetting: {{enabled: true}}}}, {EJECTION}}}");
        let endpoints = [(a.address, "r1/z1/s1"), (b.address, "r1/z1/s1"), (c.address, "r1/z2/s1")];
        let gateway = Gateway::start(own_address(), &drill::world(&endpoints, &policy, "timeout: 3s"));
        let load = Load::start(gateway.http(), CLIENTS);
        load.runs(200);
        assert_eq!(c.hits(), 0, "the zone we stand in serves");
        let event = Instant::now();
        [&a, &b].iter().for_each(|p| p.kill());
        load.runs(400);
        let samples = load.stop();
        let failures = failed(&samples);
        let moved = last_after(&samples, event, |s| s.status != 200 || s.by != "c");
        namespace::measured(&format!("{} of {} failed, moved within {moved:?}", failures.len(), samples.len()));
        assert!(failures.len() <= CLIENTS && failures.iter().all(|s| s.sent <= event + SLACK), "only what was in flight: {failures:?}");
        assert!(moved <= SECOND + SLACK, "{moved:?}");
        assert!(c.hits() >= 300, "the other zone serves");
    });
}
