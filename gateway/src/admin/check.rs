//! What `check` finds: problems, and where each object is in force; from files, or for files laid over a running world.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use isthmus_config::bootstrap::Bootstrap;
use isthmus_config::problem::{Problem, Severity};
use isthmus_core::analyze::InForce;
use isthmus_discovery::Registry;
use serde::{Deserialize, Serialize};

use super::now::Now;
use super::rows::ProblemRow;
use crate::asked::{Asked, Refused};

/// A file, as the command line posts it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Posted {
    /// Its path, as shown to people.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
}

/// The answer (design 5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Checked {
    /// What is wrong.
    pub(crate) problems: Vec<ProblemRow>,
    /// Where each object is in force, or why nowhere.
    pub(crate) in_force: Vec<InForceRow>,
}

/// What the admin port answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answered {
    /// What is printed.
    #[serde(flatten)]
    pub(crate) checked: Checked,
    /// What is known of each cluster, and since when not anew; said beside what is printed.
    #[serde(default)]
    pub(crate) read: Vec<String>,
}

/// Where one object is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InForceRow {
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) routes: usize,
    pub(crate) backends: usize,
    pub(crate) reason: Option<String>,
}

impl InForceRow {
    fn of(found: &InForce) -> Self {
        Self {
            kind: found.object.kind.as_str().to_owned(),
            namespace: found.object.namespace.to_string(),
            name: found.object.name.to_string(),
            routes: found.routes,
            backends: found.backends,
            reason: found.reason.clone(),
        }
    }
}

/// Problems as found, with where objects are in force; what is printed for people needs the source.
#[derive(Debug)]
pub(crate) struct Findings {
    /// What is wrong.
    pub(crate) problems: Vec<Problem>,
    /// Where each object is in force.
    pub(crate) in_force: Vec<InForceRow>,
    /// What was read of each cluster, where any is an API server.
    pub(crate) read: Vec<String>,
}

impl Findings {
    /// In the shape that is printed as JSON.
    pub(crate) fn rows(&self) -> Checked {
        Checked { problems: self.problems.iter().map(ProblemRow::of).collect(), in_force: self.in_force.clone() }
    }
}

/// Checks `paths` as one cluster `local` at the default gateway.
pub(crate) fn alone(paths: &[PathBuf]) -> Result<Findings, Refused> {
    let first = paths.first().map_or(Path::new("."), PathBuf::as_path);
    let mut bootstrap = Bootstrap::for_directory(first);
    bootstrap.config.files = paths.iter().skip(1).cloned().collect();
    let asked = Asked::of(bootstrap, Vec::new())?;
    let now = Now::offline(&asked, Vec::new(), Severity::Warning);
    Ok(findings(now, None))
}

/// Checks a world, or only `paths` laid over it.
pub(crate) fn over(asked: &Asked, paths: Vec<PathBuf>) -> Findings {
    let only = (!paths.is_empty()).then(|| paths.clone());
    findings(Now::offline(asked, paths, Severity::Error), only.as_deref())
}

/// Checks files laid over the world of a running gateway, of which `known` is a copy: also over what is stale, or was read from disk.
pub(crate) fn posted(mut known: Registry, asked: &Asked, files: &[Posted]) -> std::io::Result<Answered> {
    let directory = Scratch::new()?;
    let mut paths = Vec::new();
    for (i, file) in files.iter().enumerate() {
        let path = directory.0.join(format!("{i}.yaml"));
        std::fs::write(&path, &file.text)?;
        paths.push(path);
    }
    if !paths.is_empty() {
        known.lay(paths.clone());
    }
    let only = (!paths.is_empty()).then_some(&paths[..]);
    let found = findings(Now::supposed(known, &asked.problems, Severity::Error), only);
    let mut checked = found.rows();
    for problem in &mut checked.problems {
        if let Some((_, file)) = paths.iter().zip(files).find(|(path, _)| path.as_os_str() == problem.file.as_str()) {
            problem.file.clone_from(&file.path);
        }
    }
    Ok(Answered { checked, read: found.read })
}

/// A directory that goes when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("isthmus-check-{}", uuid::Builder::from_random_bytes(rand::random()).into_uuid().simple()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed stays for the system to clean.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Those of the files that are asked about, or all.
fn findings(now: Now, only: Option<&[PathBuf]>) -> Findings {
    let ours = |file: &Arc<str>| only.is_none_or(|paths| paths.iter().any(|path| Path::new(&**file).starts_with(path)));
    let Now { mut problems, in_force, read, .. } = now;
    problems.retain(|p| ours(&p.origin.file));
    let in_force = in_force.iter().filter(|f| ours(&f.origin.file)).map(InForceRow::of).collect();
    Findings { problems, in_force, read }
}
