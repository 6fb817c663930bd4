//! Idle HTTP/1 connections, by endpoint, and the one that a request uses.
//!
//! Each worker thread keeps its own; one that has none looks at the others' before it dials. Where connections are limited they are kept in
//! the backend's queue instead, which all workers share. An endpoint is known by its
//! state, which the pool holds weakly: once no view and no request holds it, the endpoint is gone and so are its
//! connections. A connection on which anything was heard while idle is dead.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use bytes::BytesMut;
use isthmus_core::balance::breaker::Noted;
use isthmus_core::balance::{BackendPolicy, EndpointState, Slot};
use tokio::net::TcpStream;

use super::{Outgoing, Place, Wire};
use crate::observe::Opened;

/// An HTTP/1 connection to an endpoint.
#[derive(Debug)]
pub(crate) struct Lane {
    /// What it says.
    pub(crate) wire: Box<Wire>,
    /// What it is told.
    pub(crate) out: Outgoing,
    /// Our address on it.
    pub(crate) local: Option<SocketAddr>,
    /// How long it has lived, and its place among its backend's connections.
    pub(crate) life: Life,
}

/// A connection's age and place.
#[derive(Debug)]
pub(crate) struct Life {
    /// Given back when the connection ends.
    pub(super) place: Place,
    _opened: Opened,
    born: Instant,
    /// How often the endpoint had been ejected by then.
    ejections: u32,
    requests: u32,
}

impl Lane {
    /// A new connection.
    pub(crate) fn new(stream: TcpStream, place: Place, opened: Opened, endpoint: &EndpointState) -> Self {
        let local = stream.local_addr().ok();
        let (read, write) = stream.into_split();
        let life = Life { place, _opened: opened, born: Instant::now(), ejections: endpoint.ejections(), requests: 0 };
        Self { wire: Box::new(Wire::new(read, BytesMut::new())), out: Outgoing::new(write), local, life }
    }
}

impl Life {
    /// One more request was carried: until when the connection may be kept, if it may. One from before an ejection may not.
    pub(super) fn go_on(&mut self, slot: &Slot, endpoint: &EndpointState, policy: &BackendPolicy) -> Option<Instant> {
        self.requests += 1;
        if endpoint.ejections() != self.ejections {
            return None;
        }
        if policy.keeping.requests.is_some_and(|most| self.requests >= most) {
            slot.note(Noted::ConnectionServed);
            return None;
        }
        let until = Instant::now() + policy.idle_timeout;
        match policy.keeping.longest {
            Some(longest) if self.born.elapsed() >= longest => None,
            Some(longest) => Some(until.min(self.born + longest)),
            None => Some(until),
        }
    }
}

/// A connection that waits for a request, for so long.
#[derive(Debug)]
pub(crate) struct Idle {
    pub(super) lane: Lane,
    pub(super) until: Instant,
}

#[derive(Debug)]
struct Kept {
    endpoint: Weak<EndpointState>,
    idle: Vec<Idle>,
}

/// Connections of one worker, by the address of the endpoint's state, which the weak reference keeps from being reused.
type Shard = HashMap<usize, Kept, foldhash::fast::RandomState>;

/// The pool.
#[derive(Debug)]
pub(crate) struct Pool {
    shards: Box<[Mutex<Shard>]>,
    count: AtomicUsize,
}

impl Pool {
    /// For so many workers.
    pub(crate) fn new(workers: usize) -> Self {
        Self { shards: (0..workers.max(1)).map(|_| Mutex::default()).collect(), count: AtomicUsize::new(0) }
    }

    /// An idle connection to the endpoint, the youngest first.
    pub(crate) fn take(&self, worker: usize, endpoint: &Arc<EndpointState>) -> Option<Lane> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let own = worker % self.shards.len();
        (0..self.shards.len()).find_map(|offset| self.take_from((own + offset) % self.shards.len(), offset == 0, endpoint))
    }

    fn take_from(&self, shard: usize, own: bool, endpoint: &Arc<EndpointState>) -> Option<Lane> {
        let mut dead = Vec::new();
        let mut shard = if own { self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner) } else { self.shards[shard].try_lock().ok()? };
        let kept = shard.get_mut(&Arc::as_ptr(endpoint).addr())?;
        while let Some(idle) = kept.idle.pop() {
            self.count.fetch_sub(1, Ordering::Relaxed);
            if idle.lane.wire.is_quiet() {
                drop(shard);
                return Some(idle.lane);
            }
            // What its place sets going must not meet the lock.
            dead.push(idle);
        }
        drop(shard);
        None
    }

    /// Keeps a connection for the next request, until then.
    pub(crate) fn put(&self, worker: usize, endpoint: &Arc<EndpointState>, lane: Lane, until: Instant) {
        let mut shard = self.shards[worker % self.shards.len()].lock().unwrap_or_else(PoisonError::into_inner);
        let kept = shard.entry(Arc::as_ptr(endpoint).addr());
        kept.or_insert_with(|| Kept { endpoint: Arc::downgrade(endpoint), idle: Vec::new() }).idle.push(Idle { lane, until });
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Closes what is idle to an endpoint, on whichever worker.
    pub(super) fn close(&self, endpoint: &Arc<EndpointState>) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = shard.remove(&Arc::as_ptr(endpoint).addr());
            drop(shard);
            self.count.fetch_sub(kept.map_or(0, |k| k.idle.len()), Ordering::Relaxed);
        }
    }

    /// Lets go of connections that are too old, dead, or lead to an endpoint that is gone.
    pub(crate) fn sweep(&self, now: Instant) {
        for shard in &self.shards {
            let mut dropped = Vec::new();
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, kept| {
                let gone = kept.endpoint.strong_count() == 0;
                dropped.extend(kept.idle.extract_if(.., |idle| gone || idle.until <= now || !idle.lane.wire.is_quiet()));
                !gone && !kept.idle.is_empty()
            });
            drop(shard);
            self.count.fetch_sub(dropped.len(), Ordering::Relaxed);
        }
    }

    /// How many connections are idle.
    pub(crate) fn idle(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Traffic;
    use crate::upstream::Queue;
    use isthmus_core::balance::{BackendKey, view};
    use std::time::Duration;
    use tokio::net::TcpListener;

    fn slot() -> Arc<Slot> {
        let key = BackendKey { host: "a".into(), port: 80, subset: "".into() };
        Arc::new(Slot::new(key, view(&Arc::default(), &Arc::default(), &[], None, 0)))
    }

    fn place() -> Place {
        let slot = slot();
        Arc::new(Queue::new(&slot)).place(&slot).expect("there is no limit")
    }

    async fn pair() -> (Lane, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (
            Lane::new(near, place(), Arc::<Traffic>::default().opened(&slot(), &Arc::default()), &EndpointState::default()),
            listener.accept().await.unwrap().0,
        )
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn a_connection_is_found_again_by_its_endpoint_only() {
        let pool = Pool::new(2);
        let (one, other) = (Arc::<EndpointState>::default(), Arc::<EndpointState>::default());
        let (lane, _far) = pair().await;
        pool.put(0, &one, lane, later());
        assert!(pool.take(0, &other).is_none());
        assert!(pool.take(1, &one).is_some(), "another worker's");
        assert!(pool.take(0, &one).is_none());
        assert_eq!(pool.idle(), 0);
    }

    #[tokio::test]
    async fn the_sweep_drops_what_is_of_no_use() {
        let pool = Pool::new(1);
        let (stays, gone) = (Arc::<EndpointState>::default(), Arc::<EndpointState>::default());
        let (lane, _a) = pair().await;
        pool.put(0, &stays, lane, later());
        let (lane, _b) = pair().await;
        pool.put(0, &gone, lane, later());
        drop(gone);
        let (lane, _c) = pair().await;
        pool.put(0, &stays, lane, Instant::now());
        let (lane, closed) = pair().await;
        pool.put(0, &stays, lane, later());
        drop(closed);
        while pool.idle() > 1 {
            pool.sweep(Instant::now());
            tokio::task::yield_now().await;
        }
        pool.sweep(Instant::now());
        assert_eq!(pool.idle(), 1);
    }
}
