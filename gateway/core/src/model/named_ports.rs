//! Ports by name: of a pod's containers (S-7) and of a slice, by which endpoints join a service's (M-2).

use std::ops::Deref;
use std::sync::Arc;

/// A port that has a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamedPort {
    /// The port's name.
    pub name: Arc<str>,
    /// Its number.
    pub port: u16,
}

/// Some ports, shared by all that have the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NamedPorts(Option<Arc<Vec<NamedPort>>>);

impl NamedPorts {
    /// How many hold them.
    pub fn holders(&self) -> usize {
        self.0.as_ref().map_or(0, Arc::strong_count)
    }
}

impl FromIterator<NamedPort> for NamedPorts {
    fn from_iter<I: IntoIterator<Item = NamedPort>>(ports: I) -> Self {
        let mut ports: Vec<NamedPort> = ports.into_iter().collect();
        ports.shrink_to_fit();
        Self((!ports.is_empty()).then(|| Arc::new(ports)))
    }
}

impl Deref for NamedPorts {
    type Target = [NamedPort];
    fn deref(&self) -> &[NamedPort] {
        self.0.as_ref().map_or(&[], |ports| ports)
    }
}
