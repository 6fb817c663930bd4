//! Connections without sockets: an idle one is its place, one of HTTP/2 is a count of streams.

use std::sync::{Arc, Weak};

use loom::sync::atomic::{AtomicUsize, Ordering};

use crate::line::{Place, Queue};
use crate::room::Slot;

/// An idle connection.
pub(crate) type Idle = Place;

/// A connection that there is.
#[derive(Debug)]
#[expect(dead_code, reason = "held until it is dropped")]
pub(crate) enum Kept {
    /// An idle one.
    Lane(Idle),
    /// A stream on one.
    Stream(Stream),
}

/// What lies there.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    idle: Vec<Idle>,
    links: Vec<Weak<Link>>,
}

impl Shelf {
    pub(crate) fn put(&mut self, idle: Idle) {
        self.idle.push(idle);
    }
    pub(crate) fn link(&mut self, link: &Arc<Link>) {
        self.links.push(Arc::downgrade(link));
    }
    pub(crate) fn lane(&mut self, _dead: &mut Vec<Idle>) -> Option<Kept> {
        self.idle.pop().map(Kept::Lane)
    }
    pub(crate) fn stream(&mut self, _slot: &Slot) -> Option<Kept> {
        self.links.iter().filter_map(Weak::upgrade).find_map(|link| link.stream()).map(Kept::Stream)
    }
    pub(crate) fn make_room(&mut self) {}
}

/// A connection of HTTP/2.
#[derive(Debug)]
pub(crate) struct Link {
    queue: Arc<Queue>,
    open: AtomicUsize,
    most: usize,
}

impl Link {
    pub(crate) fn new(queue: &Arc<Queue>, most: usize) -> Arc<Self> {
        Arc::new(Self { queue: queue.clone(), open: AtomicUsize::new(0), most })
    }
    pub(crate) fn stream(self: &Arc<Self>) -> Option<Stream> {
        let more = |open: usize| (open < self.most).then_some(open + 1);
        self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Stream(self.clone()))
    }
}

/// A stream on it.
#[derive(Debug)]
pub(crate) struct Stream(Arc<Link>);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
        self.0.queue.go_on();
    }
}
