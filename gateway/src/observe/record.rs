//! What is known of a request or a byte stream when it has ended: the one value that access log and metrics read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use isthmus_core::balance::{Member, Slot};
use isthmus_core::failure::Flags;

/// A request or a byte stream that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    /// When its first byte came.
    pub(crate) start: SystemTime,
    /// How long it took.
    pub(crate) duration: Duration,
    /// The request; `None` for byte streams.
    pub(crate) request: Option<RequestPart<'a>>,
    /// The status sent; 0 where the client left before one was, and for byte streams.
    pub(crate) code: u16,
    /// Response flags.
    pub(crate) flags: Flags,
    /// `response_code_details`, or "".
    pub(crate) details: &'a str,
    /// `upstream_transport_failure_reason`, or "".
    pub(crate) transport_failure: &'a str,
    /// Body bytes from the client.
    pub(crate) received: u64,
    /// Body bytes to the client.
    pub(crate) sent: u64,
    /// The headers that the client got.
    pub(crate) response: Option<&'a HeaderMap>,
    /// `grpc-status` of headers or trailers, where there was one.
    pub(crate) grpc_status: Option<u8>,
    /// The backend asked for, `outbound|80||host`, whether or not it exists; "" where no route was found.
    pub(crate) backend: &'a str,
    /// The backend, where it exists.
    pub(crate) slot: Option<&'a Arc<Slot>>,
    /// The endpoint of the last attempt.
    pub(crate) member: Option<&'a Member>,
    /// Our address towards the endpoint.
    pub(crate) upstream_local: Option<SocketAddr>,
    /// The address that the client connected to.
    pub(crate) local: SocketAddr,
    /// The client's address.
    pub(crate) peer: SocketAddr,
    /// The server name of its ClientHello, or "".
    pub(crate) server_name: &'a str,
    /// The route's name, or "".
    pub(crate) route: &'a str,
}

/// The request's side of a [`Record`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestPart<'a> {
    /// The method.
    pub(crate) method: &'a str,
    /// Path and query as the client sent them.
    pub(crate) original_path: &'a str,
    /// Path and query as the endpoint got them.
    pub(crate) path: &'a str,
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
    pub(crate) protocol: &'static str,
    /// The authority as the endpoint got it.
    pub(crate) authority: &'a str,
    /// The headers as the endpoint got them, else as the client sent them.
    pub(crate) headers: &'a HeaderMap,
    /// For gRPC, the messages from the client and to it.
    pub(crate) grpc: Option<(u64, u64)>,
}
