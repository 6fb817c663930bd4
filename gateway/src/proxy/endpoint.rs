//! The endpoint's side of one attempt: what it is told, and what it says, in HTTP/1 or HTTP/2.
//!
//! Pingora's session reads HTTP/1 responses; we write requests ourselves, so that a request never waits in the way of its
//! answer. What an endpoint says is told in five words, [`Heard`], whichever protocol it speaks.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};
use isthmus_core::decide::Reset;
use pingora_core::ErrorType;
use pingora_core::protocols::http::v1::client::HttpSession;

use super::encode::Framing;
use crate::upstream::{Outgoing, Wire};

/// Bytes kept for an endpoint beyond which nothing more is read for it.
const BACKLOG: usize = 16 * 1024;

/// What an endpoint says.
#[derive(Debug)]
pub(crate) enum Heard<'a> {
    /// An informational head.
    Inform(StatusCode, HeaderMap),
    /// The final head, and whether that is all.
    Head { status: u16, headers: HeaderMap, length: Option<u64>, last: bool },
    /// A piece of body as it lies in the codec's buffer; more may follow.
    Piece(&'a [u8]),
    /// A piece of body, and whether that is all.
    Body(Bytes, bool),
    /// The end, with trailers where there were some.
    End(Option<HeaderMap>),
    /// It broke.
    Broken(Reset),
}

/// The side that is read.
pub(crate) enum Reader {
    /// HTTP/1.
    Http1(Http1Reader),
    /// HTTP/2, before the head.
    Http2Head(ResponseFuture),
    /// HTTP/2, after it.
    Http2Body(RecvStream),
}

/// An HTTP/1 response being read.
pub(crate) struct Http1Reader {
    session: Box<HttpSession>,
    /// The answer to HEAD has no body.
    head: bool,
    /// The request may become a tunnel.
    upgrade: bool,
    headed: bool,
    complete: bool,
}

impl Http1Reader {
    /// Reads the next response on `wire`.
    pub(crate) fn new(mut wire: Box<Wire>, head: bool, upgrade: bool) -> Self {
        if head || upgrade {
            wire.serve_head();
        }
        Self { session: Box::new(HttpSession::new(wire)), head, upgrade, headed: false, complete: false }
    }

    async fn next(&mut self) -> Heard<'_> {
        if self.headed { self.body().await } else { self.response().await }
    }

    async fn response(&mut self) -> Heard<'static> {
        if let Err(e) = self.session.read_response().await {
            return Heard::Broken(broken(&e));
        }
        let Some(head) = self.session.resp_header() else { return Heard::Broken(Reset::Protocol) };
        let (status, headers) = (head.status, head.headers.clone());
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            if let Some(wire) = (**self.session.stream()).as_any().downcast_ref::<Wire>() {
                wire.serve_head_again();
            }
            return Heard::Inform(status, headers);
        }
        let coded = headers.get(TRANSFER_ENCODING);
        let odd = coded.is_some_and(|v| !v.as_bytes().eq_ignore_ascii_case(b"chunked")) || headers.get_all(TRANSFER_ENCODING).iter().count() > 1;
        let both = coded.is_some() && names_length(&self.session.get_headers_raw_bytes());
        let switched = status == StatusCode::SWITCHING_PROTOCOLS;
        if odd || both || switched && !self.upgrade {
            return Heard::Broken(Reset::Protocol);
        }
        let bare = self.head || switched || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
        if self.upgrade
            && !switched
            && let Some(wire) = (**self.session.stream()).as_any().downcast_ref::<Wire>()
        {
            wire.open_again();
        }
        self.headed = true;
        self.complete = bare || self.session.is_body_done();
        Heard::Head { status: status.as_u16(), length: length(&headers), headers, last: self.complete && !switched }
    }

    async fn body(&mut self) -> Heard<'_> {
        match self.session.read_body_ref().await {
            Ok(Some(bytes)) => Heard::Piece(bytes),
            Ok(None) => {
                self.complete = true;
                Heard::End(None)
            }
            Err(e) => Heard::Broken(broken(&e)),
        }
    }

    /// The connection, where it can carry another request.
    pub(crate) fn reuse(mut self) -> Option<Box<Wire>> {
        if !self.complete {
            return None;
        }
        if self.head {
            let keeps = self.session.resp_header().is_some_and(|h| {
                h.version == http::Version::HTTP_11 && !h.headers.get(CONNECTION).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"close"))
            });
            return self.into_wire().filter(|wire| keeps && wire.ahead().is_empty());
        }
        self.session.respect_keepalive();
        let keeps = self.session.will_keepalive();
        self.into_wire().filter(|wire| keeps && wire.ahead().is_empty())
    }

    /// The connection after a 101.
    pub(crate) fn into_wire(self) -> Option<Box<Wire>> {
        let mut wire = self.session.into_inner().into_any().downcast::<Wire>().ok()?;
        wire.open();
        Some(wire)
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Pingora drops a length beside `transfer-encoding`; an endpoint that sends both is not to be trusted with either (8.3).
fn names_length(head: &[u8]) -> bool {
    const NAME: &[u8] = b"content-length";
    head.split(|b| *b == b'\n').any(|line| line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME))
}

fn broken(e: &pingora_core::Error) -> Reset {
    let closed = matches!(e.etype(), ErrorType::ConnectionClosed | ErrorType::ReadError);
    if closed { Reset::Terminated } else { Reset::Protocol }
}

fn broken2(e: &h2::Error) -> Reset {
    match e.reason() {
        Some(Reason::REFUSED_STREAM) => Reset::Refused,
        Some(Reason::NO_ERROR) if e.is_go_away() => Reset::Refused,
        Some(Reason::PROTOCOL_ERROR | Reason::COMPRESSION_ERROR | Reason::FRAME_SIZE_ERROR) if e.is_library() => Reset::Protocol,
        Some(_) if e.is_reset() => Reset::Remote,
        Some(_) | None => Reset::Terminated,
    }
}

impl Reader {
    /// What comes next. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Heard<'_> {
        match self {
            Self::Http1(reader) => reader.next().await,
            Self::Http2Head(response) => {
                let first = std::future::poll_fn(|cx| {
                    if let Poll::Ready(Some(Ok(informed))) = response.poll_informational(cx) {
                        return Poll::Ready(Ok(Err(informed)));
                    }
                    std::pin::Pin::new(&mut *response).poll(cx).map_ok(Ok)
                });
                match first.await {
                    Ok(Err(informed)) => Heard::Inform(informed.status(), informed.headers().clone()),
                    Ok(Ok(response)) => {
                        let (head, body) = response.into_parts();
                        let heard = Heard::Head {
                            status: head.status.as_u16(),
                            length: length(&head.headers),
                            headers: head.headers,
                            last: body.is_end_stream(),
                        };
                        *self = Self::Http2Body(body);
                        heard
                    }
                    Err(e) => Heard::Broken(broken2(&e)),
                }
            }
            Self::Http2Body(body) => loop {
                return match body.data().await {
                    Some(Ok(bytes)) => {
                        // Taken at once: we read only when the client has taken what came before.
                        let _ = body.flow_control().release_capacity(bytes.len());
                        let last = body.is_end_stream();
                        if bytes.is_empty() && !last {
                            continue;
                        }
                        Heard::Body(bytes, last)
                    }
                    Some(Err(e)) => Heard::Broken(broken2(&e)),
                    None => match body.trailers().await {
                        Ok(trailers) => Heard::End(trailers),
                        Err(e) => Heard::Broken(broken2(&e)),
                    },
                };
            },
        }
    }
}

/// The side that is written.
pub(crate) enum Writer {
    /// HTTP/1.
    Http1 { out: Outgoing, framing: Framing, before: u64 },
    /// HTTP/2.
    Http2(SendStream<Bytes>),
}

impl Writer {
    /// Writes a piece of the request's body; `last` says that nothing follows.
    pub(crate) fn body(&mut self, bytes: Bytes, last: bool) -> io::Result<()> {
        match self {
            Self::Http1 { out, framing, .. } => framing.send(out, &bytes, last),
            // An empty frame in the middle says nothing, and some endpoints count it as an attack.
            Self::Http2(_) if bytes.is_empty() && !last => Ok(()),
            Self::Http2(stream) => stream.send_data(bytes, last).map_err(io::Error::other),
        }
    }
    /// True where more may be written now.
    pub(crate) fn has_room(&self) -> bool {
        match self {
            Self::Http1 { out, .. } => out.backlog() < BACKLOG,
            Self::Http2(stream) => stream.capacity() > 0,
        }
    }
    /// True where nothing is waiting to be written.
    pub(crate) fn is_drained(&self) -> bool {
        match self {
            Self::Http1 { out, .. } => out.is_drained(),
            Self::Http2(_) => true,
        }
    }
    /// True where any byte of this request has left us.
    pub(crate) fn has_sent(&self) -> bool {
        match self {
            Self::Http1 { out, before, .. } => out.written() > *before,
            Self::Http2(_) => true,
        }
    }
    /// Ready once all is written and there is room for more.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Http1 { out, .. } => out.poll_drained(cx),
            Self::Http2(stream) => {
                stream.reserve_capacity(1);
                while stream.capacity() == 0 {
                    match ready!(stream.poll_capacity(cx)) {
                        Some(Ok(_)) => {}
                        Some(Err(e)) => return Poll::Ready(Err(io::Error::other(e))),
                        None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                    }
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}
