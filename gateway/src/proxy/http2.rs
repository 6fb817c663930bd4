//! A client's HTTP/2 connection: many requests at once, each a task of its own.
//!
//! Pingora's handshake sets the limits; requests and their bodies are taken from the streams themselves, so that both
//! directions of a request can move at once. When the socket goes the client is told (GOAWAY) and requests under way finish.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use http::{HeaderMap, HeaderValue, Method, Request as Message};
use isthmus_core::failure::Failure;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::v2::server::{default_h2_options, handshake};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::body::Body;
use super::client::Client;
use super::relay::HOLD;
use super::request::{Request, Version};
use super::{Visit, exchange, refuse};

/// Requests at once on one connection.
const MOST_STREAMS: u32 = 100;

/// How long the client's first settings may take.
const HANDSHAKE: Duration = Duration::from_secs(15);

/// How long a connection may stay without a request.
const IDLE: Duration = Duration::from_secs(3600);

/// What a client may send unasked on one stream, and on a connection.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Requests under way on one connection.
#[derive(Debug, Default)]
struct Active {
    count: AtomicUsize,
    changed: Notify,
}

struct Guard(Arc<Active>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.notify_one();
    }
}

/// Serves a connection of which `ahead` has been read.
pub(crate) async fn serve(visit: Visit, stream: TcpStream, ahead: BytesMut) {
    let mut io = pingora_core::protocols::l4::stream::Stream::from(stream);
    io.rewind(&ahead);
    let io: Stream = Box::new(io);
    let mut options = default_h2_options();
    options.max_concurrent_streams(MOST_STREAMS).initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
    let Ok(Ok(mut connection)) = timeout(HANDSHAKE, handshake(io, Some(options))).await else { return };
    let mut closing = visit.closing.clone();
    let visit = Arc::new(visit);
    let active = Arc::<Active>::default();
    let mut going = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = closing.told(), if !going => {
                connection.graceful_shutdown();
                going = true;
                continue;
            }
            accepted = connection.accept() => accepted,
            () = unused(&active), if !going => {
                connection.graceful_shutdown();
                going = true;
                continue;
            }
        };
        let Some(Ok((message, respond))) = accepted else { return };
        active.count.fetch_add(1, Ordering::AcqRel);
        let guard = Guard(active.clone());
        let visit = visit.clone();
        tokio::spawn(async move {
            one(&visit, message, respond).await;
            drop(guard);
        });
    }
}

/// Ready when the connection has carried no request for too long.
async fn unused(active: &Active) {
    loop {
        while active.count.load(Ordering::Acquire) > 0 {
            active.changed.notified().await;
        }
        tokio::time::sleep(IDLE).await;
        if active.count.load(Ordering::Acquire) == 0 {
            return;
        }
    }
}

/// Cookies may come in several fields on HTTP/2; elsewhere they are one (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    if let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) {
        let all: Vec<&[u8]> = [first, second].into_iter().chain(crumbs).collect();
        if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
            headers.insert(COOKIE, joined);
        }
    }
}

async fn one(visit: &Visit, message: Message<RecvStream>, respond: SendResponse<Bytes>) {
    let (mut parts, stream) = message.into_parts();
    let target = parts.uri.path_and_query().map_or_else(|| "/".to_owned(), |t| t.as_str().to_owned());
    let named = parts.uri.authority().map(|a| a.as_str().to_owned());
    let hosts = parts.headers.get_all(HOST).iter().count();
    let host = parts.headers.remove(HOST).and_then(|h| h.to_str().ok().map(str::to_owned));
    join_cookies(&mut parts.headers);
    let lengths = parts.headers.get_all(CONTENT_LENGTH).iter().count();
    let fields = parts.headers.len();
    let missing = named.is_none() && host.is_none();
    let head = parts.method == Method::HEAD;
    let connect = parts.method == Method::CONNECT;
    let mut request = Request::new(parts.method, target, named.or(host).unwrap_or_default(), parts.headers, Version::Http2);
    request.length = request.headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.trim().parse().ok());
    let mut client = Client::http2(respond, head);
    let mut body = if connect { Body::nothing() } else { Body::http2(stream) };
    request.has_body = !body.is_over();
    let failure = match () {
        () if missing => Some(Failure::MissingHost),
        () if lengths > 1 || hosts > 1 => Some(Failure::BadRequest),
        () if fields > super::guard::MOST_FIELDS => Some(Failure::HeadersTooLarge),
        () => None,
    };
    match failure {
        Some(failure) => refuse(visit, &request, &mut client, &mut body, failure).await,
        None => {
            let hold = std::pin::pin!(tokio::time::sleep(HOLD));
            // Requests on HTTP/2 never become tunnels.
            let _ = exchange(visit, &mut request, &mut client, &mut body, hold).await;
        }
    }
}
