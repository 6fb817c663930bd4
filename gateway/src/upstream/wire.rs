//! A TCP connection as Pingora's HTTP/1 sessions read it: bytes only, with a say over how far they may read.
//!
//! We own what is written (see `outgoing`), so a [`Wire`] is the read half alone. It holds bytes that were read ahead, and
//! it can stop at the end of a message head, so that the codec never holds bytes that belong to a tunnel, to the next
//! request, or to nobody. It never writes: a write through it is an error, which no path of ours takes.

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;

use super::chunks::{Ambiguous, Chunks};

/// How much is read at once where we read for ourselves.
const CHUNK: usize = 4 * 1024;

/// How far a reader may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// As far as there are bytes.
    Open,
    /// So many bytes of what was read ahead; then on without limit.
    Exactly(usize),
    /// To the end of a message head.
    Head(Ending),
}

/// How much of a head's end has passed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Inside a line.
    Text,
    /// After a line feed.
    Line,
    /// After a line feed and a carriage return.
    Return,
    /// The head is over: nothing more is handed out.
    Over,
}

impl Ending {
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Over, _) | (Self::Line | Self::Return, b'\n') => Self::Over,
            (Self::Line, b'\r') => Self::Return,
            (Self::Text, b'\n') => Self::Line,
            (Self::Text | Self::Line | Self::Return, _) => Self::Text,
        }
    }
}

/// The read half of a connection.
pub(crate) struct Wire {
    half: OwnedReadHalf,
    ahead: BytesMut,
    reach: Reach,
    again: AtomicU8,
    chunks: Option<Chunks>,
}

impl Wire {
    /// A connection of which `ahead` has been read already.
    pub(crate) fn new(half: OwnedReadHalf, ahead: BytesMut) -> Self {
        Self { half, ahead, reach: Reach::Open, again: AtomicU8::new(0), chunks: None }
    }
    /// Bytes read and not yet handed out.
    pub(crate) fn ahead(&self) -> &[u8] {
        &self.ahead
    }
    /// Puts bytes back in front.
    pub(crate) fn put_back(&mut self, bytes: BytesMut) {
        if self.ahead.is_empty() {
            self.ahead = bytes;
        } else {
            let later = std::mem::replace(&mut self.ahead, bytes);
            self.ahead.extend_from_slice(&later);
        }
    }
    /// Lets go of `count` bytes read ahead.
    pub(crate) fn skip(&mut self, count: usize) {
        self.ahead.advance(count.min(self.ahead.len()));
    }
    /// The next reader gets `count` of the bytes read ahead in one piece, before any others.
    pub(crate) fn serve_exactly(&mut self, count: usize) {
        self.reach = Reach::Exactly(count.min(self.ahead.len()));
    }
    /// After those bytes a chunked body follows, which must be readable in one way only. Breaking that is an error of kind
    /// [`io::ErrorKind::InvalidData`].
    pub(crate) fn expect_chunks(&mut self) {
        self.chunks = Some(Chunks::new());
    }
    /// The next reader gets one message head and then nothing, until [`Wire::open`].
    pub(crate) fn serve_head(&mut self) {
        self.reach = Reach::Head(Ending::Text);
    }
    /// After a head was served: the next one too. For whoever holds a reference only, as a codec lends it.
    pub(crate) fn serve_head_again(&self) {
        self.again.store(1, Ordering::Relaxed);
    }
    /// After a head was served: everything, as for whoever holds a reference only.
    pub(crate) fn open_again(&self) {
        self.again.store(2, Ordering::Relaxed);
    }
    /// Lifts every limit.
    pub(crate) fn open(&mut self) {
        self.reach = Reach::Open;
        self.chunks = None;
    }
    /// Reads more ahead; 0 is the end of the stream. Dropping the future loses nothing.
    pub(crate) async fn more(&mut self) -> io::Result<usize> {
        self.ahead.reserve(CHUNK);
        self.half.read_buf(&mut self.ahead).await
    }
    /// True where nothing was heard from the peer that nobody asked for: no bytes, no end, no error.
    pub(crate) fn is_quiet(&self) -> bool {
        if !self.ahead.is_empty() {
            return false;
        }
        let mut probe = [0u8; 1];
        let mut probe = ReadBuf::new(&mut probe);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        self.half.as_ref().poll_peek(&mut cx, &mut probe).is_pending()
    }
    /// The two parts again.
    pub(crate) fn into_parts(self) -> (OwnedReadHalf, BytesMut) {
        (self.half, self.ahead)
    }

    fn serve(&mut self, out: &mut ReadBuf<'_>) {
        let mut count = self.ahead.len().min(out.remaining());
        match self.reach {
            Reach::Open => {}
            Reach::Exactly(left) => {
                count = count.min(left);
                self.reach = if count == left { Reach::Open } else { Reach::Exactly(left - count) };
            }
            Reach::Head(mut ending) => {
                let end = self.ahead[..count].iter().position(|b| {
                    ending = ending.after(*b);
                    ending == Ending::Over
                });
                count = end.map_or(count, |end| end + 1);
                self.reach = Reach::Head(ending);
            }
        }
        out.put_slice(&self.ahead[..count]);
        self.ahead.advance(count);
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.reach == Reach::Head(Ending::Over) {
            match this.again.swap(0, Ordering::Relaxed) {
                0 => return Poll::Pending,
                1 => this.serve_head(),
                _ => this.open(),
            }
        }
        let before = out.filled().len();
        let body = this.reach == Reach::Open;
        if this.ahead.is_empty() {
            if let Reach::Head(_) = this.reach {
                let mut chunk = [0u8; CHUNK];
                let mut chunk = ReadBuf::new(&mut chunk);
                ready!(Pin::new(&mut this.half).poll_read(cx, &mut chunk))?;
                this.ahead.extend_from_slice(chunk.filled());
                this.serve(out);
            } else {
                ready!(Pin::new(&mut this.half).poll_read(cx, out))?;
            }
        } else {
            this.serve(out);
        }
        if let Some(chunks) = this.chunks.as_mut().filter(|_| body) {
            chunks.follow(&out.filled()[before..]).map_err(|Ambiguous| io::ErrorKind::InvalidData)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::Error::from(io::ErrorKind::Unsupported)))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("peer", &self.half.peer_addr().ok()).field("ahead", &self.ahead.len()).finish()
    }
}

#[async_trait::async_trait]
impl Shutdown for Wire {
    async fn shutdown(&mut self) {}
}
impl UniqueID for Wire {
    fn id(&self) -> i32 {
        self.half.as_ref().as_raw_fd()
    }
}
impl Ssl for Wire {}
impl GetTimingDigest for Wire {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}
impl GetProxyDigest for Wire {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}
impl GetSocketDigest for Wire {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}
impl Peek for Wire {}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    /// A wire, and who writes to it.
    async fn wire(ahead: &str) -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (read, write) = near.into_split();
        write.forget();
        (Wire::new(read, BytesMut::from(ahead)), listener.accept().await.unwrap().0)
    }

    async fn read(wire: &mut Wire) -> String {
        let mut bytes = BytesMut::with_capacity(1024);
        wire.read_buf(&mut bytes).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn so_many_bytes_come_in_one_piece_and_then_the_rest() {
        let (mut wire, _far) = wire("headrest").await;
        wire.serve_exactly(4);
        assert_eq!((read(&mut wire).await.as_str(), read(&mut wire).await.as_str()), ("head", "rest"));
    }

    #[tokio::test]
    async fn one_head_and_nothing_after_it() {
        let (mut wire, mut far) = wire("").await;
        wire.serve_head();
        far.write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching\nA: b\n\ntunnel").await.unwrap();
        assert_eq!(read(&mut wire).await, "HTTP/1.1 100 Continue\r\n\r\n");
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut none = [0u8; 8];
        assert!(Pin::new(&mut wire).poll_read(&mut cx, &mut ReadBuf::new(&mut none)).is_pending());
        wire.serve_head_again();
        assert_eq!(read(&mut wire).await, "HTTP/1.1 101 Switching\nA: b\n\n");
        assert_eq!(wire.ahead(), b"tunnel");
        wire.open();
        assert_eq!(read(&mut wire).await, "tunnel");
    }

    #[tokio::test]
    async fn what_nobody_asked_for_is_heard() {
        let (wire, mut far) = wire("").await;
        assert!(wire.is_quiet());
        far.write_all(b"x").await.unwrap();
        while wire.is_quiet() {
            tokio::task::yield_now().await;
        }
    }
}
