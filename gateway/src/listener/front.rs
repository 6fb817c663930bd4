//! The first bytes of a connection: who is behind it, and what it speaks.
//!
//! What is read here is handed on, nothing is lost. A client that says nothing waits as long as an idle connection may; one
//! that has begun a PROXY header or the HTTP/2 preface has five seconds to finish it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use isthmus_core::snapshot::{Front, ListenKey};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::proxy_header::{self, Parsed};
use crate::proxy::{self, Closing, Engine, Visit};

/// How long the first words may take.
const SNIFF: Duration = Duration::from_secs(5);

/// How long a connection may say nothing.
const IDLE: Duration = Duration::from_secs(3600);

/// How HTTP/2 with prior knowledge begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a listener wants of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Http,
    Tcp,
    Nothing,
}

/// Serves an accepted connection to its end.
pub(super) async fn serve(engine: Arc<Engine>, key: ListenKey, mut stream: TcpStream, peer: SocketAddr, mut closing: Closing) {
    let (wanted, expects_header) = match engine.published.pin().snapshot.listener(&key) {
        Some((_, listener)) => {
            let wanted = match &listener.front {
                Front::Http(_) => Wanted::Http,
                Front::Tcp(_) => Wanted::Tcp,
                Front::Closed(_) => Wanted::Nothing,
            };
            (wanted, listener.options.proxy_protocol)
        }
        None => (Wanted::Nothing, false),
    };
    let Ok(local) = stream.local_addr() else { return };
    let mut ahead = BytesMut::new();
    let mut client = peer;
    if expects_header {
        match header(&mut stream, &mut ahead).await {
            Some(source) => client = source.unwrap_or(peer),
            None => return,
        }
    }
    if wanted == Wanted::Http && ahead.is_empty() {
        let first = tokio::select! {
            read = stream.read_buf(&mut ahead) => matches!(read, Ok(1..)),
            () = closing.told() => false,
            () = tokio::time::sleep(IDLE) => false,
        };
        if !first {
            return;
        }
    }
    let http2 = wanted == Wanted::Http && is_http2(&mut stream, &mut ahead).await;
    let visit = Visit { engine, key, peer: client, local, closing };
    match wanted {
        Wanted::Http if http2 => proxy::http2(visit, stream, ahead).await,
        Wanted::Http => proxy::http1(visit, stream, ahead).await,
        Wanted::Tcp => proxy::tcp(visit, stream, ahead).await,
        Wanted::Nothing => {}
    }
}

/// Takes a PROXY header off the connection. `None`: there is none, and the connection is of no use.
async fn header(stream: &mut TcpStream, ahead: &mut BytesMut) -> Option<Option<SocketAddr>> {
    let deadline = Instant::now() + SNIFF;
    loop {
        match proxy_header::parse(ahead) {
            Parsed::Header(header) => {
                ahead.advance(header.length);
                return Some(header.source);
            }
            Parsed::Invalid => return None,
            Parsed::Partial => match timeout_at(deadline, stream.read_buf(ahead)).await {
                Ok(Ok(1..)) => {}
                Ok(_) | Err(_) => return None,
            },
        }
    }
}

/// True where the connection begins with the HTTP/2 preface. Anything else, also one cut short, is left to HTTP/1.
async fn is_http2(stream: &mut TcpStream, ahead: &mut BytesMut) -> bool {
    let deadline = Instant::now() + SNIFF;
    loop {
        let common = ahead.len().min(PREFACE.len());
        if ahead[..common] != PREFACE[..common] {
            return false;
        }
        if common == PREFACE.len() {
            return true;
        }
        match timeout_at(deadline, stream.read_buf(ahead)).await {
            Ok(Ok(1..)) => {}
            Ok(_) | Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn the_preface_is_told_from_requests_however_it_arrives() {
        for (pieces, want) in [
            (&["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"][..], true),
            (&["P", "RI * HTTP/2.0\r\n", "\r\nSM\r\n\r\nmore"], true),
            (&["POST / HTTP/1.1\r\n"], false),
            (&["PRI * HTTP/1.1\r\n"], false),
            (&["G"], false),
        ] {
            let (mut client, mut server) = pair().await;
            let mut ahead = BytesMut::new();
            let write = async {
                for piece in pieces {
                    client.write_all(piece.as_bytes()).await.unwrap();
                    tokio::task::yield_now().await;
                }
            };
            let (is, ()) = tokio::join!(is_http2(&mut server, &mut ahead), write);
            assert_eq!(is, want, "{pieces:?}");
            assert!(pieces.concat().as_bytes().starts_with(&ahead), "nothing is lost");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_preface_cut_short_is_left_to_http1_after_five_seconds() {
        let (mut client, mut server) = pair().await;
        client.write_all(b"PRI * HT").await.unwrap();
        let mut ahead = BytesMut::new();
        assert!(!is_http2(&mut server, &mut ahead).await);
        assert_eq!(&ahead[..], b"PRI * HT");
    }

    #[tokio::test]
    async fn a_header_is_taken_off_and_what_follows_stays() {
        let (mut client, mut server) = pair().await;
        client.write_all(b"PROXY TCP4 1.2.3.4 5.6.7.8 1000 80\r\nGET").await.unwrap();
        let mut ahead = BytesMut::new();
        assert_eq!(header(&mut server, &mut ahead).await, Some(Some("1.2.3.4:1000".parse().unwrap())));
        assert_eq!(&ahead[..], b"GET");
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let (mut client, mut server) = pair().await;
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        assert_eq!(header(&mut server, &mut BytesMut::new()).await, None);
    }
}
