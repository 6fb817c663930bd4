//! One allocation for each text, each set of labels and each list of ports, however many objects carry it; and one for each Service,
//! however many clusters have it.

use std::collections::HashSet;
use std::sync::Arc;

use isthmus_config::object::{Labels, Meta};
use isthmus_core::join::ServiceFact;
use isthmus_core::model::{Kin, NamedPorts, Port};

/// Texts and label sets in use. What nobody else holds any more is swept out when the number has doubled.
#[derive(Debug, Default)]
pub struct Interner {
    texts: HashSet<Arc<str>>,
    labels: HashSet<Arc<Labels>>,
    ports: HashSet<NamedPorts>,
    service_ports: HashSet<Arc<[Port]>>,
    services: HashSet<Arc<ServiceFact>>,
    kins: HashSet<Arc<Kin>>,
    swept: usize,
}

const SMALL: usize = 1024;

impl Interner {
    /// The shared form of a text.
    pub fn text(&mut self, text: &Arc<str>) -> Arc<str> {
        if let Some(shared) = self.texts.get(text) {
            return shared.clone();
        }
        self.sweep();
        self.texts.insert(text.clone());
        text.clone()
    }

    /// The shared form of a set of labels.
    pub fn labels(&mut self, labels: &Labels) -> Arc<Labels> {
        if let Some(shared) = self.labels.get(labels) {
            return shared.clone();
        }
        let shared = Arc::new(self.shared(labels));
        self.labels.insert(shared.clone());
        shared
    }

    /// Shares the texts of an object's metadata.
    pub fn meta(&mut self, meta: &mut Meta) {
        meta.namespace = self.text(&meta.namespace);
        meta.labels = self.shared(&meta.labels);
    }

    fn shared(&mut self, labels: &Labels) -> Labels {
        labels.iter().map(|(key, value)| (self.text(key), self.text(value))).collect()
    }

    /// The shared form of the ports of a pod or slice.
    pub fn ports(&mut self, ports: NamedPorts) -> NamedPorts {
        if let Some(shared) = self.ports.get(&ports) {
            return shared.clone();
        }
        self.ports.insert(ports.clone());
        ports
    }

    /// The shared form of the ports of a Service.
    pub fn service_ports(&mut self, ports: Arc<[Port]>) -> Arc<[Port]> {
        if let Some(shared) = self.service_ports.get(&ports) {
            return shared.clone();
        }
        self.service_ports.insert(ports.clone());
        ports
    }

    /// The shared form of a Service. One that is written in a file is like no other.
    pub fn service(&mut self, service: ServiceFact) -> Arc<ServiceFact> {
        if service.origin.is_some() {
            return Arc::new(service);
        }
        if let Some(shared) = self.services.get(&service) {
            return shared.clone();
        }
        let shared = Arc::new(service);
        self.services.insert(shared.clone());
        shared
    }

    /// The shared form of what the replicas of a deployment have in common.
    pub fn kin(&mut self, namespace: &Arc<str>, labels: &Labels, service_account: &Arc<str>, ports: NamedPorts) -> Arc<Kin> {
        let (namespace, service_account) = (self.text(namespace), self.text(service_account));
        let kin = Kin { namespace, labels: self.labels(labels), service_account, ports: self.ports(ports) };
        if let Some(shared) = self.kins.get(&kin) {
            return shared.clone();
        }
        let shared = Arc::new(kin);
        self.kins.insert(shared.clone());
        shared
    }

    fn sweep(&mut self) {
        if self.texts.len() + self.labels.len() < 2 * self.swept.max(SMALL) {
            return;
        }
        self.kins.retain(|k| Arc::strong_count(k) > 1);
        self.services.retain(|s| Arc::strong_count(s) > 1);
        self.labels.retain(|l| Arc::strong_count(l) > 1);
        self.ports.retain(|p| p.holders() > 1);
        self.service_ports.retain(|p| Arc::strong_count(p) > 1);
        self.texts.retain(|t| Arc::strong_count(t) > 1);
        self.swept = self.texts.len() + self.labels.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_and_labels_are_one_and_unused_ones_go() {
        let mut interner = Interner::default();
        let labels = Labels::from([(Arc::from("app"), Arc::from("a"))]);
        let (one, two) = (interner.labels(&labels), interner.labels(&labels.clone()));
        assert!(Arc::ptr_eq(&one, &two));
        let mut kin = || interner.kin(&"ns".into(), &labels, &"a".into(), NamedPorts::default());
        assert!(Arc::ptr_eq(&kin(), &kin()));
        for n in 0..10 * SMALL {
            interner.text(&Arc::from(n.to_string()));
        }
        assert!(interner.texts.len() <= 2 * SMALL + 1, "{}", interner.texts.len());
        assert!(Arc::ptr_eq(&one, &interner.labels(&labels)));
    }
}
