//! Waiting for an event that only shows from outside, such as a port that opens: asked for again and again until a deadline, never slept for
//! blindly.

use std::time::{Duration, Instant};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// What `look` found, once it found something; nothing after `limit`.
pub fn until<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::park_timeout(PAUSE);
    }
}

/// Whether `look` held within `limit`.
pub fn holds(limit: Duration, mut look: impl FnMut() -> bool) -> bool {
    until(limit, || look().then_some(())).is_some()
}

/// Whether `look` held all through `span`: for what must not happen.
pub fn stays(span: Duration, mut look: impl FnMut() -> bool) -> bool {
    !holds(span, || !look())
}
