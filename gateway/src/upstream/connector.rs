//! The one place that dials endpoints.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use isthmus_core::balance::{BackendPolicy, Member, Probes, Slot};
use isthmus_core::decide::ConnectError;
use isthmus_core::model::Address;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::observe::{Counter, Opened, Traffic};

/// Connects to an endpoint, as its backend's policy says, and notes how long that took. Counted from the first step, and gone when what comes back is dropped.
pub(crate) async fn dial(
    traffic: &Arc<Traffic>,
    slot: &Arc<Slot>,
    member: &Member,
    policy: &BackendPolicy,
) -> Result<(TcpStream, Opened), ConnectError> {
    let opened = traffic.opened(slot, &member.state);
    match connect(slot, &member.endpoint.address, policy).await {
        Ok(stream) => Ok((stream, opened)),
        Err(error) => {
            not_made(traffic, slot, member, error);
            Err(error)
        }
    }
}

/// Counts a connection that was not made.
pub(super) fn not_made(traffic: &Arc<Traffic>, slot: &Arc<Slot>, member: &Member, error: ConnectError) {
    traffic.count(slot, Some(&member.state), Counter::ConnectFail);
    if error == ConnectError::Timeout {
        traffic.count(slot, None, Counter::ConnectTimeout);
        slot.connects_late();
    }
}

async fn connect(slot: &Slot, address: &Address, policy: &BackendPolicy) -> Result<TcpStream, ConnectError> {
    let socket = match address {
        Address::Socket(socket) => *socket,
        Address::Unix(_) | Address::Unresolved(..) | Address::Hidden(_) => return Err(ConnectError::Failed),
    };
    let begun = Instant::now();
    match timeout(policy.connect_timeout, TcpStream::connect(socket)).await {
        Err(_) => Err(ConnectError::Timeout),
        Ok(Err(e)) => Err(connect_error(&e)),
        Ok(Ok(stream)) => {
            slot.connected(begun.elapsed());
            stream.set_nodelay(true).map_err(|e| connect_error(&e))?;
            if let Some(probes) = &policy.keeping.probes {
                SockRef::from(&stream).set_tcp_keepalive(&keep_alive(probes)).map_err(|e| connect_error(&e))?;
            }
            Ok(stream)
        }
    }
}

fn keep_alive(probes: &Probes) -> TcpKeepalive {
    let mut asked = TcpKeepalive::new();
    if let Some(after) = probes.after {
        asked = asked.with_time(after);
    }
    if let Some(every) = probes.every {
        asked = asked.with_interval(every);
    }
    match probes.count {
        Some(count) => asked.with_retries(count),
        None => asked,
    }
}

/// What a system error means for the attempt.
pub(crate) fn connect_error(cause: &io::Error) -> ConnectError {
    const KNOWN: [(io::ErrorKind, ConnectError); 4] = [
        (io::ErrorKind::TimedOut, ConnectError::Timeout),
        (io::ErrorKind::ConnectionRefused, ConnectError::Refused),
        (io::ErrorKind::HostUnreachable, ConnectError::Unreachable),
        (io::ErrorKind::NetworkUnreachable, ConnectError::Unreachable),
    ];
    KNOWN.iter().find(|(kind, _)| *kind == cause.kind()).map_or(ConnectError::Failed, |(_, error)| *error)
}
