//! `isthmus vm remove`: takes away the file of one machine.

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use isthmus_config::istio::WorkloadEntry;
use isthmus_config::object::Object;
use isthmus_config::parse::parse;

use super::add::at;
use super::place::World as Place;
use super::{Where, selecting};
use crate::asked::Refused;
use crate::cli::out::{Exit, Out};
use crate::cli::{Done, Failed};

/// Which machine.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The name of its WorkloadEntry, or the host and the address.
    #[arg(value_name = "NAME | HOST ADDRESS", num_args = 1..=2, required = true)]
    which: Vec<String>,
    /// The namespace.
    #[arg(short, long)]
    namespace: Option<String>,
    #[command(flatten)]
    place: Where,
}

/// Runs `isthmus vm remove`.
pub(super) fn run(out: Out, remove: &Remove) -> Done {
    let world = Place::open(&remove.place)?.world(out);
    let is_meant = |entry: &&Arc<Object<WorkloadEntry>>| {
        let meant = match &remove.which[..] {
            [host, address] => entry.spec.address == *address && selecting(&world, entry).any(|s| s.spec.hosts.contains(host)),
            [name] => *entry.meta.name == **name,
            _ => false,
        };
        meant && remove.namespace.as_ref().is_none_or(|namespace| *entry.meta.namespace == **namespace)
    };
    let found: Vec<_> = world.documents.workload_entries.values().filter(is_meant).collect();
    let entry = match &found[..] {
        [only] => only,
        [] => return Err(Failed::Other(format!("no WorkloadEntry {}: `isthmus vm list` shows all", remove.which.join(" ")))),
        several => {
            let all: Vec<String> = several.iter().map(|e| format!("{}/{} ({})", e.meta.namespace, e.meta.name, at(e))).collect();
            return Err(Failed::Usage(format!("several are meant, give the name or -n: {}", all.join(", "))));
        }
    };
    if entry.origin.file.is_empty() {
        let (namespace, name) = (&entry.meta.namespace, &entry.meta.name);
        return Err(Failed::Other(format!("it stands in {}: kubectl -n {namespace} delete workloadentry {name}", at(entry))));
    }
    let path = Path::new(&*entry.origin.file);
    let bytes = std::fs::read(path).map_err(|e| Failed::Input(Refused::Unreadable(format!("{}: {e}", path.display()))))?;
    let parsed = parse(&bytes, &entry.origin.cluster, &entry.origin.file);
    let others = parsed.documents.len() + parsed.refused.len() + parsed.unreadable;
    if others != 1 {
        return Err(Failed::Other(format!(
            "{} holds {others} objects: take this one out by hand, from line {}",
            path.display(),
            entry.origin.start.line
        )));
    }
    std::fs::remove_file(path).map_err(|e| Failed::Other(format!("{}: {e}", path.display())))?;
    out.data(&format!("{}\n", path.display()));
    Ok(Exit::Done)
}
