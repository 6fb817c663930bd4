//! What the registry is told once: who we are, which clusters there are, and what holds mesh-wide.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use isthmus_config::bootstrap::{Bootstrap, ReadFrom};
use isthmus_config::mesh::{MeshConfig, NetworkGateway};
use isthmus_config::name::{ClusterId, Hostname, Network};
use isthmus_config::problem::{Problem, Severity};
use isthmus_core::join::gateways::Families;
use isthmus_core::join::{self, Mesh, locality};
use isthmus_core::model::GatewayIdentity;

use crate::source::kube::Access;
use crate::source::{SourceId, Via};

/// `<dom>` of every cluster.
const DOMAIN: &str = "cluster.local";

/// What the registry is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who we are, labels extended (L-5).
    pub gateway: Arc<GatewayIdentity>,
    /// Our own node, where it is known (M-18).
    pub node: Option<Arc<str>>,
    /// Our own pod, where it is known: namespace and name (L-4).
    pub pod: Option<(Arc<str>, Arc<str>)>,
    /// In what we can dial gateways of other networks (M-37).
    pub families: Families,
    /// Mesh-wide settings.
    pub mesh: Arc<MeshConfig>,
    /// The file of the mesh-wide settings, where they stand in one.
    pub mesh_file: Option<PathBuf>,
    /// What is worth saying of that file, until it is read again.
    pub mesh_warnings: Vec<Problem>,
    /// The cluster whose Istio objects are read (M-26).
    pub config_cluster: ClusterId,
    /// All clusters, in the order in which they were listed.
    pub clusters: Vec<ClusterId>,
    /// Directories and files of each cluster that has any; those of `config.files` are the config cluster's.
    pub roots: BTreeMap<ClusterId, Vec<PathBuf>>,
    /// The clusters that are read from their API servers.
    pub servers: BTreeMap<ClusterId, Access>,
    /// The namespace of the config cluster whose secrets name members; only where that cluster is an API server (M-20).
    pub remote_secrets: Option<Arc<str>>,
    /// How long a member may take to be listed before it counts as failed (M-23).
    pub remote_timeout: Duration,
    /// Where the last good version of everything from API servers is kept.
    pub state: Option<PathBuf>,
}

impl Settings {
    /// Reads isthmus.yaml's part of it, and `meshFile` where it names one. The problems beside a value are warnings about
    /// isthmus.yaml; those about `meshFile` are the registry's, which takes them back when the file changes.
    pub fn load(bootstrap: &Bootstrap) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let Some(path) = &bootstrap.mesh_file else {
            return Ok((Self::new(bootstrap, Arc::new(bootstrap.mesh.clone())), not_yet(&bootstrap.mesh)));
        };
        let (mesh, mesh_warnings) = crate::source::mesh::read(path)?;
        Ok((Self { mesh_warnings, ..Self::new(bootstrap, Arc::new(mesh)) }, Vec::new()))
    }

    /// Reads isthmus.yaml's part of it; `mesh` is the MeshConfig in force.
    pub fn new(bootstrap: &Bootstrap, mesh: Arc<MeshConfig>) -> Self {
        let id = &bootstrap.gateway;
        let node = Some(id.node.clone()).filter(|node| !node.is_empty()).or_else(|| told("NODE_NAME"));
        let gateway = GatewayIdentity {
            name: id.name.clone(),
            namespace: id.namespace.clone(),
            labels: locality::extend(&id.labels, &id.locality, &id.cluster, &id.network, node.as_deref().unwrap_or_default()),
            cluster: id.cluster.clone(),
            network: id.network.clone(),
            locality: id.locality.clone(),
            bind: id.bind,
            ports: id.ports.clone(),
            domain: DOMAIN.into(),
            // Not before `identity` of isthmus.yaml is in force.
            mutual_tls: false,
        };
        let config_cluster = bootstrap.config.cluster.clone();
        let mut clusters: Vec<ClusterId> = bootstrap.clusters.iter().map(|c| c.name.clone()).collect();
        if !clusters.contains(&config_cluster) {
            clusters.push(config_cluster.clone());
        }
        let (mut roots, mut servers) = (BTreeMap::<ClusterId, Vec<PathBuf>>::new(), BTreeMap::new());
        for cluster in &bootstrap.clusters {
            let access = match &cluster.read {
                ReadFrom::Directory(path) => {
                    roots.entry(cluster.name.clone()).or_default().push(path.clone());
                    continue;
                }
                ReadFrom::Kubeconfig { file, context } => Access::File { path: file.clone(), context: context.clone() },
                ReadFrom::InCluster => Access::InCluster,
            };
            servers.insert(cluster.name.clone(), access);
        }
        for path in &bootstrap.config.files {
            roots.entry(config_cluster.clone()).or_default().push(path.clone());
        }
        if !servers.contains_key(&config_cluster) {
            roots.entry(config_cluster.clone()).or_default();
        }
        let secrets = bootstrap.remote_secrets.clone().unwrap_or_else(|| mesh.root_namespace.clone());
        Self {
            gateway: Arc::new(gateway),
            node,
            pod: told("POD_NAMESPACE").zip(told("POD_NAME")),
            families: own_families(),
            mesh,
            mesh_file: bootstrap.mesh_file.clone(),
            mesh_warnings: Vec::new(),
            clusters,
            roots,
            remote_secrets: servers.contains_key(&config_cluster).then_some(secrets),
            servers,
            config_cluster,
            remote_timeout: bootstrap.remote_timeout.0,
            state: bootstrap.state.clone(),
        }
    }

    /// Who tells of `meshFile`, and as what.
    pub(crate) fn mesh_source(&self) -> Option<(SourceId, Arc<str>)> {
        let file = self.mesh_file.as_ref()?.display().to_string();
        Some((SourceId(self.config_cluster.clone(), Via::Files), file.into()))
    }

    /// The part of MeshConfig that joining reads.
    pub(crate) fn joining(&self) -> Mesh {
        let mesh = &self.mesh;
        let settings = mesh.service_settings.iter().flat_map(|s| s.hosts.iter().map(|h| (Hostname::new(h), s.settings.cluster_local)));
        let endpoints = || mesh.mesh_networks.iter().flat_map(|(name, network)| network.endpoints.iter().map(move |e| (name, e)));
        let network = |name: &Arc<str>| Network::new(name.clone());
        let gateways = || mesh.mesh_networks.iter().flat_map(|(name, network)| network.gateways.iter().map(move |g| (name, g)));
        let at_address = |(n, g): (&Arc<str>, &NetworkGateway)| Some((network(n), Arc::from(g.address.as_deref()?), g.port));
        let by_service = |cluster: &ClusterId, n: &Network| {
            let named =
                gateways().filter(|(name, _)| ***name == *n.as_str()).filter_map(|(_, g)| Some((g.registry_service_name.as_deref()?, g.port)));
            named.map(|(host, port)| (cluster.clone(), n.clone(), Hostname::new(host), port)).collect::<Vec<_>>()
        };
        let networks_by_cluster: BTreeMap<ClusterId, Network> =
            endpoints().filter_map(|(n, e)| Some((ClusterId::from(e.from_registry.as_deref()?), network(n)))).collect();
        Mesh {
            default_export_to: mesh.default_service_export_to.clone(),
            root_namespace: mesh.root_namespace.clone(),
            gateways_by_address: gateways().filter_map(at_address).collect(),
            gateways_by_service: networks_by_cluster.iter().flat_map(|(cluster, network)| by_service(cluster, network)).collect(),
            networks_by_cluster,
            networks_by_range: endpoints().filter_map(|(n, e)| range(e.from_cidr.as_deref()?).map(|(ip, bits)| (ip, bits, network(n)))).collect(),
            cluster_local: join::cluster_local_rules(settings.collect(), &self.gateway.domain, &mesh.root_namespace),
        }
    }
}

/// What MeshConfig asks for and does not get yet.
pub(crate) fn not_yet(mesh: &MeshConfig) -> Vec<Problem> {
    let asked = [
        ("mesh.discoverySelectors", !mesh.discovery_selectors.is_empty()),
        ("mesh.enableAutoMtls", mesh.enable_auto_mtls == Some(true)),
        ("mesh.trustDomain", mesh.trust_domain.is_some()),
        ("mesh.defaultConfig.gatewayTopology.forwardClientCertDetails", mesh.default_config.gateway_topology.forward_client_cert_details.is_some()),
    ];
    let warn = |path: &str| Problem::new(Severity::Warning, "ISM0112", format!("`{path}` is not in force yet")).at(path);
    let ranges = mesh.mesh_networks.iter().flat_map(|(name, n)| n.endpoints.iter().enumerate().map(move |(i, e)| (name, i, e.from_cidr.as_deref())));
    let wrong = ranges.filter_map(|(name, i, text)| Some((name, i, text.filter(|t| range(t).is_none())?))).map(|(name, i, text)| {
        let message = format!("{text:?} is no address range: no endpoint is of network {name} by it");
        Problem::new(Severity::Warning, "ISM0112", message).at(format!("mesh.meshNetworks.{name}.endpoints[{i}].fromCidr"))
    });
    asked.iter().filter(|(_, asked)| *asked).map(|(path, _)| warn(path)).chain(wrong).collect()
}

/// The IP families of our own addresses, as the downward API tells them.
fn own_families() -> Families {
    let addresses = told("POD_IPS").unwrap_or_default();
    Families::of(&addresses.split(',').filter_map(|a| a.trim().parse().ok()).collect::<Vec<IpAddr>>())
}

/// What the downward API tells in a variable.
fn told(variable: &str) -> Option<Arc<str>> {
    std::env::var(variable).ok().filter(|text| !text.is_empty()).map(Arc::from)
}

/// An address range such as `10.0.0.0/8`.
fn range(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let (address, bits): (IpAddr, u8) = (address.parse().ok()?, bits.parse().ok()?);
    (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, bits))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn load(text: &str) -> (Settings, Vec<Problem>) {
        let (bootstrap, _) = Bootstrap::parse(text, Path::new("isthmus.yaml")).expect("isthmus.yaml");
        Settings::load(&bootstrap).expect("settings")
    }

    #[test]
    fn what_is_asked_and_not_in_force_is_said() {
        let (settings, warnings) = load(
            "clusters: [{name: c1, path: a}]
gateway: {cluster: c1}
mesh:
  discoverySelectors: [{matchLabels: {a: b}}]
  meshNetworks: {n1: {endpoints: [{fromRegistry: c1}, {fromCidr: 10.0.0.0/8}], gateways: [{address: 1.1.1.1, port: 15443}]}}
",
        );
        assert_eq!(warnings.iter().map(|w| w.path.as_str()).collect::<Vec<_>>(), ["mesh.discoverySelectors"]);
        let mesh = settings.joining();
        assert_eq!(mesh.networks_by_cluster.get("c1").map(Network::as_str), Some("n1"));
        assert_eq!(mesh.networks_by_range.len(), 1);
        assert!(load("clusters: [{name: c1, path: a}]\ngateway: {cluster: c1}\n").1.is_empty());
    }

    #[test]
    fn mesh_wide_wishes_that_nothing_fulfils_are_said() {
        for (mesh, want) in [
            ("zoneAwareLbSetting: {}", None),
            ("enableAutoMtls: true", Some("mesh.enableAutoMtls")),
            ("enableAutoMtls: false", None),
            ("trustDomain: td1", Some("mesh.trustDomain")),
            (
                "defaultConfig: {gatewayTopology: {forwardClientCertDetails: APPEND_FORWARD}}",
                Some("mesh.defaultConfig.gatewayTopology.forwardClientCertDetails"),
            ),
            ("defaultTrafficPolicy: {connectionPool: {tcp: {connectTimeout: 1s, maxConnections: 1}, http: {maxRetries: 1}}}", None),
            ("defaultTrafficPolicy: {outlierDetection: {}}", None),
            ("meshNetworks: {n: {endpoints: [{fromCidr: 10.0.0.0/8}, {fromCidr: 10.0.0.0/33}]}}", Some("mesh.meshNetworks.n.endpoints[1].fromCidr")),
        ] {
            let (_, warnings) = load(&format!("clusters: [{{name: c1, path: a}}]\ngateway: {{cluster: c1}}\nmesh: {{{mesh}}}\n"));
            assert_eq!(warnings.iter().map(|w| w.path.as_str()).collect::<Vec<_>>(), want.into_iter().collect::<Vec<_>>(), "{mesh}");
        }
    }

    #[test]
    fn files_of_the_configuration_are_the_config_clusters() {
        let (settings, _) =
            load("clusters: [{name: c1, path: a}, {name: c2, path: b}]\nconfig: {cluster: c2, files: [more]}\ngateway: {cluster: c1}\n");
        let ends = |id: &str| settings.roots[id].iter().map(|p| p.file_name().expect("a name").to_owned()).collect::<Vec<_>>();
        assert_eq!((ends("c1"), ends("c2")), (vec!["a".into()], vec!["b".into(), "more".into()]));
    }
}
