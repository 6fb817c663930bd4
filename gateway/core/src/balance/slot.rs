//! A backend's stable place: its key, its current view, and the state that outlives views.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use isthmus_config::name::Hostname;

use super::View;
use super::atomic::{AtomicU8, AtomicU16, AtomicU32, Ordering};
use super::breaker::Breaker;
use super::ejected::{Mark, Places, Verdict};
use super::limits::Limits;
use super::measure::Measured;
use super::outlier::Counts;
use super::tally::Tally;
use super::warmup::WHOLE;

/// What a route sends to: `outbound|port|subset|host` (contract 10.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendKey {
    /// The service's host name.
    pub host: Hostname,
    /// The service port's number.
    pub port: u16,
    /// The subset's name, or "".
    pub subset: Arc<str>,
}

impl fmt::Display for BackendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "outbound|{}|{}|{}", self.port, self.subset, self.host)
    }
}

/// One backend at run time. Routes share it by `Arc`; two snapshots that name the same backend hold the same slot.
#[derive(Debug)]
pub struct Slot {
    /// Which backend; routes name it by the same key.
    pub key: Arc<BackendKey>,
    /// The key as users read it, made when it is first asked for.
    name: OnceLock<Box<str>>,
    /// The endpoints and tables in force; replaced by [`Slot::show`] alone.
    pub view: ArcSwap<View>,
    /// How many of its endpoints are ejected, and how many may be.
    pub(super) places: Places,
    /// What outlier detection has found, where it has.
    pub(super) tally: OnceLock<Box<Tally>>,
    /// What is open, waits and runs, against the limits; made with the first of them.
    pub(super) breaker: OnceLock<Box<Breaker>>,
    /// How long connecting takes, and what was heard.
    pub(super) measured: Measured,
}

impl Slot {
    /// A slot whose first view is `view`.
    pub fn new(key: impl Into<Arc<BackendKey>>, view: View) -> Self {
        let (key, places) = (key.into(), Places::default());
        places.turn(view.members.iter().map(|m| &m.state.mark), std::iter::empty(), view.cap(), || ());
        Self {
            key,
            name: OnceLock::new(),
            view: ArcSwap::from_pointee(view),
            places,
            tally: OnceLock::new(),
            breaker: OnceLock::new(),
            measured: Measured::default(),
        }
    }

    /// The key as users read it, kept from now on: for what is written for each request. What is printed once prints the key.
    pub fn name(&self) -> &str {
        self.name.get_or_init(|| self.key.to_string().into())
    }

    /// The limits in force.
    pub fn limits(&self) -> Limits {
        self.view.load().policy.limits
    }

    /// Puts a view in force; the control thread's.
    pub fn show(&self, view: Arc<View>) {
        let before = self.view.load_full();
        let same =
            before.members.len() == view.members.len() && before.members.iter().zip(&view.members).all(|(a, b)| Arc::ptr_eq(&a.state, &b.state));
        let stays: HashSet<*const EndpointState> = view.members.iter().filter(|_| !same).map(|m| Arc::as_ptr(&m.state)).collect();
        let leaves = before.members.iter().filter(|m| !same && !stays.contains(&Arc::as_ptr(&m.state)));
        self.places.turn(view.members.iter().map(|m| &m.state.mark), leaves.map(|m| &m.state.mark), view.cap(), || self.view.store(view.clone()));
        if view.line.outlier.is_none() {
            let forgets = before.line.outlier.is_some();
            view.members.iter().filter(|m| forgets || m.state.is_ejected()).for_each(|m| self.release(&m.state));
        }
    }
}

/// What is known of one endpoint of one backend while the process lives. There is one for each endpoint, so nothing in it is wider than it has to be.
#[derive(Debug, Default)]
pub struct EndpointState {
    active: AtomicU32,
    pub(super) mark: Mark,
    /// On trial after an ejection: one more than its good answers since; else 0.
    trial: AtomicU8,
    ejections: AtomicU16,
    /// What it lacks of a whole share while it warms up, in ten-thousandths.
    cold: AtomicU16,
    pub(super) counts: Counts,
}

impl EndpointState {
    /// Requests in flight.
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }
    /// True while it is left out for its behaviour.
    pub fn is_ejected(&self) -> bool {
        self.mark.is_out()
    }
    /// How often it was left out; the count begins anew after 65,535.
    pub fn ejections(&self) -> u32 {
        self.ejections.load(Ordering::Relaxed).into()
    }
    /// Leaves it out, as far as there is a place.
    pub(super) fn eject(&self, places: &Places) -> Verdict {
        let verdict = places.eject(&self.mark);
        if verdict == Verdict::Out {
            self.settle();
            self.ejections.fetch_add(1, Ordering::Relaxed);
        }
        verdict
    }
    /// Lets it back, on trial or not.
    pub(super) fn release(&self, on_trial: bool, places: &Places) {
        self.counts.clear();
        self.trial.store(u8::from(on_trial && self.is_ejected()), Ordering::Relaxed);
        places.release(&self.mark);
    }
    /// True while it has to show, with a trickle of requests, that it is well again.
    pub fn is_on_trial(&self) -> bool {
        self.trial.load(Ordering::Relaxed) > 0
    }
    /// How often it has answered well since it returned, while it is on trial; 254 is as often as anybody may want.
    pub fn proofs(&self) -> u32 {
        self.trial.load(Ordering::Relaxed).saturating_sub(1).into()
    }
    /// One more good answer on trial.
    pub(super) fn prove(&self) {
        let _ = self.trial.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n > 0).then(|| n.saturating_add(1)));
    }
    /// Ends its trial.
    pub fn settle(&self) {
        self.trial.store(0, Ordering::Relaxed);
    }
    /// Its share while it warms up, in ten-thousandths; 10,000 once it is warm.
    pub fn warmth(&self) -> u32 {
        WHOLE - u32::from(self.cold.load(Ordering::Relaxed)).min(WHOLE)
    }
    /// True once it gets its whole share.
    pub fn is_warm(&self) -> bool {
        self.cold.load(Ordering::Relaxed) == 0
    }
    /// Sets its share, in ten-thousandths.
    pub fn warm_to(&self, share: u32) {
        self.cold.store((WHOLE - share.min(WHOLE)) as u16, Ordering::Relaxed);
    }
    /// Counts a request in until the guard is dropped.
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.active.fetch_add(1, Ordering::Relaxed);
        InFlight { state: self.clone() }
    }
}

/// A request in flight at an endpoint.
#[derive(Debug)]
pub struct InFlight {
    state: Arc<EndpointState>,
}

impl InFlight {
    /// Whose.
    pub fn state(&self) -> &Arc<EndpointState> {
        &self.state
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.state.active.fetch_sub(1, Ordering::Relaxed);
    }
}
