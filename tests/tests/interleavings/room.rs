//! What stands around the line: a backend that counts connections and waiting requests with the meter that ships, and permits.

use std::sync::Arc;

use crate::meter::Meter;
use loom::sync::atomic::{AtomicU32, Ordering};

/// Where the line imports lock and atomics from.
pub(crate) mod sync {
    pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};
    pub(crate) use std::sync::{Arc, PoisonError, Weak};
}

/// What is counted here.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Resource {
    /// An open connection.
    Connection,
    /// A request that waits for one.
    Pending,
}

/// A backend.
#[derive(Debug)]
pub(crate) struct Slot {
    connections: Meter,
    pending: Meter,
    limit: AtomicU32,
}

/// Its limits.
pub(crate) struct Limits {
    pub(crate) connections: Option<u32>,
    pub(crate) pending: Option<u32>,
}

impl Slot {
    pub(crate) fn new(connections: u32) -> Arc<Self> {
        Arc::new(Self { connections: Meter::default(), pending: Meter::default(), limit: AtomicU32::new(connections) })
    }
    pub(crate) fn limit(&self, connections: u32) {
        self.limit.store(connections, Ordering::Release);
    }
    pub(crate) fn limits(&self) -> Limits {
        Limits { connections: Some(self.limit.load(Ordering::Acquire)), pending: None }
    }
    fn meter(&self, resource: Resource) -> &Meter {
        match resource {
            Resource::Connection => &self.connections,
            Resource::Pending => &self.pending,
        }
    }
    pub(crate) fn used(&self, resource: Resource) -> u32 {
        self.meter(resource).used()
    }
    pub(crate) fn overflow(&self, resource: Resource) {
        self.meter(resource).refuse();
    }
    pub(crate) fn enter(self: &Arc<Self>, resource: Resource, limit: Option<u32>) -> Option<Permit> {
        self.meter(resource).take(limit).then(|| Permit { slot: self.clone(), resource })
    }
}

/// One of what is counted.
#[derive(Debug)]
pub(crate) struct Permit {
    slot: Arc<Slot>,
    resource: Resource,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.slot.meter(self.resource).give_back();
    }
}
