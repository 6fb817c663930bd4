//! What is supposed to be down, as a person writes it: `cluster=c1`, `zone=us-a`, `endpoint=10.0.0.7:8080`.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use isthmus_config::name::{ClusterId, Locality, Network};

use crate::balance::setting::{Stand, covers};
use crate::model::{Address, CLUSTER, Endpoint, NETWORK};

/// Something that fails as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Down {
    /// A cluster with everything in it.
    Cluster(ClusterId),
    /// A network with everything in it.
    Network(Network),
    /// A region.
    Region(Arc<str>),
    /// A zone, in whatever region; `region/zone` names one.
    Zone(Arc<str>),
    /// A locality pattern, as `distribute` writes it (L-7).
    Locality(Arc<str>),
    /// One address, with every port or one.
    Endpoint(IpAddr, Option<u16>),
}

/// Why a text says nothing that can be down.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDown {
    /// No `kind=value`.
    #[error("expected kind=value, such as cluster=c1, found {0:?}")]
    Shape(String),
    /// Another kind.
    #[error("expected cluster, network, region, zone, locality or endpoint, found {0:?}")]
    Kind(String),
    /// Not an address.
    #[error("expected an IP address or address:port, found {0:?}")]
    Address(String),
}

impl FromStr for Down {
    type Err = NotDown;
    fn from_str(text: &str) -> Result<Self, NotDown> {
        let (kind, value) = text.split_once('=').filter(|(_, v)| !v.is_empty()).ok_or_else(|| NotDown::Shape(text.to_owned()))?;
        match kind {
            "cluster" => Ok(Self::Cluster(value.into())),
            "network" => Ok(Self::Network(value.into())),
            "region" => Ok(Self::Region(value.into())),
            "zone" => Ok(Self::Zone(value.into())),
            "locality" => Ok(Self::Locality(value.into())),
            "endpoint" => match (value.parse::<IpAddr>(), value.parse::<SocketAddr>()) {
                (Ok(address), _) => Ok(Self::Endpoint(address, None)),
                (Err(_), Ok(socket)) => Ok(Self::Endpoint(socket.ip(), Some(socket.port()))),
                (Err(_), Err(_)) => Err(NotDown::Address(value.to_owned())),
            },
            other => Err(NotDown::Kind(other.to_owned())),
        }
    }
}

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(name) => write!(f, "cluster={name}"),
            Self::Network(name) => write!(f, "network={name}"),
            Self::Region(name) => write!(f, "region={name}"),
            Self::Zone(name) => write!(f, "zone={name}"),
            Self::Locality(pattern) => write!(f, "locality={pattern}"),
            Self::Endpoint(ip, Some(port)) => write!(f, "endpoint={}", SocketAddr::new(*ip, *port)),
            Self::Endpoint(ip, None) => write!(f, "endpoint={ip}"),
        }
    }
}

impl Down {
    /// True where the endpoint goes with it.
    pub fn takes(&self, endpoint: &Endpoint) -> bool {
        let workload = &endpoint.workload;
        match self {
            Self::Cluster(name) => *workload.cluster() == *name,
            Self::Network(name) => *workload.network() == *name,
            Self::Endpoint(ip, port) => match &endpoint.address {
                Address::Socket(at) => at.ip() == *ip && port.is_none_or(|p| p == at.port()),
                Address::Unix(_) | Address::Unresolved(..) | Address::Hidden(_) => false,
            },
            Self::Region(_) | Self::Zone(_) | Self::Locality(_) => self.holds(workload.locality()),
        }
    }

    /// True where a gateway that stands there goes with it.
    pub fn takes_gateway(&self, stand: &Stand) -> bool {
        let label = |key: &str| stand.labels.get(key).map(|v| &**v);
        match self {
            Self::Cluster(name) => label(CLUSTER) == Some(name.as_str()),
            Self::Network(name) => label(NETWORK) == Some(name.as_str()),
            Self::Endpoint(..) => false,
            Self::Region(_) | Self::Zone(_) | Self::Locality(_) => self.holds(&stand.locality),
        }
    }

    fn holds(&self, locality: &Locality) -> bool {
        match self {
            Self::Region(region) => locality.region() == &**region,
            Self::Zone(zone) => match zone.split_once('/') {
                Some((region, zone)) => locality.region() == region && locality.zone() == zone,
                None => locality.zone() == &**zone,
            },
            Self::Locality(pattern) => covers(pattern, locality),
            Self::Cluster(_) | Self::Network(_) | Self::Endpoint(..) => false,
        }
    }

    /// What there is of its kind, nearest to its name: for one that takes nothing.
    pub(super) fn meant<'e>(&self, endpoints: impl Iterator<Item = &'e Endpoint>) -> Option<String> {
        let (wanted, name): (&str, fn(&'e Endpoint) -> &'e str) = match self {
            Self::Cluster(name) => (name.as_str(), |e| e.workload.cluster().as_str()),
            Self::Network(name) => (name.as_str(), |e| e.workload.network().as_str()),
            Self::Region(name) => (name, |e| e.workload.locality().region()),
            Self::Zone(name) => (name, |e| e.workload.locality().zone()),
            Self::Locality(name) => (name, |e| e.workload.locality().as_str()),
            Self::Endpoint(..) => return None,
        };
        let known: BTreeSet<&str> = endpoints.map(name).filter(|n| !n.is_empty()).collect();
        if known.is_empty() {
            return None;
        }
        let nearest = isthmus_config::nearest(wanted, known.iter().copied());
        let listed: Vec<&str> = known.iter().copied().take(8).collect();
        Some(nearest.map_or_else(|| format!("there are {}", listed.join(", ")), |meant| format!("did you mean {meant}?")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_down_is_read_and_written_alike() {
        for text in
            ["cluster=c1", "network=n1", "region=r1", "zone=z1", "zone=r1/z1", "locality=r1/*/s1", "endpoint=10.0.0.1", "endpoint=[fd00::1]:80"]
        {
            assert_eq!(text.parse::<Down>().map(|d| d.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("c1".parse::<Down>(), Err(NotDown::Shape("c1".into())));
        assert_eq!("cluster=".parse::<Down>(), Err(NotDown::Shape("cluster=".into())));
        assert_eq!("rack=7".parse::<Down>(), Err(NotDown::Kind("rack".into())));
        assert_eq!("endpoint=a".parse::<Down>(), Err(NotDown::Address("a".into())));
    }

    #[test]
    fn a_zone_is_one_of_its_region_where_that_is_named() {
        let holds = |down: &str, locality: &str| down.parse::<Down>().expect("it can be down").holds(&locality.into());
        for (down, locality, want) in [
            ("zone=z1", "r1/z1/s1", true),
            ("zone=z1", "r2/z1/s1", true),
            ("zone=r1/z1", "r2/z1/s1", false),
            ("region=r1", "r1/z9", true),
            ("region=r1", "r11/z1", false),
            ("locality=r1/z1", "r1/z1/s1", true),
            ("locality=r1/*/s2", "r1/z1/s1", false),
        ] {
            assert_eq!(holds(down, locality), want, "{down} {locality}");
        }
    }
}
