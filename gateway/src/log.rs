//! Our own log: text lines on stderr, whose level can change while we run.

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// Said by nobody: states at info, and nothing of Pingora's on the way of a request (design 7).
const DEFAULT: &str = "info,pingora=warn,pingora_core=warn,h2=warn,kube_client=off";

/// Changes what is logged.
#[derive(Clone, Debug)]
pub(crate) struct Levels(Option<reload::Handle<EnvFilter, Registry>>);

/// A filter that does not read as one.
#[derive(Debug, thiserror::Error)]
#[error("expected a filter such as info, debug or isthmus=trace,warn: {0}")]
pub(crate) struct LevelError(String);

impl Levels {
    /// Begins to log: by `filter`, else by RUST_LOG, else states.
    pub(crate) fn start(filter: Option<&str>) -> Result<Self, LevelError> {
        let filter = match filter {
            Some(filter) => read(filter)?,
            None => EnvFilter::try_from_default_env().or_else(|_| read(DEFAULT))?,
        };
        let (filter, handle) = reload::Layer::new(filter);
        let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).with_target(false);
        tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(|e| LevelError(e.to_string()))?;
        Ok(Self(Some(handle)))
    }
    /// For a process whose own log is nobody's concern.
    pub(crate) fn silent() -> Self {
        Self(None)
    }
    /// What is logged.
    pub(crate) fn get(&self) -> String {
        self.0.as_ref().and_then(|handle| handle.with_current(ToString::to_string).ok()).unwrap_or_else(|| "off".to_owned())
    }
    /// Logs by `filter` from now on.
    pub(crate) fn set(&self, filter: &str) -> Result<(), LevelError> {
        let filter = read(filter)?;
        match &self.0 {
            Some(handle) => handle.reload(filter).map_err(|e| LevelError(e.to_string())),
            None => Err(LevelError("this process does not log".to_owned())),
        }
    }
}

fn read(filter: &str) -> Result<EnvFilter, LevelError> {
    EnvFilter::try_new(filter).map_err(|e| LevelError(e.to_string()))
}
