//! Bytes both ways between two connections, each direction ending by itself. A socket that goes ends them at the drain time.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use isthmus_core::balance::{BackendPolicy, Slot};
use isthmus_core::model::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::Instant;

use crate::observe::StreamMeter;
use crate::upstream::{Outgoing, Wire};

/// How long a byte stream may last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How long nothing may come from either side.
    idle: Option<Duration>,
    /// How long it may last in all.
    longest: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { idle: Some(Duration::from_secs(3600)), longest: None }
    }
}

impl Limits {
    /// A backend's (contract 1.5, connectionPool.tcp).
    pub(super) fn of(policy: &BackendPolicy) -> Self {
        let idle = policy.keeping.stream_idle.map_or(Self::default().idle, |idle| Some(idle).filter(|idle| !idle.is_zero()));
        Self { idle, longest: policy.keeping.longest }
    }
}

/// Bytes read at once.
const CHUNK: usize = 16 * 1024;

/// What passed through, and the meter that hears of it at once.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// From the client.
    pub(super) received: AtomicU64,
    /// To the client.
    pub(super) sent: AtomicU64,
    /// Of byte streams; upgraded requests are counted when they end.
    pub(super) meter: Option<StreamMeter>,
    /// Of byte streams: the backend, which is told where a client speaks HTTP.
    pub(super) slot: Option<Arc<Slot>>,
}

/// A direction, as the client sees it.
#[derive(Clone, Copy, Debug)]
enum Way {
    Received,
    Sent,
}

impl Passed {
    fn count(&self, way: Way, bytes: &[u8]) {
        if let (Way::Received, Some(slot), 0) = (way, &self.slot, self.received.load(Ordering::Relaxed))
            && Protocol::begins_http(bytes)
        {
            slot.heard_http();
        }
        let bytes = bytes.len() as u64;
        let (total, meter) = match way {
            Way::Received => (&self.received, StreamMeter::received as fn(&StreamMeter, u64)),
            Way::Sent => (&self.sent, StreamMeter::sent as fn(&StreamMeter, u64)),
        };
        total.fetch_add(bytes, Ordering::Relaxed);
        if let Some(of) = &self.meter {
            meter(of, bytes);
        }
    }
}

/// Does something in any case: also where the drain time ends a connection, and with it the task.
pub(super) struct OnDrop<F: FnMut()>(pub(super) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Carries bytes until both sides have ended, one breaks, or a limit is reached.
pub(super) async fn join(near: Wire, near_out: Outgoing, far: Wire, far_out: Outgoing, passed: &Passed, limits: Limits) {
    let both = async { tokio::try_join!(carry(near, far_out, passed, Way::Received), carry(far, near_out, passed, Way::Sent)) };
    tokio::select! {
        _ = both => {}
        () = still(passed, limits.idle) => {}
        () = after(limits.longest) => {}
    }
}

/// Ready after so long, or never.
async fn after(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// Ready when nothing has passed for too long.
async fn still(passed: &Passed, idle: Option<Duration>) {
    let Some(idle) = idle else { return std::future::pending().await };
    let total = || passed.received.load(Ordering::Relaxed) + passed.sent.load(Ordering::Relaxed);
    let mut seen = total();
    let mut since = Instant::now();
    loop {
        tokio::time::sleep_until(since + idle).await;
        if total() == seen {
            return;
        }
        (seen, since) = (total(), Instant::now());
    }
}

/// One direction: what was read ahead, then everything until the end, which is passed on.
async fn carry(from: Wire, mut to: Outgoing, passed: &Passed, way: Way) -> io::Result<()> {
    to.drained().await?;
    let (mut from, ahead): (OwnedReadHalf, _) = from.into_parts();
    let mut to: OwnedWriteHalf = to.into_half();
    if !ahead.is_empty() {
        to.write_all(&ahead).await?;
        passed.count(way, &ahead);
    }
    let mut chunk = vec![0u8; CHUNK];
    loop {
        let n = from.read(&mut chunk).await?;
        if n == 0 {
            return to.shutdown().await;
        }
        to.write_all(&chunk[..n]).await?;
        passed.count(way, &chunk[..n]);
    }
}
