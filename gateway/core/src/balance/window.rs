//! How many requests began within the last while, in ten steps (contract/envoy.md 1.4, budgetInterval).
//!
//! Each step keeps its number beside its count in one word, so a step that comes round again begins at nothing, on whichever thread that is seen first.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const STEPS: u64 = 10;

/// A sliding window.
#[derive(Debug, Default)]
pub(super) struct Window {
    begun: OnceLock<Instant>,
    steps: [AtomicU64; STEPS as usize],
}

impl Window {
    /// The number of the step that `now` is in, from 1; it wraps after years.
    fn step(&self, now: Instant, interval: Duration) -> u32 {
        let begun = *self.begun.get_or_init(|| now);
        let step = (interval / STEPS as u32).max(Duration::from_nanos(1));
        (now.saturating_duration_since(begun).as_nanos() / step.as_nanos()) as u32 + 1
    }
    /// Counts one that begins now.
    pub(super) fn count(&self, now: Instant, interval: Duration) {
        let step = self.step(now, interval);
        let one_more = |word: u64| Some(if (word >> 32) as u32 == step { word + 1 } else { u64::from(step) << 32 | 1 });
        let cell = &self.steps[(u64::from(step) % STEPS) as usize];
        // It always has a next value, so it never fails.
        let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
    }
    /// How many began within the interval up to now.
    pub(super) fn sum(&self, now: Instant, interval: Duration) -> u32 {
        let step = self.step(now, interval);
        self.recent(step)
    }
    /// How many there were when the last one began.
    pub(super) fn last(&self) -> u32 {
        self.recent(self.words().map(|(step, _)| step).max().unwrap_or(0))
    }
    fn recent(&self, now: u32) -> u32 {
        let within = self.words().filter(|(step, _)| *step > 0 && now >= *step && u64::from(now - step) < STEPS);
        within.map(|(_, count)| count).fold(0, u32::saturating_add)
    }
    fn words(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.steps.iter().map(|cell| cell.load(Ordering::Relaxed)).map(|word| ((word >> 32) as u32, word as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_slides_in_ten_steps() {
        let (window, start, second) = (Window::default(), Instant::now(), Duration::from_secs(1));
        let at = |ms: u64| start + Duration::from_millis(ms);
        for (ms, count, want) in
            [(0, 3, 3), (50, 1, 4), (100, 2, 6), (950, 1, 7), (1000, 0, 3), (1099, 1, 4), (1100, 0, 2), (5000, 0, 0), (5001, 1, 1)]
        {
            (0..count).for_each(|_| window.count(at(ms), second));
            assert_eq!(window.sum(at(ms), second), want, "at {ms} ms");
        }
        assert_eq!(window.last(), 1);
    }

    #[test]
    fn threads_lose_none() {
        let (window, now) = (Window::default(), Instant::now());
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| (0..10_000).for_each(|_| window.count(now, Duration::from_secs(1))));
            }
        });
        assert_eq!(window.sum(now, Duration::from_secs(1)), 40_000);
    }
}
