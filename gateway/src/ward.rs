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
    member: Arc<Member>,
    backoff: Backoff,
    stay: EjectionTold,
    /// Out until then; else at peace, to be looked at again then.
    out: bool,
    next: Instant,
}

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
            self.cases.push(Case { slot, member, backoff: Backoff::default(), stay: EjectionTold::default(), out: false, next: now });
            self.cases.len() - 1
        });
        let case = &mut self.cases[at];
        let lasts = case.backoff.grow(&policy);
        (case.out, case.next) = (true, now + lasts);
        case.stay = stay(cause.as_str(), SystemTime::now(), lasts);
        show(slot);
        warn!(
            backend = %slot.name,
            endpoint = %member.host,
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
                if case.out {
                    case.back(&slot, "outlier detection is off");
                }
                return false;
            };
            if case.next > now {
                return true;
            }
            if case.out {
                case.out = false;
                slot.release(&case.member.state);
                show(&slot);
                case.back(&slot, "its time is over");
            } else if case.backoff.shrink() {
                return false;
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
        info!(backend = %slot.name, endpoint = %self.member.host, because, since, times, ejected = slot.ejected(), "endpoint back after its ejection");
    }
}

fn stay(cause: &str, since: SystemTime, lasts: Duration) -> EjectionTold {
    EjectionTold { cause: cause.to_owned(), since: utc(since), until: utc(since + lasts) }
}

/// Puts the view of the slot's endpoints as they are now in force.
fn show(slot: &Slot) {
    let view = slot.view.load().refreshed();
    slot.view.store(Arc::new(view));
}
