//! How endpoints of other networks are reached: through the gateways of their network (M-33..M-39).

use isthmus_config::name::{ClusterId, Locality, Network};

use super::Address;

/// The label of pods and WorkloadEntries that take mutual TLS; only those are reached through a gateway (M-37).
pub const TLS_MODE: &str = "security.istio.io/tlsMode";

/// A gateway of a network, at one address. `Ord` is the order of M-39: by address, then port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkGateway {
    /// Where it is dialled; a name that DNS has not answered yet cannot be.
    pub address: Address,
    /// The network that it leads into.
    pub network: Network,
    /// The cluster that it is of; empty where meshNetworks gives its address.
    pub cluster: ClusterId,
}

impl NetworkGateway {
    /// True where its address is known.
    pub fn is_found(&self) -> bool {
        self.address.is_known()
    }
}

/// The gateways that lead to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateways {
    /// All of them in order, never none.
    pub list: Vec<NetworkGateway>,
    /// What weights are multiplied by, so that they can be split evenly (M-38).
    pub scale: u32,
}

/// How an endpoint stands to networks that are not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It is in another network that has gateways, so it is not dialled itself (M-36).
    Behind(Gateways),
    /// It is such a gateway, and stands for endpoints of this locality (M-39).
    Gateway(Locality),
}
