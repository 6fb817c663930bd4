//! When a request is tried again, and after how long (V-31 to V-37, contract envoy.md 6.1 to 6.4).
//!
//! Whether a retry is possible at all (attempts left, body still held, limits) is decided by `decide`.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use isthmus_config::istio::virtual_service::HttpRetry;
use smallvec::SmallVec;

const RATE_LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");
const BASE: Duration = Duration::from_millis(25);

/// The conditions of `retryOn`, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RetryOn(u32);

/// Every condition that Envoy knows, with its bit. `retriable-headers` has no headers to look for at an Istio gateway, and
/// `http3-post-connect-failure` no HTTP/3 to fail: both are accepted and never fire, as there.
const TOKENS: [(&str, RetryOn); 16] = [
    ("5xx", RetryOn::ANY_5XX),
    ("gateway-error", RetryOn::GATEWAY_ERROR),
    ("reset", RetryOn::RESET),
    ("reset-before-request", RetryOn::RESET_BEFORE_REQUEST),
    ("connect-failure", RetryOn::CONNECT_FAILURE),
    ("retriable-4xx", RetryOn::RETRIABLE_4XX),
    ("refused-stream", RetryOn::REFUSED_STREAM),
    ("retriable-status-codes", RetryOn::STATUS_CODES),
    ("retriable-headers", RetryOn(1 << 8)),
    ("envoy-ratelimited", RetryOn::RATE_LIMITED),
    ("http3-post-connect-failure", RetryOn(1 << 10)),
    ("cancelled", RetryOn::CANCELLED),
    ("deadline-exceeded", RetryOn::DEADLINE_EXCEEDED),
    ("internal", RetryOn::INTERNAL),
    ("resource-exhausted", RetryOn::RESOURCE_EXHAUSTED),
    ("unavailable", RetryOn::UNAVAILABLE),
];

impl RetryOn {
    /// Any 5xx, any reset.
    pub const ANY_5XX: Self = Self(1);
    /// 502, 503 and 504, any reset.
    pub const GATEWAY_ERROR: Self = Self(1 << 1);
    /// Any reset.
    pub const RESET: Self = Self(1 << 2);
    /// A reset before any byte of the request was sent.
    pub const RESET_BEFORE_REQUEST: Self = Self(1 << 3);
    /// No connection came about.
    pub const CONNECT_FAILURE: Self = Self(1 << 4);
    /// 409.
    pub const RETRIABLE_4XX: Self = Self(1 << 5);
    /// HTTP/2 REFUSED_STREAM.
    pub const REFUSED_STREAM: Self = Self(1 << 6);
    /// The listed status codes.
    pub const STATUS_CODES: Self = Self(1 << 7);
    /// The answer says that it is a rate limit's.
    pub const RATE_LIMITED: Self = Self(1 << 9);
    /// gRPC status 1.
    pub const CANCELLED: Self = Self(1 << 11);
    /// gRPC status 4.
    pub const DEADLINE_EXCEEDED: Self = Self(1 << 12);
    /// gRPC status 13.
    pub const INTERNAL: Self = Self(1 << 13);
    /// gRPC status 8.
    pub const RESOURCE_EXHAUSTED: Self = Self(1 << 14);
    /// gRPC status 14.
    pub const UNAVAILABLE: Self = Self(1 << 15);
    /// What counts where a rule names nothing (V-31).
    pub const DEFAULT: Self = Self(Self::CONNECT_FAILURE.0 | Self::REFUSED_STREAM.0 | Self::UNAVAILABLE.0 | Self::CANCELLED.0 | Self::STATUS_CODES.0);

    /// True where both sets share a condition.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
    /// The tokens, in Envoy's order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        TOKENS.iter().filter(move |(_, bit)| self.has(*bit)).map(|(name, _)| *name)
    }
}

impl std::ops::BitOr for RetryOn {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// How an attempt ended without a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetKind {
    /// Refused, unreachable, timed out, or the TLS handshake failed.
    Connect,
    /// HTTP/2 REFUSED_STREAM.
    RefusedStream,
    /// The connection was lost before any byte of the request was sent.
    BeforeRequest,
    /// The connection was lost, or the stream reset, before a response.
    Reset,
    /// The backend spoke no HTTP.
    Protocol,
    /// The attempt's own time was up.
    PerTryTimeout,
    /// A limit of ours; never tried again.
    Overflow,
}

/// A rule's retries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RetryPolicy {
    /// How many retries; 0 is none at all (V-32).
    pub attempts: u32,
    /// The limit of one attempt.
    pub per_try_timeout: Option<Duration>,
    /// What is retried.
    pub on: RetryOn,
    /// Status codes that are retried (V-34).
    pub status_codes: SmallVec<[u16; 4]>,
    /// Hosts that were tried are avoided (V-35).
    pub previous_hosts: bool,
    /// After every two attempts, priorities that were used are left out (V-36).
    pub remote_localities: bool,
    /// The upper end of the first wait.
    pub backoff_base: Duration,
    /// The upper end of all waits.
    pub backoff_max: Duration,
}

impl RetryPolicy {
    /// No retries.
    pub fn none() -> Self {
        Self { attempts: 0, ..Self::standard(false) }
    }
    /// The policy of a rule: its own, else the mesh's, else Istio's (V-31). `consistent_hash` says that the rule has one
    /// destination, whose endpoint a hash decides (V-35).
    pub fn new(rule: Option<&HttpRetry>, mesh: Option<&HttpRetry>, consistent_hash: bool) -> Self {
        let standard = Self::standard(consistent_hash);
        let Some(retry) = rule.or(mesh) else { return standard };
        let attempts = u32::try_from(retry.attempts).unwrap_or(0);
        if attempts == 0 {
            return Self::none();
        }
        let (on, status_codes) = if retry.retry_on.is_empty() { (standard.on, SmallVec::new()) } else { conditions(&retry.retry_on) };
        let backoff_base = retry.backoff.map_or(standard.backoff_base, |d| d.0);
        Self {
            attempts,
            per_try_timeout: retry.per_try_timeout.map(|d| d.0).filter(|d| !d.is_zero()),
            on,
            status_codes,
            previous_hosts: retry.retry_ignore_previous_hosts.unwrap_or(standard.previous_hosts),
            remote_localities: retry.retry_remote_localities.unwrap_or(false),
            backoff_base,
            backoff_max: backoff_base * 10,
        }
    }
    fn standard(consistent_hash: bool) -> Self {
        Self {
            attempts: 2,
            per_try_timeout: None,
            on: RetryOn::DEFAULT,
            status_codes: SmallVec::new(),
            previous_hosts: !consistent_hash,
            remote_localities: false,
            backoff_base: BASE,
            backoff_max: BASE * 10,
        }
    }
    /// Whether a response asks for another try. `grpc_status` is the one in its head, never that of its trailers.
    pub fn wants_status(&self, status: u16, grpc_status: Option<u32>, headers: &HeaderMap) -> bool {
        if self.attempts == 0 {
            return false;
        }
        if headers.contains_key(RATE_LIMITED) {
            return self.on.has(RetryOn::RATE_LIMITED);
        }
        let grpc = match grpc_status {
            Some(1) => RetryOn::CANCELLED,
            Some(4) => RetryOn::DEADLINE_EXCEEDED,
            Some(8) => RetryOn::RESOURCE_EXHAUSTED,
            Some(13) => RetryOn::INTERNAL,
            Some(14) => RetryOn::UNAVAILABLE,
            Some(_) | None => RetryOn::default(),
        };
        (status >= 500 && self.on.has(RetryOn::ANY_5XX))
            || (matches!(status, 502..=504) && self.on.has(RetryOn::GATEWAY_ERROR))
            || (status == 409 && self.on.has(RetryOn::RETRIABLE_4XX))
            || (self.status_codes.contains(&status) && self.on.has(RetryOn::STATUS_CODES))
            || self.on.has(grpc)
    }
    /// Whether an attempt that ended without a response is tried again.
    pub fn wants_reset(&self, kind: ResetKind) -> bool {
        let any = RetryOn::RESET | RetryOn::ANY_5XX | RetryOn::GATEWAY_ERROR;
        self.attempts > 0
            && match kind {
                ResetKind::Connect => self.on.has(any | RetryOn::CONNECT_FAILURE | RetryOn::RESET_BEFORE_REQUEST),
                ResetKind::RefusedStream => self.on.has(any | RetryOn::REFUSED_STREAM),
                ResetKind::BeforeRequest => self.on.has(any | RetryOn::RESET_BEFORE_REQUEST),
                ResetKind::Reset | ResetKind::Protocol | ResetKind::PerTryTimeout => self.on.has(any),
                ResetKind::Overflow => false,
            }
    }
    /// The wait before retry `number`, counted from 1: uniform from zero to an end that doubles up to a ceiling (V-37).
    /// `random` is in 0..1.
    pub fn backoff(&self, number: u32, random: f64) -> Duration {
        let doubled = self.backoff_base.saturating_mul(1u32.checked_shl(number.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(self.backoff_max).mul_f64(random.clamp(0.0, 1.0))
    }
}

/// A `retryOn` list: tokens, and numbers, which are status codes and imply `retriable-status-codes` (V-34). Blanks around a
/// member are dropped; what is neither is refused by the admission rules and means nothing.
fn conditions(list: &str) -> (RetryOn, SmallVec<[u16; 4]>) {
    let mut on = RetryOn::default();
    let mut codes = SmallVec::new();
    for member in list.split(',').map(str::trim) {
        if let Ok(code) = member.parse::<u16>() {
            on = on | RetryOn::STATUS_CODES;
            codes.push(code);
        } else if let Some((_, bit)) = TOKENS.iter().find(|(name, _)| *name == member) {
            on = on | *bit;
        }
    }
    (on, codes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_config::value::Duration as Span;

    fn retry(attempts: i32, on: &str) -> HttpRetry {
        HttpRetry { attempts, retry_on: on.to_owned(), ..HttpRetry::default() }
    }

    #[test]
    fn policies_are_resolved_v31_to_v36() {
        let standard = ["connect-failure", "refused-stream", "retriable-status-codes", "cancelled", "unavailable"];
        for (about, rule, mesh, attempts, on, codes) in [
            ("Ex 29, V-31: nothing", None, None, 2, &standard[..], &[][..]),
            ("V-31: the mesh's", None, Some(retry(5, "5xx")), 5, &["5xx"], &[]),
            ("V-31: the rule's before the mesh's", Some(retry(1, "reset")), Some(retry(5, "5xx")), 1, &["reset"], &[]),
            ("V-32: retries: {}", Some(HttpRetry::default()), Some(retry(5, "5xx")), 0, &standard, &[]),
            ("V-33: attempts only", Some(retry(7, "")), None, 7, &standard, &[]),
            ("Ex 30, V-34", Some(retry(3, "503")), None, 3, &["retriable-status-codes"], &[503]),
            ("Ex 31, V-34", Some(retry(3, "5xx,503")), None, 3, &["5xx", "retriable-status-codes"], &[503]),
            ("1.4: blanks are trimmed at run time", Some(retry(3, "5xx, reset")), None, 3, &["5xx", "reset"], &[]),
        ] {
            let policy = RetryPolicy::new(rule.as_ref(), mesh.as_ref(), false);
            assert_eq!((policy.attempts, &*policy.status_codes), (attempts, codes), "{about}");
            assert_eq!(policy.on.names().collect::<Vec<_>>(), on, "{about}");
            assert!(policy.previous_hosts, "{about}");
        }
    }

    #[test]
    fn previous_hosts_v35_localities_v36_and_times_v37() {
        for (explicit, hash, want) in [(None, false, true), (None, true, false), (Some(false), false, false), (Some(true), true, true)] {
            let rule = HttpRetry { retry_ignore_previous_hosts: explicit, ..retry(1, "") };
            assert_eq!(RetryPolicy::new(Some(&rule), None, hash).previous_hosts, want, "{explicit:?} {hash}");
        }
        assert!(!RetryPolicy::new(None, None, true).previous_hosts);
        let span = |ms| Some(Span(Duration::from_millis(ms)));
        let rule = HttpRetry { retry_remote_localities: Some(true), backoff: span(100), per_try_timeout: span(400), ..retry(1, "") };
        let policy = RetryPolicy::new(Some(&rule), None, false);
        assert!(policy.remote_localities);
        assert_eq!((policy.backoff_base.as_millis(), policy.backoff_max.as_millis()), (100, 1000));
        assert_eq!(policy.per_try_timeout.map(|d| d.as_millis()), Some(400));
    }

    #[test]
    fn statuses_that_are_retried_6_1_6_2() {
        for (on, status, grpc, want) in [
            ("", 503, None, false),
            ("", 200, Some(14), true),
            ("", 200, Some(1), true),
            ("", 200, Some(4), false),
            ("503", 503, None, true),
            ("503", 502, None, false),
            ("5xx", 500, None, true),
            ("5xx", 499, None, false),
            ("gateway-error", 502, None, true),
            ("gateway-error", 500, None, false),
            ("reset", 503, None, false),
            ("retriable-4xx", 409, None, true),
            ("retriable-4xx", 404, None, false),
            ("deadline-exceeded", 200, Some(4), true),
            ("resource-exhausted", 200, Some(8), true),
            ("internal", 200, Some(13), true),
            ("internal", 200, Some(0), false),
        ] {
            let policy = RetryPolicy::new(Some(&retry(2, on)), None, false);
            assert_eq!(policy.wants_status(status, grpc, &HeaderMap::new()), want, "{on:?} {status} {grpc:?}");
        }
    }

    #[test]
    fn a_rate_limited_answer_is_only_retried_on_request_6_2() {
        let limited: HeaderMap = [(RATE_LIMITED, "true".parse().unwrap())].into_iter().collect();
        for (on, want) in [("5xx", false), ("envoy-ratelimited", true)] {
            assert_eq!(RetryPolicy::new(Some(&retry(2, on)), None, false).wants_status(503, None, &limited), want, "{on}");
        }
    }

    #[test]
    fn resets_that_are_retried_6_2() {
        use ResetKind::*;
        for (on, wanted) in [
            ("", &[Connect, RefusedStream][..]),
            ("503", &[]),
            ("5xx", &[Connect, RefusedStream, BeforeRequest, Reset, Protocol, PerTryTimeout]),
            ("gateway-error", &[Connect, RefusedStream, BeforeRequest, Reset, Protocol, PerTryTimeout]),
            ("reset", &[Connect, RefusedStream, BeforeRequest, Reset, Protocol, PerTryTimeout]),
            ("connect-failure", &[Connect]),
            ("refused-stream", &[RefusedStream]),
            ("reset-before-request", &[Connect, BeforeRequest]),
        ] {
            let policy = RetryPolicy::new(Some(&retry(2, on)), None, false);
            let all = [Connect, RefusedStream, BeforeRequest, Reset, Protocol, PerTryTimeout, Overflow];
            assert_eq!(all.into_iter().filter(|kind| policy.wants_reset(*kind)).collect::<Vec<_>>(), wanted, "{on:?}");
        }
        assert!(!RetryPolicy::none().wants_reset(Connect));
        assert!(!RetryPolicy::none().wants_status(503, Some(14), &HeaderMap::new()));
    }

    #[test]
    fn waits_double_up_to_the_ceiling_v37() {
        let policy = RetryPolicy::new(None, None, false);
        for (number, want) in [(1, 25), (2, 50), (3, 100), (4, 200), (5, 250), (40, 250)] {
            assert_eq!(policy.backoff(number, 1.0).as_millis(), want, "{number}");
            assert_eq!(policy.backoff(number, 0.0).as_millis(), 0, "{number}");
        }
    }
}
