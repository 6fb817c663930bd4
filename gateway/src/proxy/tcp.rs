//! A client's byte stream on a TCP listener: one weighted choice of backend, one endpoint, bytes both ways (V-72).

use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use bytes::BytesMut;
use isthmus_core::balance::breaker::{Noted, Permit, Resource};
use isthmus_core::balance::outlier::Outcome;
use isthmus_core::balance::{BackendPolicy, Ledger, Member, Picked, Slot};
use isthmus_core::decide::look_again;
use isthmus_core::failure::{Failure, Flag, Flags};
use isthmus_core::snapshot::{Destination, Front};
use rand::Rng;
use rand::rngs::SmallRng;
use tokio::net::TcpStream;
use tokio::time::sleep_until;

use super::tunnel::{self, Limits, OnDrop, Passed};
use super::{Visit, worker};
use crate::observe::{Counter, Opened, Record};
use crate::upstream::{Outgoing, Place, Wire, dial};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What is told of a stream.
#[derive(Default)]
struct Told {
    backend: String,
    slot: Option<Arc<Slot>>,
    member: Option<Member>,
    flags: Flags,
    transport: &'static str,
    local: Option<SocketAddr>,
    /// Its place among the backend's connections.
    place: Option<Place>,
    /// It is one of the requests in flight, which are not limited for byte streams.
    request: Option<Permit>,
    opened: Option<Opened>,
    policy: BackendPolicy,
}

/// Serves a connection of which `ahead` has been read.
pub(crate) async fn serve(visit: Visit, stream: TcpStream, ahead: BytesMut) {
    let (start, wall) = (Instant::now(), SystemTime::now());
    let mut told = Told::default();
    let far = reach(&visit, &mut told).await;
    let meter = far.is_some().then(|| visit.engine.observe.metrics.stream(told.slot.as_ref(), told.member.as_ref(), told.flags));
    let passed = Passed { meter, slot: told.slot.clone(), ..Passed::default() };
    let in_flight = told.member.as_ref().map(|m| m.state.enter());
    let ended = OnDrop(|| {
        let (received, sent) = (passed.received.load(Ordering::Relaxed), passed.sent.load(Ordering::Relaxed));
        visit.engine.observe.ended(&Record {
            start: wall,
            duration: start.elapsed(),
            request: None,
            code: 0,
            flags: told.flags,
            details: "",
            transport_failure: told.transport,
            received,
            sent,
            response: None,
            grpc_status: None,
            backend: &told.backend,
            slot: told.slot.as_ref(),
            member: told.member.as_ref(),
            upstream_local: told.local,
            local: visit.local,
            peer: visit.peer,
            server_name: "",
            route: "",
        });
    });
    if let Some(far) = far {
        let (read, write) = stream.into_split();
        let (far_read, far_write) = far.into_split();
        let (near, far) = (Wire::new(read, ahead), Wire::new(far_read, BytesMut::new()));
        tunnel::join(near, Outgoing::new(write), far, Outgoing::new(far_write), &passed, Limits::of(&told.policy)).await;
    }
    drop((ended, in_flight));
}

/// Draws destination and endpoint, and connects. What fails is told by flags; the client's connection is closed.
async fn reach(visit: &Visit, told: &mut Told) -> Option<TcpStream> {
    let mut rng = worker::chance();
    let drawn = {
        let pin = visit.engine.published.pin();
        let (_, listener) = pin.snapshot.listener(&visit.key)?;
        let Front::Tcp(front) = &listener.front else { return None };
        let (_, Destination { key, slot, .. }) = front.destinations.draw(rng.random())?;
        (key.to_string(), slot.as_ref().ok().cloned())
    };
    (told.backend, told.slot) = drawn;
    let Some(slot) = &told.slot else {
        told.flags.set(Flag::NoCluster);
        return None;
    };
    let traffic = &visit.engine.observe.traffic;
    let Some(picked) = endpoint(slot, &mut rng).await else {
        told.flags.set(Failure::NoHealthyUpstream.row().flag);
        traffic.count(slot, None, Counter::NoneHealthy);
        return None;
    };
    if picked.panic {
        traffic.count(slot, None, Counter::Panic);
    }
    told.policy = picked.policy;
    // What does not fit is closed, not queued (D-43). Who dials is who waits, as for requests.
    told.place = visit.engine.upstream.queues.of(slot).place(slot);
    let pending = told.place.as_ref().and_then(|_| slot.enter(Resource::Pending, picked.policy.limits.pending));
    if pending.is_none() {
        told.flags.set(Failure::Overflow.row().flag);
        return None;
    }
    told.request = slot.try_enter(Resource::Request, None);
    let dialled = dial(traffic, slot, &picked.member, &picked.policy).await;
    drop(pending);
    // A stream that got no connection counts as an error, one that did as an answer (D-40).
    let outcome = if dialled.is_ok() { Outcome::Streams } else { Outcome::Broken };
    if let Some(ejection) = slot.judge(&picked.member, outcome) {
        drop(visit.engine.ejections.send(ejection));
    }
    told.member = Some(picked.member);
    match dialled {
        Ok((far, opened)) => {
            told.opened = Some(opened);
            traffic.count(slot, told.member.as_ref().map(|m| &m.state), Counter::Requests);
            told.local = far.local_addr().ok();
            Some(far)
        }
        Err(failed) => {
            slot.note(Noted::PendingFailed);
            let failure = failed.failure();
            // One attempt is all there is, and it is used up (1.3).
            told.flags.set(failure.row().flag);
            told.flags.set(Flag::RetriesExhausted);
            told.transport = failed.reason();
            None
        }
    }
}

/// An endpoint, waited for where the rule asks for it.
async fn endpoint(slot: &Slot, rng: &mut SmallRng) -> Option<Picked> {
    let since = Instant::now();
    loop {
        if let Some(picked) = slot.pick(None, &[], Ledger::Live, rng) {
            return Some(picked);
        }
        let until = look_again(&slot.view.load(), since, Instant::now())?;
        sleep_until(until.into()).await;
    }
}
