//! Memory of a cluster read from files: a service, a route and some pods in each file
//! (`isthmus-benches files SERVICES ENDPOINTS_OF_EACH`).

use std::io;
use std::path::Path;
use std::sync::Arc;

use isthmus_config::bootstrap::Bootstrap;
use isthmus_core::compile::Compiler;
use isthmus_core::model::Changes;
use isthmus_discovery::source::file::FileSource;
use isthmus_discovery::{Registry, Settings};

use crate::world::{GATEWAY, with_pods};
use crate::{ALLOCATOR, resident};

/// Megabytes in all, and bytes for each endpoint: read, joined, compiled.
pub(crate) fn measure(services: usize, endpoints: usize) -> io::Result<String> {
    let folder = std::env::temp_dir().join(format!("isthmus-memory-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let told = (|| {
        std::fs::write(folder.join("gateway.yaml"), GATEWAY)?;
        for service in 0..services {
            std::fs::write(folder.join(format!("s{service}.yaml")), with_pods(service, endpoints))?;
        }
        Ok(stages(&folder, services * endpoints))
    })();
    std::fs::remove_dir_all(&folder)?;
    told
}

fn stages(folder: &Path, endpoints: usize) -> String {
    let before = resident();
    let each = |now: usize| format!("{:.1} MB, {} B each", now as f64 / f64::from(1 << 20), now.saturating_sub(before) / endpoints);
    let bootstrap = Bootstrap::for_directory(folder);
    let settings = Settings::new(&bootstrap, Arc::default());
    let (config, mut registry) = (settings.config_cluster.clone(), Registry::new(settings));
    let mut source = FileSource::new(config, vec![folder.to_owned()], true);
    source.read(|batch| registry.apply_all(batch));
    let read = resident();
    let (world, _) = registry.world();
    let joined = resident();
    let count: usize = world.catalog.endpoints.values().map(|e| e.len()).sum();
    let mut compiler = Compiler::new(1);
    compiler.compile(&world, &Changes::everything()).publish_views();
    let compiled = resident();
    let mut live = ALLOCATOR.allocated();
    let mut given_back = || {
        let bytes = std::mem::replace(&mut live, ALLOCATOR.allocated()).saturating_sub(live);
        format!("{:.1} MB, {} B each", bytes as f64 / f64::from(1 << 20), bytes / endpoints)
    };
    drop(compiler);
    let compiler = given_back();
    drop(source);
    let source = given_back();
    drop((registry, world));
    let world = given_back();
    format!(
        "{endpoints} endpoints ({count} joined), resident: read {}; joined {}; compiled {}\nallocated: compiled {compiler}; by the source alone {source}; registry and world {world}",
        each(read),
        each(joined),
        each(compiled)
    )
}
