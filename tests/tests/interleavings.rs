//! Every order of the steps of a few threads, played by a model checker: counters of limits, ejections beside a view that is published, and the line
//! for connections.
//!
//! The files under test are those that ship, included as they are; they import lock and atomics from the room around them, which here gives loom's.
//! What only surrounds them, connections and the backend, stands below in its simplest form.

#[path = "../../gateway/core/src/balance/ejected.rs"]
mod ejected;
#[expect(dead_code, reason = "connections ask it for more where it ships")]
#[path = "../../gateway/src/upstream/line.rs"]
mod line;
#[expect(unreachable_pub, dead_code, reason = "it is public, and read whole, where it ships")]
#[path = "../../gateway/core/src/balance/meter.rs"]
mod meter;
#[path = "interleavings/room.rs"]
mod room;
#[path = "interleavings/shelf.rs"]
mod shelf;

use std::sync::Arc;

use ejected::{Mark, Places, Verdict};
use line::{Asked, Grant, Queue, Ticket};
use loom::sync::atomic::{self, AtomicU32, AtomicUsize, Ordering, fence};
use loom::thread;
use meter::Meter;
use room::{Permit, Resource, Slot, sync};
use shelf::{Kept, Link};

/// Plays every order of what `play` does, with at most two switches of threads where none has to be.
fn every_order(play: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(play);
}

#[test]
fn a_limit_is_never_passed_and_counts_return_to_zero() {
    every_order(|| {
        let (meter, inside) = (Arc::new(Meter::default()), Arc::new(AtomicU32::new(0)));
        let worker = |limit: u32| {
            let (meter, inside) = (meter.clone(), inside.clone());
            move || {
                if meter.take(Some(limit)) {
                    assert!(inside.fetch_add(1, Ordering::AcqRel) < 2, "one more than the limit");
                    inside.fetch_sub(1, Ordering::AcqRel);
                    meter.give_back();
                } else {
                    meter.refuse();
                }
            }
        };
        // The limit is lowered while they run.
        let others = [thread::spawn(worker(2)), thread::spawn(worker(1))];
        worker(2)();
        others.into_iter().for_each(|other| other.join().expect("no assertion fails"));
        let now = meter.now(Some(2));
        assert_eq!((now.used, now.taken + now.overflow), (0, 3));
        assert!((1..=2).contains(&now.peak), "{now:?}");
    });
}

/// Endpoints a to d, and which of them each of two views shows, under which cap.
struct Published {
    places: Places,
    marks: [Mark; 4],
    views: [(&'static [usize], u32); 2],
    in_force: AtomicUsize,
}

impl Published {
    fn new(views: [(&'static [usize], u32); 2], out: &[usize]) -> Arc<Self> {
        let (places, marks) = (Places::default(), <[Mark; 4]>::default());
        places.turn(views[0].0.iter().map(|i| &marks[*i]), std::iter::empty(), views[0].1, || ());
        out.iter().for_each(|i| assert_eq!(places.eject(&marks[*i]), Verdict::Out));
        Arc::new(Self { places, marks, views, in_force: AtomicUsize::new(0) })
    }
    fn publish(&self, from: usize, to: usize) {
        let ((before, _), (after, cap)) = (self.views[from], self.views[to]);
        let leaves = before.iter().filter(|i| !after.contains(i)).map(|i| &self.marks[*i]);
        self.places.turn(after.iter().map(|i| &self.marks[*i]), leaves, cap, || self.in_force.store(to, Ordering::Release));
    }
    /// How many of the view in force are out, and whether it was in force all the time.
    fn out(&self) -> (u32, usize, bool) {
        let view = self.in_force.load(Ordering::Acquire);
        let out = self.views[view].0.iter().filter(|i| self.marks[**i].is_out()).count() as u32;
        fence(Ordering::SeqCst);
        (out, view, self.in_force.load(Ordering::Acquire) == view)
    }
    fn eject(&self, i: usize) -> bool {
        let out = self.places.eject(&self.marks[i]) == Verdict::Out;
        let (now, view, whole) = self.out();
        assert!(!whole || now <= self.views[view].1, "{now} are out under view {view}");
        out
    }
    fn settled(&self) {
        let (out, ..) = self.out();
        assert_eq!(self.places.count(), out, "the count is the truth");
    }
}

#[test]
fn two_that_fail_at_once_share_one_place() {
    every_order(|| {
        let backend = Published::new([(&[0, 1, 2], 1); 2], &[]);
        let other = backend.clone();
        let other = thread::spawn(move || other.eject(0));
        let both = [backend.eject(1), other.join().expect("no assertion fails")];
        assert!(both.contains(&true), "one of them");
        backend.settled();
    });
}

#[test]
fn one_endpoint_found_twice_takes_one_place() {
    every_order(|| {
        let backend = Published::new([(&[0, 1, 2], 2); 2], &[]);
        let other = backend.clone();
        let other = thread::spawn(move || other.eject(0));
        assert_ne!(backend.eject(0), other.join().expect("no assertion fails"), "exactly one");
        assert_eq!(backend.places.count(), 1);
    });
}

/// A view without the ejected endpoint and with a new one comes, while two others fail: whichever view is in force, no more than its cap are out.
#[test]
fn no_publication_lets_one_more_out_d41() {
    every_order(|| {
        let backend = Published::new([(&[0, 1, 2], 1), (&[1, 2, 3], 1)], &[0]);
        let workers = [1, 2].map(|i| {
            let backend = backend.clone();
            thread::spawn(move || backend.eject(i))
        });
        backend.publish(0, 1);
        workers.into_iter().for_each(|w| assert!(w.join().is_ok(), "the cap is kept"));
        backend.settled();
    });
}

/// Fewer endpoints, so a lower cap; and who left while it was out comes back and is let back.
#[test]
fn who_leaves_and_returns_is_counted_once_d41() {
    every_order(|| {
        let backend = Published::new([(&[0, 1, 2, 3], 2), (&[1, 2], 1)], &[0]);
        let worker = backend.clone();
        let worker = thread::spawn(move || [1, 2].map(|i| worker.eject(i)));
        backend.publish(0, 1);
        backend.publish(1, 0);
        backend.places.release(&backend.marks[0]);
        worker.join().expect("the cap is kept");
        backend.settled();
        backend.marks.iter().for_each(|mark| backend.places.release(mark));
        assert_eq!(backend.places.count(), 0, "nothing leaks");
    });
}

/// What a request has come to when all is quiet: its grant, where it got one by now.
fn granted(asked: Asked) -> Option<Grant> {
    match asked {
        Asked::Granted(grant) => Some(grant),
        Asked::Waits(ticket) => told(ticket),
        Asked::Refused => None,
    }
}

/// What the line has handed to a request that waited.
fn told(mut ticket: Ticket) -> Option<Grant> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(&mut ticket).poll(&mut cx) {
        std::task::Poll::Ready(grant) => grant,
        std::task::Poll::Pending => None,
    }
}

/// Nothing is held any more.
fn nothing_is_left(slot: &Arc<Slot>, queue: &Arc<Queue>) {
    assert_eq!((slot.used(Resource::Connection), slot.used(Resource::Pending)), (0, 0), "every permit has come back");
    let asked = queue.ask(false);
    assert!(matches!(asked, Asked::Granted(Grant::Room(_))), "and there is room: {asked:?}");
}

fn line(connections: u32) -> (Arc<Slot>, Arc<Queue>) {
    let slot = Slot::new(connections);
    let queue = Arc::new(Queue::new(&slot));
    (slot, queue)
}

#[test]
fn who_comes_while_a_connection_ends_is_not_forgotten() {
    every_order(|| {
        let (slot, queue) = line(1);
        let place = queue.place(&slot).expect("there is room");
        let ends = thread::spawn(move || drop(place));
        let asked = queue.ask(false);
        ends.join().expect("nothing panics");
        assert!(granted(asked).is_some(), "it may open one");
        nothing_is_left(&slot, &queue);
    });
}

#[test]
fn two_that_wait_get_the_one_connection_in_order() {
    every_order(|| {
        let (slot, queue) = line(1);
        let place = queue.place(&slot).expect("there is room");
        let (Asked::Waits(first), Asked::Waits(second)) = (queue.ask(false), queue.ask(false)) else { panic!("both wait") };
        let ends = thread::spawn(move || drop(place));
        let leaves = thread::spawn(move || drop(first));
        ends.join().expect("nothing panics");
        leaves.join().expect("nothing panics");
        assert!(told(second).is_some(), "the second follows the first that has left");
        nothing_is_left(&slot, &queue);
    });
}

#[test]
fn the_first_in_line_is_the_first_served() {
    every_order(|| {
        let (slot, queue) = line(1);
        let place = queue.place(&slot).expect("there is room");
        let Asked::Waits(mut first) = queue.ask(false) else { panic!("it waits") };
        let ends = thread::spawn(move || drop(place));
        let later = queue.ask(false);
        ends.join().expect("nothing panics");
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let served = std::pin::Pin::new(&mut first).poll(&mut cx);
        let Asked::Waits(later) = later else { panic!("nobody overtakes") };
        assert!(matches!(served, std::task::Poll::Ready(Some(_))), "{served:?}");
        drop((served, first));
        assert!(told(later).is_some(), "and gives it on");
        nothing_is_left(&slot, &queue);
    });
}

#[test]
fn rights_that_are_not_used_go_on() {
    every_order(|| {
        let (slot, queue) = line(1);
        let workers = [1, 2].map(|_| {
            let queue = queue.clone();
            thread::spawn(move || match queue.ask(false) {
                // Opened and closed again, or the request has gone.
                Asked::Granted(Grant::Room(room)) => drop(queue.open(room)),
                other @ (Asked::Granted(Grant::Kept(_)) | Asked::Waits(_) | Asked::Refused) => drop(other),
            })
        });
        let asked = queue.ask(false);
        workers.into_iter().for_each(|w| w.join().expect("nothing panics"));
        assert!(granted(asked).is_some(), "it gets what the others did not keep");
        nothing_is_left(&slot, &queue);
    });
}

#[test]
fn an_idle_connection_is_handed_to_who_waits() {
    every_order(|| {
        let (slot, queue) = line(1);
        let place = queue.place(&slot).expect("there is room");
        let putter = queue.clone();
        let puts = thread::spawn(move || {
            putter.state().shelf.put(place);
            putter.go_on();
        });
        let asked = queue.ask(false);
        puts.join().expect("nothing panics");
        let grant = granted(asked);
        assert!(matches!(grant, Some(Grant::Kept(Kept::Lane(_)))), "{grant:?}");
        drop(grant);
        nothing_is_left(&slot, &queue);
    });
}

#[test]
fn a_stream_that_ends_is_room_for_another() {
    every_order(|| {
        let (slot, queue) = line(1);
        let place = queue.place(&slot).expect("there is room");
        let link = Link::new(&queue, 1);
        let stream = link.stream().expect("it carries one");
        queue.state().shelf.link(&link);
        let ends = thread::spawn(move || drop(stream));
        let asked = queue.ask(true);
        ends.join().expect("nothing panics");
        let grant = granted(asked);
        assert!(matches!(grant, Some(Grant::Kept(Kept::Stream(_)))), "{grant:?}");
        drop((grant, link, place));
        nothing_is_left(&slot, &queue);
    });
}

#[test]
fn a_limit_that_is_raised_lets_who_waits_go_on_and_one_that_is_lowered_is_kept() {
    every_order(|| {
        let (slot, queue) = line(1);
        let place = queue.place(&slot).expect("there is room");
        let (control, backend) = (queue.clone(), slot.clone());
        let raises = thread::spawn(move || {
            backend.limit(2);
            control.go_on();
        });
        let asked = queue.ask(false);
        raises.join().expect("nothing panics");
        let Some(Grant::Room(room)) = granted(asked) else { panic!("there is room for a second") };
        slot.limit(1);
        assert!(queue.open(room).is_none(), "and no longer");
        drop(place);
        nothing_is_left(&slot, &queue);
    });
}
