//! isthmus.yaml key by key, as it is written, and what must hold between its keys.
//!
//! Defaults are filled in here and nowhere else.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::{AccessLog, Bootstrap, ClusterSource, ConfigSource, Identity, LOCAL, ReadFrom};
use crate::decode::{Misfit, nearest};
use crate::mesh::{AccessLogEncoding, MeshConfig};
use crate::name::{ClusterId, Locality, Network};
use crate::object::Labels;
use crate::value::Duration;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Written {
    pub(super) gateway: WrittenIdentity,
    clusters: Vec<WrittenCluster>,
    remote_secrets: Option<WrittenRemoteSecrets>,
    state: Option<PathBuf>,
    remote_timeout: Duration,
    grace: Duration,
    drain: Duration,
    config: WrittenConfig,
    mesh: Option<MeshConfig>,
    mesh_file: Option<PathBuf>,
    access_log: Option<WrittenAccessLog>,
    admin: Option<WrittenAddress>,
    status: Option<WrittenAddress>,
    metrics: Option<WrittenAddress>,
}

impl Default for Written {
    fn default() -> Self {
        let seconds = |s| Duration(std::time::Duration::from_secs(s));
        Self {
            gateway: WrittenIdentity::default(),
            clusters: Vec::new(),
            remote_secrets: None,
            state: None,
            remote_timeout: seconds(30),
            grace: seconds(5),
            drain: seconds(45),
            config: WrittenConfig::default(),
            mesh: None,
            mesh_file: None,
            access_log: None,
            admin: None,
            status: None,
            metrics: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WrittenIdentity {
    name: Arc<str>,
    namespace: Arc<str>,
    labels: Labels,
    pub(super) cluster: ClusterId,
    network: Network,
    locality: Locality,
    node: Arc<str>,
    bind: IpAddr,
    ports: BTreeMap<String, u16>,
    threads: usize,
}

impl Default for WrittenIdentity {
    fn default() -> Self {
        Self {
            name: "istio-ingressgateway".into(),
            namespace: "istio-system".into(),
            labels: [("istio", "ingressgateway"), ("app", "istio-ingressgateway")].map(|(k, v)| (k.into(), v.into())).into(),
            cluster: ClusterId::default(),
            network: Network::default(),
            locality: Locality::default(),
            node: Arc::default(),
            bind: Ipv4Addr::UNSPECIFIED.into(),
            ports: BTreeMap::new(),
            threads: 0,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WrittenCluster {
    name: ClusterId,
    path: PathBuf,
    kubeconfig: PathBuf,
    context: Option<String>,
    in_cluster: bool,
}

impl WrittenCluster {
    fn read_from(&self, base: &Path) -> Result<ReadFrom, &'static str> {
        let given = |path: &Path| !path.as_os_str().is_empty();
        if self.context.is_some() && !given(&self.kubeconfig) {
            return Err("has a context and no kubeconfig");
        }
        match (given(&self.path), given(&self.kubeconfig), self.in_cluster) {
            (true, false, false) => Ok(ReadFrom::Directory(base.join(&self.path))),
            (false, true, false) => Ok(ReadFrom::Kubeconfig { file: base.join(&self.kubeconfig), context: self.context.clone() }),
            (false, false, true) => Ok(ReadFrom::InCluster),
            (false, false, false) => Err("needs a path, a kubeconfig or inCluster: true"),
            _ => Err("has more than one of path, kubeconfig and inCluster"),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WrittenRemoteSecrets {
    namespace: Arc<str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WrittenConfig {
    cluster: ClusterId,
    files: Vec<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WrittenAccessLog {
    path: PathBuf,
    format: Option<WrittenFormat>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenFormat {
    Text,
    Json,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenAddress {
    address: SocketAddr,
}

impl Written {
    pub(super) fn check(self, file: &Path, refused: &mut Vec<Misfit>) -> Option<Bootstrap> {
        let base = file.parent().unwrap_or(Path::new(""));
        let mut refuse = |path: &str, message: String, hint: Option<String>| refused.push(Misfit { hint, ..Misfit::at(path, message) });
        let mut clusters: Vec<ClusterSource> = Vec::new();
        for (i, cluster) in self.clusters.iter().enumerate() {
            if cluster.name.is_empty() {
                refuse(&format!("clusters[{i}]"), "a cluster needs a name".to_owned(), None);
            } else if clusters.iter().any(|c| c.name == cluster.name) {
                refuse(&format!("clusters[{i}].name"), format!("a second cluster named {:?}", cluster.name.as_str()), None);
            }
            match cluster.read_from(base) {
                Ok(read) => clusters.push(ClusterSource { name: cluster.name.clone(), read }),
                Err(reason) => refuse(&format!("clusters[{i}]"), format!("cluster {:?} {reason}", cluster.name.as_str()), None),
            }
        }
        let of_config = [&self.config.cluster, &self.gateway.cluster].into_iter().find(|name| !name.is_empty());
        let of_config = of_config.map_or_else(|| clusters.first(), |name| clusters.iter().find(|c| c.name == *name));
        if self.remote_secrets.is_some() && of_config.is_some_and(|c| matches!(c.read, ReadFrom::Directory(_))) {
            refuse("remoteSecrets", "remote secrets are read from the config cluster's API server, and that cluster is a directory".to_owned(), None);
        }
        let mut ports = BTreeMap::new();
        for (server, listening) in &self.gateway.ports {
            match server.parse() {
                Ok(server) => drop(ports.insert(server, *listening)),
                Err(_) => refuse(&format!("gateway.ports.{server}"), format!("expected a port as key, found {server:?}"), None),
            }
        }
        if clusters.is_empty() && self.config.files.is_empty() {
            refuse("clusters", "nothing to read: name clusters, or files in config".to_owned(), None);
        }
        if self.gateway.cluster.is_empty() && clusters.len() > 1 {
            refuse("gateway", "with several clusters, gateway.cluster says which one is ours".to_owned(), None);
        }
        for (path, name) in [("gateway.cluster", &self.gateway.cluster), ("config.cluster", &self.config.cluster)] {
            if !name.is_empty() && !clusters.is_empty() && !clusters.iter().any(|c| c.name == *name) {
                let hint = nearest(name.as_str(), clusters.iter().map(|c| c.name.as_str())).map(|name| format!("did you mean `{name}`?"));
                refuse(path, format!("no cluster {:?} among clusters", name.as_str()), hint);
            }
        }
        if self.mesh.is_some() && self.mesh_file.is_some() {
            refuse("meshFile", "mesh and meshFile exclude each other".to_owned(), None);
        }
        if self.access_log.as_ref().is_some_and(|log| log.path.as_os_str().is_empty()) {
            refuse("accessLog", "an access log needs a path".to_owned(), None);
        }
        refused.is_empty().then(|| self.into_bootstrap(clusters, ports, base))
    }

    pub(super) fn into_bootstrap(self, clusters: Vec<ClusterSource>, ports: BTreeMap<u16, u16>, base: &Path) -> Bootstrap {
        let first_of = |names: [&ClusterId; 2]| names.into_iter().find(|name| !name.is_empty()).cloned();
        let only = clusters.first().map_or_else(|| LOCAL.into(), |c| c.name.clone());
        let cluster = first_of([&self.gateway.cluster, &only]).unwrap_or_default();
        let address = |written: Option<WrittenAddress>, ip: Ipv4Addr, port| written.map_or(SocketAddr::from((ip, port)), |w| w.address);
        Bootstrap {
            config: ConfigSource {
                cluster: first_of([&self.config.cluster, &cluster]).unwrap_or_default(),
                files: self.config.files.iter().map(|file| base.join(file)).collect(),
            },
            gateway: Identity {
                name: self.gateway.name,
                namespace: self.gateway.namespace,
                labels: self.gateway.labels,
                cluster,
                network: self.gateway.network,
                locality: self.gateway.locality,
                node: self.gateway.node,
                bind: self.gateway.bind,
                ports,
                threads: self.gateway.threads,
            },
            clusters,
            remote_secrets: self.remote_secrets.map(|r| r.namespace).filter(|namespace| !namespace.is_empty()),
            state: self.state.map(|directory| base.join(directory)),
            remote_timeout: self.remote_timeout,
            grace: self.grace,
            drain: self.drain,
            mesh: self.mesh.unwrap_or_default(),
            mesh_file: self.mesh_file.map(|file| base.join(file)),
            access_log: self.access_log.map(|log| AccessLog {
                path: base.join(log.path),
                format: log.format.map(|format| match format {
                    WrittenFormat::Text => AccessLogEncoding::Text,
                    WrittenFormat::Json => AccessLogEncoding::Json,
                }),
            }),
            admin: address(self.admin, Ipv4Addr::LOCALHOST, 15000),
            status: address(self.status, Ipv4Addr::UNSPECIFIED, 15021),
            metrics: address(self.metrics, Ipv4Addr::UNSPECIFIED, 15090),
        }
    }
}
