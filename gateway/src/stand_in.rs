//! For tests: endpoints and a slot that hold them, where who they are does not matter.

use std::sync::Arc;

use isthmus_config::object::{Kind, ObjectRef};
use isthmus_core::balance::{BackendKey, BackendPolicy, Line, Slot, view};
use isthmus_core::model::{Address, Endpoint, Health};

/// A healthy endpoint on 10.0.0.`last`.
pub(crate) fn endpoint(last: u8) -> Endpoint {
    Endpoint {
        address: Address::Socket(([10, 0, 0, last], 80).into()),
        port_name: "http".into(),
        weight: 1,
        health: Health::Healthy,
        workload: Arc::default(),
        source: Arc::new(ObjectRef::new(Kind::Pod, "default", "a")),
        passage: None,
    }
}

/// Port 80 of `host` with these endpoints.
pub(crate) fn slot(host: &str, policy: BackendPolicy, line: &Line, endpoints: Vec<Endpoint>) -> Arc<Slot> {
    let key = BackendKey { host: host.into(), port: 80, subset: "".into() };
    let endpoints: Vec<Arc<Endpoint>> = endpoints.into_iter().map(Arc::new).collect();
    Arc::new(Slot::new(key, view(&policy.into(), &Arc::new(line.clone()), &endpoints.iter().collect::<Vec<_>>(), None, 0)))
}
