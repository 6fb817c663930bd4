//! Which route a request takes, and what a route does to a request's head.
//!
//! All values here are compiled once and only read afterwards. [`Match`] is the only matcher: the index runs it on its
//! candidates, explain on every route. Nothing on the way of a request allocates, unless a value must change.

mod condition;
mod edit;
mod format;
pub mod forwarding;
mod host;
mod index;
mod matcher;
mod path;
mod pattern;
mod patterns;
mod redirect;
mod trie;

use http::HeaderMap;

pub use edit::{DirectResponse, EditError, HeaderEdits, Rewrite, authority};
pub use format::{Facts, Format, FormatError};
pub use host::{HostTable, without_port};
pub use index::{Filed, Order, Position, RouteIndex, Scratch};
pub use matcher::{Match, MatchError, Mismatch};
pub use path::{PathError, PathNormalization, Target, normalise};
pub use pattern::{Pattern, PatternError, Substitution};
pub use patterns::Patterns;
pub use redirect::Redirect;

/// What of a request is matched.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The method, `GET`.
    pub method: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The authority as the client sent it, port included.
    pub authority: &'a str,
    /// The path, normalised, without query.
    pub path: &'a str,
    /// What follows the first `?`.
    pub query: Option<&'a str>,
    /// The header fields.
    pub headers: &'a HeaderMap,
}
