//! What is kept of a request's body: for another attempt, and for mirrors.

use bytes::Bytes;
use isthmus_core::decide::Exchange;

/// The most that is kept (Envoy: 1 MiB; see `docs/differences.md`).
const MOST: usize = 64 * 1024;

/// The body as far as it has come, while it may be needed again.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pieces: Vec<Bytes>,
    length: usize,
    /// It cannot be sent again from here.
    lost: bool,
    copy: Option<Vec<Bytes>>,
    copied: usize,
}

impl Kept {
    /// What another attempt begins with.
    pub(super) fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }
    /// From now on a copy is kept for mirrors too.
    pub(super) fn copying(&mut self) {
        self.copy = Some(Vec::new());
    }
    /// The copy, once. A body that was too long for it has none.
    pub(super) fn copy(&mut self) -> Option<Vec<Bytes>> {
        self.copy.take()
    }
    /// True while more can be kept before anything is sent.
    pub(super) fn has_room(&self) -> bool {
        !self.lost && self.length < MOST
    }
    /// Keeps a piece that came before the first attempt, which begins with it.
    pub(super) fn keep_ahead(&mut self, bytes: &Bytes) {
        self.copy_too(bytes);
        self.length += bytes.len();
        self.pieces.push(bytes.clone());
    }
    /// Keeps a piece, as long as it may be needed; tells the exchange where it no longer can be.
    pub(super) fn keep(&mut self, bytes: &Bytes, exchange: &mut Exchange) {
        self.copy_too(bytes);
        self.length += bytes.len();
        if self.lost || !exchange.may_retry() {
            self.pieces = Vec::new();
            self.lost = true;
        } else if self.length > MOST {
            exchange.unreplayable();
            self.pieces = Vec::new();
            self.lost = true;
        } else {
            self.pieces.push(bytes.clone());
        }
    }

    fn copy_too(&mut self, bytes: &Bytes) {
        if self.copy.is_some() {
            self.copied += bytes.len();
            self.copy = self.copy.take().filter(|_| self.copied <= MOST);
        }
        if let Some(copy) = &mut self.copy {
            copy.push(bytes.clone());
        }
    }
}
