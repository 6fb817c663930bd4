//! What a row of probes says of one entry: a machine without clock or socket.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Verdict;

/// While nothing is known yet, probes follow each other this closely.
const EAGER: Duration = Duration::from_secs(1);

/// What one probe gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The machine is well.
    Passed,
    /// It is not, or cannot be reached, and why.
    Failed(String),
    /// We could not ask: nothing is known.
    Unsure(String),
}

/// What the probes so far say.
#[derive(Debug, Default)]
pub(crate) struct Course {
    /// The verdict that was told last; before the first one an entry has traffic.
    told: Option<Verdict>,
    /// Probes in a row that contradict it.
    against: u32,
}

impl Course {
    /// Takes in an outcome: what to tell, if it differs. A verdict of failure is told again where its reason is another.
    pub(crate) fn take(&mut self, outcome: Outcome, successes: u32, failures: u32, now: Instant) -> Option<Verdict> {
        let failure: Option<Arc<str>> = match outcome {
            Outcome::Unsure(_) => return None,
            Outcome::Passed => None,
            Outcome::Failed(reason) => Some(reason.into()),
        };
        let since = match &self.told {
            Some(told) if told.failure == failure => {
                self.against = 0;
                return None;
            }
            Some(told) if told.failure.is_some() && failure.is_some() => {
                self.against = 0;
                told.since
            }
            Some(_) | None => {
                // Nothing contradicts a first success.
                let threshold = if failure.is_some() {
                    failures
                } else if self.told.is_none() {
                    1
                } else {
                    successes
                };
                self.against = if self.told.is_none() && failure.is_none() { 1 } else { self.against + 1 };
                if self.against < threshold {
                    return None;
                }
                self.against = 0;
                now
            }
        };
        self.told = Some(Verdict { failure, since });
        self.told.clone()
    }

    /// How long to wait for the next probe.
    pub(crate) fn wait(&self, period: Duration) -> Duration {
        if self.told.is_none() { period.min(EAGER) } else { period }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_count_what_contradicts_in_a_row() {
        let (start, period) = (Instant::now(), Duration::from_secs(10));
        let failed = |reason: &str| Outcome::Failed(reason.to_owned());
        let mut course = Course::default();
        let rows = [
            ("the first failures say nothing yet", failed("refused"), None, 1),
            ("we could not ask", Outcome::Unsure("too many open files".to_owned()), None, 1),
            ("two of three", failed("refused"), None, 1),
            ("the third", failed("refused"), Some((Some("refused"), 3)), 10),
            ("still so", failed("refused"), None, 10),
            ("another reason, the same failure", failed("500"), Some((Some("500"), 3)), 10),
            ("one success of two", Outcome::Passed, None, 10),
            ("a failure begins anew", failed("500"), None, 10),
            ("one again", Outcome::Passed, None, 10),
            ("two in a row", Outcome::Passed, Some((None, 9)), 10),
            ("well", Outcome::Passed, None, 10),
            ("one failure", failed("500"), None, 10),
            ("forgotten", Outcome::Passed, None, 10),
            ("one", failed("500"), None, 10),
            ("two", failed("500"), None, 10),
            ("three", failed("refused"), Some((Some("refused"), 15)), 10),
        ];
        for (second, (about, outcome, told, wait)) in (0..).zip(rows) {
            let got = course.take(outcome, 2, 3, start + Duration::from_secs(second));
            let want = told
                .map(|(failure, since): (Option<&str>, u64)| Verdict { failure: failure.map(Arc::from), since: start + Duration::from_secs(since) });
            assert_eq!(got, want, "{about}");
            assert_eq!(course.wait(period), Duration::from_secs(wait), "{about}");
        }
    }

    #[test]
    fn a_first_success_is_enough() {
        let (mut course, now) = (Course::default(), Instant::now());
        assert_eq!(course.take(Outcome::Failed("refused".to_owned()), 3, 3, now), None);
        assert_eq!(course.take(Outcome::Passed, 3, 3, now), Some(Verdict { failure: None, since: now }));
        assert_eq!(course.wait(Duration::from_secs(10)), Duration::from_secs(10));
    }
}
