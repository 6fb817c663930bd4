//! A world out of one text: the objects of a golden input, read as the gateway reads files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use isthmus_config::bootstrap::Bootstrap;
use isthmus_config::problem::Problem;
use isthmus_core::model::World;
use isthmus_discovery::{Registry, Settings, offline};
use serde_yaml::Value;

/// Files in a folder of their own, read once.
pub(crate) struct Place {
    folder: tempfile::TempDir,
    registry: std::cell::RefCell<Registry>,
}

impl Place {
    /// Writes the objects of `text` into the files of cluster `c1`; those after a line `# cluster NAME` into the files of that one.
    pub(crate) fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (head, objects) = split(text);
        let mut keys: BTreeMap<String, Value> = serde_yaml::from_str(head).expect("a header");
        let services: Vec<String> = keys.remove("services").map(|v| serde_yaml::from_value(v).expect("services")).unwrap_or_default();
        let default = |text: &str| serde_yaml::from_str::<Value>(text).expect("YAML");
        keys.remove("ask");
        keys.entry("gateway".into()).or_insert_with(|| default("{cluster: c1}"));
        let mut parts = objects.split("\n# cluster ");
        let own = parts.next().unwrap_or_default();
        let parts: Vec<(&str, &str)> = std::iter::once(("c1", own)).chain(parts.map(|p| p.split_once('\n').unwrap_or((p, "")))).collect();
        let clusters: Vec<String> = parts.iter().map(|(name, _)| format!("{{name: {name}, path: {name}}}")).collect();
        keys.entry("clusters".into()).or_insert_with(|| default(&format!("[{}]", clusters.join(", "))));
        for (name, objects) in parts {
            std::fs::create_dir(folder.path().join(name)).expect("a folder");
            std::fs::write(folder.path().join(name).join("objects.yaml"), objects).expect("a file");
        }
        std::fs::write(folder.path().join("c1/services.yaml"), expand(&services)).expect("a file");
        let bootstrap = serde_yaml::to_string(&keys).expect("isthmus.yaml");
        let (bootstrap, _) = Bootstrap::parse(&bootstrap, &folder.path().join("isthmus.yaml")).expect("isthmus.yaml");
        let (settings, _) = Settings::load(&bootstrap).expect("settings");
        let registry = offline(settings, Vec::new()).into();
        Self { folder, registry }
    }
    /// What the files say.
    pub(crate) fn world(&self) -> Arc<World> {
        self.registry.borrow_mut().world().0
    }
    /// Problems of the files themselves.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        self.registry.borrow().problems()
    }
    /// The same, as comments.
    pub(crate) fn refusals(&self) -> String {
        let mut out = String::new();
        for problem in self.problems() {
            writeln!(out, "# {} {} {}: {}", problem.severity, problem.code, problem.path, problem.message).expect("writing");
        }
        out
    }
    /// The text without the name of the folder.
    pub(crate) fn shown(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.folder.path().display()), "")
    }
}

/// A key of the header.
pub(crate) fn header(text: &str, key: &str) -> Option<Value> {
    serde_yaml::from_str::<BTreeMap<String, Value>>(split(text).0).expect("a header").remove(key)
}

/// The header, where the first document is one, and the objects.
fn split(text: &str) -> (&str, &str) {
    let (first, rest) = text.split_once("\n---\n").unwrap_or((text, ""));
    if first.lines().any(|l| l.starts_with("kind:")) { ("{}", text) } else { (first, rest) }
}

/// `ns/name:port,port` to a Service and its slice.
fn expand(services: &[String]) -> String {
    let mut out = String::new();
    for (i, text) in services.iter().enumerate() {
        let (name, ports) = text.split_once(':').unwrap_or((text, "80"));
        let (namespace, name) = name.split_once('/').expect("a namespace");
        let port = |p: &str| match p.split_once('=') {
            Some((name, number)) => (name.to_owned(), number.to_owned()),
            None => (format!("http-{p}"), p.to_owned()),
        };
        let ports: Vec<(String, String)> = ports.split(',').map(port).collect();
        let listed = |f: &dyn Fn(&(String, String)) -> String| ports.iter().map(f).collect::<Vec<_>>().join(", ");
        let declared = listed(&|(n, p)| format!("{{name: {n}, port: {p}}}"));
        writeln!(out, "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{ports: [{declared}]}}\n---")
            .expect("writing");
        let meta = format!("{{name: {name}, namespace: {namespace}, labels: {{kubernetes.io/service-name: {name}}}}}");
        let endpoints = format!("[{{addresses: [10.0.0.{}]}}]", i + 1);
        writeln!(out, "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\nmetadata: {meta}\nports: [{declared}]\nendpoints: {endpoints}\n---").expect("writing");
    }
    out
}
