//! The world that machines are added to, and the directory in which their files stand.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isthmus_config::problem::Severity;
use isthmus_core::model;

use super::{Where, offline};
use crate::asked::{Asked, Refused};
use crate::cli::out::{Out, Paint};
use crate::cli::{Failed, say_read};
use crate::sources;

/// What `run` reads without being told.
const DEFAULT: &str = "isthmus.yaml";

/// A world and its directory of machines.
#[derive(Debug)]
pub(super) struct World {
    /// isthmus.yaml and what it names.
    pub(super) asked: Asked,
    dir: Option<PathBuf>,
}

impl World {
    /// Reads isthmus.yaml, or takes the directory for all there is.
    pub(super) fn open(place: &Where) -> Result<Self, Failed> {
        let given = place.config.as_deref().or_else(|| Some(Path::new(DEFAULT)).filter(|path| place.dir.is_none() && path.is_file()));
        let Some(config) = given else {
            let Some(dir) = &place.dir else {
                return Err(Failed::Usage(format!("there is no {DEFAULT} here: give --config FILE or --dir DIR")));
            };
            let readable = std::fs::read_dir(dir).map(drop);
            readable.map_err(|e| Failed::Input(Refused::Unreadable(format!("{}: {e}", dir.display()))))?;
            return Ok(Self { asked: Asked::read(dir)?, dir: Some(dir.clone()) });
        };
        let asked = Asked::read(config)?;
        let named = || asked.bootstrap.config.files.iter().find(|path| path.is_dir() || !path.exists()).cloned();
        let dir = place.dir.clone().or_else(named).or_else(|| Some(config.to_owned()).filter(|path| path.is_dir()));
        Ok(Self { asked, dir })
    }

    /// Everything as it stands. What cannot be read is said: it may hold the very service or machine that is meant.
    pub(super) fn world(&self, out: Out) -> Arc<model::World> {
        let mut registry = offline(self.asked.settings.clone(), Vec::new());
        say_read(out, &sources::read(&registry));
        for problem in registry.problems().iter().filter(|problem| problem.severity == Severity::Error && !problem.origin.file.is_empty()) {
            let (file, line) = (&problem.origin.file, problem.origin.start.line);
            out.message(&format!("{} {file}:{line}: {}", out.paint_message(Paint::Yellow, "warning:"), problem.message));
        }
        registry.world().0
    }

    /// Where machines' files stand.
    pub(super) fn dir(&self) -> Result<&Path, Failed> {
        let dir = self.dir.as_deref().ok_or_else(|| Failed::Usage("config.files of isthmus.yaml names no directory: give --dir DIR".to_owned()))?;
        let read = self
            .asked
            .settings
            .roots
            .values()
            .flatten()
            .any(|root| dir.canonicalize().is_ok_and(|dir| root.canonicalize().is_ok_and(|root| dir.starts_with(root))));
        if dir.exists() && !read {
            return Err(Failed::Usage(format!("{} is read by nobody: name it in config.files of isthmus.yaml", dir.display())));
        }
        Ok(dir)
    }
}

/// Puts a new file in place in one step; one that is there already stays as it is.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Failed> {
    let failed = |e: std::io::Error| Failed::Other(format!("{}: {e}", path.display()));
    let (folder, name) = (path.parent().unwrap_or(Path::new(".")), path.file_name().unwrap_or_default());
    std::fs::create_dir_all(folder).map_err(failed)?;
    // Names that begin with a dot are read by nobody.
    let draft = folder.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let put = || {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // Unlike a rename, a link never takes the place of another file.
        std::fs::hard_link(&draft, path)
    };
    let done = put();
    // A draft that was not made cannot be taken away.
    drop(std::fs::remove_file(&draft));
    done.map_err(failed)
}
