//! One file of settings while it is read: its tree, and its misfits as problems.

use std::path::Path;
use std::sync::Arc;

use crate::decode::{Decoding, Misfit};
use crate::locate::{Node, Tree, trees};
use crate::object::{Origin, Spans, Spot};
use crate::problem::{Problem, Severity};

/// Keys that will come, by path without indexes. Until then they are refused rather than ignored.
const NOT_YET: [&str; 2] = ["identity", "serverless"];

/// One file of settings while it is read.
pub(super) struct Document<'t> {
    pub(super) node: Node<'t>,
    pub(super) decoding: Decoding,
    file: Arc<str>,
}

impl<'t> Document<'t> {
    pub(super) fn new(text: &'t str, file: &Path) -> Result<Self, Vec<Problem>> {
        let shown: Arc<str> = file.display().to_string().into();
        let (mut nodes, failed) = trees(text, 1);
        let refuse = |start, message| {
            let origin = Origin { file: shown.clone(), start, ..Origin::default() };
            vec![Problem { origin, ..Problem::new(Severity::Error, "ISM0110", message) }]
        };
        if let Some(failed) = failed {
            return Err(refuse(failed.spot, failed.message));
        }
        if let Some(second) = nodes.get(1) {
            return Err(refuse(second.spot, "expected one document, found a second one".to_owned()));
        }
        let start = Spot { line: 1, column: 1 };
        let node = nodes.pop().unwrap_or(Node { spot: start, tree: Tree::Map(Vec::new()) });
        Ok(Self { node, decoding: Decoding::strict(), file: shown })
    }

    pub(super) fn problems(&self, severity: Severity, code: &'static str, misfits: Vec<Misfit>, spans: &Option<Arc<Spans>>) -> Vec<Problem> {
        let origin = Origin { file: self.file.clone(), start: self.node.spot, spans: spans.clone(), ..Origin::default() };
        let told = misfits.into_iter().map(|misfit| {
            let (message, hint) = match severity {
                Severity::Error if misfit.unknown && NOT_YET.contains(&without_indexes(&misfit.path).as_str()) => {
                    (format!("`{}` is not in force yet", misfit.path), None)
                }
                Severity::Error => (misfit.message, misfit.hint),
                Severity::Warning | Severity::Info => (format!("{}: a gateway does not take it", misfit.message), misfit.hint),
            };
            Problem { origin: origin.clone(), hint, ..Problem::new(severity, code, message).at(misfit.path) }
        });
        told.collect()
    }
}

/// `clusters[3].path` as `clusters[].path`.
fn without_indexes(path: &str) -> String {
    path.chars().filter(|c| !c.is_ascii_digit()).collect()
}
