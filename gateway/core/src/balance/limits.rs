//! The limits of a backend and the budget of its retries, as values; what is counted against them is told by `breaker`.

use std::fmt;
use std::time::Duration;

/// The limits of a backend; `None` is none, since Istio takes 0 as unset (contract 1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Open connections, idle ones too (maxConnections).
    pub connections: Option<u32>,
    /// Requests that wait for a connection (http1MaxPendingRequests).
    pub pending: Option<u32>,
    /// Requests in flight, whatever the protocol (http2MaxRequests).
    pub requests: Option<u32>,
    /// Retries, from the decision to the answer (maxRetries).
    pub retries: Option<u32>,
    /// Retries as a share of what is in flight; instead of `retries`.
    pub budget: Option<Budget>,
}

impl Limits {
    /// No limit at all.
    pub const NONE: Self = Self { connections: None, pending: None, requests: None, retries: None, budget: None };

    /// The time whose requests a budget counts, where it has one.
    pub(super) fn interval(&self) -> Option<Duration> {
        self.budget.map(|budget| budget.interval).filter(|interval| !interval.is_zero())
    }
    /// How many retries there may be beside so many requests, in flight or waiting (contract/envoy.md 1.4).
    pub fn retries_beside(&self, requests: u32) -> Option<u32> {
        match self.budget {
            Some(budget) => Some(budget.of(requests)),
            None => self.retries,
        }
    }
}

/// In the words of Istio's fields.
impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = [
            ("maxConnections", self.connections),
            ("http1MaxPendingRequests", self.pending),
            ("http2MaxRequests", self.requests),
            ("maxRetries", self.retries.filter(|_| self.budget.is_none())),
        ];
        let mut first = true;
        for (name, limit) in fields.into_iter().filter_map(|(name, limit)| Some((name, limit?))) {
            write!(f, "{}{name} {limit}", if first { "" } else { ", " })?;
            first = false;
        }
        if let Some(budget) = self.budget {
            let percent = f64::from(budget.thousandths) / 1000.0;
            write!(f, "{}retryBudget {percent}% and at least {}", if first { "" } else { ", " }, budget.least)?;
            if !budget.interval.is_zero() {
                write!(f, ", of requests within {:?}", budget.interval)?;
            }
        }
        Ok(())
    }
}

/// A retry budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Thousandths of a percent of the requests.
    pub thousandths: u32,
    /// So many in any case (minRetryConcurrency).
    pub least: u32,
    /// The requests of so long a time count, instead of those in flight and waiting (budgetInterval); zero for the latter.
    pub interval: Duration,
}

impl Budget {
    pub(super) fn of(self, requests: u32) -> u32 {
        let share = u64::from(requests) * u64::from(self.thousandths) / 100_000;
        u32::try_from(share).unwrap_or(u32::MAX).max(self.least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_read_in_istios_words() {
        let limits = Limits { connections: Some(1), pending: Some(2), retries: Some(3), ..Limits::NONE };
        assert_eq!(limits.to_string(), "maxConnections 1, http1MaxPendingRequests 2, maxRetries 3");
        let budget = Some(Budget { thousandths: 12_500, least: 3, interval: Duration::ZERO });
        assert_eq!(Limits { budget, ..limits }.to_string(), "maxConnections 1, http1MaxPendingRequests 2, retryBudget 12.5% and at least 3");
    }
}
