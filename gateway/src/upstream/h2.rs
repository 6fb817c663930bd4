//! HTTP/2 connections, by endpoint: shared by many requests, opened one at a time.
//!
//! A request gets a stream slot on a connection that has one; while a connection is being opened, others that find none
//! wait for it instead of opening more. A connection that was told to go away, or broke, is left by its streams.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use isthmus_core::balance::EndpointState;
use isthmus_core::decide::{Attempt, ConnectError};
use tokio::time::timeout;

use super::connector;

/// Streams that we open at once on one connection, where the endpoint allows more.
const MOST_STREAMS: usize = 1024;

/// What an endpoint may send us unasked: for one stream, and for all of a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// One connection.
#[derive(Debug)]
struct Connection {
    send: SendRequest<Bytes>,
    open: AtomicUsize,
    broken: Arc<AtomicBool>,
    local: Option<SocketAddr>,
    idle_timeout: Duration,
    idle_since: Mutex<Instant>,
    stop: tokio::sync::Notify,
}

/// A stream slot, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    connection: Arc<Connection>,
}

impl Slot {
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
        self.connection.broken.store(true, Ordering::Relaxed);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.connection.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            *self.connection.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }
}

#[derive(Debug)]
struct Set {
    endpoint: Weak<EndpointState>,
    connections: Mutex<Vec<Arc<Connection>>>,
    connecting: tokio::sync::Mutex<()>,
}

/// The connections of all endpoints.
#[derive(Debug, Default)]
pub(crate) struct Sets {
    sets: Mutex<HashMap<usize, Arc<Set>, foldhash::fast::RandomState>>,
}

impl Sets {
    fn set(&self, endpoint: &Arc<EndpointState>) -> Arc<Set> {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        let set = sets.entry(Arc::as_ptr(endpoint).addr());
        set.or_insert_with(|| {
            Arc::new(Set { endpoint: Arc::downgrade(endpoint), connections: Mutex::default(), connecting: tokio::sync::Mutex::default() })
        })
        .clone()
    }

    /// A stream slot at the attempt's endpoint, on a new connection where none is free.
    pub(crate) async fn slot(&self, attempt: &Attempt) -> Result<Slot, ConnectError> {
        let set = self.set(&attempt.member.state);
        if let Some(slot) = set.free() {
            return Ok(slot);
        }
        let within = async {
            let _one_at_a_time = set.connecting.lock().await;
            match set.free() {
                Some(slot) => Ok(slot),
                None => set.connect(attempt).await,
            }
        };
        timeout(attempt.policy.connect_timeout, within).await.unwrap_or(Err(ConnectError::Timeout))
    }

    /// Closes connections that are unused for too long, broken, or lead to an endpoint that is gone.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        sets.retain(|_, set| {
            let gone = set.endpoint.strong_count() == 0;
            let mut connections = set.connections.lock().unwrap_or_else(PoisonError::into_inner);
            connections.retain(|c| {
                let unused = c.open.load(Ordering::Acquire) == 0;
                let since = *c.idle_since.lock().unwrap_or_else(PoisonError::into_inner);
                let drop = c.broken.load(Ordering::Relaxed) || unused && (gone || since + c.idle_timeout <= now);
                if drop {
                    c.stop.notify_one();
                }
                !drop
            });
            !gone || !connections.is_empty()
        });
    }
}

impl Set {
    fn free(&self) -> Option<Slot> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|c| !c.broken.load(Ordering::Relaxed));
        let connection = connections.iter().find(|c| {
            let most = c.send.current_max_send_streams().min(MOST_STREAMS);
            c.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| (open < most).then_some(open + 1)).is_ok()
        })?;
        Some(Slot { connection: connection.clone() })
    }

    async fn connect(&self, attempt: &Attempt) -> Result<Slot, ConnectError> {
        let stream = connector::dial(&attempt.member.endpoint.address, &attempt.policy).await?;
        let local = stream.local_addr().ok();
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW).enable_push(false);
        let (send, driver) = builder.handshake::<_, Bytes>(stream).await.map_err(|_| ConnectError::Failed)?;
        let broken = Arc::new(AtomicBool::new(false));
        let connection = Arc::new(Connection {
            send,
            open: AtomicUsize::new(1),
            broken: broken.clone(),
            local,
            idle_timeout: attempt.policy.idle_timeout,
            idle_since: Mutex::new(Instant::now()),
            stop: tokio::sync::Notify::new(),
        });
        let watched = connection.clone();
        tokio::spawn(async move {
            // The driver ends by itself once the endpoint has closed, or the last handle and stream are gone.
            tokio::select! {
                _ = driver => {}
                () = stopped(&watched) => {}
            }
            broken.store(true, Ordering::Relaxed);
        });
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).push(connection.clone());
        Ok(Slot { connection })
    }
}

/// The connection is to be closed, and its last stream has ended.
async fn stopped(connection: &Connection) {
    connection.stop.notified().await;
    while connection.open.load(Ordering::Acquire) > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
