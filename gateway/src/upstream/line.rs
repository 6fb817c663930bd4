//! The line for connections of a backend that may have only so many: first come, first served (contract/envoy.md 1.1).
//!
//! All workers share the queue of a backend, so the limit is exact for the process. Who comes to the front is handed a connection that there is, or the
//! right to open one. Every right is given back by dropping it, which lets the next in line go on; so nothing is dropped while the lock is held.
//! Whoever gives something back looks for waiting requests without the lock first; a request that comes makes itself known before it looks for what there
//! is. So one of the two sees the other, and nobody waits for what is there. `tests/tests/interleavings.rs` plays every order of these steps.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::shelf::{Idle, Kept, Shelf};
use super::sync::atomic::{AtomicUsize, Ordering, fence};
use super::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use super::{Permit, Resource, Slot};

/// A connection's place among those of its backend; who is next in line hears when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    permit: Option<Permit>,
    queue: Arc<Queue>,
}

impl Place {
    /// Who hears of it.
    pub(super) fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.permit = None;
        self.queue.go_on();
    }
}

/// What the front of the line gets.
#[derive(Debug)]
pub(crate) enum Grant {
    /// A connection may be opened.
    Room(Room),
    /// A connection that there is, or a stream on one.
    Kept(Kept),
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
        let mut state = self.queue.state();
        let left = state.waiting.remove(&self.number);
        self.queue.tell(state.waiting.len());
        drop(state);
        drop(left);
    }
}

/// The line of one backend.
#[derive(Debug)]
pub(crate) struct Queue {
    slot: Weak<Slot>,
    /// How many wait, or have come to look; written under the lock.
    known: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct Waiting {
    http2: bool,
    tell: oneshot::Sender<Grant>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// By number, the first first.
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
    /// Connections that may be opened and are not yet.
    reserved: u32,
    /// Connections that there are.
    pub(super) shelf: Shelf,
}

impl Queue {
    pub(super) fn new(slot: &Arc<Slot>) -> Self {
        Self { slot: Arc::downgrade(slot), known: AtomicUsize::new(0), state: Mutex::default() }
    }
    /// Whose.
    pub(super) fn slot(&self) -> Option<Arc<Slot>> {
        self.slot.upgrade()
    }
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Makes known how many wait. What is looked at after it has seen all that was given back by whoever did not see it.
    fn tell(&self, waiting: usize) {
        self.known.store(waiting, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Asks for a connection, or a stream on one.
    pub(crate) fn ask(self: &Arc<Self>, http2: bool) -> Asked {
        let Some(slot) = self.slot() else { return Asked::Refused };
        let mut dead = Vec::new();
        let mut state = self.state();
        let before = state.waiting.len();
        self.tell(before + 1);
        if before == 0
            && let Some(grant) = self.next_grant(&mut state, &slot, http2, &mut dead)
        {
            self.tell(0);
            drop(state);
            return Asked::Granted(grant);
        }
        let Some(pending) = slot.enter(Resource::Pending, slot.limits().pending) else {
            self.tell(before);
            drop(state);
            return Asked::Refused;
        };
        slot.overflow(Resource::Connection);
        let (tell, told) = oneshot::channel();
        let number = state.next;
        state.next += 1;
        state.waiting.insert(number, Waiting { http2, tell });
        state.shelf.make_room();
        drop(state);
        Asked::Waits(Ticket { queue: self.clone(), number, told, _pending: pending })
    }

    /// What the front of the line could have now.
    fn next_grant(self: &Arc<Self>, state: &mut State, slot: &Slot, http2: bool, dead: &mut Vec<Idle>) -> Option<Grant> {
        if !http2 && let Some(kept) = state.shelf.lane(dead) {
            return Some(Grant::Kept(kept));
        }
        if state.has_room(slot) {
            state.reserved += 1;
            return Some(Grant::Room(Room(Some(self.clone()))));
        }
        let stream = if http2 { state.shelf.stream(slot) } else { None };
        stream.or_else(|| state.shelf.lane(dead)).map(Grant::Kept)
    }

    /// Hands out what there is, in order.
    pub(super) fn go_on(self: &Arc<Self>) {
        fence(Ordering::SeqCst);
        if self.known.load(Ordering::Relaxed) == 0 {
            return;
        }
        loop {
            let Some(slot) = self.slot() else { return };
            let mut dead = Vec::new();
            let mut state = self.state();
            let Some(http2) = state.waiting.first_key_value().map(|(_, first)| first.http2) else { return };
            let grant = self.next_grant(&mut state, &slot, http2, &mut dead);
            let first = grant.and_then(|grant| Some((grant, state.waiting.pop_first()?)));
            if first.is_none() {
                state.shelf.make_room();
            }
            self.tell(state.waiting.len());
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

    /// The place of a connection that is to be opened where there was room for it, unless the limit was lowered meanwhile.
    pub(super) fn open(self: &Arc<Self>, mut room: Room) -> Option<Place> {
        let slot = self.slot()?;
        let mut state = self.state();
        room.0 = None;
        state.reserved -= 1;
        self.place(&slot)
    }

    /// A place for a connection, within the limit in force.
    pub(crate) fn place(self: &Arc<Self>, slot: &Arc<Slot>) -> Option<Place> {
        let permit = slot.enter(Resource::Connection, slot.limits().connections)?;
        Some(Place { permit: Some(permit), queue: self.clone() })
    }
}

impl State {
    /// Whether one more connection may be opened.
    pub(super) fn has_room(&self, slot: &Slot) -> bool {
        slot.limits().connections.is_none_or(|limit| slot.used(Resource::Connection).saturating_add(self.reserved) < limit)
    }
}
