//! Outlier detection: which endpoints are left out for their behaviour, and for how long (D-40..D-42, contract/envoy.md 2).
//!
//! Each endpoint counts what its attempts came to; a count that reaches its threshold ejects it, as far as the backend's cap allows. The
//! ejection is in force for every worker at once, by a mark on the endpoint's state; views, timers and the way back are the control
//! thread's, which asks this file how long.

use std::sync::Arc;
use std::time::Duration;

use super::atomic::{AtomicU16, Ordering};
use super::ejected::Verdict;
use super::member::Member;
use super::slot::{EndpointState, Slot};
use super::tally::Tallied;

/// A backend's outlier detection, resolved. A threshold of 0 is off.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OutlierPolicy {
    /// Errors in a row: 5xx, or the codes named, and, unless split, connections that failed.
    pub consecutive_5xx: u32,
    /// 502, 503 and 504 in a row.
    pub consecutive_gateway: u32,
    /// Connections that failed in a row, where they are told apart.
    pub consecutive_local: u32,
    /// Connections that failed count by themselves, not as answers.
    pub split: bool,
    /// How often the way back and the decay are looked at.
    pub interval: Duration,
    /// How long the first ejection lasts.
    pub base: Duration,
    /// How many percent of the endpoints may be ejected at once.
    pub max_percent: u32,
    /// Where not empty, these statuses alone are errors.
    pub codes: Vec<u16>,
    /// An endpoint returns on trial: with a trickle of requests, and out again at its first error.
    pub half_open: bool,
}

impl OutlierPolicy {
    /// Whether what an attempt came to is an error, and of which kind.
    fn grade(&self, outcome: Outcome) -> Grade {
        let status = match outcome {
            Outcome::Connected => return Grade::Connected,
            Outcome::Streams => return if self.split { Grade::Connected } else { Grade::Good },
            Outcome::Broken | Outcome::Late if self.split => return Grade::Local,
            Outcome::Broken => 503,
            Outcome::Late => 504,
            Outcome::Answer(status) => status,
        };
        let local = !matches!(outcome, Outcome::Answer(_));
        let error = local || if self.codes.is_empty() { status >= 500 } else { self.codes.contains(&status) };
        if error { Grade::Bad { gateway: matches!(status, 502..=504) } } else { Grade::Good }
    }

    /// What one error alone is, for an endpoint on trial: the threshold that more of it would reach.
    fn at_once(&self, grade: Grade) -> Option<Cause> {
        match grade {
            Grade::Connected | Grade::Good => None,
            Grade::Local => (self.consecutive_local > 0).then_some(Cause::ConsecutiveLocal),
            Grade::Bad { .. } if self.consecutive_5xx > 0 => Some(Cause::Consecutive5xx),
            Grade::Bad { gateway } => (gateway && self.consecutive_gateway > 0).then_some(Cause::ConsecutiveGateway),
        }
    }

    /// How many of so many endpoints may be ejected at once (D-41): of a few, 10 % is none.
    pub fn cap(&self, endpoints: usize) -> u32 {
        u32::try_from(u64::from(self.max_percent) * endpoints as u64 / 100).unwrap_or(u32::MAX)
    }
}

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer, by status; of gRPC, the status that its code stands for.
    Answer(u16),
    /// A connection was made, for a request.
    Connected,
    /// A connection was made for a byte stream, which is all that it needs.
    Streams,
    /// No connection, or one that broke before an answer.
    Broken,
    /// No answer in time.
    Late,
}

/// Why an endpoint was ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Too many errors in a row.
    Consecutive5xx,
    /// Too many gateway errors in a row.
    ConsecutiveGateway,
    /// Too many failed connections in a row.
    ConsecutiveLocal,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 3] = [Self::Consecutive5xx, Self::ConsecutiveGateway, Self::ConsecutiveLocal];
    /// As Envoy's event log has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Consecutive5xx => "consecutive_5xx",
            Self::ConsecutiveGateway => "consecutive_gateway_failure",
            Self::ConsecutiveLocal => "consecutive_local_origin_failure",
        }
    }
}

/// An endpoint that has just been ejected.
#[derive(Clone, Debug)]
pub struct Ejection {
    /// Its backend.
    pub slot: Arc<Slot>,
    /// The endpoint.
    pub member: Member,
    /// Why.
    pub cause: Cause,
}

/// An outcome as thresholds count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grade {
    /// A connection alone.
    Connected,
    /// A connection that failed, counted by itself.
    Local,
    /// No error.
    Good,
    /// An error.
    Bad {
        /// One of a gateway's.
        gateway: bool,
    },
}

/// The counts of one endpoint.
#[derive(Debug, Default)]
pub(super) struct Counts {
    errors: AtomicU16,
    gateway: AtomicU16,
    local: AtomicU16,
}

impl Counts {
    /// Counts an outcome: the thresholds that it reaches, in Envoy's order. Each starts its count anew.
    fn count(&self, policy: &OutlierPolicy, grade: Grade) -> [Option<Cause>; 2] {
        match grade {
            Grade::Connected => {
                self.local.store(0, Ordering::Relaxed);
                [None; 2]
            }
            Grade::Local => [reached(&self.local, policy.consecutive_local).then_some(Cause::ConsecutiveLocal), None],
            Grade::Good => {
                self.errors.store(0, Ordering::Relaxed);
                self.gateway.store(0, Ordering::Relaxed);
                [None; 2]
            }
            Grade::Bad { gateway } => {
                if !gateway {
                    self.gateway.store(0, Ordering::Relaxed);
                }
                let by_gateway = gateway && reached(&self.gateway, policy.consecutive_gateway);
                let by_errors = reached(&self.errors, policy.consecutive_5xx);
                [by_gateway.then_some(Cause::ConsecutiveGateway), by_errors.then_some(Cause::Consecutive5xx)]
            }
        }
    }

    pub(super) fn clear(&self) {
        for count in [&self.errors, &self.gateway, &self.local] {
            count.store(0, Ordering::Relaxed);
        }
    }
}

/// One more; true on the count that equals the threshold, which sets it back. No threshold is higher than a count can be.
fn reached(count: &AtomicU16, threshold: u32) -> bool {
    let now = count.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    let hit = threshold > 0 && u32::from(now) == threshold.min(u16::MAX.into());
    if hit {
        count.store(0, Ordering::Relaxed);
    }
    hit
}

impl Slot {
    /// Takes in what an attempt came to. `Some` where that has ejected the endpoint.
    pub fn judge(self: &Arc<Self>, member: &Member, outcome: Outcome) -> Option<Ejection> {
        let view = self.view.load();
        let policy = view.line.outlier.as_deref()?;
        let grade = policy.grade(outcome);
        let causes = member.state.counts.count(policy, grade);
        if member.state.is_on_trial() {
            if grade == Grade::Good {
                member.state.prove();
            }
            return policy.at_once(grade).and_then(|cause| self.found(member, cause));
        }
        causes.into_iter().flatten().find_map(|cause| self.found(member, cause))
    }

    /// A threshold was reached: the endpoint is ejected, unless it is already or too many are.
    fn found(self: &Arc<Self>, member: &Member, cause: Cause) -> Option<Ejection> {
        if member.state.is_ejected() {
            return None;
        }
        let tally = self.tally.get_or_init(Box::default);
        tally.detected(cause);
        match member.state.eject(&self.places) {
            Verdict::Out => {
                tally.enforced(cause);
                Some(Ejection { slot: self.clone(), member: member.clone(), cause })
            }
            Verdict::Full => {
                tally.overflowed();
                None
            }
            Verdict::Gone => None,
        }
    }

    /// How many endpoints are ejected now.
    pub fn ejected(&self) -> u32 {
        self.places.count()
    }

    /// What outlier detection has found so far.
    pub fn tallied(&self) -> Tallied {
        self.tally.get().map(|tally| tally.read()).unwrap_or_default()
    }

    /// Lets an ejected endpoint back, on trial where the policy says so, and forgets what it had counted; the control thread's.
    pub fn release(&self, state: &EndpointState) {
        let on_trial = self.view.load().line.outlier.as_ref().is_some_and(|policy| policy.half_open);
        state.release(on_trial, &self.places);
    }
}

/// How long ejections last, growing while an endpoint fails and shrinking while it does not (contract/envoy.md 2.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff(u32);

/// The longest ejection, unless the base is longer.
const LONGEST: Duration = Duration::from_secs(300);

impl Backoff {
    /// One more ejection: how long it lasts.
    pub fn grow(&mut self, policy: &OutlierPolicy) -> Duration {
        let longest = LONGEST.max(policy.base);
        if policy.base * self.0 < longest + policy.base {
            self.0 += 1;
        }
        (policy.base * self.0).min(longest)
    }
    /// An interval without ejection. True once it is as if there had been none.
    pub fn shrink(&mut self) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> OutlierPolicy {
        OutlierPolicy {
            consecutive_5xx: 3,
            consecutive_gateway: 0,
            consecutive_local: 2,
            split: false,
            interval: Duration::from_secs(10),
            base: Duration::from_secs(30),
            max_percent: 100,
            codes: vec![],
            half_open: false,
        }
    }

    #[test]
    fn counts_are_envoys_table() {
        use Outcome::{Answer, Broken, Connected, Late, Streams};
        let plain = policy();
        let gateway = OutlierPolicy { consecutive_5xx: 0, consecutive_gateway: 2, ..policy() };
        let both = OutlierPolicy { consecutive_gateway: 2, ..policy() };
        let split = OutlierPolicy { split: true, ..policy() };
        let codes = OutlierPolicy { codes: vec![429], ..policy() };
        let rows: Vec<(&str, &OutlierPolicy, Vec<Outcome>, Vec<usize>)> = vec![
            ("three in a row", &plain, vec![Answer(500), Answer(503), Answer(500)], vec![2]),
            ("an answer below 500 starts anew", &plain, vec![Answer(500), Answer(500), Answer(404), Answer(500), Answer(500)], vec![]),
            ("and again after three more", &plain, vec![Answer(500); 6], vec![2, 5]),
            ("connections count as 503", &plain, vec![Broken, Late, Answer(500)], vec![2]),
            ("gateway errors", &gateway, vec![Answer(502), Answer(504)], vec![1]),
            ("both, gateway errors first", &both, vec![Answer(503), Answer(503), Answer(503)], vec![1, 2]),
            ("500 is no gateway error", &gateway, vec![Answer(502), Answer(500), Answer(504)], vec![]),
            ("split: connections by themselves", &split, vec![Broken, Answer(500), Broken], vec![2]),
            ("a byte stream's connection starts anew", &plain, vec![Broken, Broken, Streams, Broken, Broken], vec![]),
            ("a request's does not", &plain, vec![Broken, Broken, Connected, Broken], vec![3]),
            ("split: nor does it with what is told apart", &split, vec![Broken, Streams, Broken, Streams], vec![]),
            ("split: a connection starts anew", &split, vec![Broken, Connected, Broken], vec![]),
            ("codes: they alone", &codes, vec![Answer(500), Answer(500), Answer(500), Answer(429), Answer(429), Answer(429)], vec![5]),
        ];
        for (about, policy, outcomes, want) in rows {
            let counts = Counts::default();
            let hits: Vec<usize> =
                outcomes.iter().enumerate().filter(|(_, o)| counts.count(policy, policy.grade(**o)) != [None; 2]).map(|(i, _)| i).collect();
            assert_eq!(hits, want, "{about}");
        }
    }

    #[test]
    fn ejections_grow_to_five_minutes_and_shrink() {
        let (policy, mut backoff) = (policy(), Backoff::default());
        let seconds: Vec<u64> = (0..12).map(|_| backoff.grow(&policy).as_secs()).collect();
        assert_eq!(seconds, [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]);
        assert_eq!((0..20).take_while(|_| !backoff.shrink()).count(), 10);
    }

    #[test]
    fn a_threshold_beyond_what_is_counted_is_the_highest_count() {
        let policy = OutlierPolicy { consecutive_5xx: 100_000, ..policy() };
        let counts = Counts::default();
        let hits = (1..=70_000).filter(|_| counts.count(&policy, policy.grade(Outcome::Answer(500))) != [None; 2]).count();
        assert_eq!(hits, 1, "at 65,535");
    }
}
