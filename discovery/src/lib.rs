//! What exists: facts from files, API servers and DNS, bundled into the world that everything else reads.
//!
//! Async; knows Kubernetes and DNS, and nothing of how a request is served. Sources tell [`source::Event`]s, one
//! [`Registry`] owns what they told. A bad object or a lost source takes nothing else down.

mod invite;
pub mod kubernetes;
mod probe;
mod registry;
mod servers;
mod settings;
pub mod source;
mod start;
mod state;

pub use invite::{Invitation, Invited};
pub use probe::{Entry, Target, Targets, Verdict};
pub use registry::{Names, Probed, Registry, SecretEvents, Standing};
pub use settings::Settings;
pub use source::kube::{Access, reads};
pub use source::{Batch, Event, Status};
pub use start::{offline, start};
