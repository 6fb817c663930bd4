//! API servers as sources, against three real ones: what is found, what a loss does not take away, members that come,
//! change and go, input that is bad, and a start with every API server down.
//!
//! One set of servers serves all of these tests: each has its own namespace. The tests of `dark` and `cases`
//! play in a network of their own, with servers of their own.

mod access;
mod cases;
mod certificates;
mod dark;
mod deploy;
mod from_disk;
mod input;
mod losses;
mod members;
mod networks;
mod resuming;
mod running;
mod state;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use isthmus_tests::kube::{ApiServer, Between};

/// cluster1 is ours and the config cluster; `secrets` is the namespace of remote secrets.
fn settings(server: &ApiServer, secrets: &str, more: &str) -> String {
    settings_by(&server.kubeconfig_file(), secrets, more)
}

/// As `settings`, with that kubeconfig.
fn settings_by(kubeconfig: &Path, secrets: &str, more: &str) -> String {
    format!(
        "gateway: {{cluster: cluster1}}\nclusters: [{{name: cluster1, kubeconfig: {}}}]\nremoteSecrets: {{namespace: {secrets}}}\n{more}",
        kubeconfig.display()
    )
}

/// An API server as a test reaches it that wants to break its connections without stopping it.
struct Reached {
    between: Between,
    /// The kubeconfig that leads through `between`.
    kubeconfig: String,
}

impl Reached {
    fn new(server: &ApiServer) -> Self {
        let between = Between::new(Ipv4Addr::LOCALHOST.into(), &server.address());
        let kubeconfig = between.kubeconfig(&server.kubeconfig("admintoken"));
        Self { between, kubeconfig }
    }

    /// The kubeconfig as a file of `folder`.
    fn file(&self, folder: &Path) -> PathBuf {
        let path = folder.join("kubeconfig");
        std::fs::write(&path, &self.kubeconfig).expect("a temporary folder can be written");
        path
    }
}
