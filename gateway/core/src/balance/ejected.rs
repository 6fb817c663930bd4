//! Who of a backend is ejected, and how many may be at once (D-41).
//!
//! The cap and the count share one word, so a place among the ejected is taken against the cap that is in force at that moment. An endpoint's [`Mark`]
//! says in one word whether the view shows it and whether it is out: one that is both holds a place. A place is taken before a mark becomes so and
//! given back after it no longer is, so the count is never below the truth, whatever is published meanwhile, and nobody has to count again.
//! Workers eject; everything else is the control thread's alone.

use super::atomic::{AtomicU8, AtomicU64, Ordering};

/// The cap in the upper half, the count in the lower.
#[derive(Debug, Default)]
pub(super) struct Places(AtomicU64);

/// What became of wanting to eject an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is out.
    Out,
    /// So many are out already that it stays.
    Full,
    /// It was out already, or has left the view.
    Gone,
}

/// An endpoint's standing in its backend.
#[derive(Debug, Default)]
pub(super) struct Mark(AtomicU8);

const SHOWN: u8 = 1;
const OUT: u8 = 2;

impl Mark {
    pub(super) fn is_out(&self) -> bool {
        self.0.load(Ordering::Relaxed) & OUT != 0
    }
}

impl Places {
    /// How many are taken.
    pub(super) fn count(&self) -> u32 {
        self.0.load(Ordering::Acquire) as u32
    }
    /// Puts another view in force by `publish`, under another cap. Whichever of the two views a worker looks at meanwhile, the lower cap of both holds;
    /// who comes is counted in before, who leaves is counted out after. Who is out stays out.
    pub(super) fn turn<'m>(&self, comes: impl Iterator<Item = &'m Mark>, leaves: impl Iterator<Item = &'m Mark>, cap: u32, publish: impl FnOnce()) {
        self.cap(|before| before.min(cap));
        comes.for_each(|mark| self.show(mark));
        publish();
        leaves.for_each(|mark| self.hide(mark));
        self.cap(|_| cap);
    }
    fn cap(&self, next: impl Fn(u32) -> u32) {
        let with = |word: u64| Some(u64::from(next((word >> 32) as u32)) << 32 | u64::from(word as u32));
        // It always has a next value, so it never fails.
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, with);
    }

    /// Puts an endpoint out.
    pub(super) fn eject(&self, mark: &Mark) -> Verdict {
        let one_more = |word: u64| (u64::from(word as u32) < word >> 32).then_some(word + 1);
        if self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).is_err() {
            return Verdict::Full;
        }
        match mark.0.compare_exchange(SHOWN, SHOWN | OUT, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Verdict::Out,
            Err(_) => {
                self.give_back();
                Verdict::Gone
            }
        }
    }
    /// Lets an endpoint back.
    pub(super) fn release(&self, mark: &Mark) {
        if mark.0.fetch_and(!OUT, Ordering::AcqRel) == SHOWN | OUT {
            self.give_back();
        }
    }
    /// An endpoint may have left while it was out.
    fn show(&self, mark: &Mark) {
        let before = mark.0.load(Ordering::Acquire);
        if before == OUT {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
        if before & SHOWN == 0 {
            mark.0.fetch_or(SHOWN, Ordering::AcqRel);
        }
    }
    fn hide(&self, mark: &Mark) {
        if mark.0.fetch_and(!SHOWN, Ordering::AcqRel) == SHOWN | OUT {
            self.give_back();
        }
    }
    fn give_back(&self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
