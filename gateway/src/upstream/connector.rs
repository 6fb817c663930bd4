//! The one place that dials endpoints.

use std::io;
use std::time::Duration;

use isthmus_core::decide::ConnectError;
use isthmus_core::model::Address;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Connects to an endpoint, within `limit`.
pub(crate) async fn dial(address: &Address, limit: Duration) -> Result<TcpStream, Dial> {
    let socket = match address {
        Address::Socket(socket) => *socket,
        Address::Unix(_) | Address::Unresolved(..) => return Err(Dial { error: ConnectError::Failed, cause: None }),
    };
    match timeout(limit, TcpStream::connect(socket)).await {
        Err(_) => Err(Dial { error: ConnectError::Timeout, cause: None }),
        Ok(Err(e)) => Err(Dial::from(e)),
        Ok(Ok(stream)) => {
            stream.set_nodelay(true).map_err(Dial::from)?;
            Ok(stream)
        }
    }
}

/// How dialling failed.
#[derive(Debug)]
pub(crate) struct Dial {
    /// What it means for the attempt.
    pub(crate) error: ConnectError,
    /// What the system said.
    pub(crate) cause: Option<io::Error>,
}

impl Dial {
    /// As the access log's transport failure reason tells it.
    pub(crate) fn reason(&self) -> &'static str {
        match self.cause.as_ref().map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => "delayed_connect_error:_Connection_refused",
            Some(io::ErrorKind::HostUnreachable) => "delayed_connect_error:_No_route_to_host",
            Some(io::ErrorKind::NetworkUnreachable) => "delayed_connect_error:_Network_is_unreachable",
            Some(_) | None => "",
        }
    }
}

impl From<io::Error> for Dial {
    fn from(cause: io::Error) -> Self {
        let error = if cause.kind() == io::ErrorKind::TimedOut { ConnectError::Timeout } else { ConnectError::Failed };
        Self { error, cause: Some(cause) }
    }
}
