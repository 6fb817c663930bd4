//! What compiling had to say: every refusal, conflict, ignored rule and field that is not in force yet.

use isthmus_config::problem::Problem;

/// Our own problem codes, as `docs/problems.md` lists them.
pub mod code {
    /// Asked for, accepted, and not in force yet.
    pub const NOT_YET: &str = "ISM0301";
    /// A part of an object that has no effect.
    pub const IGNORED: &str = "ISM0302";
    /// An older object has what this one asks for.
    pub const CONFLICT: &str = "ISM0303";
    /// A service whose endpoints are all left out.
    pub const LEFT_OUT: &str = "ISM0305";
    /// A rule that cannot be compiled, and is left out.
    pub const REFUSED: &str = "ISM0304";
}

/// The lines of one compilation.
#[derive(Debug, Default, PartialEq)]
pub struct Report {
    /// In the order of objects and fields, each once.
    pub problems: Vec<Problem>,
}

impl Report {
    /// Sorts the lines and drops repetitions: a rule that serves two ports is told once.
    pub(super) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| (&a.object, &a.path, a.severity, a.code, &a.message).cmp(&(&b.object, &b.path, b.severity, b.code, &b.message)));
        problems.dedup();
        Self { problems }
    }
}
