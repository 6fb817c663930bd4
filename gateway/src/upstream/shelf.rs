//! The connections of a backend that may have only so many: those that are idle between requests, and those of HTTP/2, which requests share.
//!
//! They lie where all workers find them, under the lock of the backend's line, so no worker sits on one that another waits for. What is taken out to be
//! closed is handed to the caller, who drops it without the lock.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

use isthmus_core::balance::{EndpointState, Slot};

pub(super) use super::h1::Idle;
use super::h2;

/// A connection that there is.
#[derive(Debug)]
pub(crate) enum Kept {
    /// An idle connection to an endpoint.
    Lane(Arc<EndpointState>, Box<Idle>),
    /// A stream on a connection to an endpoint, which others share.
    Stream(Arc<EndpointState>, h2::Stream),
}

/// What lies there.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// By the address of the endpoint's state; never an empty list.
    idle: HashMap<usize, (Weak<EndpointState>, Vec<Idle>), foldhash::fast::RandomState>,
    /// Connections of HTTP/2.
    links: Vec<(Weak<EndpointState>, Weak<h2::Connection>)>,
}

impl Shelf {
    /// A stream on the least busy connection whose endpoint may get traffic.
    pub(super) fn stream(&mut self, slot: &Slot) -> Option<Kept> {
        let view = slot.view.load();
        let mut links: Vec<_> = self.links.iter().filter_map(|(endpoint, link)| Some((endpoint.upgrade()?, link.upgrade()?))).collect();
        links.sort_by_key(|(_, link)| link.streams());
        links.into_iter().find_map(|(endpoint, link)| {
            view.at(&endpoint)?;
            let stream = link.stream()?;
            Some(Kept::Stream(endpoint, stream))
        })
    }
    /// Closes a connection of HTTP/2 that carries nothing; its place comes back when it has closed.
    pub(super) fn make_room(&mut self) {
        let idle = self.links.iter().filter_map(|(_, link)| link.upgrade()).find(|link| link.is_idle() && !link.is_broken());
        if let Some(link) = idle {
            link.retire();
        }
    }
    /// A new connection of HTTP/2.
    pub(super) fn link(&mut self, endpoint: &Arc<EndpointState>, connection: &Arc<h2::Connection>) {
        self.links.retain(|(_, link)| link.strong_count() > 0);
        self.links.push((Arc::downgrade(endpoint), Arc::downgrade(connection)));
    }
    /// Lets so many connections of HTTP/2 end with the streams that they have, the least busy first.
    pub(super) fn retire(&mut self, surplus: usize) {
        let mut links: Vec<_> = self.links.iter().filter_map(|(_, link)| link.upgrade()).collect();
        let ending = links.iter().filter(|link| link.is_broken()).count();
        links.retain(|link| !link.is_broken());
        links.sort_by_key(|link| link.streams());
        links.iter().take(surplus.saturating_sub(ending)).for_each(|link| link.retire());
    }

    /// Keeps an idle connection.
    pub(super) fn put(&mut self, endpoint: &Arc<EndpointState>, idle: Idle) {
        let (_, list) = self.idle.entry(Arc::as_ptr(endpoint).addr()).or_insert_with(|| (Arc::downgrade(endpoint), Vec::new()));
        list.push(idle);
    }
    /// The youngest idle connection to the endpoint. Dead ones are left in `dead`.
    pub(super) fn take(&mut self, endpoint: &Arc<EndpointState>, dead: &mut Vec<Idle>) -> Option<Idle> {
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
    pub(super) fn lane(&mut self, dead: &mut Vec<Idle>) -> Option<Kept> {
        while let Some((&address, (endpoint, _))) = self.idle.iter().next() {
            let endpoint = endpoint.upgrade();
            let idle = self.take_at(address, dead);
            match (endpoint, idle) {
                (Some(endpoint), Some(idle)) => return Some(Kept::Lane(endpoint, Box::new(idle))),
                (None, Some(idle)) => dead.push(idle),
                (_, None) => {}
            }
        }
        None
    }
    /// Takes out what leads to the endpoint; its connections of HTTP/2 end with the streams that they have.
    pub(super) fn leave(&mut self, endpoint: &Arc<EndpointState>) -> Vec<Idle> {
        let at = Arc::as_ptr(endpoint);
        self.links.iter().filter(|(to, _)| std::ptr::eq(to.as_ptr(), at)).filter_map(|(_, link)| link.upgrade()).for_each(|link| link.retire());
        self.idle.remove(&at.addr()).map(|(_, list)| list).unwrap_or_default()
    }
    /// Takes out what is of no more use by now, and `surplus` more; also how many more there would have been to take.
    pub(super) fn sweep(&mut self, now: Instant, mut surplus: u32) -> (Vec<Idle>, u32) {
        let mut dropped = Vec::new();
        self.idle.retain(|_, (endpoint, list)| {
            let gone = endpoint.strong_count() == 0;
            dropped.extend(list.extract_if(.., |idle| {
                let goes = gone || surplus > 0 || idle.until <= now || !idle.lane.wire.is_quiet();
                surplus -= u32::from(goes && surplus > 0);
                goes
            }));
            !list.is_empty()
        });
        (dropped, surplus)
    }
    /// How many are idle.
    pub(super) fn idle(&self) -> usize {
        self.idle.values().map(|(_, list)| list.len()).sum()
    }
}
