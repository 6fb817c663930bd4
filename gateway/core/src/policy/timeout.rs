//! How long a request may take in all, and one attempt of it (V-30, contract envoy.md 6.5).

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// A rule's timeout; none is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteTimeout(pub Option<Duration>);

/// The limits of one request. A limit is never zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the end of the request to the end of the response, all attempts included.
    pub route: Option<Duration>,
    /// From the later of the end of the request and the attempt's start, to the response's head.
    pub per_try: Option<Duration>,
}

impl RouteTimeout {
    /// The limits for a request. A gRPC client's own `grpc-timeout` counts, capped by the rule's (V-30); a per-try limit
    /// that is no shorter than the whole is none.
    pub fn resolve(self, headers: &HeaderMap, per_try: Option<Duration>) -> Timeouts {
        let own = if is_grpc(headers) { grpc_timeout(headers) } else { None };
        let route = match (own, self.0) {
            (Some(own), Some(cap)) => Some(own.min(cap)),
            (own, cap) => own.or(cap),
        };
        Timeouts { route, per_try: per_try.filter(|t| route.is_none_or(|route| *t < route)) }
    }
}

impl Timeouts {
    /// How long the next attempt will be waited for, `elapsed` after the request's end; told to the backend.
    pub fn expected(&self, elapsed: Duration) -> Option<Duration> {
        let left = self.route.map(|route| route.saturating_sub(elapsed).max(Duration::from_millis(1)));
        match (self.per_try, left) {
            (Some(per_try), Some(left)) => Some(per_try.min(left)),
            (per_try, left) => per_try.or(left),
        }
    }
}

/// True for `application/grpc` and `application/grpc+...`.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(|v| v.as_bytes()).unwrap_or_default();
    kind.strip_prefix(b"application/grpc").is_some_and(|rest| rest.is_empty() || rest[0] == b'+')
}

/// A client's `grpc-timeout`: up to eight digits and a unit, rounded up to milliseconds; `None` where absent, malformed or zero.
pub fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let (unit, digits) = headers.get(GRPC_TIMEOUT)?.as_bytes().split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u64 = str::from_utf8(digits).ok()?.parse().ok()?;
    let millis = match unit {
        b'H' => count * 3_600_000,
        b'M' => count * 60_000,
        b'S' => count * 1000,
        b'm' => count,
        b'u' => count.div_ceil(1000),
        b'n' => count.div_ceil(1_000_000),
        _ => return None,
    };
    (millis > 0).then(|| Duration::from_millis(millis))
}

/// Tells a gRPC backend how long its answer will be waited for, in place of what the client wrote (contract envoy.md 6.5).
pub fn tell_grpc_timeout(headers: &mut HeaderMap, expected: Option<Duration>) {
    /// The most that eight digits hold.
    const MOST: u128 = 99_999_999;
    let Some(expected) = expected.filter(|_| is_grpc(headers)) else { return };
    let units = [("m", 1), ("S", 1000), ("M", 60_000), ("H", 3_600_000)].map(|(unit, millis)| (unit, expected.as_millis() / millis));
    let (unit, count) = units.into_iter().find(|(_, count)| *count <= MOST).unwrap_or(("H", MOST));
    if let Ok(value) = HeaderValue::from_str(&format!("{count}{unit}")) {
        headers.insert(GRPC_TIMEOUT, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn grpc_timeouts_read_as_the_protocol_says() {
        for (text, want) in [
            ("1H", Some(3_600_000)),
            ("2M", Some(120_000)),
            ("3S", Some(3000)),
            ("4m", Some(4)),
            ("1u", Some(1)),
            ("1001u", Some(2)),
            ("1n", Some(1)),
            ("99999999S", Some(99_999_999_000)),
            ("123456789S", None),
            ("0m", None),
            ("m", None),
            ("1", None),
            ("-1S", None),
            ("1h", None),
            ("", None),
        ] {
            assert_eq!(grpc_timeout(&headers(&[("grpc-timeout", text)])), want.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn the_timeout_of_a_request_v30() {
        let ms = |ms: Option<u64>| ms.map(Duration::from_millis);
        for (about, kind, own, rule, per_try, want) in [
            ("nothing", "text/plain", "", None, None, (None, None)),
            ("the rule's", "text/plain", "", Some(3000), Some(2000), (Some(3000), Some(2000))),
            ("a per-try as long as the whole is none", "text/plain", "", Some(2000), Some(2000), (Some(2000), None)),
            ("grpc-timeout without gRPC", "text/plain", "1S", None, None, (None, None)),
            ("grpc-timeout", "application/grpc", "1S", None, None, (Some(1000), None)),
            ("grpc-timeout, capped", "application/grpc+proto", "9S", Some(3000), None, (Some(3000), None)),
            ("grpc-timeout, shorter", "application/grpc", "1S", Some(3000), Some(2000), (Some(1000), None)),
            ("grpc-web is not gRPC", "application/grpc-web", "1S", None, None, (None, None)),
        ] {
            let headers = headers(&[("content-type", kind), ("grpc-timeout", own)]);
            let got = RouteTimeout(ms(rule)).resolve(&headers, ms(per_try));
            assert_eq!((got.route, got.per_try), (ms(want.0), ms(want.1)), "{about}");
        }
    }

    #[test]
    fn a_grpc_backend_is_told_in_its_own_words_6_5() {
        for (kind, sent, expected, want) in [
            ("application/grpc", "5S", Some(5000), "5000m"),
            ("application/grpc", "1500u", Some(2), "2m"),
            ("application/grpc", "9S", None, "9S"),
            ("application/grpc", "x", Some(99_999_999), "99999999m"),
            ("application/grpc", "x", Some(100_000_000), "100000S"),
            ("application/grpc", "99999999H", Some(359_999_996_400_000), "99999999H"),
            ("text/plain", "5S", Some(1000), "5S"),
        ] {
            let mut headers = headers(&[("content-type", kind), ("grpc-timeout", sent)]);
            tell_grpc_timeout(&mut headers, expected.map(Duration::from_millis));
            assert_eq!(headers[GRPC_TIMEOUT], want, "{kind} {sent}");
        }
    }

    #[test]
    fn what_is_left_is_told_6_5() {
        let timeouts =
            |route, per_try| Timeouts { route: Option::map(route, Duration::from_secs), per_try: Option::map(per_try, Duration::from_secs) };
        for (timeouts, elapsed, want) in [
            (timeouts(None, None), 9000, None),
            (timeouts(Some(3), None), 0, Some(3000)),
            (timeouts(Some(3), Some(2)), 0, Some(2000)),
            (timeouts(Some(3), Some(2)), 2000, Some(1000)),
            (timeouts(Some(3), Some(2)), 4000, Some(1)),
            (timeouts(None, Some(2)), 9000, Some(2000)),
        ] {
            assert_eq!(timeouts.expected(Duration::from_millis(elapsed)), want.map(Duration::from_millis), "{timeouts:?} {elapsed}");
        }
    }
}
