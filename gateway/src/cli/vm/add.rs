//! `isthmus vm add`: one more machine behind a host.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use isthmus_config::istio::ServiceEntry;
use isthmus_config::istio::service_entry::Resolution;
use isthmus_config::nearest;
use isthmus_config::object::Object;
use isthmus_core::model::World;
use serde_json::{Map, Value, json};

use super::place::{World as Place, write};
use super::{Where, selecting};
use crate::admin::{Answered, Posted, posted};
use crate::cli::args::locality;
use crate::cli::out::{Exit, Out};
use crate::cli::{Done, Failed, check};

/// A machine that is to serve a host.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The host of the ServiceEntry.
    #[arg(value_name = "HOST")]
    host: String,
    /// The machine's IP address; a name where the ServiceEntry's resolution is DNS.
    #[arg(value_name = "ADDRESS")]
    address: String,
    /// Where it stands.
    #[arg(long, value_name = "REGION/ZONE/SUBZONE", value_parser = locality)]
    locality: String,
    /// Where it serves a port of the ServiceEntry, if not at its target port.
    #[arg(long = "port", value_name = "NAME:NUMBER", value_parser = port)]
    ports: Vec<(String, u16)>,
    /// A label beside those by which the ServiceEntry selects it.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Its network, if it cannot be reached directly.
    #[arg(long, default_value = "", hide_default_value = true)]
    network: String,
    /// Its share among its equals.
    #[arg(long, default_value_t = 1)]
    weight: u32,
    /// The service account whose identity it has.
    #[arg(long, default_value = "", hide_default_value = true)]
    service_account: String,
    /// The namespace of the ServiceEntry.
    #[arg(short, long, value_parser = name)]
    namespace: Option<String>,
    /// The WorkloadEntry's name [default: made of host and address].
    #[arg(long, value_parser = name)]
    name: Option<String>,
    /// Write the ServiceEntry too, with the ports given, if no host of that name is there.
    #[arg(long)]
    create: bool,
    #[command(flatten)]
    place: Where,
}

fn name(text: &str) -> Result<String, String> {
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let ends = text.starts_with(['-', '.']) || text.ends_with(['-', '.']);
    if text.is_empty() || text.len() > 253 || ends || !text.bytes().all(known) {
        return Err("expected a Kubernetes name: lower case letters, digits, dashes and dots".to_owned());
    }
    Ok(text.to_owned())
}

fn port(text: &str) -> Result<(String, u16), String> {
    let found = text.split_once(':').and_then(|(name, number)| Some((name.to_owned(), number.parse().ok().filter(|n| *n > 0)?)));
    found.filter(|(name, _)| !name.is_empty()).ok_or_else(|| "expected name:number, such as http:8080".to_owned())
}

fn label(text: &str) -> Result<(String, String), String> {
    text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(|| "expected key=value".to_owned())
}

/// A file to be written.
struct File {
    path: PathBuf,
    text: String,
}

/// Runs `isthmus vm add`.
pub(super) fn run(out: Out, add: &Add) -> Done {
    let place = Place::open(&add.place)?;
    let dir = place.dir()?.to_owned();
    let world = place.world(out);
    let mut files = Vec::new();
    let (namespace, selector) = match service(add, &world)? {
        Some(service) => suits(add, &world, &service)?,
        None => {
            let namespace: Arc<str> = add.namespace.as_deref().unwrap_or("default").into();
            let selector = BTreeMap::from([("app".to_owned(), slug(&[&add.host]))]);
            files.push(File { path: dir.join(format!("{}.service.yaml", slug(&[&add.host]))), text: new_service(add, &namespace, &selector)? });
            (namespace, selector)
        }
    };
    let name = add.name.clone().unwrap_or_else(|| slug(&[&add.host, &add.address]));
    if let Some(other) = world.documents.workload_entries.get(&(namespace.clone(), name.as_str().into())) {
        return Err(Failed::Other(format!("WorkloadEntry {namespace}/{name} is there already, in {}: give another --name", at(other))));
    }
    files.push(File { path: dir.join(format!("{namespace}.{name}.vm.yaml")), text: new_entry(add, &namespace, &name, selector)? });
    if let Some(there) = files.iter().find(|file| file.path.exists()) {
        return Err(Failed::Other(format!("{} is there already", there.path.display())));
    }
    let texts: Vec<Posted> = files.iter().map(|f| Posted { path: f.path.display().to_string(), text: f.text.clone() }).collect();
    let known = isthmus_discovery::offline(place.asked.settings.clone(), Vec::new());
    let Answered { checked, read: _ } = posted(known, &place.asked, &texts).map_err(|e| Failed::Other(format!("not checked: {e}")))?;
    if !checked.problems.is_empty() {
        out.message(check::plain(out, &checked).trim_end());
    }
    if checked.problems.iter().any(|problem| problem.severity == "error") {
        out.error("nothing is written");
        return Ok(Exit::Findings);
    }
    for file in &files {
        write(&file.path, &file.text)?;
        out.data(&format!("{}\n", file.path.display()));
    }
    Ok(Exit::Done)
}

/// The ServiceEntry that the machine is to serve; `None` where it is to be written.
fn service(add: &Add, world: &World) -> Result<Option<Arc<Object<ServiceEntry>>>, Failed> {
    let entries = &world.documents.service_entries;
    let mut of_host: Vec<_> = entries.values().filter(|e| e.spec.hosts.contains(&add.host)).cloned().collect();
    of_host.retain(|e| add.namespace.as_ref().is_none_or(|namespace| *e.meta.namespace == **namespace));
    match &of_host[..] {
        [only] => Ok(Some(only.clone())),
        [] if add.create => Ok(None),
        [] => {
            let hosts = entries.values().flat_map(|e| e.spec.hosts.iter().map(String::as_str));
            let meant = nearest(&add.host, hosts).map(|host| format!("; did you mean {host}?")).unwrap_or_default();
            Err(Failed::Other(format!("no ServiceEntry has the host {}{meant}; --create writes one", add.host)))
        }
        [first, second, ..] => {
            Err(Failed::Usage(format!("{} and {} both have the host {}: give the namespace of one, -n", named(first), named(second), add.host)))
        }
    }
}

/// Namespace and selector of the ServiceEntry, if the machine can serve it.
fn suits(add: &Add, world: &World, service: &Object<ServiceEntry>) -> Result<(Arc<str>, BTreeMap<String, String>), Failed> {
    let wrong = |reason: String| Err(Failed::Other(format!("{} ({}) {reason}", named(service), at(service))));
    let Some(selector) = &service.spec.workload_selector else {
        return wrong("has no workloadSelector, so it takes no WorkloadEntry: give it one, or write the address among its endpoints".to_owned());
    };
    let is_name = add.address.parse::<IpAddr>().is_err();
    match service.spec.resolution {
        Resolution::Static if is_name => return wrong(format!("has resolution STATIC: {:?} is no IP address", add.address)),
        Resolution::None | Resolution::DynamicDns => return wrong("has a resolution that uses no endpoints".to_owned()),
        Resolution::Static | Resolution::Dns | Resolution::DnsRoundRobin => {}
    }
    let names: Vec<&str> = service.spec.ports.iter().map(|p| p.name.as_str()).collect();
    if let Some((unknown, _)) = add.ports.iter().find(|(name, _)| !names.contains(&name.as_str())) {
        return wrong(format!("has no port named {unknown:?}: it has {}", names.join(", ")));
    }
    let selects: BTreeMap<String, String> = selector.labels.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    if let Some((key, value)) = add.labels.iter().find(|(key, value)| selects.get(key).is_some_and(|want| want != value)) {
        return wrong(format!("selects machines with {key}={}: one with {key}={value} would not serve it", selects[key]));
    }
    let same = world.documents.workload_entries.values().filter(|e| e.spec.address == add.address);
    if let Some(other) = same.into_iter().find(|e| selecting(world, e).any(|s| s.meta == service.meta)) {
        return wrong(format!("has {} already: WorkloadEntry {}/{} in {}", add.address, other.meta.namespace, other.meta.name, at(other)));
    }
    Ok((service.meta.namespace.clone(), selects))
}

fn named<S>(object: &Object<S>) -> String {
    format!("ServiceEntry {}/{}", object.meta.namespace, object.meta.name)
}

/// Where an object stands.
pub(super) fn at<S>(object: &Object<S>) -> String {
    let origin = &object.origin;
    if origin.file.is_empty() { format!("cluster {}", origin.cluster) } else { format!("{}:{}", origin.file, origin.start.line) }
}

/// Text as part of a name: lower case letters, digits and single dashes.
fn slug(parts: &[&str]) -> String {
    let text: String = parts.join("-").to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let words: Vec<&str> = text.split('-').filter(|word| !word.is_empty()).collect();
    words.join("-")
}

/// What makes files of ours known to people.
const HEAD: &str = "# Written by `isthmus vm add`; `isthmus vm remove` takes it away.\n";

fn yaml(object: &Value) -> Result<String, Failed> {
    serde_yaml::to_string(object).map(|text| format!("{HEAD}{text}")).map_err(|e| Failed::Other(e.to_string()))
}

fn new_entry(add: &Add, namespace: &str, name: &str, selector: BTreeMap<String, String>) -> Result<String, Failed> {
    let mut labels = selector;
    labels.extend(add.labels.iter().cloned());
    let mut spec = Map::new();
    let mut put = |key: &str, value: Value| drop(spec.insert(key.to_owned(), value));
    put("address", json!(add.address));
    put("labels", json!(labels));
    put("locality", json!(add.locality));
    if !add.ports.is_empty() && !add.create {
        put("ports", json!(add.ports.iter().cloned().collect::<BTreeMap<_, _>>()));
    }
    for (key, value) in [("network", &add.network), ("serviceAccount", &add.service_account)] {
        if !value.is_empty() {
            put(key, json!(value));
        }
    }
    if add.weight != 1 {
        put("weight", json!(add.weight));
    }
    yaml(&json!({"apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry", "metadata": {"name": name, "namespace": namespace}, "spec": spec}))
}

/// A service outside of Kubernetes: its ports are those given, of the protocol that their names begin with.
fn new_service(add: &Add, namespace: &str, selector: &BTreeMap<String, String>) -> Result<String, Failed> {
    if add.ports.is_empty() {
        return Err(Failed::Usage("--create needs the ports of the service: --port http:80".to_owned()));
    }
    let protocol = |name: &str| match name.split('-').next().unwrap_or_default() {
        known @ ("http" | "http2" | "grpc" | "https" | "tls") => known.to_uppercase(),
        _ => "TCP".to_owned(),
    };
    let ports: Vec<Value> = add.ports.iter().map(|(name, number)| json!({"name": name, "number": number, "protocol": protocol(name)})).collect();
    let resolution = if add.address.parse::<IpAddr>().is_ok() { "STATIC" } else { "DNS" };
    let spec =
        json!({"hosts": [add.host], "location": "MESH_EXTERNAL", "ports": ports, "resolution": resolution, "workloadSelector": {"labels": selector}});
    yaml(
        &json!({"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": slug(&[&add.host]), "namespace": namespace}, "spec": spec}),
    )
}
