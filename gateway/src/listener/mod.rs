//! Which sockets are open: those that the snapshot wants, as far as the system lets us.
//!
//! A socket whose servers change stays open, and so do its connections; each connection and each request looks its listener
//! up in the present snapshot. A socket that is no longer wanted stops accepting at once; its connections get
//! `connection: close` or GOAWAY, and what is left after the drain time is cut. A bind that fails is a state, tried again.

mod accept;
mod front;
mod proxy_header;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use isthmus_core::snapshot::{Front, ListenKey, Snapshot};
use tokio::runtime::Handle;
use tracing::{info, warn};

use crate::proxy::Engine;
use accept::{Guests, Socket};

/// The pause before a bind is tried again, doubled each time up to the last.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// The sockets.
#[derive(Debug)]
pub(crate) struct Listeners {
    engine: Arc<Engine>,
    runtime: Handle,
    drain: Duration,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    open: BTreeMap<ListenKey, Place>,
    draining: Vec<(ListenKey, Instant, Arc<Guests>)>,
    ended: bool,
}

#[derive(Debug)]
enum Place {
    Bound(Socket),
    Refused { reason: String, at: Instant, pause: Duration },
}

/// What became of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It accepts, at this address.
    Bound(SocketAddr),
    /// The system refused it; it is tried again then.
    Refused {
        /// What the system said.
        reason: String,
        /// When it is tried again.
        retry: Instant,
    },
    /// It is no longer wanted; its connections may last until then.
    Draining(Instant),
}

/// A socket, for `get listeners`, `get problems` and the readiness check.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    /// Where it listens.
    pub(crate) key: ListenKey,
    /// What became of it.
    pub(crate) state: State,
    /// Connections open.
    pub(crate) connections: usize,
}

impl Listeners {
    /// No sockets yet. Connections run on `runtime`, and last at most `drain` once they must end.
    pub(crate) fn new(engine: Arc<Engine>, runtime: Handle, drain: Duration) -> Arc<Self> {
        Arc::new(Self { engine, runtime, drain, places: Mutex::default() })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens what the snapshot wants and closes what it does not. Call it after the snapshot is in force.
    pub(crate) fn reconcile(self: &Arc<Self>, snapshot: &Snapshot) {
        let mut places = self.lock();
        if places.ended {
            return;
        }
        let wanted = |key: &ListenKey| snapshot.listener(key).is_some_and(|(_, l)| !matches!(l.front, Front::Closed(_)));
        let gone: Vec<ListenKey> = places.open.keys().filter(|key| !wanted(key)).cloned().collect();
        for key in gone {
            if let Some(Place::Bound(socket)) = places.open.remove(&key) {
                info!(listener = %key, "listener closed");
                self.part(&mut places, key, &socket);
            }
        }
        for listener in &snapshot.listeners {
            if wanted(&listener.key) && !places.open.contains_key(&listener.key) {
                self.open(&mut places, listener.key.clone(), FIRST_RETRY);
            }
        }
    }

    fn open(self: &Arc<Self>, places: &mut Places, key: ListenKey, pause: Duration) {
        let place = match Socket::open(&key, &self.engine, &self.runtime) {
            Ok(socket) => {
                info!(listener = %key, address = %socket.address, "listener open");
                Place::Bound(socket)
            }
            Err(error) => {
                warn!(listener = %key, %error, "listener refused");
                self.runtime.spawn(retry(Arc::downgrade(self), key.clone(), pause));
                Place::Refused { reason: error.to_string(), at: Instant::now() + pause, pause }
            }
        };
        places.open.insert(key, place);
    }

    fn again(self: &Arc<Self>, key: ListenKey) {
        let mut places = self.lock();
        if let Some(Place::Refused { pause, .. }) = places.open.get(&key) {
            let pause = (*pause * 2).min(LAST_RETRY);
            self.open(&mut places, key, pause);
        }
    }

    fn part(&self, places: &mut Places, key: ListenKey, socket: &Socket) {
        socket.close();
        let (guests, drain) = (socket.guests.clone(), self.drain);
        places.draining.retain(|(_, _, guests)| guests.count() > 0);
        places.draining.push((key, Instant::now() + drain, guests.clone()));
        self.runtime.spawn(async move {
            if tokio::time::timeout(drain, guests.gone()).await.is_err() {
                guests.evict();
            }
        });
    }

    /// Every socket and what became of it.
    pub(crate) fn status(&self) -> Vec<Status> {
        let places = self.lock();
        let open = places.open.iter().map(|(key, place)| match place {
            Place::Bound(socket) => Status { key: key.clone(), state: State::Bound(socket.address), connections: socket.guests.count() },
            Place::Refused { reason, at, .. } => {
                Status { key: key.clone(), state: State::Refused { reason: reason.clone(), retry: *at }, connections: 0 }
            }
        });
        let draining = places.draining.iter().filter(|(_, _, guests)| guests.count() > 0);
        let draining = draining.map(|(key, until, guests)| Status { key: key.clone(), state: State::Draining(*until), connections: guests.count() });
        open.chain(draining).collect()
    }

    /// Closes every socket for good, and waits until the last connection has ended, at most the drain time.
    pub(crate) async fn drain(&self) {
        let left: Vec<Arc<Guests>> = {
            let mut places = self.lock();
            places.ended = true;
            let open = std::mem::take(&mut places.open);
            for (key, place) in open {
                if let Place::Bound(socket) = place {
                    self.part(&mut places, key, &socket);
                }
            }
            places.draining.iter().map(|(_, _, guests)| guests.clone()).collect()
        };
        let all = async {
            for guests in &left {
                guests.gone().await;
            }
        };
        if tokio::time::timeout(self.drain, all).await.is_err() {
            for guests in &left {
                guests.evict();
            }
        }
    }
}

async fn retry(listeners: Weak<Listeners>, key: ListenKey, pause: Duration) {
    tokio::time::sleep(pause).await;
    if let Some(listeners) = listeners.upgrade() {
        listeners.again(key);
    }
}
