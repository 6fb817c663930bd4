//! Connections to endpoints: dialled in one place, kept by endpoint, never lent to another.

mod chunks;
mod connector;
mod h1;
mod h2;
mod outgoing;
mod queue;
mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use isthmus_core::balance::breaker::{Noted, Resource};
use isthmus_core::decide::{Attempt, ConnectError};
use queue::Settled;

use crate::observe::Traffic;

pub(crate) use connector::dial;
pub(crate) use h1::{Lane, Life, Pool};
pub(crate) use h2::{Sets, Slot};
pub(crate) use outgoing::Outgoing;
pub(crate) use queue::{Asked, Grant, Place, Queue, Queues, Ticket};
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
        let mut pending = None;
        let place = if grant.is_some() || limits.connections.is_some() {
            let queue = self.queues.of(slot);
            let grant = match grant {
                Some(grant) => grant,
                None => match queue.ask(false) {
                    Asked::Granted(grant) => grant,
                    Asked::Refused => return Err(Missing::Full),
                    Asked::Waits(ticket) => ticket.await.ok_or(Missing::Full)?,
                },
            };
            match queue.settle(grant, &member.state) {
                Settled::Lane(lane) => return Ok(lane),
                Settled::Full => return Err(Missing::Full),
                Settled::Dial(place) => {
                    slot.note(Noted::Dialled);
                    place
                }
            }
        } else {
            if let Some(lane) = self.pool.take(worker, &member.state) {
                return Ok(lane);
            }
            // Where nothing else bounds those that connect, they are who waits.
            pending = Some(slot.enter(Resource::Pending, limits.pending).ok_or(Missing::Full)?);
            Place::unlimited(slot)
        };
        let dialled = dial(&self.traffic, slot, member, policy).await;
        drop(pending);
        match dialled {
            Ok((stream, opened)) => Ok(Lane::new(stream, place, opened)),
            Err(failed) => {
                slot.note(Noted::PendingFailed);
                Err(Missing::Failed(failed))
            }
        }
    }

    /// A stream for an attempt: what was granted, one on a connection that there is, or on a new one.
    pub(crate) async fn stream(&self, attempt: &Attempt, grant: Option<Grant>) -> Result<Slot, Missing> {
        let Attempt { slot, member, policy, .. } = attempt;
        let limits = &policy.limits;
        let set = self.sets.of(&member.state);
        let made = if grant.is_some() || limits.connections.is_some() {
            let queue = self.queues.of(slot);
            let grant = match grant {
                Some(grant) => grant,
                None => match queue.ask(true) {
                    Asked::Granted(grant) => grant,
                    Asked::Refused => return Err(Missing::Full),
                    Asked::Waits(ticket) => ticket.await.ok_or(Missing::Full)?,
                },
            };
            let grant = match grant {
                Grant::Stream(to, stream) if Arc::ptr_eq(&to, &member.state) => return Ok(stream),
                other @ (Grant::Stream(..) | Grant::Room(_) | Grant::Lane(..)) => other,
            };
            if let Some(stream) = set.free() {
                return Ok(stream);
            }
            slot.note(Noted::Dialled);
            set.connected(attempt, || queue.open(grant)).await
        } else {
            if let Some(stream) = set.free() {
                return Ok(stream);
            }
            let _pending = slot.enter(Resource::Pending, limits.pending).ok_or(Missing::Full)?;
            set.connected(attempt, || Some(Place::unlimited(slot))).await
        };
        if let Err(Missing::Failed(_)) = made {
            slot.note(Noted::PendingFailed);
        }
        made
    }

    /// Keeps a connection that has carried the attempt, where it can carry another.
    pub(crate) fn keep(&self, worker: usize, attempt: &Attempt, mut lane: Lane) {
        let Attempt { slot, member, policy, .. } = attempt;
        let Some(until) = lane.life.go_on(slot, policy) else { return };
        match policy.limits.connections {
            Some(_) => self.queues.of(slot).put(&member.state, lane, until),
            None => self.pool.put(worker, &member.state, lane, until),
        }
    }

    /// How many HTTP/1 connections are idle.
    pub(crate) fn idle(&self) -> usize {
        self.pool.idle() + self.queues.idle()
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
