//! Faults that a rule injects: a delay, an abort (V-40 to V-42, contract envoy.md 7).

use std::time::Duration;

use http::StatusCode;
use isthmus_config::istio::virtual_service::HttpFaultInjection;
use isthmus_config::value::grpc_status;

use super::{PolicyError, Share};

/// The faults of a rule, drawn independently of one another; the delay comes first (V-41).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// Waits before anything is tried; not part of the route's timeout.
    pub delay: Option<Delay>,
    /// Answers instead of the backend.
    pub abort: Option<Abort>,
}

/// A wait, for a share of the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// How long.
    pub fixed: Duration,
    /// For how many.
    pub share: Share,
}

/// An answer, for a share of the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abort {
    /// What is answered.
    pub status: AbortStatus,
    /// For how many.
    pub share: Share,
}

/// What an abort answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortStatus {
    /// An HTTP status; a gRPC request gets the gRPC status that stands for it.
    Http(StatusCode),
    /// A gRPC status, in a 200 (V-42).
    Grpc(u32),
}

impl Fault {
    /// Reads `fault`.
    pub fn new(fault: Option<&HttpFaultInjection>) -> Result<Self, PolicyError> {
        let Some(fault) = fault else { return Ok(Self::default()) };
        let refused = |field, reason: &str| Err(PolicyError { field, reason: reason.to_owned() });
        let delay = match &fault.delay {
            None => None,
            Some(delay) => {
                let Some(fixed) = delay.fixed_delay else {
                    return match delay.exponential_delay {
                        Some(_) => refused("delay.exponentialDelay", "not in force in Istio either; use fixedDelay"),
                        None => refused("delay.fixedDelay", "expected a duration of at least 1ms, found none"),
                    };
                };
                let share = delay.percentage.map_or_else(|| Share::of_whole(i64::from(delay.percent)), Share::of);
                Some(Delay { fixed: fixed.0, share })
            }
        };
        let abort = match &fault.abort {
            None => None,
            Some(abort) => {
                let share = abort.percentage.map_or(Share::NONE, Share::of);
                let status = match (abort.http_status, &abort.grpc_status) {
                    (Some(code), _) => match u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok()) {
                        Some(status) => AbortStatus::Http(status),
                        None => return Err(PolicyError { field: "abort.httpStatus", reason: format!("expected 200 to 599, found {code}") }),
                    },
                    (None, Some(name)) => match grpc_status(name) {
                        Some(code) => AbortStatus::Grpc(code),
                        None => {
                            return Err(PolicyError {
                                field: "abort.grpcStatus",
                                reason: format!("expected a gRPC status such as UNAVAILABLE, found {name:?}"),
                            });
                        }
                    },
                    (None, None) if abort.http2_error.is_some() => {
                        return refused("abort.http2Error", "not in force in Istio either; use httpStatus");
                    }
                    (None, None) => return refused("abort.httpStatus", "expected a status, found none"),
                };
                Some(Abort { status, share })
            }
        };
        Ok(Self { delay, abort })
    }
    /// How long a request waits that drew `random`.
    pub fn delay(&self, random: u32) -> Option<Duration> {
        self.delay.filter(|delay| delay.share.takes(random)).map(|delay| delay.fixed)
    }
    /// What a request is answered that drew `random`.
    pub fn abort(&self, random: u32) -> Option<AbortStatus> {
        self.abort.filter(|abort| abort.share.takes(random)).map(|abort| abort.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_config::istio::virtual_service::{Abort as AbortSpec, Delay as DelaySpec};
    use isthmus_config::value::{Duration as Span, Percent};

    fn fault(delay: Option<DelaySpec>, abort: Option<AbortSpec>) -> Result<Fault, PolicyError> {
        Fault::new(Some(&HttpFaultInjection { delay, abort }))
    }

    #[test]
    fn shares_v40() {
        let delay = |percentage: Option<f64>, percent| DelaySpec {
            fixed_delay: Some(Span(Duration::from_secs(5))),
            percentage: percentage.map(|value| Percent { value }),
            percent,
            ..DelaySpec::default()
        };
        for (percentage, percent, want) in
            [(None, 0, 0), (Some(100.0), 0, 1_000_000), (None, 50, 500_000), (Some(1.5), 50, 15_000), (Some(0.0), 50, 0)]
        {
            let fault = fault(Some(delay(percentage, percent)), None).unwrap();
            assert_eq!(fault.delay.map(|d| d.share.per_million()), Some(want), "{percentage:?} {percent}");
        }
        let never = fault(None, Some(AbortSpec { http_status: Some(503), ..AbortSpec::default() })).unwrap();
        assert_eq!(never.abort(0), None, "Ex 40: no percentage, no abort");
    }

    #[test]
    fn delay_and_abort_are_drawn_apart_v41() {
        let half = Some(Percent { value: 50.0 });
        let delay = DelaySpec { fixed_delay: Some(Span(Duration::from_secs(1))), percentage: half, ..DelaySpec::default() };
        let abort = AbortSpec { http_status: Some(418), percentage: half, ..AbortSpec::default() };
        let fault = fault(Some(delay), Some(abort)).unwrap();
        assert_eq!((fault.delay(0), fault.delay(u32::MAX)), (Some(Duration::from_secs(1)), None));
        assert_eq!((fault.abort(u32::MAX), fault.abort(0)), (None, Some(AbortStatus::Http(StatusCode::IM_A_TEAPOT))));
    }

    #[test]
    fn grpc_statuses_v42_and_what_is_refused() {
        let abort = |http: Option<i32>, grpc: Option<&str>, h2: Option<&str>| {
            let percentage = Some(Percent { value: 100.0 });
            fault(None, Some(AbortSpec { http_status: http, grpc_status: grpc.map(Into::into), http2_error: h2.map(Into::into), percentage }))
                .map(|f| f.abort(0))
        };
        assert_eq!(abort(None, Some("UNAVAILABLE"), None), Ok(Some(AbortStatus::Grpc(14))));
        for (got, field) in [
            (abort(None, Some("unavailable"), None), "abort.grpcStatus"),
            (abort(None, None, Some("x")), "abort.http2Error"),
            (abort(Some(7), None, None), "abort.httpStatus"),
            (abort(None, None, None), "abort.httpStatus"),
        ] {
            assert_eq!(got.map_err(|e| e.field), Err(field));
        }
        let exponential = DelaySpec { exponential_delay: Some(Span(Duration::from_secs(1))), ..DelaySpec::default() };
        assert_eq!(fault(Some(exponential), None).map_err(|e| e.field), Err("delay.exponentialDelay"));
    }
}
