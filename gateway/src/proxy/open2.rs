//! A stream to an HTTP/2 endpoint.

use bytes::Bytes;
use h2::SendStream;
use h2::client::ResponseFuture;
use http::header::{CONTENT_LENGTH, HOST};
use http::{Request as Message, Uri};
use isthmus_core::decide::{Attempt, ConnectError, RequestHead, Reset};

use super::request::Request;
use crate::upstream::{Grant, Missing, Stream, Upstream};

/// Connections that may turn out to be going away before one takes the request.
const CONNECTIONS: usize = 3;

/// The head as HTTP/2 sends it. What cannot be said in it is a protocol error.
pub(super) fn request(request: &Request, told: &RequestHead, authority: &str) -> Result<Message<()>, Reset> {
    let target = told.target.as_deref().map_or_else(|| request.onward(), Into::into);
    let uri = Uri::builder().scheme("http").authority(authority).path_and_query(&*target).build().map_err(|_| Reset::Protocol)?;
    let mut message = Message::new(());
    *message.method_mut() = request.method.clone();
    *message.uri_mut() = uri;
    *message.version_mut() = http::Version::HTTP_2;
    let headers = message.headers_mut();
    *headers = told.headers.clone();
    headers.remove(HOST);
    headers.remove(CONTENT_LENGTH);
    if let Some(length) = request.length {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    Ok(message)
}

/// Opens a stream and sends the head; `last` says that no body follows.
pub(super) async fn open(
    upstream: &Upstream,
    attempt: &Attempt,
    mut grant: Option<Grant>,
    message: Message<()>,
    last: bool,
) -> Result<(Stream, ResponseFuture, SendStream<Bytes>), Missing> {
    for _ in 0..CONNECTIONS {
        let slot = upstream.stream(attempt, grant.take()).await?;
        let sent = match slot.send().ready().await {
            Ok(mut send) => send.send_request(message.clone(), last),
            Err(e) => Err(e),
        };
        match sent {
            Ok((response, stream)) => return Ok((slot, response, stream)),
            Err(_) => slot.leave(),
        }
    }
    Err(Missing::Failed(ConnectError::Failed))
}
