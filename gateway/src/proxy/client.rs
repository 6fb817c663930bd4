//! The client's side of one request: what is written to it, in HTTP/1 or HTTP/2, and whether it is still there.
//!
//! Writing never waits: bytes that the client does not take are kept, and [`Client::poll_notice`] tells when more are welcome.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{CONTENT_LENGTH, DATE, HeaderMap};
use http::{Response, StatusCode};
use isthmus_core::failure::Reply;
use isthmus_core::route::forwarding;

use super::encode::{self, Framing};
use crate::observe::Messages;
use crate::upstream::Outgoing;

/// Bytes kept for a client beyond which nothing more is read for it.
const BACKLOG: usize = 16 * 1024;

/// The client of one request.
pub(crate) struct Client<'c> {
    link: Link<'c>,
    /// The request was HEAD: bodies are not sent.
    head: bool,
    sent: Sent,
    ended: bool,
}

/// What the client was sent, for the log.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// The status, 0 where none was sent.
    pub(crate) status: u16,
    /// The headers.
    pub(crate) headers: Option<HeaderMap>,
    /// Bytes of the body.
    pub(crate) bytes: u64,
    /// gRPC messages of it, for gRPC.
    pub(crate) messages: Option<Messages>,
}

enum Link<'c> {
    Http1 { out: &'c mut Outgoing, http10: bool, close: bool, closing: &'c AtomicBool, framing: Framing },
    Http2(Stream),
}

enum Stream {
    Idle(SendResponse<Bytes>),
    Open(SendStream<Bytes>),
    Over,
}

/// What the client did meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// It takes more.
    Ready,
    /// It is gone.
    Gone,
}

impl<'c> Client<'c> {
    /// A client on an HTTP/1 connection; `close` says that the connection ends after this request, `closing` may say it later.
    pub(crate) fn http1(out: &'c mut Outgoing, http10: bool, close: bool, closing: &'c AtomicBool, head: bool) -> Self {
        Self { link: Link::Http1 { out, http10, close, closing, framing: Framing::None }, head, sent: Sent::default(), ended: false }
    }
    /// A client on an HTTP/2 stream.
    pub(crate) fn http2(respond: SendResponse<Bytes>, head: bool) -> Self {
        Self { link: Link::Http2(Stream::Idle(respond)), head, sent: Sent::default(), ended: false }
    }
    /// Counts gRPC messages from now on.
    pub(crate) fn count_messages(&mut self) {
        self.sent.messages = Some(Messages::default());
    }
    /// The status sent, 0 where none was.
    pub(crate) fn status(&self) -> u16 {
        self.sent.status
    }
    /// What was sent.
    pub(crate) fn sent(&self) -> &Sent {
        &self.sent
    }
    /// What was sent, by itself.
    pub(crate) fn into_sent(self) -> Sent {
        self.sent
    }
    /// True once the response's head has been written.
    pub(crate) fn has_begun(&self) -> bool {
        self.sent.status != 0
    }
    /// True where the response has been written to its end.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }
    /// True where the connection cannot carry another request.
    pub(crate) fn closes(&self) -> bool {
        match &self.link {
            Link::Http1 { close, .. } => *close || !self.ended,
            Link::Http2(_) => false,
        }
    }
    /// The connection ends after this request.
    pub(crate) fn close(&mut self) {
        if let Link::Http1 { close, .. } = &mut self.link {
            *close = true;
        }
    }

    /// Passes on an informational response. HTTP/1.0 has none.
    pub(crate) fn inform(&mut self, status: StatusCode, headers: &HeaderMap) -> io::Result<()> {
        match &mut self.link {
            Link::Http1 { http10: true, .. } => Ok(()),
            Link::Http1 { out, .. } => {
                encode::response(out.head(), false, status, headers, Framing::None, false);
                out.send(&[], &[])
            }
            Link::Http2(Stream::Idle(respond)) => {
                let mut response = Response::new(());
                *response.status_mut() = status;
                *response.headers_mut() = headers.clone();
                respond.send_informational(response).map_err(io::Error::other)
            }
            Link::Http2(_) => Ok(()),
        }
    }

    /// Begins the response. `length` is its body's, where it is known; `last` says that there is none.
    pub(crate) fn begin(&mut self, status: u16, mut headers: HeaderMap, length: Option<u64>, last: bool) -> io::Result<()> {
        let status = StatusCode::from_u16(status).map_err(io::Error::other)?;
        if status != StatusCode::SWITCHING_PROTOCOLS && !headers.contains_key(DATE) {
            headers.insert(DATE, super::worker::date());
        }
        self.sent.status = status.as_u16();
        self.ended = last;
        let bare = self.head || status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
        match &mut self.link {
            Link::Http1 { out, http10, close, closing, framing } => {
                *framing = match (length, last) {
                    _ if status.is_informational() || status == StatusCode::NO_CONTENT => Framing::None,
                    (Some(length), _) if bare => Framing::Told(length),
                    (None, _) if bare => Framing::None,
                    (Some(length), _) => Framing::Length(length),
                    (None, true) => Framing::Length(0),
                    (None, false) if *http10 => Framing::UntilClose,
                    (None, false) => Framing::Chunked,
                };
                *close |= *framing == Framing::UntilClose || closing.load(Ordering::Relaxed);
                let says_close = *close && !status.is_informational();
                encode::response(out.head(), *http10, status, &headers, *framing, says_close);
                self.sent.headers = Some(headers);
                if last { out.send(&[], &[]) } else { Ok(()) }
            }
            Link::Http2(stream) => {
                if let Some(length) = length.filter(|_| status != StatusCode::NO_CONTENT) {
                    headers.insert(CONTENT_LENGTH, length.into());
                } else {
                    headers.remove(CONTENT_LENGTH);
                }
                let mut response = Response::new(());
                *response.status_mut() = status;
                *response.headers_mut() = headers.clone();
                self.sent.headers = Some(headers);
                let Stream::Idle(mut respond) = std::mem::replace(stream, Stream::Over) else { return Ok(()) };
                let open = respond.send_response(response, last).map_err(io::Error::other)?;
                *stream = Stream::Open(open);
                Ok(())
            }
        }
    }

    /// Writes a piece of the body that lies in another's buffer; more may follow.
    pub(crate) fn piece(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.sent.bytes += bytes.len() as u64;
        match &mut self.link {
            Link::Http1 { out, framing, .. } => framing.send(out, bytes, false),
            Link::Http2(Stream::Open(stream)) => stream.send_data(Bytes::copy_from_slice(bytes), false).map_err(io::Error::other),
            Link::Http2(_) => Ok(()),
        }
    }

    /// Writes a piece of the body; `last` says that nothing follows.
    pub(crate) fn body(&mut self, bytes: Bytes, last: bool) -> io::Result<()> {
        self.sent.bytes += bytes.len() as u64;
        if let Some(messages) = &mut self.sent.messages {
            messages.feed(&bytes);
        }
        match &mut self.link {
            Link::Http1 { out, framing, .. } => framing.send(out, &bytes, last)?,
            Link::Http2(Stream::Open(stream)) if last || !bytes.is_empty() => stream.send_data(bytes, last).map_err(io::Error::other)?,
            Link::Http2(_) => {}
        }
        self.ended |= last;
        Ok(())
    }

    /// Ends the body with trailers, which HTTP/1 does not carry here.
    pub(crate) fn trailers(&mut self, trailers: HeaderMap) -> io::Result<()> {
        match &mut self.link {
            Link::Http1 { out, framing, .. } => framing.send(out, &[], true)?,
            Link::Http2(Stream::Open(stream)) => stream.send_trailers(trailers).map_err(io::Error::other)?,
            Link::Http2(_) => {}
        }
        self.ended = true;
        Ok(())
    }

    /// Answers by ourselves.
    pub(crate) fn reply(&mut self, reply: Reply) -> io::Result<()> {
        let Reply { status, mut headers, body, close } = reply;
        if close {
            self.close();
        }
        forwarding::sign(&mut headers);
        let length = body.len() as u64;
        let last = body.is_empty() || self.head;
        self.begin(status, headers, Some(length), last)?;
        if last { Ok(()) } else { self.body(body, true) }
    }

    /// Ends a response that cannot be finished, so that the client sees that it is cut.
    pub(crate) fn cut(&mut self) {
        match &mut self.link {
            Link::Http1 { out, close, .. } => {
                *close = true;
                // What came before the break is shown; whether it still arrives makes no difference.
                let _ = out.send(&[], &[]);
            }
            Link::Http2(stream) => match std::mem::replace(stream, Stream::Over) {
                Stream::Idle(mut respond) => respond.send_reset(Reason::INTERNAL_ERROR),
                Stream::Open(mut open) if !self.ended => open.send_reset(Reason::INTERNAL_ERROR),
                Stream::Open(_) | Stream::Over => {}
            },
        }
    }

    /// True where more may be written now.
    pub(crate) fn is_ready(&self) -> bool {
        match &self.link {
            Link::Http1 { out, .. } => out.backlog() < BACKLOG,
            Link::Http2(Stream::Open(stream)) => stream.capacity() > 0,
            Link::Http2(_) => true,
        }
    }
    /// Writes what is kept, and tells when more is welcome (asked for by `wanted`) or the client has left.
    pub(crate) fn poll_notice(&mut self, wanted: bool, cx: &mut Context<'_>) -> Poll<Notice> {
        match &mut self.link {
            Link::Http1 { out, .. } => {
                if out.poll_gone(cx).is_ready() {
                    return Poll::Ready(Notice::Gone);
                }
                match out.poll_drained(cx) {
                    Poll::Ready(Err(_)) => Poll::Ready(Notice::Gone),
                    Poll::Ready(Ok(())) if wanted => Poll::Ready(Notice::Ready),
                    Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
                }
            }
            Link::Http2(Stream::Idle(respond)) => respond.poll_reset(cx).map(|_| Notice::Gone),
            Link::Http2(Stream::Open(stream)) => {
                if stream.poll_reset(cx).is_ready() {
                    return Poll::Ready(Notice::Gone);
                }
                if !wanted {
                    return Poll::Pending;
                }
                stream.reserve_capacity(1);
                while stream.capacity() == 0 {
                    match ready!(stream.poll_capacity(cx)) {
                        Some(Ok(_)) => {}
                        Some(Err(_)) | None => return Poll::Ready(Notice::Gone),
                    }
                }
                Poll::Ready(Notice::Ready)
            }
            Link::Http2(Stream::Over) => Poll::Ready(Notice::Gone),
        }
    }
    /// Waits until everything has been written, or the client has left.
    pub(crate) async fn drained(&mut self) -> io::Result<()> {
        match &mut self.link {
            Link::Http1 { out, .. } => out.drained().await,
            Link::Http2(_) => Ok(()),
        }
    }
}
