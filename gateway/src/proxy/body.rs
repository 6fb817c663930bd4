//! The client's request body, read in pieces from either protocol.

use std::io;

use bytes::Bytes;
use h2::RecvStream;
use pingora_core::ErrorType;
use pingora_core::protocols::http::v1::server::HttpSession;

use crate::observe::Messages;

/// What is left of a request's body.
pub(crate) struct Body<'b> {
    from: From<'b>,
    received: u64,
    messages: Option<Messages>,
}

enum From<'b> {
    Nothing,
    Http1(&'b mut HttpSession),
    Http2(RecvStream),
}

/// Why a body ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// The client left.
    Gone,
    /// It is not framed as it says.
    Malformed,
}

/// A piece of a body.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Bytes; more may follow.
    Bytes(Bytes),
    /// The end.
    End,
}

impl<'b> Body<'b> {
    /// No body.
    pub(crate) fn nothing() -> Self {
        Self { from: From::Nothing, received: 0, messages: None }
    }
    /// The body of an HTTP/1 request.
    pub(crate) fn http1(session: &'b mut HttpSession) -> Self {
        Self { from: From::Http1(session), received: 0, messages: None }
    }
    /// The body of an HTTP/2 request.
    pub(crate) fn http2(stream: RecvStream) -> Self {
        Self { from: if stream.is_end_stream() { From::Nothing } else { From::Http2(stream) }, received: 0, messages: None }
    }
    /// True once it has been read to its end.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.from, From::Nothing)
    }
    /// Counts gRPC messages from now on.
    pub(crate) fn count_messages(&mut self) {
        self.messages = Some(Messages::default());
    }
    /// The gRPC messages counted.
    pub(crate) fn messages(&self) -> Option<u64> {
        self.messages.map(Messages::count)
    }
    /// Bytes read so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }
    /// The next piece. Dropping the future loses nothing. Trailers are passed over.
    pub(crate) async fn next(&mut self) -> Result<Piece, BodyError> {
        loop {
            let bytes = match &mut self.from {
                From::Nothing => return Ok(Piece::End),
                From::Http1(session) => session.read_body_bytes().await.map_err(|e| {
                    let ambiguous = e.root_cause().downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::InvalidData);
                    let gone = !ambiguous && matches!(e.etype(), ErrorType::ConnectionClosed | ErrorType::ReadError);
                    if gone { BodyError::Gone } else { BodyError::Malformed }
                })?,
                From::Http2(stream) => match stream.data().await {
                    Some(Ok(bytes)) => {
                        // Taken at once: we read only when the endpoint has taken what came before.
                        stream.flow_control().release_capacity(bytes.len()).map_err(|_| BodyError::Gone)?;
                        Some(bytes)
                    }
                    Some(Err(e)) if e.is_library() => return Err(BodyError::Malformed),
                    Some(Err(_)) => return Err(BodyError::Gone),
                    None => None,
                },
            };
            match bytes {
                Some(bytes) if bytes.is_empty() => {}
                Some(bytes) => {
                    self.received += bytes.len() as u64;
                    if let Some(messages) = &mut self.messages {
                        messages.feed(&bytes);
                    }
                    let over = match &mut self.from {
                        From::Nothing => true,
                        From::Http1(session) => session.is_body_done(),
                        From::Http2(stream) => stream.is_end_stream(),
                    };
                    if over {
                        self.from = From::Nothing;
                    }
                    return Ok(Piece::Bytes(bytes));
                }
                None => {
                    self.from = From::Nothing;
                    return Ok(Piece::End);
                }
            }
        }
    }
    /// Reads what is there already, a little at most, so that the connection may be used again.
    pub(crate) async fn discard(&mut self) {
        const MOST: u64 = 64 * 1024;
        let until = self.received + MOST;
        while !self.is_over() && self.received < until {
            let more = tokio::select! {
                biased;
                piece = self.next() => piece.is_ok(),
                () = std::future::ready(()) => false,
            };
            if !more {
                return;
            }
        }
    }
}
