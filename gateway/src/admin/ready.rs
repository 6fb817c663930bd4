//! Whether we are ready, and if not, what is waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use axum::http::StatusCode;

/// Ready once nothing is waited for, until shutdown begins.
#[derive(Debug)]
pub(crate) struct Readiness {
    waiting: ArcSwap<Vec<String>>,
    notes: ArcSwap<Vec<String>>,
    stopping: AtomicBool,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { waiting: ArcSwap::from_pointee(vec!["start".to_owned()]), notes: ArcSwap::default(), stopping: AtomicBool::new(false) }
    }
}

impl Readiness {
    /// Says what is waited for; nothing means ready. Returns true where that changed.
    pub(crate) fn wait_for(&self, waiting: Vec<String>) -> bool {
        let changed = **self.waiting.load() != waiting;
        if changed {
            self.waiting.store(Arc::new(waiting));
        }
        changed
    }
    /// Says what is degraded without making us unready.
    pub(crate) fn note(&self, notes: Vec<String>) {
        if **self.notes.load() != notes {
            self.notes.store(Arc::new(notes));
        }
    }
    /// Shutdown has begun.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }
    /// Envoy's word for it, with the status of its `/ready`.
    pub(crate) fn state(&self) -> (StatusCode, &'static str) {
        match self.check() {
            Ok(_) => (StatusCode::OK, "LIVE\n"),
            Err(_) if self.stopping.load(Ordering::Acquire) => (StatusCode::SERVICE_UNAVAILABLE, "DRAINING\n"),
            Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "INITIALIZING\n"),
        }
    }
    /// `Ok` says what is degraded, `Err` why not ready, one a line.
    pub(crate) fn check(&self) -> Result<String, String> {
        if self.stopping.load(Ordering::Acquire) {
            return Err("shutting down\n".to_owned());
        }
        let waiting = self.waiting.load();
        let lines = |list: &[String], lead: &str| list.iter().map(|line| format!("{lead}{line}\n")).collect();
        if waiting.is_empty() { Ok(lines(&self.notes.load(), "")) } else { Err(lines(&waiting, "waiting for ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_is_waited_for() {
        let ready = Readiness::default();
        assert!(ready.wait_for(vec!["cluster c1".into(), "listener 0.0.0.0_80".into()]));
        assert_eq!(ready.check(), Err("waiting for cluster c1\nwaiting for listener 0.0.0.0_80\n".into()));
        assert!(ready.wait_for(vec![]) && !ready.wait_for(vec![]));
        assert_eq!((ready.check(), ready.state()), (Ok(String::new()), (StatusCode::OK, "LIVE\n")));
        ready.note(vec!["cluster c2 is served from disk".into()]);
        assert_eq!(ready.check(), Ok("cluster c2 is served from disk\n".into()));
        ready.stop();
        assert_eq!(ready.state(), (StatusCode::SERVICE_UNAVAILABLE, "DRAINING\n"));
        assert_eq!(ready.check(), Err("shutting down\n".into()));
    }
}
