//! What a scrape tells of the control thread: snapshots, propagation, problems, sockets.

use std::collections::{BTreeMap, HashSet};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use foldhash::quality::FixedState;
use isthmus_config::problem::{Problem, Severity};

use crate::observe::Own;

/// Upper bounds of the propagation time, seconds.
const BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Counted by the control thread, read by scrapes.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    generation: AtomicU64,
    changes: AtomicU64,
    severities: [AtomicUsize; 3],
    slow: Mutex<Slow>,
}

/// What is not on the way of any request.
#[derive(Debug, Default)]
struct Slow {
    buckets: [u64; BOUNDS.len()],
    sum: f64,
    /// Hashes of the problems told last, of which there may be as many as services.
    told: HashSet<u64>,
    sockets: BTreeMap<&'static str, usize>,
}

impl Progress {
    /// A snapshot is in force.
    pub(crate) fn snapshot(&self, generation: u64) {
        self.generation.store(generation, Ordering::Relaxed);
    }
    /// A change is in force, so long after its first event came.
    pub(crate) fn propagated(&self, took: Duration) {
        self.changes.fetch_add(1, Ordering::Relaxed);
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        slow.sum += took.as_secs_f64();
        for (bucket, _) in slow.buckets.iter_mut().zip(BOUNDS).filter(|(_, bound)| took.as_secs_f64() <= *bound) {
            *bucket += 1;
        }
    }
    /// Counts problems by severity. Returns those that were not among the ones before.
    pub(crate) fn problems(&self, all: &[&Problem]) -> Vec<Problem> {
        let count = |severity| all.iter().filter(|p| p.severity == severity).count();
        for (counter, severity) in self.severities.iter().zip(SEVERITIES) {
            counter.store(count(severity), Ordering::Relaxed);
        }
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = HashSet::with_capacity(all.len());
        let mut fresh = Vec::new();
        for problem in all {
            let key = FixedState::default().hash_one((
                &problem.object,
                &problem.path,
                problem.code,
                &problem.origin.file,
                &problem.origin.cluster,
                &problem.message,
            ));
            if told.insert(key) && !slow.told.contains(&key) {
                fresh.push((*problem).clone());
            }
        }
        slow.told = told;
        fresh
    }
    /// Sockets by the name of their state.
    pub(crate) fn sockets(&self, names: impl Iterator<Item = &'static str>) {
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        slow.sockets.values_mut().for_each(|count| *count = 0);
        for name in names {
            *slow.sockets.entry(name).or_default() += 1;
        }
    }
    /// For a scrape.
    pub(crate) fn gather(&self) -> Vec<Own> {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let mut own = vec![Own::Gauge("isthmus_snapshot_generation", "The snapshot in force.", Vec::new(), load(&self.generation))];
        for (counter, severity) in self.severities.iter().zip(SEVERITIES) {
            let labels = vec![("severity", severity.to_string())];
            own.push(Own::Gauge("isthmus_problems", "Problems of what was asked or found.", labels, counter.load(Ordering::Relaxed) as f64));
        }
        let slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, count) in &slow.sockets {
            own.push(Own::Gauge("isthmus_listeners", "Listeners by state.", vec![("state", (*name).to_owned())], *count as f64));
        }
        let buckets = BOUNDS.into_iter().zip(slow.buckets).collect();
        let help = "From a change's first event to its being in force.";
        own.push(Own::Histogram("isthmus_propagation_seconds", help, buckets, self.changes.load(Ordering::Relaxed), slow.sum));
        own
    }
}

const SEVERITIES: [Severity; 3] = [Severity::Error, Severity::Warning, Severity::Info];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_counted_and_each_is_told_once() {
        let progress = Progress::default();
        let (a, b) = (Problem::new(Severity::Error, "A", "a"), Problem::new(Severity::Warning, "B", "b"));
        assert_eq!(progress.problems(&[&a, &a]), std::slice::from_ref(&a).to_vec());
        assert_eq!(progress.problems(&[&a, &b]), vec![b.clone()]);
        assert!(progress.gather().iter().any(|own| matches!(own, Own::Gauge("isthmus_problems", _, labels, 1.0) if labels[0].1 == "warning")));
        assert_eq!(progress.problems(&[]), vec![]);
        assert_eq!(progress.problems(&[&a]), vec![a]);
    }
}
