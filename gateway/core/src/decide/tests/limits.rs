//! What limits make of a request: rows of the table of events and steps, and that nothing is ever held after the end.

use proptest::prelude::*;

use super::*;
use crate::balance::Limits;
use crate::balance::breaker::Resource;

/// What limits are on.
fn limited_slot(limits: Limits) -> Arc<Slot> {
    slot_of(2, BackendPolicy { limits, ..BackendPolicy::default() })
}

#[test]
fn events_and_steps_at_limits() {
    let two = || Ok(slot(2));
    let queued = || Ok(limited_slot(Limits { connections: Some(1), ..Limits::NONE }));
    let no_request = || {
        let slot = limited_slot(Limits { requests: Some(1), ..Limits::NONE });
        std::mem::forget(slot.enter(Resource::Request, None));
        Ok(slot)
    };
    let no_retry = || {
        let slot = limited_slot(Limits { retries: Some(1), ..Limits::NONE });
        std::mem::forget(slot.enter(Resource::Retry, None));
        Ok(slot)
    };
    let rule = |text: &str| text.to_owned();
    type Backend<'a> = &'a dyn Fn() -> Result<Arc<Slot>, Arc<str>>;
    let rows: Vec<(&str, String, Backend<'_>, &str, &str)> = vec![
        ("D-43 a place in line", rule(""), &queued, "sent granted connected 200 end", "queue - try1 - forward end [- via_upstream]"),
        (
            "envoy 1.2 no room in line",
            rule(r#"{"retries": {"attempts": 3, "retryOn": "5xx,reset,connect-failure"}}"#),
            &queued,
            "sent full",
            "queue - answer503 [UO upstream_reset_before_response_started{overflow}]",
        ),
        (
            "no room for a connection after all",
            rule(r#"{"retries": {"attempts": 3, "retryOn": "5xx"}}"#),
            &two,
            "sent full",
            "try1 - answer503 [UO upstream_reset_before_response_started{overflow}]",
        ),
        (
            "envoy 1.1 the route's time runs in line",
            rule(r#"{"timeout": "1s"}"#),
            &queued,
            "sent +1000 expired granted",
            "queue - answer504 end [UT response_timeout]",
        ),
        (
            "envoy 1.1 the per-try time does not",
            rule(r#"{"retries": {"attempts": 1, "perTryTimeout": "1s", "retryOn": "5xx"}}"#),
            &queued,
            "sent +5000 expired granted connected +1000 expired woke granted connected 200 end",
            "queue - - try1 - wait queue try2 - forward end [- via_upstream]",
        ),
        ("the client leaves the line", rule(""), &queued, "sent gone granted", "queue - end end [DC downstream_remote_disconnect]"),
        (
            "a retry stands in line again",
            rule(""),
            &queued,
            "sent granted refused woke full",
            "queue - try1 wait queue answer503 [UO upstream_reset_before_response_started{overflow}]",
        ),
        ("a grant that nobody asked for", rule(""), &two, "sent granted connected 200 end", "try1 - - - forward end [- via_upstream]"),
        (
            "envoy 1.2 too many requests",
            rule(r#"{"retries": {"attempts": 3, "retryOn": "5xx,reset"}}"#),
            &no_request,
            "",
            "answer503 [UO upstream_reset_before_response_started{overflow}]",
        ),
        (
            "envoy 1.2 too many retries: the answer stands",
            rule(r#"{"retries": {"attempts": 3, "retryOn": "5xx"}}"#),
            &no_retry,
            "connected sent 500 end",
            "try1 - - forward end [UO via_upstream]",
        ),
        (
            "too many retries after a failed connection",
            rule(""),
            &no_retry,
            "sent refused",
            "try1 - answer503 [UO,UF upstream_reset_before_response_started{remote_connection_failure}]",
        ),
        (
            "envoy 6.2 no retry left is told before that there are too many",
            rule(r#"{"retries": {"attempts": 0}}"#),
            &no_retry,
            "sent refused",
            "try1 - answer503 [UF upstream_reset_before_response_started{remote_connection_failure}]",
        ),
    ];
    for (about, rule, backend, events, want) in rows {
        assert_eq!(play(route(&rule, backend()), &HeaderMap::new(), events), want, "{about}");
    }
}

fn limits() -> Limits {
    Limits { connections: Some(1), pending: Some(1), requests: Some(2), retries: Some(1), budget: None }
}

fn used(slot: &Slot) -> [u32; 4] {
    let now = slot.usage();
    [now.connections.used, now.pending.used, now.requests.used, now.retries.used]
}

proptest! {
    /// Whatever happens to a request, in whatever order, and wherever it is dropped: what it held of the limits is back.
    #[test]
    fn nothing_is_held_after_the_end(events in prop::collection::vec(0usize..12, 0..24), seed: u64) {
        let slot = limited_slot(limits());
        let rule = r#"{"timeout": "1s", "retries": {"attempts": 3, "retryOn": "5xx,reset,connect-failure", "perTryTimeout": "300ms"}}"#;
        let headers = HeaderMap::new();
        let (mut rng, mut now) = (SmallRng::seed_from_u64(seed), Instant::now());
        let held = Held::Kept(Arc::new(route(rule, Ok(slot.clone()))));
        let (mut exchange, _) = begin(held, &headers, now, &mut rng, Ledger::Live);
        let mut ended = false;
        for event in events {
            let event = match event {
                0 => Event::Woke,
                1 | 2 => Event::Granted(None),
                3 => Event::Refused,
                4 => Event::Connected,
                5 => Event::ConnectFailed(ConnectError::Refused),
                6 => Event::RequestEnd,
                7 => Event::ResponseHead { status: 503, headers: &headers },
                8 => Event::ResponseHead { status: 200, headers: &headers },
                9 => Event::Reset { reset: Reset::Terminated, sent: true },
                10 => Event::ResponseEnd,
                _ => {
                    now += 200 * MS;
                    Event::Expired
                }
            };
            let step = exchange.next(event, now, &mut rng, Ledger::Live);
            prop_assert!(used(&slot).into_iter().zip([1, 1, 2, 1]).all(|(used, limit)| used <= limit));
            ended |= matches!(step, Step::Answer(_) | Step::End | Step::Cut);
            if ended {
                prop_assert_eq!(used(&slot), [0; 4], "an ended exchange holds nothing");
            }
        }
        drop(exchange);
        prop_assert_eq!(used(&slot), [0; 4]);
        prop_assert!(slot.view.load().members.iter().all(|m| m.state.active() == 0));
    }
}
