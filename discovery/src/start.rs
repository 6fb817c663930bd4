//! The two ways to begin: with watchers, and once from files.

use std::path::PathBuf;

use tokio::sync::mpsc::{Receiver, channel};

use crate::probe;
use crate::registry::Registry;
use crate::servers;
use crate::settings::Settings;
use crate::source::file::{FileSource, watch};
use crate::source::{Batch, dns, mesh};

/// Batches that may wait for the reconcile loop before sources wait for it: each may be a page of large objects.
pub(crate) const WAITING: usize = 8;

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
    if let Some((path, (source, file))) = settings.mesh_file.clone().zip(settings.mesh_source()) {
        tokio::spawn(mesh::follow(path, source, file, tell.clone()));
    }
    tokio::spawn(probe::probe(registry.targets(), tell, probe::Network));
    Ok((registry, batches))
}

/// Reads everything once, without watching, DNS or probes: files, and API servers within a bounded time, else what `state`
/// has kept of them. `overlay` files lie over the config cluster's. [`Registry::standing`] says what was read.
pub fn offline(mut settings: Settings, overlay: Vec<PathBuf>) -> Registry {
    let config = settings.config_cluster.clone();
    let is_laid = settings.servers.contains_key(&config) && !overlay.is_empty();
    if is_laid {
        settings.roots.entry(config.clone()).or_default();
    }
    let sources = sources(&settings);
    let mut registry = Registry::new(settings.clone());
    for source in sources {
        let mut source = if source.cluster() == &config && !is_laid { source.with_overlay(overlay.clone()) } else { source };
        source.read(|batch| registry.apply_all(batch));
    }
    if is_laid {
        registry.lay(overlay);
    }
    if settings.servers.is_empty() { registry } else { with_servers(&settings, registry) }
}

impl Registry {
    /// Lays files over the config cluster: what they hold counts, whatever else says of the same objects.
    pub fn lay(&mut self, files: Vec<PathBuf>) {
        FileSource::laid(self.config_cluster().clone(), files).read(|batch| self.apply_all(batch));
    }
}

/// Reads the API servers on a thread of its own: whoever asks may stand on a runtime.
fn with_servers(settings: &Settings, mut registry: Registry) -> Registry {
    let read = |registry: &mut Registry| {
        // Without a runtime nothing is read, which the registry tells.
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
            runtime.block_on(servers::read(settings, registry));
        }
    };
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| read(&mut registry));
        // One that broke off has read what it has read.
        drop(reading.join());
    });
    registry
}

fn sources(settings: &Settings) -> Vec<FileSource> {
    let roots = settings.roots.iter();
    roots.map(|(cluster, roots)| FileSource::new(cluster.clone(), roots.clone(), *cluster == settings.config_cluster)).collect()
}
