//! Where ejected endpoints wait: how long each stays out, and the way back (contract/envoy.md 2.3, 2.4).
//!
//! The control thread's. An ejection is in force when it is told here; what is done here is the view without the endpoint, the log, and the
//! release when its time is over. What an endpoint has earned in earlier ejections is forgotten by one step per interval of peace.

use std::sync::{Arc, Weak};
use std::time::Instant;

use isthmus_core::balance::outlier::{Backoff, Ejection};
use isthmus_core::balance::{Member, Slot};
use tracing::{info, warn};

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
    /// Out until then; else at peace, to be looked at again then.
    out: bool,
    next: Instant,
}

impl Ward {
    /// Takes in an endpoint that has just been ejected.
    pub(crate) fn admit(&mut self, ejection: &Ejection, now: Instant) {
        let Ejection { slot, member, cause } = ejection;
        let view = slot.view.load_full();
        let Some(policy) = view.line.outlier.clone() else { return slot.release(&member.state) };
        let at = self.cases.iter().position(|c| Arc::ptr_eq(&c.member.state, &member.state));
        let at = at.unwrap_or_else(|| {
            let backoff = Backoff::default();
            self.cases.push(Case { slot: Arc::downgrade(slot), member: member.clone(), backoff, out: false, next: now });
            self.cases.len() - 1
        });
        let case = &mut self.cases[at];
        let lasts = case.backoff.grow(&policy);
        (case.out, case.next) = (true, now + lasts);
        show(slot);
        let ejected = view.members.iter().filter(|m| m.state.is_ejected()).count();
        warn!(backend = %slot.name, endpoint = %member.host, cause = cause.as_str(), ?lasts, ejected, of = view.members.len(), "endpoint ejected");
    }

    /// When there is something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.cases.iter().map(|c| c.next).min()
    }

    /// Lets back whose time is over, and forgets what is to be forgotten.
    pub(crate) fn round(&mut self, now: Instant) {
        self.cases.retain_mut(|case| {
            if case.next > now {
                return true;
            }
            let Some(slot) = case.slot.upgrade() else { return false };
            let Some(policy) = slot.view.load().line.outlier.clone() else { return false };
            if case.out {
                case.out = false;
                slot.release(&case.member.state);
                show(&slot);
                info!(backend = %slot.name, endpoint = %case.member.host, "endpoint back after its ejection");
            } else if case.backoff.shrink() {
                return false;
            }
            case.next = now + policy.interval;
            true
        });
    }
}

/// Puts the view of the slot's endpoints as they are now in force.
fn show(slot: &Slot) {
    let view = slot.view.load().refreshed();
    slot.view.store(Arc::new(view));
}
