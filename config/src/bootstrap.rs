//! isthmus.yaml: who we are, which clusters there are, where the rules stand (design 4).
//!
//! Strict: an unknown key is an error with its line, and so is a key whose work has not landed. Paths are relative to
//! the file. Nothing is opened here: `meshFile` is a path for the caller to read with [`MeshConfig::parse`].

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::decode::{Decoding, Misfit, nearest};
use crate::locate::{Node, Tree, trees};
use crate::mesh::{AccessLogEncoding, MeshConfig};
use crate::name::{ClusterId, Locality, Network};
use crate::object::{Labels, Origin, Spans, Spot};
use crate::problem::{Problem, Severity};
use crate::value::Duration;

/// Everything that isthmus.yaml says, defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Bootstrap {
    /// Who we are.
    pub gateway: Identity,
    /// The clusters to read.
    pub clusters: Vec<ClusterSource>,
    /// The namespace of the config cluster whose secrets name members, where it is given (M-20).
    pub remote_secrets: Option<Arc<str>>,
    /// Where the last world is kept for a start with every API server down.
    pub state: Option<PathBuf>,
    /// How long readiness waits for a member.
    pub remote_timeout: Duration,
    /// After SIGTERM: not ready, still accepting for this long.
    pub grace: Duration,
    /// Then at most this long for what is in flight.
    pub drain: Duration,
    /// Where the Istio objects stand.
    pub config: ConfigSource,
    /// MeshConfig as written here; its defaults where `mesh_file` is given.
    pub mesh: MeshConfig,
    /// A file that holds the MeshConfig instead.
    pub mesh_file: Option<PathBuf>,
    /// The access log, where it is asked for here; else MeshConfig says.
    pub access_log: Option<AccessLog>,
    /// Where the admin port listens.
    pub admin: SocketAddr,
    /// Where readiness is told.
    pub status: SocketAddr,
    /// Where metrics are scraped.
    pub metrics: SocketAddr,
}

/// What selectors of Gateways and EnvoyFilters, metrics and locality rules see of us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Our workload's name.
    pub name: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its labels.
    pub labels: Labels,
    /// The cluster we run in.
    pub cluster: ClusterId,
    /// Our network; empty reaches everything directly.
    pub network: Network,
    /// Where we stand; empty is nowhere.
    pub locality: Locality,
    /// Our node; empty where it is not said. Where `locality` is empty we stand where this node does (L-4).
    pub node: Arc<str>,
    /// Address for Gateway servers without `bind`.
    pub bind: IpAddr,
    /// Server port to listening port; ports that are not here are what a Service says, else themselves (G-2).
    pub ports: BTreeMap<u16, u16>,
    /// Worker threads; 0 is one per core.
    pub threads: usize,
}

/// A cluster and where it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSource {
    /// Its id.
    pub name: ClusterId,
    /// Where its objects are.
    pub read: ReadFrom,
}

/// Where a cluster's objects are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// A directory of Kubernetes objects.
    Directory(PathBuf),
    /// An API server that a kubeconfig file names.
    Kubeconfig {
        /// The user's own file: whatever it names, plugins too, is used.
        file: PathBuf,
        /// Its context; absent is the file's current one.
        context: Option<String>,
    },
    /// The API server of the pod that we run in.
    InCluster,
}

/// Where Istio objects are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSource {
    /// The config cluster.
    pub cluster: ClusterId,
    /// Directories and files beside it.
    pub files: Vec<PathBuf>,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// A file or device.
    pub path: PathBuf,
    /// Absent is MeshConfig's encoding.
    pub format: Option<AccessLogEncoding>,
}

/// Keys that will come, by path without indexes. Until then they are refused rather than ignored.
const NOT_YET: [&str; 2] = ["identity", "serverless"];

/// The cluster of the short forms `run DIR` and `check PATH`.
const LOCAL: &str = "local";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Written {
    gateway: WrittenIdentity,
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
struct WrittenIdentity {
    name: Arc<str>,
    namespace: Arc<str>,
    labels: Labels,
    cluster: ClusterId,
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

impl Bootstrap {
    /// The short form `run DIR`: defaults, and one cluster `local` whose directory also holds the Istio objects.
    pub fn for_directory(directory: &Path) -> Self {
        let clusters = vec![ClusterSource { name: LOCAL.into(), read: ReadFrom::Directory(directory.to_owned()) }];
        let mut written = Written::default();
        written.gateway.cluster = LOCAL.into();
        written.into_bootstrap(clusters, BTreeMap::new(), Path::new(""))
    }

    /// Reads the text of `file`. The problems beside a value are warnings, those in its place errors and warnings.
    pub fn parse(text: &str, file: &Path) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let mut asked = Document::new(text, file)?;
        let written: Option<Written> = asked.decoding.read(&asked.node, "");
        let mut misfits = std::mem::take(&mut asked.decoding.misfits);
        let (mesh, mut refused): (Vec<_>, Vec<_>) = misfits.drain(..).partition(|m| m.unknown && m.path.starts_with("mesh."));
        let value = written.and_then(|written| written.check(file, &mut refused));
        let spans = Arc::new(asked.decoding.spans());
        let warnings = asked.problems(Severity::Warning, "ISM0112", mesh, &spans);
        match value {
            Some(value) if refused.is_empty() => Ok((value, warnings)),
            _ => Err([asked.problems(Severity::Error, "ISM0110", refused, &spans), warnings].concat()),
        }
    }
}

impl MeshConfig {
    /// Reads the text of `file`. The problems beside a value are warnings: keys that a gateway does not take (contract 10.6).
    pub fn parse(text: &str, file: &Path) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let mut asked = Document::new(text, file)?;
        let mesh = asked.decoding.read(&asked.node, "");
        let (unknown, refused): (Vec<_>, Vec<_>) = std::mem::take(&mut asked.decoding.misfits).into_iter().partition(|m| m.unknown);
        let spans = Arc::new(asked.decoding.spans());
        let warnings = asked.problems(Severity::Warning, "ISM0112", unknown, &spans);
        match mesh {
            Some(mesh) if refused.is_empty() => Ok((mesh, warnings)),
            _ => Err([asked.problems(Severity::Error, "ISM0110", refused, &spans), warnings].concat()),
        }
    }
}

/// One file of settings while it is read.
struct Document<'t> {
    node: Node<'t>,
    decoding: Decoding,
    file: Arc<str>,
}

impl<'t> Document<'t> {
    fn new(text: &'t str, file: &Path) -> Result<Self, Vec<Problem>> {
        let shown: Arc<str> = file.display().to_string().into();
        let (mut nodes, failed) = trees(text, 1);
        let refuse = |start, message| {
            let origin = Origin { file: shown.clone(), start, ..Origin::default() };
            vec![Problem { origin, ..Problem::new(Severity::Error, "ISM0110", message) }]
        };
        if let Some(failed) = failed {
            return Err(refuse(failed.spot, failed.message));
        }
        if let Some(second) = nodes.get(1) {
            return Err(refuse(second.spot, "expected one document, found a second one".to_owned()));
        }
        let start = Spot { line: 1, column: 1 };
        let node = nodes.pop().unwrap_or(Node { spot: start, tree: Tree::Map(Vec::new()) });
        Ok(Self { node, decoding: Decoding::strict(), file: shown })
    }

    fn problems(&self, severity: Severity, code: &'static str, misfits: Vec<Misfit>, spans: &Arc<Spans>) -> Vec<Problem> {
        let origin = Origin { file: self.file.clone(), start: self.node.spot, spans: spans.clone(), ..Origin::default() };
        let told = misfits.into_iter().map(|misfit| {
            let (message, hint) = match severity {
                Severity::Error if misfit.unknown && NOT_YET.contains(&without_indexes(&misfit.path).as_str()) => {
                    (format!("`{}` is not in force yet", misfit.path), None)
                }
                Severity::Error => (misfit.message, misfit.hint),
                Severity::Warning | Severity::Info => (format!("{}: a gateway does not take it", misfit.message), misfit.hint),
            };
            Problem { origin: origin.clone(), hint, ..Problem::new(severity, code, message).at(misfit.path) }
        });
        told.collect()
    }
}

/// `clusters[3].path` as `clusters[].path`.
fn without_indexes(path: &str) -> String {
    path.chars().filter(|c| !c.is_ascii_digit()).collect()
}

impl Written {
    fn check(self, file: &Path, refused: &mut Vec<Misfit>) -> Option<Bootstrap> {
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

    fn into_bootstrap(self, clusters: Vec<ClusterSource>, ports: BTreeMap<u16, u16>, base: &Path) -> Bootstrap {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        let problems = match Bootstrap::parse(text, Path::new("/etc/isthmus/isthmus.yaml")) {
            Ok((_, warnings)) => warnings,
            Err(problems) => problems,
        };
        let line = |p: Problem| {
            let hint = p.hint.as_ref().map(|h| format!(" ({h})")).unwrap_or_default();
            format!("{} {}: {} {}{hint}", p.severity, p.origin.spot(&p.path).line, p.path, p.message)
        };
        problems.into_iter().map(line).collect()
    }

    #[test]
    fn every_key_is_read_and_paths_are_relative_to_the_file() -> Result<(), Vec<Problem>> {
        let text = "
gateway: {name: gw, namespace: ns, labels: {a: b}, cluster: c2, network: n, locality: r/z/s, node: n1, bind: '::1', ports: {80: 8080, 443: 8443}, threads: 2}
clusters: [{name: c1, path: clusters/c1}, {name: c2, kubeconfig: c2.yaml, context: x}, {name: c3, inCluster: true}]
remoteSecrets: {namespace: infra}
state: /var/lib/isthmus
remoteTimeout: 1s
grace: 2s
drain: 3s
config: {cluster: c3, files: [mesh/, vms/a.yaml]}
mesh: {rootNamespace: root, accessLogFile: /dev/stdout}
accessLog: {path: access.log, format: json}
admin: {address: 127.0.0.1:1}
status: {address: 127.0.0.1:2}
metrics: {address: 127.0.0.1:3}
";
        let (read, warnings) = Bootstrap::parse(text, Path::new("/etc/isthmus/isthmus.yaml"))?;
        assert_eq!(warnings, []);
        assert_eq!((read.gateway.name.as_ref(), read.gateway.cluster.as_str(), read.config.cluster.as_str()), ("gw", "c2", "c3"));
        let read_from: Vec<_> = read.clusters.iter().map(|c| c.read.clone()).collect();
        let kubeconfig = ReadFrom::Kubeconfig { file: "/etc/isthmus/c2.yaml".into(), context: Some("x".to_owned()) };
        assert_eq!(read_from, [ReadFrom::Directory("/etc/isthmus/clusters/c1".into()), kubeconfig, ReadFrom::InCluster]);
        assert_eq!((read.remote_secrets.as_deref(), read.state.as_deref()), (Some("infra"), Some(Path::new("/var/lib/isthmus"))));
        assert_eq!(read.config.files, [Path::new("/etc/isthmus/mesh/"), Path::new("/etc/isthmus/vms/a.yaml")]);
        assert_eq!((read.gateway.ports.get(&443), &*read.gateway.node), (Some(&8443), "n1"));
        assert_eq!(read.access_log, Some(AccessLog { path: "/etc/isthmus/access.log".into(), format: Some(AccessLogEncoding::Json) }));
        assert_eq!((&*read.mesh.root_namespace, read.metrics.port(), read.drain.as_millis()), ("root", 3, 3000));
        Ok(())
    }

    #[test]
    fn a_directory_is_the_cluster_local_with_all_defaults() -> Result<(), Vec<Problem>> {
        let short = Bootstrap::for_directory(Path::new("/etc/d"));
        let (long, _) = Bootstrap::parse("clusters: [{name: local, path: d}]", Path::new("/etc/isthmus.yaml"))?;
        assert_eq!(short, long);
        assert_eq!((short.gateway.cluster.as_str(), short.config.cluster.as_str()), ("local", "local"));
        Ok(())
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, want) in [
            ("clusters:\n- {name: a, path: p}\ngrase: 5s\n", "error 3: grase unknown field `grase` (did you mean `grace`?)"),
            ("clusters: [{name: a, path: p}]\nidentity: {}\n", "error 2: identity `identity` is not in force yet"),
            ("clusters: [{name: a}]", "error 1: clusters[0] cluster \"a\" needs a path, a kubeconfig or inCluster: true"),
            (
                "clusters: [{name: a, path: p, inCluster: true}]",
                "error 1: clusters[0] cluster \"a\" has more than one of path, kubeconfig and inCluster",
            ),
            ("clusters: [{name: a, path: p, context: c}]", "error 1: clusters[0] cluster \"a\" has a context and no kubeconfig"),
            (
                "clusters: [{name: a, path: p}]\nremoteSecrets: {}",
                "error 2: remoteSecrets remote secrets are read from the config cluster's API server",
            ),
            ("clusters: [{name: a, path: p}]\ngrace: 5\n", "error 2: grace expected a duration such as 500ms, 1.5s or 1h30m, found 5"),
            ("clusters: [{name: a, path: p}]\ngateway: {bind: nowhere}\n", "error 2: gateway.bind invalid IP address syntax"),
            ("clusters: [{name: a, path: p}, {name: a, path: q}]\ngateway: {cluster: a}", "error 1: clusters[1].name a second cluster named \"a\""),
            (
                "clusters: [{name: east, path: p}]\nconfig: {cluster: eats}",
                "error 2: config.cluster no cluster \"eats\" among clusters (did you mean `east`?)",
            ),
            (
                "clusters: [{name: a, path: p}]\nmesh: {tracing: true}\n",
                "warning 2: mesh.tracing unknown field `tracing`: a gateway does not take it",
            ),
            ("clusters: [{name: a, path: p}]\nmesh: {}\nmeshFile: m.yaml\n", "error 3: meshFile mesh and meshFile exclude each other"),
            ("{}", "error 1: clusters nothing to read: name clusters, or files in config"),
            ("a: [", "error 2:  not YAML: "),
        ] {
            let told = told(text);
            assert!(told.iter().any(|line| line.starts_with(want)), "{text}: {told:?}");
        }
    }

    #[test]
    fn a_mesh_config_warns_of_what_a_gateway_does_not_take() -> Result<(), Vec<Problem>> {
        let (mesh, warnings) = MeshConfig::parse("enableTracing: true\nconnectTimeout: 3s\n", Path::new("mesh.yaml"))?;
        assert_eq!((mesh.connect_timeout.as_millis(), warnings.len()), (3000, 1));
        assert_eq!(warnings[0].path, "enableTracing");
        Ok(())
    }
}
