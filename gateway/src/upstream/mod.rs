//! Connections to endpoints: dialled in one place, kept by endpoint, never lent to another.

mod chunks;
mod connector;
mod h1;
mod h2;
mod line;
mod outgoing;
mod queue;
mod shelf;
mod wire;

/// The line imports its lock and its atomics from here, so that the model checker can give it its own (`tests/tests/interleavings.rs`).
use std::sync::{self, Arc};
use std::time::{Duration, Instant};

use isthmus_core::balance::breaker::{Noted, Permit, Resource};
use isthmus_core::balance::{EndpointState, Slot};
use isthmus_core::decide::{Attempt, ConnectError};
use queue::Settled;
use shelf::Kept;

use crate::observe::Traffic;

pub(crate) use connector::dial;
pub(crate) use h1::{Lane, Life, Pool};
pub(crate) use h2::{Sets, Stream};
pub(crate) use line::{Asked, Grant, Place, Queue, Ticket};
pub(crate) use outgoing::Outgoing;
pub(crate) use queue::Queues;
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
    /// Who waits, where connections are limited.
    pub(crate) queues: Queues,
    traffic: Arc<Traffic>,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// A limit is in the way.
    Full,
    /// It could not be made.
    Failed(ConnectError),
}

impl Upstream {
    /// For so many workers.
    pub(crate) fn new(workers: usize, traffic: &Arc<Traffic>) -> Self {
        Self { pool: Pool::new(workers), sets: Sets::new(traffic), queues: Queues::default(), traffic: traffic.clone() }
    }
    /// An HTTP/1 connection for an attempt: what was granted, an idle one, or a new one.
    pub(crate) async fn lane(&self, worker: usize, attempt: &Attempt, grant: Option<Grant>) -> Result<Lane, Missing> {
        let Attempt { slot, member, policy, .. } = attempt;
        let limits = &policy.limits;
        let limited = grant.is_some() || limits.connections.is_some();
        let mut pending = None;
        if !limited {
            if let Some(lane) = self.pool.take(worker, &member.state) {
                return Ok(lane);
            }
            // Where nothing else bounds those that connect, they are who waits.
            pending = Some(slot.enter(Resource::Pending, limits.pending).ok_or(Missing::Full)?);
        }
        let queue = self.queues.of(slot);
        let place = match if limited { None } else { queue.place(slot) } {
            Some(place) => place,
            None => {
                pending = None;
                let grant = turn(&queue, grant, false).await?;
                match queue.settle(grant, &member.state) {
                    Settled::Lane(lane) => return Ok(lane),
                    Settled::Full => return Err(Missing::Full),
                    Settled::Dial(place) => {
                        slot.note(Noted::Dialled);
                        place
                    }
                }
            }
        };
        let dialled = dial(&self.traffic, slot, member, policy).await;
        drop(pending);
        match dialled {
            Ok((stream, opened)) => Ok(Lane::new(stream, place, opened, &member.state)),
            Err(failed) => {
                slot.note(Noted::PendingFailed);
                Err(Missing::Failed(failed))
            }
        }
    }

    /// A stream for an attempt: what was granted, one on a connection that there is, or on a new one.
    pub(crate) async fn stream(&self, attempt: &Attempt, grant: Option<Grant>) -> Result<Stream, Missing> {
        let Attempt { slot, member, policy, .. } = attempt;
        let limits = &policy.limits;
        let limited = grant.is_some() || limits.connections.is_some();
        let set = self.sets.of(&member.state);
        let queue = self.queues.of(slot);
        let made = if limited {
            let grant = match turn(&queue, grant, true).await? {
                Grant::Kept(Kept::Stream(to, stream)) if Arc::ptr_eq(&to, &member.state) => return Ok(stream),
                other @ (Grant::Kept(_) | Grant::Room(_)) => other,
            };
            if let Some(stream) = set.free() {
                return Ok(stream);
            }
            slot.note(Noted::Dialled);
            set.connected(attempt, || queue.granted(grant)).await
        } else {
            if let Some(stream) = set.free() {
                return Ok(stream);
            }
            let _pending = slot.enter(Resource::Pending, limits.pending).ok_or(Missing::Full)?;
            set.connected(attempt, || queue.place(slot)).await
        };
        if let Err(Missing::Failed(_)) = made {
            slot.note(Noted::PendingFailed);
        }
        made
    }

    /// Keeps a connection that has carried the attempt, where it can carry another.
    pub(crate) fn keep(&self, worker: usize, attempt: &Attempt, mut lane: Lane) {
        let Attempt { slot, member, policy, .. } = attempt;
        let Some(until) = lane.life.go_on(slot, &member.state, policy) else { return };
        // The limit in force by now, which need not be the one of the attempt.
        match slot.limits().connections {
            Some(_) => self.queues.of(slot).put(&member.state, lane, until),
            None => self.pool.put(worker, &member.state, lane, until),
        }
    }

    /// How many HTTP/1 connections are idle.
    pub(crate) fn idle(&self) -> usize {
        self.pool.idle() + self.queues.idle()
    }

    /// An endpoint gets no more for a while: its idle connections are closed, the others end with what they carry.
    pub(crate) fn leave(&self, slot: &Arc<Slot>, endpoint: &Arc<EndpointState>) {
        self.pool.close(endpoint);
        self.queues.leave(slot, endpoint);
    }

    /// Lets go of connections to backends that no route sends to any more: to all but these.
    pub(crate) fn only(&self, slots: &[Arc<Slot>]) {
        self.queues.only(slots, &self.pool);
    }

    /// A backend's limits may have changed.
    pub(crate) fn adjust(&self, slot: &Arc<Slot>) {
        self.queues.adjust(slot, Instant::now(), &self.pool);
    }

    /// Lets go of connections that are of no more use, until the process ends.
    pub(crate) async fn sweep(&self) {
        loop {
            tokio::time::sleep(SWEEP).await;
            let now = Instant::now();
            self.pool.sweep(now);
            self.sets.sweep(now);
            self.queues.sweep(now, &self.pool);
        }
    }
}

/// What was granted, or what comes of standing in line now.
async fn turn(queue: &Arc<Queue>, grant: Option<Grant>, http2: bool) -> Result<Grant, Missing> {
    if let Some(grant) = grant {
        return Ok(grant);
    }
    match queue.ask(http2) {
        Asked::Granted(grant) => Ok(grant),
        Asked::Refused => Err(Missing::Full),
        Asked::Waits(ticket) => ticket.await.ok_or(Missing::Full),
    }
}
