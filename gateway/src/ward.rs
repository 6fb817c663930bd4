//! Where ejected endpoints wait: how long each stays out, and the way back (contract/envoy.md 2.3, 2.4).
//!
//! The control thread's. An ejection is in force when it is told here; what is done here is the view without the endpoint, the log, and the
//! release when its time is over. What an endpoint has earned in earlier ejections is forgotten by one step per interval of peace.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use isthmus_core::balance::outlier::{Backoff, Ejection};
use isthmus_core::balance::{EndpointState, Member, Slot};
use isthmus_core::explain::EjectionTold;
use tracing::{info, warn};

use crate::observe::utc;

/// Every endpoint that was ejected and is not as good as new.
#[derive(Debug, Default)]
pub(crate) struct Ward {
    cases: Vec<Case>,
}

#[derive(Debug)]
struct Case {
    slot: Weak<Slot>,
    member: Member,
    backoff: Backoff,
    stay: EjectionTold,
    standing: Standing,
    /// When to look at it again.
    next: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Left out.
    Out,
    /// Back with a trickle of requests; with all of its share at this time, unless it has shown before that it is well.
    OnTrial(Instant),
    /// Back as before.
    Peace,
}

/// So many good answers end a trial.
const PROOFS: u32 = 5;
/// How often a trial is looked at.
const TRIAL_LOOK: Duration = Duration::from_millis(200);

/// Ejections not yet forgotten, by the address of the endpoint's state.
#[derive(Debug, Default)]
pub(crate) struct Stays(HashMap<usize, EjectionTold>);

impl Stays {
    /// The ejection that an endpoint is in, or the last one as long as that has an effect on the next.
    pub(crate) fn of(&self, state: &EndpointState) -> Option<EjectionTold> {
        self.0.get(&std::ptr::from_ref(state).addr()).cloned()
    }
}

impl Ward {
    /// Takes in an endpoint that has just been ejected.
    pub(crate) fn admit(&mut self, ejection: &Ejection, now: Instant) {
        let Ejection { slot, member, cause } = ejection;
        let view = slot.view.load_full();
        let Some(policy) = view.line.outlier.clone() else { return slot.release(&member.state) };
        let at = self.cases.iter().position(|c| Arc::ptr_eq(&c.member.state, &member.state));
        let at = at.unwrap_or_else(|| {
            let (slot, member) = (Arc::downgrade(slot), member.clone());
            self.cases.push(Case { slot, member, backoff: Backoff::default(), stay: EjectionTold::default(), standing: Standing::Peace, next: now });
            self.cases.len() - 1
        });
        let case = &mut self.cases[at];
        let lasts = case.backoff.grow(&policy);
        (case.standing, case.next) = (Standing::Out, now + lasts);
        case.stay = stay(cause.as_str(), SystemTime::now(), lasts);
        show(slot);
        warn!(
            backend = %slot.key,
            endpoint = %member.address(),
            cause = cause.as_str(),
            times = member.state.ejections(),
            ?lasts,
            until = case.stay.until,
            ejected = slot.ejected(),
            of = view.members.len(),
            "endpoint ejected"
        );
    }

    /// When there is something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.cases.iter().map(|c| c.next).min()
    }

    /// Lets back whose time is over, and forgets what is to be forgotten. To be called as well when policies have changed.
    pub(crate) fn round(&mut self, now: Instant) {
        self.cases.retain_mut(|case| {
            let Some(slot) = case.slot.upgrade() else { return false };
            let Some(policy) = slot.view.load().line.outlier.clone() else {
                // Publishing the view has let it back.
                if case.standing == Standing::Out {
                    case.back(&slot, "outlier detection is off");
                }
                if case.standing != Standing::Peace {
                    case.member.state.settle();
                    show(&slot);
                }
                return false;
            };
            if case.next > now {
                return true;
            }
            match case.standing {
                Standing::Out => {
                    slot.release(&case.member.state);
                    show(&slot);
                    case.back(&slot, if policy.half_open { "its time is over, and it is on trial" } else { "its time is over" });
                    if policy.half_open {
                        (case.standing, case.next) = (Standing::OnTrial(now + policy.base), now + TRIAL_LOOK);
                        return true;
                    }
                    case.standing = Standing::Peace;
                }
                Standing::OnTrial(until) => {
                    let proofs = case.member.state.proofs();
                    if policy.half_open && proofs < PROOFS && now < until {
                        case.next = now + TRIAL_LOOK;
                        return true;
                    }
                    case.member.state.settle();
                    show(&slot);
                    case.standing = Standing::Peace;
                    info!(backend = %slot.key, endpoint = %case.member.address(), proofs, "endpoint has its whole share again");
                }
                Standing::Peace if case.backoff.shrink() => return false,
                Standing::Peace => {}
            }
            case.next = now + policy.interval;
            true
        });
    }

    /// Who is out or was lately.
    pub(crate) fn stays(&self) -> Stays {
        Stays(self.cases.iter().map(|case| (Arc::as_ptr(&case.member.state).addr(), case.stay.clone())).collect())
    }
}

impl Case {
    fn back(&self, slot: &Slot, because: &str) {
        let (since, times) = (&self.stay.since, self.member.state.ejections());
        info!(backend = %slot.key, endpoint = %self.member.address(), because, since, times, ejected = slot.ejected(), "endpoint back after its ejection");
    }
}

fn stay(cause: &str, since: SystemTime, lasts: Duration) -> EjectionTold {
    EjectionTold { cause: cause.to_owned(), since: utc(since), until: utc(since + lasts) }
}

/// Puts the view of the slot's endpoints as they are now in force.
fn show(slot: &Slot) {
    let view = slot.view.load().refreshed();
    slot.show(Arc::new(view));
}

#[cfg(test)]
mod tests {
    use isthmus_core::balance::outlier::{Outcome, OutlierPolicy};
    use isthmus_core::balance::{BackendPolicy, Lb, Line};

    use super::*;
    use crate::stand_in::{self, endpoint};

    fn slot(lb: Lb, half_open: bool) -> Arc<Slot> {
        let outlier = OutlierPolicy {
            consecutive_5xx: 3,
            consecutive_gateway: 0,
            consecutive_local: 0,
            split: false,
            interval: Duration::from_secs(10),
            base: Duration::from_secs(30),
            max_percent: 100,
            codes: vec![],
            half_open,
        };
        let line = Line { outlier: Some(Arc::new(outlier)), ..Line::default() };
        stand_in::slot("a", BackendPolicy { lb, ..BackendPolicy::default() }, &line, vec![endpoint(1), endpoint(2)])
    }

    /// The first endpoint's odds in thousandths.
    fn first(slot: &Slot) -> u32 {
        (slot.view.load().odds()[0] * 1000.0).round() as u32
    }

    /// The first endpoint meets so many errors or good answers; an ejection is told to the ward.
    fn meet(slot: &Arc<Slot>, ward: &mut Ward, status: u16, times: usize, now: Instant) -> bool {
        let member = slot.view.load().members[0].clone();
        let ejection = (0..times).find_map(|_| slot.judge(&member, Outcome::Answer(status)));
        if let Some(ejection) = &ejection {
            ward.admit(ejection, now);
        }
        ejection.is_some()
    }

    #[test]
    fn an_ejected_endpoint_returns_at_once_or_on_trial() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for lb in [Lb::RoundRobin, Lb::LeastRequest, Lb::Random] {
            let (plain, mut ward) = (slot(lb, false), Ward::default());
            assert!(meet(&plain, &mut ward, 500, 3, start) && first(&plain) == 0, "{lb:?}");
            ward.round(at(30));
            assert_eq!(first(&plain), 500, "{lb:?}: back as before");
            assert!(!meet(&plain, &mut ward, 500, 2, at(30)), "{lb:?}: with a count of its own again");

            let (tried, mut ward) = (slot(lb, true), Ward::default());
            assert!(meet(&tried, &mut ward, 500, 3, start), "{lb:?}");
            ward.round(at(30));
            assert_eq!(first(&tried), 91, "{lb:?}: one in ten of its share");
            assert!(meet(&tried, &mut ward, 500, 1, at(31)) && first(&tried) == 0, "{lb:?}: one error is enough");
            ward.round(at(90));
            assert_eq!(first(&tried), 0, "{lb:?}: the second time is longer");
            ward.round(at(91));
            assert!(!meet(&tried, &mut ward, 200, 4, at(91)));
            ward.round(at(92));
            assert_eq!(first(&tried), 91, "{lb:?}: four good answers are not enough");
            assert!(!meet(&tried, &mut ward, 200, 1, at(92)));
            ward.round(at(93));
            assert_eq!(first(&tried), 500, "{lb:?}: five are");
            assert!(!meet(&tried, &mut ward, 500, 2, at(93)), "{lb:?}: as before");
        }
    }

    #[test]
    fn a_trial_that_nobody_asks_for_ends_by_itself() {
        let (slot, mut ward, start) = (slot(Lb::RoundRobin, true), Ward::default(), Instant::now());
        assert!(meet(&slot, &mut ward, 500, 3, start));
        ward.round(start + Duration::from_secs(30));
        assert_eq!(first(&slot), 91);
        ward.round(start + Duration::from_secs(59));
        assert_eq!(first(&slot), 91);
        ward.round(start + Duration::from_secs(61));
        assert_eq!(first(&slot), 500);
    }
}
