//! Where a joined service stands in the catalog: what did not change keeps its allocation, and views that share it stay as they are.

use std::collections::HashMap;
use std::sync::Arc;

use isthmus_config::name::Hostname;
use isthmus_core::join;
use isthmus_core::model::{Address, Catalog, Changes, Endpoint};

/// Puts a joined service in its place, and says what differs.
pub(super) fn place(catalog: &mut Catalog, host: Hostname, found: Option<join::Joined>, changes: &mut Changes) {
    let Some(found) = found else {
        if catalog.services.remove(&host).is_some() {
            changes.services.insert(host.clone());
        }
        if catalog.endpoints.remove(&host).is_some() {
            changes.endpoints.insert(host);
        }
        return;
    };
    if catalog.services.get(&host).is_none_or(|old| **old != found.service) {
        catalog.services.insert(host.clone(), Arc::new(found.service));
        changes.services.insert(host.clone());
    }
    let old = catalog.endpoints.get(&host).cloned().unwrap_or_default();
    if !catalog.endpoints.contains_key(&host) || !old.iter().map(|e| &**e).eq(&found.endpoints) {
        catalog.endpoints.insert(host.clone(), shared(found.endpoints, &old));
        changes.endpoints.insert(host);
    }
}

/// Endpoints that stay what they were keep their allocation.
fn shared(found: Vec<Endpoint>, old: &[Arc<Endpoint>]) -> Arc<[Arc<Endpoint>]> {
    let known: HashMap<(&Address, &str), &Arc<Endpoint>> = old.iter().map(|e| ((&e.address, &*e.port_name), e)).collect();
    let same = |e: &Endpoint| known.get(&(&e.address, &*e.port_name)).filter(|old| ****old == *e).map(|old| (*old).clone());
    found.into_iter().map(|e| same(&e).unwrap_or_else(|| Arc::new(e))).collect()
}
