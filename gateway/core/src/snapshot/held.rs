//! How a request holds its route without touching a counter that other workers share.
//!
//! Each worker owns a [`Pin`], an `Arc` of its own around the snapshot; a request clones that one. After an upgrade, or
//! when it has lasted long, it lets go of the world and keeps its route alone, so that long streams pin no old snapshot.

use std::sync::Arc;

use super::{Front, Route, Snapshot};

/// One worker's handle on the snapshot in force.
#[derive(Debug)]
pub struct Pin {
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
}

/// A route in use.
#[derive(Clone, Debug)]
pub enum Held {
    /// By the world it was found in: positions of listener, virtual host and route.
    Pinned(Arc<Pin>, u32, u32, u32),
    /// By itself.
    Kept(Arc<Route>),
}

impl Held {
    /// The route.
    pub fn route(&self) -> &Route {
        match self {
            Self::Pinned(pin, listener, host, route) => {
                let front = &pin.snapshot.listeners[*listener as usize].front;
                match front {
                    Front::Http(http) => &http.virtual_hosts[*host as usize].routes[*route as usize],
                    Front::Tcp(_) | Front::Closed(_) => unreachable!("a held route was found in an HTTP listener"),
                }
            }
            Self::Kept(route) => route,
        }
    }
    /// Lets go of the world.
    pub fn keep(&mut self) {
        if let Self::Pinned(pin, listener, host, route) = self {
            let kept = match &pin.snapshot.listeners[*listener as usize].front {
                Front::Http(http) => http.virtual_hosts[*host as usize].routes[*route as usize].clone(),
                Front::Tcp(_) | Front::Closed(_) => return,
            };
            *self = Self::Kept(kept);
        }
    }
}
