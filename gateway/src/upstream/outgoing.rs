//! What we write to a peer: as much as the socket takes at once, the rest kept until it takes more.
//!
//! Writing never waits, so a peer that stops reading cannot keep us from hearing its answer. Who produces bytes asks
//! [`Outgoing::poll_drained`] first, and so bounds what is kept.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::net::tcp::OwnedWriteHalf;

/// The write half of a connection.
#[derive(Debug)]
pub(crate) struct Outgoing {
    half: OwnedWriteHalf,
    kept: BytesMut,
    written: u64,
}

impl Outgoing {
    /// Nothing written yet.
    pub(crate) fn new(half: OwnedWriteHalf) -> Self {
        Self { half, kept: BytesMut::new(), written: 0 }
    }
    /// Where a message head is put together; [`Outgoing::send`] takes it along.
    pub(crate) fn head(&mut self) -> &mut BytesMut {
        &mut self.kept
    }
    /// Writes what is kept, then `bytes`, then `tail`, and keeps what the socket does not take.
    pub(crate) fn send(&mut self, bytes: &[u8], tail: &[u8]) -> io::Result<()> {
        let (mut bytes, mut tail) = (bytes, tail);
        loop {
            let written = match (self.kept.is_empty(), bytes.is_empty(), tail.is_empty()) {
                (true, true, true) => break,
                (true, false, true) => self.half.try_write(bytes),
                (true, true, false) => self.half.try_write(tail),
                (false, true, true) => self.half.try_write(&self.kept),
                _ => self.half.try_write_vectored(&[IoSlice::new(&self.kept), IoSlice::new(bytes), IoSlice::new(tail)]),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.written += n as u64;
                    let of_kept = n.min(self.kept.len());
                    self.kept.advance(of_kept);
                    let of_bytes = (n - of_kept).min(bytes.len());
                    bytes = &bytes[of_bytes..];
                    tail = &tail[n - of_kept - of_bytes..];
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.kept.extend_from_slice(bytes);
                    self.kept.extend_from_slice(tail);
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if self.kept.capacity() > 64 * 1024 {
            self.kept = BytesMut::new();
        }
        Ok(())
    }
    /// Bytes that the socket has not taken yet.
    pub(crate) fn backlog(&self) -> usize {
        self.kept.len()
    }
    /// True where everything has been written.
    pub(crate) fn is_drained(&self) -> bool {
        self.kept.is_empty()
    }
    /// Ready once everything has been written.
    pub(crate) fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.kept.is_empty() {
            ready!(self.half.as_ref().poll_write_ready(cx))?;
            self.send(&[], &[])?;
        }
        Poll::Ready(Ok(()))
    }
    /// Waits until everything has been written.
    pub(crate) async fn drained(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_drained(cx)).await
    }
    /// Ready once the peer has closed or reset the connection. A peer that sends more keeps it pending.
    pub(crate) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut probe = [0u8; 1];
        let mut probe = tokio::io::ReadBuf::new(&mut probe);
        match ready!(self.half.as_ref().poll_peek(cx, &mut probe)) {
            Ok(0) | Err(_) => Poll::Ready(()),
            Ok(_) => Poll::Pending,
        }
    }
    /// Bytes taken by the socket so far.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }
    /// The half again; what was kept must have been drained.
    pub(crate) fn into_half(self) -> OwnedWriteHalf {
        self.half
    }
}
