//! What was asked on the command line: isthmus.yaml or a directory, with its MeshConfig, read and checked.

use std::fmt;
use std::path::Path;

use isthmus_config::bootstrap::Bootstrap;
use isthmus_config::problem::Problem;
use isthmus_discovery::Settings;

/// isthmus.yaml and MeshConfig, read.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// isthmus.yaml, defaults filled in.
    pub(crate) bootstrap: Bootstrap,
    /// What the registry is told.
    pub(crate) settings: Settings,
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
            return Self::of(Bootstrap::for_directory(path), Vec::new());
        }
        let text = std::fs::read_to_string(path).map_err(|e| Refused::Unreadable(format!("{}: {e}", path.display())))?;
        let (bootstrap, problems) = Bootstrap::parse(&text, path).map_err(Refused::Wrong)?;
        Self::of(bootstrap, problems)
    }
    /// A bootstrap that is known already, with what was said of it.
    pub(crate) fn of(bootstrap: Bootstrap, mut problems: Vec<Problem>) -> Result<Self, Refused> {
        let (settings, warnings) = Settings::load(&bootstrap).map_err(Refused::Wrong)?;
        problems.extend(warnings);
        Ok(Self { bootstrap, settings, problems })
    }
}
