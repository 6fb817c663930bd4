//! `isthmus vm`: machines as endpoints, by files. Adding one writes a WorkloadEntry beside the rules, checked before it is there.
//!
//! One file for each machine, so that no file that a person wrote is ever edited. A file is put in place in one step, and
//! taken away only where it holds that one object and nothing else.

mod add;
mod place;
mod remove;

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use isthmus_config::istio::{ServiceEntry, WorkloadEntry};
use isthmus_config::object::Object;
use isthmus_core::join;
use isthmus_core::model::World;
use isthmus_discovery::offline;
use serde::Serialize;

use super::Done;
use super::args::Output;
use super::out::{Exit, Out, Paint, table};
use super::print::print;
use place::World as Place;

/// What to do with machines.
#[derive(Debug, Subcommand)]
pub(crate) enum Vm {
    /// Write and check the WorkloadEntry of a machine.
    Add(add::Add),
    /// List the machines.
    List(List),
    /// Take away the file of a machine.
    Remove(remove::Remove),
}

/// Where the rules and machines stand.
#[derive(Clone, Debug, Args)]
pub(super) struct Where {
    /// isthmus.yaml; machines stand in the first directory of its `config.files` [default: isthmus.yaml, where there is one].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of the machines' files; without --config it also holds the rules.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// `isthmus vm list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those of this host.
    #[arg(value_name = "HOST")]
    host: Option<String>,
    /// Only this namespace.
    #[arg(short, long)]
    namespace: Option<String>,
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    output: Output,
}

/// Runs `isthmus vm`.
pub(super) fn run(out: Out, vm: &Vm) -> Done {
    match vm {
        Vm::Add(add) => add::run(out, add),
        Vm::List(asked) => list(out, asked),
        Vm::Remove(remove) => remove::run(out, remove),
    }
}

/// A machine.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    hosts: Vec<String>,
    address: String,
    locality: String,
    namespace: String,
    name: String,
    /// Why it is not used; empty where it is.
    unused: String,
    file: String,
    line: u32,
}

fn list(out: Out, asked: &List) -> Done {
    let place = Place::open(&asked.place)?;
    let world = place.world(out);
    let mut rows: Vec<Row> = world.documents.workload_entries.values().map(|entry| row(&world, entry)).collect();
    rows.retain(|row| asked.host.as_ref().is_none_or(|host| row.hosts.contains(host)));
    rows.retain(|row| asked.namespace.as_ref().is_none_or(|namespace| row.namespace == *namespace));
    print(out, asked.output.output, &rows, |_| {
        let dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let cells = rows.iter().map(|row| {
            let file = if row.line == 0 { dash(&row.file) } else { format!("{}:{}", row.file, row.line) };
            let used = if row.unused.is_empty() { "yes".to_owned() } else { format!("no: {}", row.unused) };
            vec![dash(&row.hosts.join(",")), row.address.clone(), dash(&row.locality), format!("{}.{}", row.name, row.namespace), used, file]
        });
        let cells: Vec<Vec<String>> = cells.collect();
        if cells.is_empty() { String::new() } else { table(&["HOST", "ADDRESS", "LOCALITY", "ENTRY", "USED", "FILE"], &cells) }
    })?;
    if rows.is_empty() {
        out.message(&out.paint_message(Paint::Dim, "nothing found"));
    }
    Ok(Exit::Done)
}

fn row(world: &World, entry: &Object<WorkloadEntry>) -> Row {
    let hosts: Vec<String> = selecting(world, entry).flat_map(|service| service.spec.hosts.clone()).collect();
    let unused = if !join::is_used(entry) {
        "its status is not Healthy"
    } else if hosts.is_empty() {
        "no ServiceEntry of its namespace selects it"
    } else {
        ""
    };
    Row {
        hosts,
        address: entry.spec.address.clone(),
        locality: entry.spec.locality.clone(),
        namespace: entry.meta.namespace.to_string(),
        name: entry.meta.name.to_string(),
        unused: unused.to_owned(),
        file: entry.origin.file.to_string(),
        line: entry.origin.start.line,
    }
}

/// The ServiceEntries that select a machine (S-6).
fn selecting<'a>(world: &'a World, entry: &'a Object<WorkloadEntry>) -> impl Iterator<Item = &'a Arc<Object<ServiceEntry>>> {
    let labels = join::labels(entry);
    let near = world.documents.service_entries.values().filter(|service| service.meta.namespace == entry.meta.namespace);
    near.filter(move |service| service.spec.workload_selector.as_ref().is_some_and(|s| join::selects(&s.labels, &labels)))
}
