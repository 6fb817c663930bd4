//! A registry as DNS sees it, for the tests that include this file: empty by a bootstrap, and looked at with every name answered.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use isthmus_config::bootstrap::Bootstrap;
use isthmus_core::model::{Changes, World};
use isthmus_discovery::{Event, Registry, Settings};

/// A registry that has been told nothing, by the text of an isthmus.yaml.
pub(crate) fn empty(bootstrap: &str) -> Registry {
    let (bootstrap, _) = Bootstrap::parse(bootstrap, Path::new("isthmus.yaml")).expect("isthmus.yaml");
    Registry::new(Settings::load(&bootstrap).expect("settings").0)
}

/// Tells DNS's answers to every name that is asked for, as the resolver does.
pub(crate) fn look(registry: &mut Registry) -> (Arc<World>, Changes) {
    let (mut world, mut changes) = registry.world();
    let names = registry.names().borrow().clone();
    let answer: Arc<[IpAddr]> = Arc::from([IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2])]);
    registry.apply_all(names.iter().map(|name| Event::Resolved(name.clone(), answer.clone())));
    let (now, later) = registry.world();
    world = if later.is_empty() { world } else { now };
    changes.merge(later);
    (world, changes)
}
