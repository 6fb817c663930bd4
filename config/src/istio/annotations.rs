//! What Isthmus itself reads from the annotations of a DestinationRule; all of it is off unless asked for.
//!
//! Istio passes over them, so the same YAML keeps its meaning there. A value that cannot be read is without effect, and
//! told by the admission rules.

use crate::decode::nearest;
use crate::object::{Kind, Labels};
use crate::value::Duration;

/// An ejected endpoint returns through a trickle of requests first: `true` or `false`.
pub const HALF_OPEN: &str = "isthmus.io/half-open";
/// Where every endpoint that `distribute` names is gone, the others are used by locality order: `true` or `false`.
pub const DISTRIBUTE_FALLBACK: &str = "isthmus.io/distribute-fallback";
/// How long a request waits for an endpoint where there is none for a moment: a duration.
pub const ENDPOINT_WAIT: &str = "isthmus.io/endpoint-wait";

const PREFIX: &str = "isthmus.io/";
const ALL: [&str; 3] = [HALF_OPEN, DISTRIBUTE_FALLBACK, ENDPOINT_WAIT];
/// The longest wait that can be asked for.
const LONGEST_WAIT: std::time::Duration = std::time::Duration::from_secs(60);

/// A switch; `None` where the annotation is not there or is no switch.
pub fn switch(annotations: &Labels, key: &str) -> Option<bool> {
    read_switch(annotations.get(key)?).ok()
}

/// The wait of [`ENDPOINT_WAIT`]; `None` where the annotation is not there or is none.
pub fn endpoint_wait(annotations: &Labels) -> Option<Duration> {
    read_wait(annotations.get(ENDPOINT_WAIT)?).ok()
}

/// The annotations of an object that are without effect, each with the reason.
pub(crate) fn wrong(kind: Kind, annotations: &Labels) -> impl Iterator<Item = (&str, String)> {
    annotations.iter().filter(|(key, _)| key.starts_with(PREFIX)).filter_map(move |(key, value)| {
        let wrong = match &**key {
            HALF_OPEN | DISTRIBUTE_FALLBACK | ENDPOINT_WAIT if kind != Kind::DestinationRule => {
                Some("only that of a DestinationRule counts".to_owned())
            }
            HALF_OPEN | DISTRIBUTE_FALLBACK => read_switch(value).err(),
            ENDPOINT_WAIT => read_wait(value).err(),
            other => {
                let meant = nearest(other, ALL).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
                Some(format!("no annotation of that name is known{meant}"))
            }
        };
        wrong.map(|reason| (&**key, reason))
    })
}

fn read_switch(value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| format!("expected \"true\" or \"false\", found {value:?}"))
}

fn read_wait(value: &str) -> Result<Duration, String> {
    let wait = Duration::parse(value).map_err(|error| error.to_string())?;
    if wait.0 > LONGEST_WAIT { Err(format!("expected at most 60s, found {value:?}")) } else { Ok(wait) }
}
