//! The one place that dials endpoints.

use std::io;
use std::time::Duration;

use isthmus_core::decide::ConnectError;
use isthmus_core::model::Address;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Connects to an endpoint, within `limit`.
pub(crate) async fn dial(address: &Address, limit: Duration) -> Result<TcpStream, ConnectError> {
    let socket = match address {
        Address::Socket(socket) => *socket,
        Address::Unix(_) | Address::Unresolved(..) => return Err(ConnectError::Failed),
    };
    match timeout(limit, TcpStream::connect(socket)).await {
        Err(_) => Err(ConnectError::Timeout),
        Ok(Err(e)) => Err(connect_error(&e)),
        Ok(Ok(stream)) => {
            stream.set_nodelay(true).map_err(|e| connect_error(&e))?;
            Ok(stream)
        }
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
