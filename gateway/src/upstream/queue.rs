//! The line for connections of a backend that may have only so many: first come, first served (contract/envoy.md 1.1).
//!
//! All workers share the queue of a backend, and the connections that are idle between requests lie in it, so the limit is exact for the process and
//! no worker sits on a connection that another one waits for. Who comes to the front is handed an idle connection, or the right to open one. Where that
//! leads elsewhere than the endpoint then chosen, it is exchanged, or closed to make room. Every right is given back by dropping it, which lets
//! the next in line go on; so nothing is dropped while the lock is held.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::task::{Context, Poll};
use std::time::Instant;

use isthmus_core::balance::breaker::{Permit, Resource};
use isthmus_core::balance::{EndpointState, Slot};
use tokio::sync::oneshot;

use super::h1::{Idle, Lane, Pool};
use super::h2;

/// A connection's place among those of its backend; who is next in line hears when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    permit: Option<Permit>,
    queue: Option<Arc<Queue>>,
}

impl Place {
    /// Where connections are not limited; they are counted all the same.
    pub(super) fn unlimited(slot: &Arc<Slot>) -> Self {
        Self { permit: slot.try_enter(Resource::Connection, None), queue: None }
    }
}

impl Place {
    /// Who hears of it.
    pub(super) fn queue(&self) -> Option<Arc<Queue>> {
        self.queue.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.permit = None;
        if let Some(queue) = &self.queue {
            queue.go_on();
        }
    }
}

/// What the front of the line gets.
#[derive(Debug)]
pub(crate) enum Grant {
    /// A connection may be opened.
    Room(Room),
    /// An idle connection to an endpoint.
    Lane(Arc<EndpointState>, Box<Idle>),
    /// A stream on a connection to an endpoint, which others share.
    Stream(Arc<EndpointState>, h2::Slot),
}

impl Grant {
    /// The only endpoint that it leads to, where there is but one.
    pub(crate) fn only(&self) -> Option<&Arc<EndpointState>> {
        match self {
            Self::Stream(endpoint, _) => Some(endpoint),
            Self::Room(_) | Self::Lane(..) => None,
        }
    }
}

/// Room for one connection that is not open yet.
#[derive(Debug)]
pub(crate) struct Room(Option<Arc<Queue>>);

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            queue.state().reserved -= 1;
            queue.go_on();
        }
    }
}

/// What a grant has come to for the endpoint chosen.
#[derive(Debug)]
pub(super) enum Settled {
    /// A connection to it.
    Lane(Lane),
    /// One may be opened.
    Dial(Place),
    /// The limit was lowered meanwhile.
    Full,
}

/// What became of asking.
#[derive(Debug)]
pub(crate) enum Asked {
    /// There is one at once.
    Granted(Grant),
    /// The line is full.
    Refused,
    /// It stands in line.
    Waits(Ticket),
}

/// A place in line; dropping it leaves the line.
#[derive(Debug)]
pub(crate) struct Ticket {
    queue: Arc<Queue>,
    number: u64,
    told: oneshot::Receiver<Grant>,
    _pending: Permit,
}

impl Future for Ticket {
    type Output = Option<Grant>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.told).poll(cx).map(Result::ok)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let left = self.queue.state().waiting.remove(&self.number);
        drop(left);
    }
}

/// The line of one backend.
#[derive(Debug)]
pub(crate) struct Queue {
    slot: Weak<Slot>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct Waiting {
    http2: bool,
    tell: oneshot::Sender<Grant>,
}

#[derive(Debug, Default)]
struct State {
    /// By number, the first first.
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
    /// Connections that may be opened and are not yet.
    reserved: u32,
    /// By the address of the endpoint's state; never an empty list.
    idle: HashMap<usize, (Weak<EndpointState>, Vec<Idle>), foldhash::fast::RandomState>,
    /// Connections of HTTP/2.
    links: Vec<(Weak<EndpointState>, Weak<h2::Connection>)>,
}

impl State {
    /// A stream on the least busy connection whose endpoint may get traffic.
    fn stream(&mut self, slot: &Slot) -> Option<Grant> {
        self.links.retain(|(endpoint, link)| endpoint.strong_count() > 0 && link.upgrade().is_some_and(|link| !link.is_broken()));
        let view = slot.view.load();
        let mut links: Vec<_> = self.links.iter().filter_map(|(endpoint, link)| Some((endpoint.upgrade()?, link.upgrade()?))).collect();
        links.sort_by_key(|(_, link)| link.streams());
        links.into_iter().find_map(|(endpoint, link)| {
            view.at(&endpoint)?;
            let stream = link.stream()?;
            Some(Grant::Stream(endpoint, stream))
        })
    }
    /// Closes a connection of HTTP/2 that carries nothing; its place comes back when it has closed.
    fn make_room(&mut self) {
        let idle = self.links.iter().filter_map(|(_, link)| link.upgrade()).find(|link| link.is_idle() && !link.is_broken());
        if let Some(link) = idle {
            link.retire();
        }
    }

    fn put(&mut self, endpoint: &Arc<EndpointState>, idle: Idle) {
        let (_, list) = self.idle.entry(Arc::as_ptr(endpoint).addr()).or_insert_with(|| (Arc::downgrade(endpoint), Vec::new()));
        list.push(idle);
    }
    /// The youngest idle connection to the endpoint. Dead ones are left in `dead`.
    fn take(&mut self, endpoint: &Arc<EndpointState>, dead: &mut Vec<Idle>) -> Option<Idle> {
        self.take_at(Arc::as_ptr(endpoint).addr(), dead)
    }
    fn take_at(&mut self, address: usize, dead: &mut Vec<Idle>) -> Option<Idle> {
        let (_, list) = self.idle.get_mut(&address)?;
        let mut found = None;
        while let Some(idle) = list.pop() {
            if idle.lane.wire.is_quiet() {
                found = Some(idle);
                break;
            }
            dead.push(idle);
        }
        if list.is_empty() {
            self.idle.remove(&address);
        }
        found
    }
    /// Any idle connection.
    fn any(&mut self, dead: &mut Vec<Idle>) -> Option<(Arc<EndpointState>, Idle)> {
        while let Some((&address, (endpoint, _))) = self.idle.iter().next() {
            let endpoint = endpoint.upgrade();
            let idle = self.take_at(address, dead);
            match (endpoint, idle) {
                (Some(endpoint), Some(idle)) => return Some((endpoint, idle)),
                (None, Some(idle)) => dead.push(idle),
                (_, None) => {}
            }
        }
        None
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a connection, or a stream on one.
    pub(crate) fn ask(self: &Arc<Self>, http2: bool) -> Asked {
        let Some(slot) = self.slot.upgrade() else { return Asked::Refused };
        let mut dead = Vec::new();
        let mut state = self.state();
        if state.waiting.is_empty()
            && let Some(grant) = self.next_grant(&mut state, &slot, http2, &mut dead)
        {
            drop(state);
            return Asked::Granted(grant);
        }
        slot.overflow(Resource::Connection);
        let Some(pending) = slot.enter(Resource::Pending, slot.view.load().policy.limits.pending) else {
            drop(state);
            return Asked::Refused;
        };
        let (tell, told) = oneshot::channel();
        let number = state.next;
        state.next += 1;
        state.waiting.insert(number, Waiting { http2, tell });
        drop(state);
        Asked::Waits(Ticket { queue: self.clone(), number, told, _pending: pending })
    }

    /// What the front of the line could have now.
    fn next_grant(self: &Arc<Self>, state: &mut State, slot: &Slot, http2: bool, dead: &mut Vec<Idle>) -> Option<Grant> {
        if !http2 && let Some((endpoint, idle)) = state.any(dead) {
            return Some(Grant::Lane(endpoint, Box::new(idle)));
        }
        if Self::has_room(state, slot) {
            state.reserved += 1;
            return Some(Grant::Room(Room(Some(self.clone()))));
        }
        let stream = if http2 { state.stream(slot) } else { None };
        let other = || state.any(dead).map(|(endpoint, idle)| Grant::Lane(endpoint, Box::new(idle)));
        let grant = stream.or_else(other);
        if grant.is_none() {
            state.make_room();
        }
        grant
    }

    fn has_room(state: &State, slot: &Slot) -> bool {
        let limit = slot.view.load().policy.limits.connections;
        limit.is_none_or(|limit| slot.used(Resource::Connection).saturating_add(state.reserved) < limit)
    }

    /// Hands out what there is, in order.
    pub(super) fn go_on(self: &Arc<Self>) {
        loop {
            let Some(slot) = self.slot.upgrade() else { return };
            let mut dead = Vec::new();
            let mut state = self.state();
            if state.waiting.is_empty() {
                return;
            }
            let http2 = state.waiting.first_key_value().is_some_and(|(_, first)| first.http2);
            let grant = self.next_grant(&mut state, &slot, http2, &mut dead);
            let first = grant.and_then(|grant| Some((grant, state.waiting.pop_first()?)));
            drop(state);
            let again = first.is_some() || !dead.is_empty();
            if let Some((grant, (_, Waiting { tell, .. }))) = first {
                // Whoever has just left drops it, and so comes here again.
                drop(tell.send(grant));
            }
            drop(dead);
            if !again {
                return;
            }
        }
    }

    /// What a grant means for the endpoint chosen: its own connection, or room for one, made by closing another where need be.
    pub(super) fn settle(self: &Arc<Self>, grant: Grant, endpoint: &Arc<EndpointState>) -> Settled {
        let grant = match grant {
            Grant::Lane(to, idle) if Arc::ptr_eq(&to, endpoint) => return Settled::Lane(idle.lane),
            other @ (Grant::Room(_) | Grant::Lane(..) | Grant::Stream(..)) => other,
        };
        let Some(slot) = self.slot.upgrade() else { return Settled::Full };
        let (mut dead, mut unused) = (Vec::new(), None);
        let mut state = self.state();
        let own = state.take(endpoint, &mut dead);
        let place = match grant {
            Grant::Room(mut room) => {
                room.0 = None;
                state.reserved -= 1;
                own.is_none().then(|| self.place(&slot))
            }
            Grant::Lane(to, idle) if own.is_some() || Self::has_room(&state, &slot) => {
                state.put(&to, *idle);
                own.is_none().then(|| self.place(&slot))
            }
            Grant::Stream(..) => {
                unused = Some(grant);
                None
            }
            // What it was open to is closed, and its place taken.
            Grant::Lane(_, idle) => Some(Some(idle.lane.life.place)),
        };
        drop(state);
        drop((dead, unused));
        self.go_on();
        match (own, place.flatten()) {
            (Some(idle), _) => Settled::Lane(idle.lane),
            (None, Some(place)) => Settled::Dial(place),
            (None, None) => Settled::Full,
        }
    }

    /// The place of a connection that is to be opened for HTTP/2.
    pub(super) fn open(self: &Arc<Self>, grant: Grant) -> Option<Place> {
        let slot = self.slot.upgrade()?;
        match grant {
            Grant::Room(mut room) => {
                let mut state = self.state();
                room.0 = None;
                state.reserved -= 1;
                self.place(&slot)
            }
            Grant::Lane(_, idle) => Some(idle.lane.life.place),
            Grant::Stream(..) => None,
        }
    }

    /// Connections of HTTP/2 are found by who comes later.
    pub(super) fn link(self: &Arc<Self>, endpoint: &Arc<EndpointState>, connection: &Arc<h2::Connection>) {
        self.state().links.push((Arc::downgrade(endpoint), Arc::downgrade(connection)));
        self.go_on();
    }

    fn place(self: &Arc<Self>, slot: &Arc<Slot>) -> Option<Place> {
        let limit = slot.view.load().policy.limits.connections;
        let permit = slot.enter(Resource::Connection, limit)?;
        Some(Place { permit: Some(permit), queue: Some(self.clone()) })
    }

    /// Keeps a connection for whoever is next.
    pub(super) fn put(self: &Arc<Self>, endpoint: &Arc<EndpointState>, mut lane: Lane, until: Instant) {
        let Some(slot) = self.slot.upgrade() else { return };
        lane.life.place.queue = Some(self.clone());
        let limit = slot.view.load().policy.limits.connections;
        if limit.is_some_and(|limit| slot.used(Resource::Connection) > limit) {
            // The limit was lowered: one that ends is not followed by another.
            return drop(lane);
        }
        self.state().put(endpoint, Idle { lane, until });
        self.go_on();
    }

    /// Lets go of connections that are of no more use, and of all where there is no limit any more.
    fn sweep(self: &Arc<Self>, slot: &Arc<Slot>, now: Instant, pool: &Pool) {
        let view = slot.view.load();
        let limit = view.policy.limits.connections;
        let mut over = limit.map_or(u32::MAX, |limit| slot.used(Resource::Connection).saturating_sub(limit));
        let mut dropped = Vec::new();
        let mut state = self.state();
        state.idle.retain(|_, (endpoint, list)| {
            let gone = endpoint.strong_count() == 0;
            dropped.extend(list.extract_if(.., |idle| {
                let goes = gone || over > 0 || idle.until <= now || !idle.lane.wire.is_quiet();
                over -= u32::from(goes && over > 0);
                goes
            }));
            !list.is_empty()
        });
        drop(state);
        drop(dropped);
        if limit.is_some() {
            // From before there was a limit.
            view.members.iter().for_each(|m| pool.close(&m.state));
        }
        self.go_on();
    }

    /// How many connections are idle.
    fn idle(&self) -> usize {
        self.state().idle.values().map(|(_, list)| list.len()).sum()
    }
}

/// The lines of all backends that have one, by the address of the slot, which the weak reference keeps from being reused.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    lines: RwLock<HashMap<usize, Arc<Queue>, foldhash::fast::RandomState>>,
}

impl Queues {
    /// The backend's line.
    pub(crate) fn of(&self, slot: &Arc<Slot>) -> Arc<Queue> {
        let address = Arc::as_ptr(slot).addr();
        if let Some(queue) = self.lines.read().unwrap_or_else(PoisonError::into_inner).get(&address) {
            return queue.clone();
        }
        let mut lines = self.lines.write().unwrap_or_else(PoisonError::into_inner);
        lines.entry(address).or_insert_with(|| Arc::new(Queue { slot: Arc::downgrade(slot), state: Mutex::default() })).clone()
    }

    /// Looks through all of them.
    pub(super) fn sweep(&self, now: Instant, pool: &Pool) {
        let all: Vec<Arc<Queue>> = self.lines.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for queue in &all {
            if let Some(slot) = queue.slot.upgrade() {
                queue.sweep(&slot, now, pool);
            }
        }
        let gone = |queue: &Queue| queue.slot.strong_count() == 0;
        if all.iter().any(|q| gone(q)) {
            let mut lines = self.lines.write().unwrap_or_else(PoisonError::into_inner);
            let dropped: Vec<_> = lines.extract_if(|_, queue| gone(queue)).collect();
            drop(lines);
            drop(dropped);
        }
    }

    /// How many connections are idle.
    pub(crate) fn idle(&self) -> usize {
        self.lines.read().unwrap_or_else(PoisonError::into_inner).values().map(|q| q.idle()).sum()
    }
}
