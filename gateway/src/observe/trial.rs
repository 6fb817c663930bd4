//! Requests of `isthmus try`: their answers say who gave them.
//!
//! Only a nonce that was registered on the admin port makes an answer carry `x-isthmus-*`, so nobody outside can ask. While
//! none is registered a request costs one load.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue};
use isthmus_core::balance::Member;
use isthmus_core::failure::Flags;

/// Carries the nonce; never sent on.
pub(crate) const NONCE: HeaderName = HeaderName::from_static("x-isthmus-try");
/// How long a nonce holds.
const LIFETIME: Duration = Duration::from_secs(900);

/// The nonces that hold.
#[derive(Debug, Default)]
pub(crate) struct Trials {
    any: AtomicBool,
    nonces: ArcSwap<HashMap<String, Instant>>,
}

/// A request whose answer says who gave it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trial;

impl Trials {
    /// Registers a nonce, and forgets those that are too old.
    pub(crate) fn register(&self, nonce: &str, now: Instant) {
        self.nonces.rcu(|nonces| {
            let mut nonces: HashMap<String, Instant> =
                nonces.iter().filter(|(_, since)| now.duration_since(**since) < LIFETIME).map(|(n, since)| (n.clone(), *since)).collect();
            nonces.insert(nonce.to_owned(), now);
            nonces
        });
        self.any.store(true, Ordering::Release);
    }
    /// Takes the nonce out of a request's headers, and says whether it holds.
    pub(crate) fn take(&self, headers: &mut HeaderMap) -> Option<Trial> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let nonce = headers.remove(NONCE)?;
        let nonces = self.nonces.load();
        nonces.get(nonce.to_str().ok()?).filter(|since| since.elapsed() < LIFETIME).map(|_| Trial)
    }
}

impl Trial {
    /// Writes into an answer's headers who gave it.
    pub(crate) fn tell(self, headers: &mut HeaderMap, backend: &str, member: Option<&Member>, flags: Flags) {
        let mut set = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        set("x-isthmus-flags", &flags.to_string());
        if !backend.is_empty() {
            set("x-isthmus-backend", backend);
        }
        if let Some(member) = member {
            let workload = &member.endpoint.workload;
            set("x-isthmus-endpoint", &member.address().to_string());
            set("x-isthmus-workload", &workload.name);
            set("x-isthmus-cluster", workload.cluster().as_str());
            set("x-isthmus-locality", workload.locality().as_str());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_registered_nonce_counts() {
        let trials = Trials::default();
        let asked = |nonce: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(NONCE, nonce.parse().expect("a value"));
            (trials.take(&mut headers).is_some(), headers.contains_key(NONCE))
        };
        assert_eq!(asked("n"), (false, true));
        trials.register("n", Instant::now());
        assert_eq!((asked("n"), asked("other")), ((true, false), (false, false)));
    }
}
