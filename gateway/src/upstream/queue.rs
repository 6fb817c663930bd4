//! What comes of a turn in line: the connection that a grant leads to, and the lines of all backends.
//!
//! Where a grant leads elsewhere than the endpoint then chosen, it is exchanged, or its connection is closed to make room.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use isthmus_core::balance::breaker::Resource;
use isthmus_core::balance::{EndpointState, Slot};

use super::h1::{Idle, Lane, Pool};
use super::h2;
use super::line::{Grant, Place, Queue};
use super::shelf::Kept;

impl Grant {
    /// The only endpoint that it leads to, where there is but one.
    pub(crate) fn only(&self) -> Option<&Arc<EndpointState>> {
        match self {
            Self::Kept(Kept::Stream(endpoint, _)) => Some(endpoint),
            Self::Room(_) | Self::Kept(Kept::Lane(..)) => None,
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

impl Queue {
    /// What a grant means for the endpoint chosen: its own connection, or room for one, made by closing another where need be.
    pub(super) fn settle(self: &Arc<Self>, grant: Grant, endpoint: &Arc<EndpointState>) -> Settled {
        let mut dead = Vec::new();
        let own = |dead: &mut Vec<Idle>| self.state().shelf.take(endpoint, dead);
        let settled = match grant {
            Grant::Kept(Kept::Lane(to, idle)) if Arc::ptr_eq(&to, endpoint) => Settled::Lane(idle.lane),
            Grant::Kept(Kept::Stream(..)) => Settled::Full,
            Grant::Room(room) => match own(&mut dead) {
                Some(idle) => Settled::Lane(idle.lane),
                None => self.open(room).map_or(Settled::Full, Settled::Dial),
            },
            Grant::Kept(Kept::Lane(to, idle)) => match own(&mut dead) {
                Some(other) => {
                    self.state().shelf.put(&to, *idle);
                    Settled::Lane(other.lane)
                }
                None => match self.exchanged(&to, idle) {
                    Ok(Some(place)) => Settled::Dial(place),
                    Ok(None) => Settled::Full,
                    // What it was open to is closed, and its place taken.
                    Err(idle) => Settled::Dial(idle.lane.life.place),
                },
            },
        };
        drop(dead);
        self.go_on();
        settled
    }

    /// A place beside the idle connection, which is kept, where there is room for both; else the connection again.
    fn exchanged(self: &Arc<Self>, to: &Arc<EndpointState>, idle: Box<Idle>) -> Result<Option<Place>, Box<Idle>> {
        let Some(slot) = self.slot() else { return Err(idle) };
        let mut state = self.state();
        if !state.has_room(&slot) {
            return Err(idle);
        }
        state.shelf.put(to, *idle);
        Ok(self.place(&slot))
    }

    /// The place of a connection that is to be opened for HTTP/2.
    pub(super) fn granted(self: &Arc<Self>, grant: Grant) -> Option<Place> {
        match grant {
            Grant::Room(room) => self.open(room),
            Grant::Kept(Kept::Lane(_, idle)) => Some(idle.lane.life.place),
            Grant::Kept(Kept::Stream(..)) => None,
        }
    }

    /// Connections of HTTP/2 are found by who comes later.
    pub(super) fn link(self: &Arc<Self>, endpoint: &Arc<EndpointState>, connection: &Arc<h2::Connection>) {
        self.state().shelf.link(endpoint, connection);
        self.go_on();
    }

    /// Keeps a connection for whoever is next.
    pub(super) fn put(self: &Arc<Self>, endpoint: &Arc<EndpointState>, lane: Lane, until: Instant) {
        let Some(slot) = self.slot() else { return };
        if slot.limits().connections.is_some_and(|limit| slot.used(Resource::Connection) > limit) {
            // The limit was lowered: one that ends is not followed by another.
            return drop(lane);
        }
        self.state().shelf.put(endpoint, Idle { lane, until });
        self.go_on();
    }

    /// Lets go of connections that are of no more use, of those beyond the limit, and of all that lie here where there is none any more.
    fn sweep(self: &Arc<Self>, slot: &Arc<Slot>, now: Instant, pool: &Pool) {
        let view = slot.view.load();
        let surplus = |limit| slot.used(Resource::Connection).saturating_sub(limit);
        let mut dropped = Vec::new();
        if let Some(limit) = view.policy.limits.connections {
            // What lies elsewhere is from before there was a limit.
            view.members.iter().for_each(|m| pool.close(&m.state));
            let mut state = self.state();
            let (idle, over) = state.shelf.sweep(now, surplus(limit));
            state.shelf.retire(over as usize);
            dropped = idle;
        } else {
            dropped.extend(self.state().shelf.sweep(now, u32::MAX).0);
        }
        drop(dropped);
        self.go_on();
    }
}

/// The lines of all backends that have connections, by the address of the slot, which the weak reference keeps from being reused.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    lines: RwLock<HashMap<usize, Arc<Queue>, foldhash::fast::RandomState>>,
}

impl Queues {
    /// The backend's line.
    pub(crate) fn of(&self, slot: &Arc<Slot>) -> Arc<Queue> {
        if let Some(queue) = self.known(slot) {
            return queue;
        }
        let mut lines = self.lines.write().unwrap_or_else(PoisonError::into_inner);
        lines.entry(Arc::as_ptr(slot).addr()).or_insert_with(|| Arc::new(Queue::new(slot))).clone()
    }
    fn known(&self, slot: &Arc<Slot>) -> Option<Arc<Queue>> {
        self.lines.read().unwrap_or_else(PoisonError::into_inner).get(&Arc::as_ptr(slot).addr()).cloned()
    }

    /// Lets go of the connections to an endpoint that carry nothing.
    pub(super) fn leave(&self, slot: &Arc<Slot>, endpoint: &Arc<EndpointState>) {
        let left = self.known(slot).map(|queue| queue.state().shelf.leave(endpoint));
        drop(left);
    }

    /// Lets go of the connections of backends that are not among these, since no route sends to them any more.
    pub(super) fn only(&self, slots: &[Arc<Slot>], pool: &Pool) {
        let stays: HashSet<*const Slot> = slots.iter().map(Arc::as_ptr).collect();
        let all: Vec<Arc<Queue>> = self.lines.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for slot in all.iter().filter_map(|queue| queue.slot()).filter(|slot| !stays.contains(&Arc::as_ptr(slot))) {
            for member in &slot.view.load().members {
                pool.close(&member.state);
                self.leave(&slot, &member.state);
            }
        }
    }

    /// A backend's limits may have changed: what is too many goes, and who waits goes on.
    pub(super) fn adjust(&self, slot: &Arc<Slot>, now: Instant, pool: &Pool) {
        if let Some(queue) = self.known(slot) {
            queue.sweep(slot, now, pool);
        }
    }

    /// Looks through all of them.
    pub(super) fn sweep(&self, now: Instant, pool: &Pool) {
        let all: Vec<Arc<Queue>> = self.lines.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let mut gone = false;
        for queue in &all {
            match queue.slot() {
                Some(slot) => queue.sweep(&slot, now, pool),
                None => gone = true,
            }
        }
        if gone {
            let mut lines = self.lines.write().unwrap_or_else(PoisonError::into_inner);
            let dropped: Vec<_> = lines.extract_if(|_, queue| queue.slot().is_none()).collect();
            drop(lines);
            drop(dropped);
        }
    }

    /// How many connections are idle.
    pub(crate) fn idle(&self) -> usize {
        self.lines.read().unwrap_or_else(PoisonError::into_inner).values().map(|q| q.state().shelf.idle()).sum()
    }
}
