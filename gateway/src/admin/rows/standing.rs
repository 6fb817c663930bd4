//! How the sources stand, and everything wrong, as rows.

use isthmus_config::object::ObjectRef;
use isthmus_config::problem::{Problem, Severity};
use serde::{Deserialize, Serialize};

use crate::admin::now::Now;

/// A Kubernetes cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterRow {
    pub(crate) name: String,
    pub(crate) secret: String,
    pub(crate) status: String,
    pub(crate) istiod: String,
    pub(crate) revision: String,
    pub(crate) endpoints: usize,
    pub(crate) reason: String,
    /// For how many seconds it has not been read; absent while it is.
    pub(crate) age: Option<u64>,
    /// What is in force of it was read from disk.
    pub(crate) from_disk: bool,
    /// What went wrong last and when (UTC), also after it has come back.
    pub(crate) last_error: String,
}

/// Something wrong (design 5: the shape of `check -o json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProblemRow {
    pub(crate) severity: String,
    pub(crate) code: String,
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// The cluster, where no file says where it stands.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) cluster: String,
}

impl ProblemRow {
    /// Where it stands: `file:line:column`, or the cluster whose API server has it.
    pub(crate) fn place(&self) -> String {
        match (self.line, self.cluster.is_empty()) {
            (0, true) => self.file.clone(),
            (0, false) => format!("cluster {}", self.cluster),
            (line, _) => format!("{}:{line}:{}", self.file, self.column),
        }
    }

    /// A problem, its place looked up.
    pub(crate) fn of(problem: &Problem) -> Self {
        let spot = problem.origin.spot(&problem.path);
        let (kind, namespace, name) = match &problem.object {
            Some(ObjectRef { kind, namespace, name }) => (kind.as_str(), &**namespace, &**name),
            None => ("", "", ""),
        };
        Self {
            severity: problem.severity.to_string(),
            code: problem.code.to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            path: problem.path.clone(),
            file: problem.origin.file.to_string(),
            line: spot.line,
            column: spot.column,
            message: problem.message.clone(),
            hint: problem.hint.clone(),
            cluster: if problem.origin.file.is_empty() { problem.origin.cluster.to_string() } else { String::new() },
        }
    }
}

impl Now {
    /// `get clusters`.
    pub(crate) fn cluster_rows(&self) -> Vec<ClusterRow> {
        self.clusters.clone()
    }
    /// `get problems`: those of objects, and sockets that could not be bound.
    pub(crate) fn problem_rows(&self) -> Vec<ProblemRow> {
        let refused = self.sockets.iter().filter(|(_, state)| state.starts_with("refused"));
        let refused = refused.map(|(key, state)| ProblemRow::of(&Problem::new(Severity::Error, "ISM0502", format!("listener {key} {state}"))));
        refused.chain(self.problems.iter().map(ProblemRow::of)).collect()
    }
}
