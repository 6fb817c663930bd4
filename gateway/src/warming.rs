//! Where new endpoints warm up: how old each is, and what its age is worth (D-32).
//!
//! The control thread's. A new endpoint begins with the least share when its view is made; what is done here is to make views again, with
//! the shares of the ages, until everybody is warm.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Instant;

use isthmus_core::balance::{EndpointState, Slot};
use tracing::debug;

/// Every backend with an endpoint that is not warm.
#[derive(Debug, Default)]
pub(crate) struct Warming {
    backends: Vec<Backend>,
}

#[derive(Debug)]
struct Backend {
    slot: Weak<Slot>,
    /// Who is not warm, since when.
    since: Vec<(Arc<EndpointState>, Instant)>,
    next: Instant,
}

impl Warming {
    /// Takes in the new endpoints of backends whose views were just made; who is known keeps its age, who is gone is forgotten.
    pub(crate) fn admit(&mut self, slots: &[Arc<Slot>], now: Instant) {
        for slot in slots {
            let at = self.backends.iter().position(|b| std::ptr::eq(b.slot.as_ptr(), &**slot));
            let mut since = at.map(|at| self.backends.swap_remove(at).since).unwrap_or_default();
            let view = slot.view.load();
            let Some(policy) = view.policy.warm_up else { continue };
            let there: HashSet<*const EndpointState> = view.members.iter().map(|m| Arc::as_ptr(&m.state)).collect();
            since.retain(|(state, _)| there.contains(&Arc::as_ptr(state)));
            let known: HashSet<*const EndpointState> = since.iter().map(|(state, _)| Arc::as_ptr(state)).collect();
            let new = view.members.iter().filter(|m| !m.state.is_warm() && !known.contains(&Arc::as_ptr(&m.state)));
            since.extend(new.map(|m| (m.state.clone(), now)));
            if !since.is_empty() {
                self.backends.push(Backend { slot: Arc::downgrade(slot), since, next: now + policy.step() });
            }
        }
    }

    /// When there is something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.backends.iter().map(|b| b.next).min()
    }

    /// Gives everybody the share of its age.
    pub(crate) fn round(&mut self, now: Instant) {
        self.backends.retain_mut(|backend| {
            if backend.next > now {
                return true;
            }
            let Some(slot) = backend.slot.upgrade() else { return false };
            let policy = slot.view.load().policy.warm_up;
            backend.since.retain(|(state, since)| {
                let age = now.duration_since(*since);
                state.warm_to(policy.map_or(u32::MAX, |p| p.share(age)));
                !state.is_warm()
            });
            let view = slot.view.load().refreshed();
            slot.show(Arc::new(view));
            let Some(policy) = policy.filter(|_| !backend.since.is_empty()) else {
                debug!(backend = %slot.key, "every endpoint is warm");
                return false;
            };
            backend.next = now + policy.step();
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use isthmus_core::balance::{BackendPolicy, Lb, Line, View, WarmUp, view};
    use isthmus_core::model::Endpoint;

    use super::*;
    use crate::stand_in::{self, endpoint};

    const WINDOW: Duration = Duration::from_secs(60);

    fn shown(slot: &Slot, endpoints: &[u8], policy: BackendPolicy) {
        let endpoints: Vec<Arc<Endpoint>> = endpoints.iter().map(|i| endpoint(*i).into()).collect();
        let fresh = view(&policy.into(), &Arc::<Line>::default(), &endpoints.iter().collect::<Vec<_>>(), Some(&slot.view.load()), 0);
        slot.show(Arc::new(fresh));
    }

    fn odds(view: &View) -> Vec<u32> {
        view.odds().iter().map(|odds| (odds * 1000.0).round() as u32).collect()
    }

    #[test]
    fn a_new_endpoint_is_warm_after_its_window_d32() {
        let policy = BackendPolicy { lb: Lb::RoundRobin, warm_up: Some(WarmUp::new(WINDOW, 10.0, 1.0)), ..BackendPolicy::default() };
        let slot = stand_in::slot("a", policy, &Line::default(), vec![]);
        let (mut warming, start) = (Warming::default(), Instant::now());
        shown(&slot, &[1], policy);
        warming.admit(std::slice::from_ref(&slot), start);
        assert_eq!(odds(&slot.view.load()), [1000], "alone, it gets all from the beginning");
        let after = |seconds| start + Duration::from_secs(seconds);
        warming.round(after(60));
        assert_eq!(warming.due(), None, "warm");
        shown(&slot, &[1, 2], policy);
        warming.admit(std::slice::from_ref(&slot), after(100));
        let mut seen = vec![odds(&slot.view.load())];
        for seconds in [103, 130, 145, 160] {
            assert!(warming.due().is_some_and(|due| due <= after(seconds)));
            warming.round(after(seconds));
            seen.push(odds(&slot.view.load()));
        }
        assert_eq!(seen, [[909, 91], [909, 91], [667, 333], [571, 429], [500, 500]]);
        assert_eq!(warming.due(), None);
        // Gone and back: it begins anew. A policy without warm-up ends it.
        shown(&slot, &[1], policy);
        warming.admit(std::slice::from_ref(&slot), after(200));
        shown(&slot, &[1, 2], policy);
        warming.admit(std::slice::from_ref(&slot), after(201));
        assert_eq!(odds(&slot.view.load()), [909, 91]);
        shown(&slot, &[1, 2], BackendPolicy { warm_up: None, ..policy });
        warming.admit(std::slice::from_ref(&slot), after(202));
        assert_eq!((odds(&slot.view.load()), warming.due()), (vec![500, 500], None));
    }
}
