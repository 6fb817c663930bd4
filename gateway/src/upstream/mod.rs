//! Connections to endpoints: dialled in one place, kept by endpoint, never lent to another.

mod chunks;
mod connector;
mod h1;
mod h2;
mod outgoing;
mod wire;

use std::time::{Duration, Instant};

pub(crate) use connector::dial;
pub(crate) use h1::{Lane, Pool};
pub(crate) use h2::{Sets, Slot};
pub(crate) use outgoing::Outgoing;
pub(crate) use wire::Wire;

/// How often idle connections are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// All connections to endpoints.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// HTTP/1.
    pub(crate) pool: Pool,
    /// HTTP/2.
    pub(crate) sets: Sets,
}

impl Upstream {
    /// For so many workers.
    pub(crate) fn new(workers: usize) -> Self {
        Self { pool: Pool::new(workers), sets: Sets::default() }
    }
    /// Lets go of connections that are of no more use, until the process ends.
    pub(crate) async fn sweep(&self) {
        loop {
            tokio::time::sleep(SWEEP).await;
            let now = Instant::now();
            self.pool.sweep(now);
            self.sets.sweep(now);
        }
    }
}
