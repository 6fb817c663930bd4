//! What a rule asks for beside where the request goes: timeouts, retries, faults, CORS, mirrors. Values without state.
//!
//! Time and chance are arguments. Nothing here acts; `decide` asks and acts.

mod cors;
mod fault;
mod mirror;
mod retry;
mod timeout;

pub use cors::{Cors, CorsAnswer};
pub use fault::{Abort, AbortStatus, Delay, Fault};
pub use mirror::Mirror;
pub use retry::{ResetKind, RetryOn, RetryPolicy};
pub use timeout::{RouteTimeout, Timeouts, grpc_timeout, is_grpc, tell_grpc_timeout};

use isthmus_config::value::Percent;

/// Why a policy cannot be had; the field is relative to the message that was read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct PolicyError {
    /// `delay.exponentialDelay`.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

/// A share of all requests in parts per million, the finest that Istio knows (V-40).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    /// Every request.
    pub const ALL: Self = Self(1_000_000);
    /// No request.
    pub const NONE: Self = Self(0);

    /// A percentage, truncated to whole parts per million.
    pub fn of(percent: Percent) -> Self {
        Self((percent.value * 10_000.0).clamp(0.0, 1e6) as u32)
    }
    /// A percentage in its deprecated, whole form.
    pub fn of_whole(percent: i64) -> Self {
        Self(u32::try_from(percent.clamp(0, 100)).unwrap_or(0) * 10_000)
    }
    /// Parts per million.
    pub fn per_million(self) -> u32 {
        self.0
    }
    /// Whether the share contains a request that drew `random`, any number.
    pub fn takes(self, random: u32) -> bool {
        // A multiplication keeps all numbers equally likely, where a remainder would prefer the low ones.
        (u64::from(random) * 1_000_000) >> 32 < u64::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_parts_per_million_v40() {
        for (percent, want) in [(0.0, 0), (100.0, 1_000_000), (0.0001, 1), (0.00019, 1), (0.00001, 0), (25.0, 250_000), (120.0, 1_000_000), (-1.0, 0)]
        {
            assert_eq!(Share::of(Percent { value: percent }).per_million(), want, "{percent}");
        }
        assert_eq!(Share::of_whole(50).per_million(), 500_000);
    }

    #[test]
    fn the_draw_is_even() {
        let draws = (0..=u32::MAX).step_by(4_294_967);
        let taken = draws.filter(|draw| Share::of_whole(25).takes(*draw)).count();
        assert!((249..=252).contains(&taken), "{taken}");
        assert!(Share::ALL.takes(u32::MAX) && Share::ALL.takes(0));
        assert!(!Share::NONE.takes(0));
    }
}
