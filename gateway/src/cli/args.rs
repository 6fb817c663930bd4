//! The words of the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use isthmus_config::problem::Severity;

use super::invite::RemoteSecret;
use super::vm::Vm;
use isthmus_core::whatif::{By, Down};

/// The gateway of a federation of Kubernetes clusters and VMs, configured by Istio's own API.
#[derive(Debug, Parser)]
#[command(name = "isthmus", version)]
pub(crate) struct Cli {
    /// When to write in colour; NO_COLOR is honoured.
    #[arg(long, global = true, value_enum, default_value = "auto")]
    pub(crate) color: Color,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// When to write in colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve.
    Run(Run),
    /// Validate and analyse YAML, and say where each object is in force.
    Check(Check),
    /// Tell step by step how one request is decided.
    Explain(Explain),
    /// Suppose that something is down: where traffic goes then, and who has no survivor.
    Whatif(Whatif),
    /// List what is in force.
    Get(Get),
    /// Machines that are endpoints: add, list, remove.
    #[command(subcommand)]
    Vm(Vm),
    /// Print the secret that makes a cluster a member.
    RemoteSecret(RemoteSecret),
    /// Send requests and show who answered.
    Try(Try),
    /// Show the main job on made-up clusters, in this terminal.
    Demo(Demo),
    /// Print the version.
    Version,
    /// Print a completion script.
    Completion {
        /// For which shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// isthmus.yaml.
    #[arg(long, value_name = "FILE", conflicts_with = "directory")]
    pub(crate) config: Option<PathBuf>,
    /// Short form: one file cluster named `local` that also holds the Istio objects.
    #[arg(value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    /// What to log, as RUST_LOG: `info`, `debug`, `isthmus=trace`. Beats RUST_LOG.
    #[arg(long, value_name = "FILTER")]
    pub(crate) log_level: Option<String>,
}

/// Which world to look at.
#[derive(Clone, Debug, Args)]
pub(crate) struct Where {
    /// isthmus.yaml, or a directory: compiled here, from files.
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    pub(crate) config: Option<PathBuf>,
    /// A running gateway's admin port [default: http://127.0.0.1:15000].
    #[arg(long, value_name = "URL")]
    pub(crate) admin: Option<String>,
}

/// The admin port asked where neither `--config` nor `--admin` is given.
pub(crate) const ADMIN: &str = "http://127.0.0.1:15000";

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Files and directories to check; alone they are one cluster `local`.
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) place: Where,
    /// Findings from this severity on make the exit code 79.
    #[arg(long, value_enum, default_value = "error")]
    pub(crate) failure_threshold: Threshold,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// The least severity that fails a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Threshold {
    /// Errors only.
    Error,
    /// Warnings too.
    Warning,
    /// Everything.
    Info,
}

impl Threshold {
    /// True where a finding of `severity` fails the check.
    pub(crate) fn fails(self, severity: Severity) -> bool {
        let least = match self {
            Self::Error => Severity::Error,
            Self::Warning => Severity::Warning,
            Self::Info => Severity::Info,
        };
        severity <= least
    }
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Output {
    /// In which form.
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Form,
}

/// In which form data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For people.
    Table,
    /// For people, with Envoy's names and our own columns.
    Wide,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The method, which may be left out for GET; then the URL. The URL's port is the server's.
    #[arg(value_name = "[METHOD] URL", num_args = 1..=2, required = true)]
    pub(crate) request: Vec<String>,
    /// A header of the request, `name: value`.
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub(crate) headers: Vec<String>,
    /// Where the gateway stands, region/zone/subzone, instead of where it does.
    #[arg(long, value_name = "LOCALITY", value_parser = locality)]
    pub(crate) from: Option<String>,
    #[command(flatten)]
    pub(crate) place: Where,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Whatif {
    /// What is down: cluster=NAME, network=NAME, region=NAME, zone=NAME (or REGION/ZONE), locality=R/Z/S, endpoint=IP or endpoint=IP:PORT.
    #[arg(long, value_name = "WHAT", required = true)]
    pub(crate) down: Vec<Down>,
    /// Where the gateway stands, region/zone/subzone, instead of where it does.
    #[arg(long, value_name = "LOCALITY", value_parser = locality)]
    pub(crate) from: Option<String>,
    /// From this on the exit code is 79: `error` is a service without survivor, `warning` an endpoint that carries twice as much.
    #[arg(long, value_enum, default_value = "error")]
    pub(crate) failure_threshold: Threshold,
    #[command(flatten)]
    pub(crate) place: Where,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// A region, a zone of one, or a subzone of that.
pub(crate) fn locality(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split('/').collect();
    if parts.len() > 3 || parts.iter().any(|part| part.is_empty()) {
        return Err("expected region, region/zone or region/zone/subzone".to_owned());
    }
    Ok(text.to_owned())
}

/// What can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Noun {
    /// Sockets and what is behind them.
    #[value(alias = "listener")]
    Listeners,
    /// Routes in the order in which they are tried.
    #[value(alias = "route")]
    Routes,
    /// What routes can send to (istioctl proxy-config cluster).
    #[value(alias = "backend")]
    Backends,
    /// Addresses behind backends.
    #[value(alias = "endpoint")]
    Endpoints,
    /// Kubernetes clusters (istioctl remote-clusters).
    #[value(alias = "cluster")]
    Clusters,
    /// What is wrong.
    #[value(alias = "problem")]
    Problems,
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// What to list.
    #[arg(value_enum)]
    pub(crate) noun: Noun,
    /// Only those whose name holds this.
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Of backends: percent of traffic from where a gateway stands to where endpoints stand.
    #[arg(long)]
    pub(crate) matrix: bool,
    /// What a row and a column of the matrix stand for.
    #[arg(long, value_enum, default_value = "region", requires = "matrix")]
    pub(crate) by: Places,
    /// With `clusters`: wait until this one is synced.
    #[arg(long, value_name = "CLUSTER", conflicts_with = "config")]
    pub(crate) wait: Option<String>,
    /// How many seconds to wait for it at most.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "wait")]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) filter: Filter,
    #[command(flatten)]
    pub(crate) place: Where,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// What a row and a column of a matrix stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Places {
    /// A region.
    Region,
    /// A zone of a region.
    Zone,
}

impl From<Places> for By {
    fn from(places: Places) -> Self {
        match places {
            Places::Region => Self::Region,
            Places::Zone => Self::Zone,
        }
    }
}

/// Which rows of a listing.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Filter {
    /// Only this host.
    #[arg(long)]
    pub(crate) host: Option<String>,
    /// Only this port.
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Only names that hold this.
    #[arg(long = "name", id = "name-filter", value_name = "TEXT")]
    pub(crate) name: Option<String>,
    /// Only this backend, by host or by its full name.
    #[arg(long)]
    pub(crate) backend: Option<String>,
    /// Only this namespace.
    #[arg(short, long)]
    pub(crate) namespace: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Try {
    /// Where to; the port is the server's.
    pub(crate) url: String,
    /// How many requests.
    #[arg(short = 'n', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) number: u32,
    /// How many at a time.
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) concurrency: u32,
    /// The method.
    #[arg(short = 'X', long, default_value = "GET")]
    pub(crate) method: String,
    /// A header of the requests, `name: value`.
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub(crate) headers: Vec<String>,
    /// Connect to this address instead of the one that the gateway listens on.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) connect: Option<SocketAddr>,
    /// A running gateway's admin port [default: http://127.0.0.1:15000].
    #[arg(long, value_name = "URL")]
    pub(crate) admin: Option<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// End after the play instead of serving on.
    #[arg(long)]
    pub(crate) once: bool,
    /// Write the clusters here [default: a directory under the temporary directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}
