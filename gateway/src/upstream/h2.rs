//! HTTP/2 connections, by endpoint: shared by many requests, opened one at a time.
//!
//! A request gets a stream slot on a connection that has one; while a connection is being opened, others that find none
//! wait for it instead of opening more. A connection that was told to go away, or broke, is left by its streams.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, PingPong};
use isthmus_core::balance::breaker::Noted;
use isthmus_core::balance::{BackendPolicy, EndpointState, Slot};
use isthmus_core::decide::{Attempt, ConnectError};
use tokio::time::timeout;

use super::{Missing, Place, Queue, connector};
use crate::observe::Traffic;

/// Streams that we open at once on one connection, where the endpoint allows more.
const MOST_STREAMS: usize = 1024;

/// What an endpoint may send us unasked: for one stream, and for all of a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    send: SendRequest<Bytes>,
    open: AtomicUsize,
    served: AtomicU32,
    broken: AtomicBool,
    local: Option<SocketAddr>,
    born: Instant,
    policy: BackendPolicy,
    backend: Weak<Slot>,
    idle_since: Mutex<Instant>,
    /// Looked at anew: it is to close, or its last stream has ended.
    stop: tokio::sync::Notify,
    /// Who waits for a stream, where connections are limited.
    queue: Arc<Queue>,
}

impl Connection {
    /// No more streams; it closes once the last has ended.
    pub(super) fn retire(&self) {
        self.broken.store(true, Ordering::Relaxed);
        self.stop.notify_one();
    }
    /// No stream is open on it.
    pub(super) fn is_idle(&self) -> bool {
        self.open.load(Ordering::Acquire) == 0
    }
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }
    /// How many streams are open on it.
    pub(super) fn streams(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }
    /// A stream on it, where it has room for one.
    pub(super) fn stream(self: &Arc<Self>) -> Option<Stream> {
        if self.is_broken() {
            return None;
        }
        let keeping = &self.policy.keeping;
        if keeping.longest.is_some_and(|longest| self.born.elapsed() >= longest) {
            self.retire();
            return None;
        }
        let asked = keeping.streams.map_or(MOST_STREAMS, |n| n as usize);
        let most = self.send.current_max_send_streams().min(asked);
        self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| (open < most).then_some(open + 1)).ok()?;
        if keeping.requests.is_some_and(|most| self.served.fetch_add(1, Ordering::Relaxed) + 1 >= most) {
            self.retire();
            if let Some(backend) = self.backend.upgrade() {
                backend.note(Noted::ConnectionServed);
            }
        }
        Some(Stream { connection: self.clone() })
    }
}

/// Room for a stream, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Stream {
    connection: Arc<Connection>,
}

impl Stream {
    /// The handle that opens the stream.
    pub(crate) fn send(&self) -> SendRequest<Bytes> {
        self.connection.send.clone()
    }
    /// Our address on the connection.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.connection.local
    }
    /// No more streams on this connection.
    pub(crate) fn leave(&self) {
        self.connection.retire();
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let connection = &self.connection;
        if connection.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            *connection.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            if connection.is_broken() {
                connection.stop.notify_one();
            }
        }
        connection.queue.go_on();
    }
}

/// The connections to one endpoint.
#[derive(Debug)]
pub(super) struct Set {
    traffic: Arc<Traffic>,
    endpoint: Weak<EndpointState>,
    connections: Mutex<Vec<Arc<Connection>>>,
    connecting: tokio::sync::Mutex<()>,
}

/// The connections of all endpoints.
#[derive(Debug)]
pub(crate) struct Sets {
    traffic: Arc<Traffic>,
    sets: Mutex<HashMap<usize, Arc<Set>, foldhash::fast::RandomState>>,
}

impl Sets {
    /// None yet.
    pub(super) fn new(traffic: &Arc<Traffic>) -> Self {
        Self { traffic: traffic.clone(), sets: Mutex::default() }
    }
    /// The endpoint's.
    pub(super) fn of(&self, endpoint: &Arc<EndpointState>) -> Arc<Set> {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        let set = sets.entry(Arc::as_ptr(endpoint).addr());
        set.or_insert_with(|| {
            let traffic = self.traffic.clone();
            Arc::new(Set { traffic, endpoint: Arc::downgrade(endpoint), connections: Mutex::default(), connecting: tokio::sync::Mutex::default() })
        })
        .clone()
    }

    /// Closes connections that are unused for too long, broken, or lead to an endpoint that is gone.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        sets.retain(|_, set| {
            let gone = set.endpoint.strong_count() == 0;
            let mut connections = set.connections.lock().unwrap_or_else(PoisonError::into_inner);
            connections.retain(|c| {
                let unused = c.is_idle();
                let since = *c.idle_since.lock().unwrap_or_else(PoisonError::into_inner);
                let old = c.policy.keeping.longest.is_some_and(|longest| c.born + longest <= now);
                let drop = c.is_broken() || old || unused && (gone || since + c.policy.idle_timeout <= now);
                if drop {
                    c.retire();
                }
                !drop
            });
            !gone || !connections.is_empty()
        });
    }
}

impl Set {
    /// A stream on a connection that there is.
    pub(super) fn free(&self) -> Option<Stream> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|c| !c.is_broken());
        connections.iter().find_map(Connection::stream)
    }

    /// A stream, on a new connection where there is none; `place` gives that its place.
    pub(super) async fn connected(&self, attempt: &Attempt, place: impl FnOnce() -> Option<Place>) -> Result<Stream, Missing> {
        let dials = AtomicBool::new(false);
        let within = async {
            let _one_at_a_time = self.connecting.lock().await;
            match self.free() {
                Some(stream) => Ok(stream),
                None => {
                    let place = place().ok_or(Missing::Full)?;
                    dials.store(true, Ordering::Relaxed);
                    self.connect(attempt, place).await.map_err(Missing::Failed)
                }
            }
        };
        timeout(attempt.policy.connect_timeout, within).await.unwrap_or_else(|_| {
            if dials.load(Ordering::Relaxed) {
                connector::not_made(&self.traffic, &attempt.slot, &attempt.member, ConnectError::Timeout);
            }
            Err(Missing::Failed(ConnectError::Timeout))
        })
    }

    async fn connect(&self, attempt: &Attempt, place: Place) -> Result<Stream, ConnectError> {
        let (stream, opened) = connector::dial(&self.traffic, &attempt.slot, &attempt.member, &attempt.policy).await?;
        let local = stream.local_addr().ok();
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW).enable_push(false);
        let (send, mut driver) = builder.handshake::<_, Bytes>(stream).await.map_err(|_| ConnectError::Failed)?;
        let connection = Arc::new(Connection {
            send,
            open: AtomicUsize::new(0),
            served: AtomicU32::new(0),
            broken: AtomicBool::new(false),
            local,
            born: Instant::now(),
            policy: attempt.policy,
            backend: Arc::downgrade(&attempt.slot),
            idle_since: Mutex::new(Instant::now()),
            stop: tokio::sync::Notify::new(),
            queue: place.queue().clone(),
        });
        let pings = (driver.ping_pong(), attempt.policy.keeping.ping);
        let watched = connection.clone();
        tokio::spawn(async move {
            // The driver ends by itself once the endpoint has closed, or the last handle and stream are gone.
            tokio::select! {
                _ = driver => {}
                () = stopped(&watched) => {}
                () = silent(pings) => {}
            }
            watched.broken.store(true, Ordering::Relaxed);
            drop((place, opened));
        });
        let stream = connection.stream().ok_or(ConnectError::Failed)?;
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).push(connection.clone());
        connection.queue.link(&attempt.member.state, &connection);
        Ok(stream)
    }
}

/// The connection is to be closed, and its last stream has ended.
async fn stopped(connection: &Connection) {
    while !(connection.is_broken() && connection.is_idle()) {
        connection.stop.notified().await;
    }
}

/// A ping was not answered in time (http2KeepAlive).
async fn silent((pings, asked): (Option<PingPong>, Option<(Duration, Duration)>)) {
    let (Some(mut pings), Some((every, within))) = (pings, asked) else { return std::future::pending().await };
    loop {
        tokio::time::sleep(every).await;
        if !matches!(timeout(within, pings.ping(Ping::opaque())).await, Ok(Ok(_))) {
            return;
        }
    }
}
