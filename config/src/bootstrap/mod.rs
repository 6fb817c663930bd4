//! isthmus.yaml: who we are, which clusters there are, where the rules stand (design 4).
//!
//! Strict: an unknown key is an error with its line, and so is a key whose work has not landed. Paths are relative to
//! the file. Nothing is opened here: `meshFile` is a path for the caller to read with [`MeshConfig::parse`].

mod document;
mod written;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::mesh::{AccessLogEncoding, MeshConfig};
use crate::name::{ClusterId, Locality, Network};
use crate::object::Labels;
use crate::problem::{Problem, Severity};
use crate::value::Duration;
use document::Document;
use written::Written;

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

/// The cluster of the short forms `run DIR` and `check PATH`.
const LOCAL: &str = "local";

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
        let spans = asked.decoding.spans().shared();
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
        let spans = asked.decoding.spans().shared();
        let warnings = asked.problems(Severity::Warning, "ISM0112", unknown, &spans);
        match mesh {
            Some(mesh) if refused.is_empty() => Ok((mesh, warnings)),
            _ => Err([asked.problems(Severity::Error, "ISM0110", refused, &spans), warnings].concat()),
        }
    }
}

#[cfg(test)]
mod tests;
