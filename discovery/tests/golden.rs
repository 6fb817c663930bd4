//! From files to the world: `golden/NAME.in.yaml` holds isthmus.yaml's keys, `files` of text by path and what DNS `answers`;
//! `golden/NAME.out.yaml` the services, endpoints and problems that come of it.

#[path = "../../tests/golden.rs"]
mod runner;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use isthmus_config::bootstrap::Bootstrap;
use isthmus_core::model::{Endpoint, Health, Service, World};
use isthmus_discovery::{Event, Registry, Settings, offline};
use serde_yaml::Value;

#[test]
fn files_become_the_world() {
    runner::golden("", play);
}

fn play(text: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let mut keys: BTreeMap<String, Value> = serde_yaml::from_str(text).expect("an input");
    let files: BTreeMap<String, String> = keys.remove("files").map(|v| serde_yaml::from_value(v).expect("files")).unwrap_or_default();
    let answers: BTreeMap<String, Vec<IpAddr>> = keys.remove("answers").map(|v| serde_yaml::from_value(v).expect("answers")).unwrap_or_default();
    for (path, text) in &files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }
    let bootstrap = serde_yaml::to_string(&keys).expect("isthmus.yaml");
    let (bootstrap, _) = Bootstrap::parse(&bootstrap, &folder.path().join("isthmus.yaml")).expect("isthmus.yaml");
    let (settings, _) = Settings::load(&bootstrap).expect("settings");
    let mut registry = offline(settings, Vec::new());
    let (mut world, _) = registry.world();
    if !answers.is_empty() {
        registry.apply_all(answers.into_iter().map(|(name, addresses)| Event::Resolved(Arc::from(name), Arc::from(addresses))));
        world = registry.world().0;
    }
    dump(&world) + &problems(&registry, folder.path())
}

fn dump(world: &World) -> String {
    let mut out = String::from("services:\n");
    let services: BTreeMap<&str, &Service> = world.catalog.services.iter().map(|(h, s)| (h.as_str(), &**s)).collect();
    for (host, service) in services {
        let ports: Vec<String> = service.ports.iter().map(|p| format!("{} {} {:?} {:?}", p.number, p.name, p.protocol, p.target)).collect();
        writeln!(out, "  {host:?}:").expect("writing");
        writeln!(out, "    of: {}, {:?}, {:?}, {:?}", service.object, service.kind, service.resolution, service.export_to).expect("writing");
        if let Some(alias) = &service.alias {
            writeln!(out, "    alias: {alias}").expect("writing");
        }
        writeln!(out, "    ports: [{}]", ports.join(", ")).expect("writing");
        let endpoints = world.catalog.endpoints.iter().find(|(h, _)| h.as_str() == host).map(|(_, e)| &**e).unwrap_or_default();
        if !endpoints.is_empty() {
            out.push_str("    endpoints:\n");
            endpoints.iter().for_each(|e| writeln!(out, "    - {}", line(e)).expect("writing"));
        }
    }
    out
}

fn line(endpoint: &Endpoint) -> String {
    let w = &endpoint.workload;
    let labels: Vec<String> = w.all_labels().into_iter().map(|(k, v)| format!("{k}={v}")).collect();
    let mut line = format!("{} {} w{} {}", endpoint.address, endpoint.port_name, endpoint.weight, endpoint.source);
    for (name, value) in
        [("workload", &*w.name), ("cluster", w.cluster().as_str()), ("locality", w.locality().as_str()), ("network", w.network().as_str())]
    {
        if !value.is_empty() {
            write!(line, ", {name} {value}").expect("writing");
        }
    }
    if let Some(gateways) = endpoint.gateways() {
        let list: Vec<String> = gateways.list.iter().map(|g| g.address.to_string()).collect();
        write!(line, ", behind {} x{}", list.join(" "), gateways.scale).expect("writing");
    }
    if endpoint.health != Health::Healthy {
        write!(line, ", {:?}", endpoint.health).expect("writing");
    }
    write!(line, " {{{}}}", labels.join(" ")).expect("writing");
    line
}

fn problems(registry: &Registry, folder: &Path) -> String {
    let folder = format!("{}/", folder.display());
    let mut out = String::new();
    for problem in registry.problems() {
        if out.is_empty() {
            out.push_str("problems:\n");
        }
        let file = problem.origin.file.replace(&folder, "");
        let message = problem.message.replace(&folder, "");
        let spot = problem.origin.spot(&problem.path);
        let object = problem.object.map(|o| format!(" {o}")).unwrap_or_default();
        writeln!(out, "- {} {}{object} {file}:{}:{} {}: {message}", problem.severity, problem.code, spot.line, spot.column, problem.path)
            .expect("writing");
    }
    out
}
