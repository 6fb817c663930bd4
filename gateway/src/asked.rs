//! What was asked on the command line: isthmus.yaml or a directory, with its MeshConfig, read and checked.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use isthmus_config::bootstrap::Bootstrap;
use isthmus_config::mesh::MeshConfig;
use isthmus_config::problem::Problem;
use isthmus_discovery::Settings;

/// isthmus.yaml and MeshConfig, read.
#[derive(Debug)]
pub(crate) struct Asked {
    /// isthmus.yaml, defaults filled in.
    pub(crate) bootstrap: Bootstrap,
    /// The MeshConfig in force.
    pub(crate) mesh: Arc<MeshConfig>,
    /// Warnings about both.
    pub(crate) problems: Vec<Problem>,
}

/// Why there is nothing to run.
#[derive(Debug)]
pub(crate) enum Refused {
    /// A file cannot be read.
    Unreadable(String),
    /// A file says what it must not.
    Wrong(Vec<Problem>),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(reason) => f.write_str(reason),
            Self::Wrong(problems) => write!(f, "{} problems", problems.len()),
        }
    }
}

impl Asked {
    /// Reads isthmus.yaml, or takes a directory for one file cluster `local`.
    pub(crate) fn read(path: &Path) -> Result<Self, Refused> {
        if path.is_dir() {
            return Ok(Self::of(Bootstrap::for_directory(path), Vec::new()));
        }
        let (bootstrap, mut problems) = Bootstrap::parse(&text(path)?, path).map_err(Refused::Wrong)?;
        let Some(file) = &bootstrap.mesh_file else { return Ok(Self::of(bootstrap, problems)) };
        let (mesh, of_mesh) = MeshConfig::parse(&text(file)?, file).map_err(Refused::Wrong)?;
        problems.extend(of_mesh);
        Ok(Self { bootstrap, mesh: Arc::new(mesh), problems })
    }
    /// A bootstrap that is known already; its own MeshConfig holds.
    pub(crate) fn of(bootstrap: Bootstrap, problems: Vec<Problem>) -> Self {
        let mesh = Arc::new(bootstrap.mesh.clone());
        Self { bootstrap, mesh, problems }
    }
    /// What the registry is told.
    pub(crate) fn settings(&self) -> Settings {
        Settings::new(&self.bootstrap, self.mesh.clone())
    }
}

fn text(path: &Path) -> Result<String, Refused> {
    std::fs::read_to_string(path).map_err(|e| Refused::Unreadable(format!("{}: {e}", path.display())))
}
