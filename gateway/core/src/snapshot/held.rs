//! How a request holds its route without touching a counter that other workers share.
//!
//! Each worker owns a [`Pin`], an `Arc` of its own around the snapshot; a request clones that one. After an upgrade, or
//! when it has lasted long, it lets go of the world and keeps its route alone, so that long streams pin no old snapshot.

use std::sync::Arc;

use super::{Front, Route, Snapshot};
use crate::route::Position;

/// One worker's handle on the snapshot in force.
#[derive(Debug)]
pub struct Pin {
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
}

/// A route in use.
#[derive(Clone, Debug)]
pub enum Held {
    /// By the world it was found in: places of listener and virtual host, position of the route.
    Pinned(Arc<Pin>, u32, u32, Position),
    /// By itself.
    Kept(Arc<Route>),
}

impl Held {
    /// The route.
    pub fn route(&self) -> &Route {
        self.shared()
    }
    /// Lets go of the world.
    pub fn keep(&mut self) {
        let kept = self.shared().clone();
        *self = Self::Kept(kept);
    }
    fn shared(&self) -> &Arc<Route> {
        match self {
            Self::Pinned(pin, listener, host, position) => {
                let found = match &pin.snapshot.listeners[*listener as usize].front {
                    Front::Http(http) => http.virtual_hosts[*host as usize].routes.get(*position),
                    Front::Tcp(_) | Front::Closed(_) => None,
                };
                found.expect("a held route was found in this world")
            }
            Self::Kept(route) => route,
        }
    }
}
