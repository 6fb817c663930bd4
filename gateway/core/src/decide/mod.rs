//! What happens to one request, as a machine without I/O.
//!
//! [`find`] names the route; [`Exchange::begin`] and [`Exchange::next`] turn events into steps. The engine obeys the steps
//! and reports what came of them; `explain` walks the same machine with [`Ledger::Peek`](crate::balance::Ledger). No status,
//! retry or limit is decided anywhere else.
//!
//! Time is an argument. The destination is drawn once per request, the endpoint once per attempt; endpoints tried before are
//! remembered by identity. The route's timer starts when the request has ended; the per-try timer at the later of that and
//! the moment the attempt got its connection, as Envoy's do. Dropping an exchange returns all that it holds.

mod edit;
mod exchange;
mod find;
mod limits;
mod plan;
mod told;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;

use crate::balance::{BackendPolicy, EndpointState, Member, Slot, UpstreamProtocol};
use crate::failure::{Failure, Reply};

pub use edit::RequestHead;
pub use exchange::{Exchange, look_again};
pub use find::{Found, find};

/// What is known of the client's connection before anything is routed.
#[derive(Clone, Debug)]
pub struct Downstream {
    /// Who is connected, or whom the PROXY header names.
    pub peer: SocketAddr,
    /// Our own address on that connection.
    pub local: SocketAddr,
    /// The client that is trusted to be behind it (numTrustedProxies).
    pub client: IpAddr,
    /// The client speaks HTTP/2.
    pub http2: bool,
}

/// How connecting failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// Nobody listens there.
    Refused,
    /// No way to the host, or to its network.
    Unreachable,
    /// Closed during a handshake, or whatever else went wrong.
    Failed,
    /// Not there in time.
    Timeout,
}

impl ConnectError {
    /// The failure that it means for a request.
    pub fn failure(self) -> Failure {
        match self {
            Self::Refused | Self::Unreachable | Self::Failed => Failure::ConnectFailed,
            Self::Timeout => Failure::ConnectTimeout,
        }
    }
    /// `upstream_transport_failure_reason` of the access log, or "".
    pub fn reason(self) -> &'static str {
        match self {
            Self::Refused => "delayed_connect_error:_Connection_refused",
            Self::Unreachable => "delayed_connect_error:_No_route_to_host",
            Self::Failed | Self::Timeout => "",
        }
    }
}

/// How an attempt's stream ended before its answer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// The connection closed.
    Terminated,
    /// The stream was reset.
    Remote,
    /// The stream was refused unprocessed: HTTP/2 REFUSED_STREAM, or beyond a GOAWAY.
    Refused,
    /// What came is not HTTP.
    Protocol,
}

/// What the engine reports.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The time asked for by [`Step::Wait`] has come.
    Woke,
    /// There is a connection for the request that stands in line; of one that is shared, its endpoint.
    Granted(Option<&'a Arc<EndpointState>>),
    /// There is no room in line, or none for one more connection.
    Refused,
    /// The attempt has its connection.
    Connected,
    /// The attempt got none.
    ConnectFailed(ConnectError),
    /// The client's request has arrived whole.
    RequestEnd,
    /// The endpoint's final response head.
    ResponseHead {
        /// Its status.
        status: u16,
        /// Its headers.
        headers: &'a HeaderMap,
    },
    /// The attempt's stream broke.
    Reset {
        /// How.
        reset: Reset,
        /// Any byte of the request had been written to it.
        sent: bool,
    },
    /// The response has been passed on whole.
    ResponseEnd,
    /// [`Exchange::expires`] has passed.
    Expired,
    /// The client is gone.
    ClientGone,
}

/// What the engine must do.
#[derive(Debug)]
pub enum Step {
    /// Nothing new: carry on.
    Go,
    /// Let time pass, then say [`Event::Woke`].
    Wait(Instant),
    /// Stand in line for a connection of this backend, then say [`Event::Granted`] or [`Event::Refused`].
    Queue {
        /// The backend.
        slot: Arc<Slot>,
        /// In what its endpoints are spoken to; never [`UpstreamProtocol::SameAsClient`].
        protocol: UpstreamProtocol,
    },
    /// Drop the attempt before, if any, and send the request to this endpoint.
    Try(Attempt),
    /// Pass the response on.
    Forward,
    /// Drop the attempt, if any, and answer so.
    Answer(Reply),
    /// The response has begun and cannot be finished: cut the client's stream.
    Cut,
    /// It is over.
    End,
}

/// One try of a request.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// 1 for the first.
    pub number: u32,
    /// The endpoint.
    pub member: Member,
    /// Its backend.
    pub slot: Arc<Slot>,
    /// In what the endpoint is spoken to; never [`UpstreamProtocol::SameAsClient`].
    pub protocol: UpstreamProtocol,
    /// It was chosen whatever its health, since too few were healthy (D-42).
    pub panic: bool,
    /// The policy in force when it was chosen: timeouts, limits.
    pub policy: BackendPolicy,
}

#[cfg(test)]
mod tests;
