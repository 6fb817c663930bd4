//! A service: a host name with ports, of Kubernetes or of a ServiceEntry (contract 5.1, 7).

use std::sync::Arc;

use isthmus_config::name::Hostname;
use isthmus_config::object::{Labels, ObjectRef, Origin};

use super::Protocol;

/// Who may see an object (contract 1.2, exportTo).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum ExportTo {
    /// Everybody (`*`, and the default).
    #[default]
    All,
    /// The listed namespaces, `.` already replaced by the object's own.
    Only(Vec<Arc<str>>),
    /// Nobody (`~`).
    Nobody,
}

impl ExportTo {
    /// True where `namespace` may see the object.
    pub fn includes(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(list) => list.iter().any(|n| &**n == namespace),
            Self::Nobody => false,
        }
    }
    /// Reads a list as it stands in an object of `namespace`; an empty list is `default` (D-6).
    pub fn parse<S: AsRef<str>>(list: &[S], namespace: &Arc<str>, default: &[String]) -> Self {
        let read = |items: &mut dyn Iterator<Item = &str>| {
            let mut only = Vec::new();
            for item in items {
                match item.trim() {
                    "*" => return Self::All,
                    "~" => return Self::Nobody,
                    "." => only.push(namespace.clone()),
                    name => only.push(Arc::from(name)),
                }
            }
            if only.is_empty() { Self::All } else { Self::Only(only) }
        };
        if list.is_empty() { read(&mut default.iter().map(String::as_str)) } else { read(&mut list.iter().map(AsRef::as_ref)) }
    }
}

/// Which registry a service is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// A Kubernetes Service.
    Kubernetes,
    /// A ServiceEntry outside the mesh (S-4).
    External,
    /// A ServiceEntry inside the mesh (S-4).
    Internal,
}

/// How endpoints become addresses (S-2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resolution {
    /// The endpoints carry addresses (Kubernetes, STATIC).
    #[default]
    Static,
    /// Nothing to dial at a gateway: 503 UH.
    None,
    /// Every answer for every endpoint's name is a host.
    Dns,
    /// The first answer only.
    DnsRoundRobin,
    /// The name comes from the request.
    DynamicDns,
}

/// A service port's targetPort.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum TargetPort {
    /// Not given: the port's own number.
    #[default]
    Same,
    /// A number.
    Number(u16),
    /// A container port's name.
    Name(Arc<str>),
}

/// Which endpoints a service wants its callers to prefer (L-25).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Distribution {
    /// Those of the same zone, then of the same region.
    SameZone,
    /// Those of the same node, then as near as can be.
    SameNode,
}

impl Distribution {
    /// Reads `spec.trafficDistribution`.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "PreferClose" | "PreferSameZone" => Some(Self::SameZone),
            "PreferSameNode" => Some(Self::SameNode),
            _ => None,
        }
    }
    /// Reads the annotation, in which case does not matter. `None`: it is not there. `Some(None)`: it asks for nothing, as an
    /// unknown word does.
    pub fn annotated(annotations: &Labels) -> Option<Option<Self>> {
        let word = annotations.get("networking.istio.io/traffic-distribution")?;
        let known = ["PreferClose", "PreferSameZone", "PreferSameNode"].into_iter().find(|known| known.eq_ignore_ascii_case(word));
        Some(known.and_then(Self::parse))
    }
}

/// What a service asks for and does not get; each is a line of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// Endpoints of our own node only (M-18), and nobody has told which node that is: none is used.
    OwnNode,
}

/// One port of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Port {
    /// The service port's number, 1..=65535.
    pub number: u16,
    /// Its name, which joins endpoints to it (M-2).
    pub name: Arc<str>,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Where it leads on the pod; read for the gateway's own services (G-2).
    pub target: TargetPort,
}

/// A service as the gateway sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its host name, `name.ns.svc.dom` for Kubernetes (M-1).
    pub hostname: Hostname,
    /// Its namespace, where its own DestinationRules live (D-2).
    pub namespace: Arc<str>,
    /// Which registry it is of.
    pub kind: ServiceKind,
    /// How its endpoints become addresses.
    pub resolution: Resolution,
    /// Its ports in declared order, shared by all that have the same.
    pub ports: Arc<[Port]>,
    /// Who may see it (M-5).
    pub export_to: ExportTo,
    /// ExternalName: the host that this one stands for (V-26).
    pub alias: Option<Hostname>,
    /// Labels of the Kubernetes Service.
    pub labels: Arc<Labels>,
    /// Its pod selector; empty for entries without one.
    pub selector: Arc<Labels>,
    /// Which endpoints it wants its callers to prefer (L-25).
    pub distribution: Option<Distribution>,
    /// What it asks for and does not get.
    pub unmet: Vec<Unmet>,
    /// The object that defined it.
    pub object: ObjectRef,
    /// Where that object stands.
    pub origin: Arc<Origin>,
}

impl Service {
    /// The port with that number; one for datagrams that shares it is another's business.
    pub fn port(&self, number: u16) -> Option<&Port> {
        self.ports.iter().find(|p| p.number == number && p.protocol != Protocol::Udp)
    }
}
