//! Warm-up: a new endpoint's share of the traffic grows with its age (D-32).
//!
//! The control thread tells ages; what an age is worth is told here, as Envoy's slow start tells it. It begins when the gateway first sees
//! the endpoint, so where all are new they are all alike.

use std::time::Duration;

/// A whole share, in the unit that shares are kept in.
pub(super) const WHOLE: u32 = 10_000;

/// `loadBalancer.warmup`, resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WarmUp {
    /// How long it lasts.
    pub window: Duration,
    /// The share that it begins with, in ten-thousandths.
    pub minimum: u32,
    /// The root that is taken of the part of the window that has passed, in thousandths: 1000 grows in a line, more faster at first.
    pub aggression: u32,
}

impl WarmUp {
    /// A share from `minimum` percent on, by `aggression`.
    pub fn new(window: Duration, minimum: f64, aggression: f64) -> Self {
        Self { window, minimum: (minimum * 100.0).clamp(0.0, 10_000.0) as u32, aggression: (aggression * 1000.0).max(1.0) as u32 }
    }

    /// The share of an endpoint of that age in ten-thousandths, at least 1.
    pub fn share(&self, age: Duration) -> u32 {
        if age >= self.window {
            return WHOLE;
        }
        let passed = age.as_secs_f64() / self.window.as_secs_f64();
        let grown = passed.powf(1000.0 / f64::from(self.aggression)) * f64::from(WHOLE);
        (grown as u32).clamp(self.minimum.max(1), WHOLE)
    }

    /// How often shares are told anew while an endpoint warms up.
    pub fn step(&self) -> Duration {
        (self.window / 100).clamp(Duration::from_millis(50), Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_grow_as_envoys_do_d32() {
        let at = |aggression: f64, minimum: f64, seconds: u64| {
            WarmUp::new(Duration::from_secs(60), minimum, aggression).share(Duration::from_secs(seconds))
        };
        for (aggression, minimum, seconds, want) in [
            (1.0, 10.0, 0, 1000),
            (1.0, 10.0, 3, 1000),
            (1.0, 10.0, 30, 5000),
            (1.0, 10.0, 60, 10_000),
            (2.0, 10.0, 15, 5000),
            (1.0, 50.0, 15, 5000),
            (1.0, 0.0, 0, 1),
            (0.5, 10.0, 30, 2500),
            (1.0, 100.0, 1, 10_000),
        ] {
            assert_eq!(at(aggression, minimum, seconds), want, "{aggression} {minimum} {seconds}");
        }
    }
}
