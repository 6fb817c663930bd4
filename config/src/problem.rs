//! Something wrong in what was asked or found, said so that a person can mend it.
//!
//! Problems are values: parse, validate, join, compile and analyze return them; the command line and the admin port print them.

use std::fmt;

use serde::Serialize;

use crate::object::{ObjectRef, Origin};

/// How much it matters. `Ord`: errors first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The object, or a part of it, is refused.
    Error,
    /// In force, but surely not as meant, or asked for and not in force.
    Warning,
    /// Worth knowing.
    Info,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        })
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How much it matters.
    pub severity: Severity,
    /// istioctl's analyzer code (`IST0101`, contract 10.5) or one of ours (`ISM…`, docs/problems.md).
    pub code: &'static str,
    /// The object concerned, where it could be told.
    pub object: Option<ObjectRef>,
    /// Field path (`spec.http[0].retries`), or "".
    pub path: String,
    /// Where the object stands; the spot of `path` is found in it.
    pub origin: Origin,
    /// What is wrong: what was expected and what came. Lower case, no full stop.
    pub message: String,
    /// What to do about it, such as "did you mean `retries`?".
    pub hint: Option<String>,
}

impl Problem {
    /// A finding about nothing yet; add to it with the `at`, `of` and `hint` methods.
    pub fn new(severity: Severity, code: &'static str, message: impl Into<String>) -> Self {
        Self { severity, code, object: None, path: String::new(), origin: Origin::default(), message: message.into(), hint: None }
    }
    /// Says whose problem it is and where that object stands.
    #[must_use]
    pub fn of(mut self, object: ObjectRef, origin: &Origin) -> Self {
        self.object = Some(object);
        self.origin = origin.clone();
        self
    }
    /// Says which field.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }
    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
