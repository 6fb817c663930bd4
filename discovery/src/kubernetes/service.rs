//! A Service: ports with their protocols (P-1), who may see it (M-5), and how its endpoints are taken.

use std::sync::Arc;

use isthmus_config::kubernetes::{PortOrName, Service, ServicePort, ServiceType};
use isthmus_config::name::Hostname;
use isthmus_config::object::Object;
use isthmus_core::join::{Form, Outside, ServiceFact};
use isthmus_core::model::{Distribution, ExportTo, Port, Protocol, TargetPort};

use super::Interner;

const EXPORT_TO: &str = "networking.istio.io/exportTo";
const NODE_SELECTOR: &str = "traffic.istio.io/nodeSelector";
const PERSISTENT_SESSION: &str = "istio.io/persistent-session";

pub(super) fn fact(object: &Object<Service>, interner: &mut Interner) -> Arc<ServiceFact> {
    let (meta, spec) = (&object.meta, &object.spec);
    let external = spec.r#type == ServiceType::ExternalName;
    let ports = spec.ports.iter().map(|p| port(p, interner)).collect();
    let fact = ServiceFact {
        namespace: interner.text(&meta.namespace),
        name: interner.text(&meta.name),
        labels: interner.labels(&meta.labels),
        // Kubernetes ignores an ExternalName Service's selector, and so does Istio.
        selector: if external { Arc::default() } else { interner.labels(&spec.selector) },
        ports: interner.service_ports(ports),
        export_to: meta.annotations.get(EXPORT_TO).map(|list| {
            let items: Vec<&str> = list.split(',').map(str::trim).filter(|i| !i.is_empty()).collect();
            ExportTo::parse(&items, &meta.namespace, &[])
        }),
        external_name: (external && !spec.external_name.is_empty()).then(|| Hostname::new(&spec.external_name)),
        node_local: &*spec.internal_traffic_policy == "Local",
        distribution: Distribution::parse(&spec.traffic_distribution).map(Some).or_else(|| Distribution::annotated(&meta.annotations)),
        persistent_session: meta.labels.contains_key(PERSISTENT_SESSION),
        form: match spec.r#type {
            ServiceType::ExternalName => Form::ExternalName,
            ServiceType::ClusterIP if &*spec.cluster_ip == "None" => Form::Headless,
            ServiceType::ClusterIP => Form::ClusterIp,
            ServiceType::NodePort => Form::NodePort,
            ServiceType::LoadBalancer => Form::LoadBalancer,
        },
        outside: outside(object).map(Box::new),
        origin: (!object.origin.file.is_empty()).then(|| Arc::new(object.origin.clone())),
    };
    interner.service(fact)
}

/// A load balancer is named by its address where it has one (M-34); a selector that cannot be read selects no node.
fn outside(object: &Object<Service>) -> Option<Outside> {
    let spec = &object.spec;
    let balanced = spec.ingress.iter().map(|i| if i.ip.is_empty() { &i.hostname } else { &i.ip });
    let addresses: Vec<Arc<str>> = balanced.chain(&spec.external_ips).filter(|a| !a.is_empty()).cloned().collect();
    let by_node = spec.r#type == ServiceType::NodePort;
    let node_ports = spec.ports.iter().filter(|p| by_node && p.node_port > 0).map(|p| (p.port, p.node_port)).collect();
    let selector = object.meta.annotations.get(NODE_SELECTOR).filter(|_| by_node);
    let nodes = selector.and_then(|text| serde_json::from_str(text).ok());
    (by_node || !addresses.is_empty()).then_some(Outside { addresses, node_ports, nodes })
}

fn port(port: &ServicePort, interner: &mut Interner) -> Port {
    Port {
        number: port.port,
        name: interner.text(&port.name),
        protocol: Protocol::of_port(&port.protocol, Some(&port.app_protocol), &port.name, port.port),
        target: match &port.target_port {
            None | Some(PortOrName::Number(0)) => TargetPort::Same,
            Some(PortOrName::Number(number)) => TargetPort::Number(*number),
            Some(PortOrName::Name(name)) => TargetPort::Name(name.clone()),
        },
    }
}
