//! The two ways to begin: with watchers, and once from files.

use std::path::PathBuf;

use tokio::sync::mpsc::{Receiver, channel};

use crate::probe;
use crate::registry::Registry;
use crate::servers;
use crate::settings::Settings;
use crate::source::file::{FileSource, watch};
use crate::source::{Batch, dns};

/// Batches that may wait for the reconcile loop before sources wait for it.
const WAITING: usize = 64;

/// Starts a watcher for each cluster, the resolver and the probes. Apply what arrives to the registry, then ask it for the world.
///
/// Must be called on a tokio runtime. Everything started here ends when the receiver is dropped.
pub fn start(settings: Settings) -> std::io::Result<(Registry, Receiver<Batch>)> {
    let (tell, batches) = channel(WAITING);
    let retry = settings.mesh.dns_refresh_rate.0;
    let mut registry = Registry::new(settings.clone());
    // What servers will list is announced first: no cluster is shown before it is complete.
    servers::start(&settings, &mut registry, &tell)?;
    for source in sources(&settings) {
        watch(source, tell.clone())?;
    }
    tokio::spawn(dns::resolve(registry.names(), tell.clone(), retry, dns::System::default()));
    tokio::spawn(probe::probe(registry.targets(), tell, probe::Network));
    Ok((registry, batches))
}

/// Reads everything once, without watching, DNS or probes. `overlay` files lie over the config cluster's.
pub fn offline(settings: Settings, overlay: Vec<PathBuf>) -> Registry {
    let config = settings.config_cluster.clone();
    let sources = sources(&settings);
    let mut registry = Registry::new(settings);
    for source in sources {
        let mut source = if source.cluster() == &config { source.with_overlay(overlay.clone()) } else { source };
        source.read(|batch| registry.apply_all(batch));
    }
    registry
}

fn sources(settings: &Settings) -> Vec<FileSource> {
    let roots = settings.roots.iter();
    roots.map(|(cluster, roots)| FileSource::new(cluster.clone(), roots.clone(), *cluster == settings.config_cluster)).collect()
}
