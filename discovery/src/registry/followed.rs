//! A value of the registry that tasks follow. A copy of the registry has a value of its own, which nobody follows yet.

use std::ops::Deref;

use tokio::sync::watch;

/// The value, and the way to those who follow it.
#[derive(Debug)]
pub(super) struct Followed<T>(watch::Sender<T>);

impl<T: Default> Default for Followed<T> {
    fn default() -> Self {
        Self(watch::Sender::new(T::default()))
    }
}

impl<T: Clone> Clone for Followed<T> {
    fn clone(&self) -> Self {
        Self(watch::Sender::new(self.0.borrow().clone()))
    }
}

impl<T> Deref for Followed<T> {
    type Target = watch::Sender<T>;
    fn deref(&self) -> &watch::Sender<T> {
        &self.0
    }
}
