//! Health checks of machines by the gateway itself: a WorkloadGroup's probe, made of each of the group's WorkloadEntries.
//!
//! Off unless a group has a probe. It is always the entry's own address that is asked, since that is what traffic goes to: a
//! probe's `host` is the name that the request carries. An entry has traffic until as many probes in a row have failed
//! as its group says, and again after as many successes; the first verdict comes sooner, since a gateway that has just
//! started knows nothing. What goes wrong on our own side says nothing about a machine. Nothing is removed here: what fails
//! is known, counted, and gets no traffic.

mod ask;
mod course;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};
use isthmus_config::istio::workload::{HttpHeader, HttpHealthCheck, ReadinessProbe};
use isthmus_config::name::ClusterId;
use isthmus_config::object::ObjectRef;
use rand::Rng;
use tokio::sync::mpsc::Sender;
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tracing::{debug, info, warn};

use crate::source::{Batch, Event};
pub(crate) use ask::Network;
pub(crate) use course::{Course, Outcome};

/// Probes under way at one time.
const AT_ONCE: usize = 128;
/// First probes of entries that become known together are spread over at most this.
const SPREAD: Duration = Duration::from_secs(1);

/// A WorkloadEntry of a cluster.
pub type Entry = (ClusterId, ObjectRef);

/// The entries to probe, and how.
pub type Targets = BTreeMap<Entry, Target>;

/// How one entry is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its own address, an IP or a name.
    pub(crate) address: Arc<str>,
    pub(crate) probe: Arc<Probe>,
}

/// What probing has found of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Why it is unhealthy; `None` where it is well.
    pub failure: Option<Arc<str>>,
    /// Since when it is well or not.
    pub since: Instant,
}

/// A probe as a gateway makes it, with Kubernetes' defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    action: Action,
    initial_delay: Duration,
    timeout: Duration,
    period: Duration,
    successes: u32,
    failures: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    /// A GET; 200 to 399 is well.
    Http { secure: bool, port: u16, path: PathAndQuery, headers: HeaderMap },
    /// A connection.
    Tcp { port: u16 },
    /// `grpc.health.v1.Health/Check`; SERVING is well.
    Grpc { port: u16, service: String },
}

impl Probe {
    /// A group's probe; `None` where a gateway cannot make it, of which [`cannot`] tells.
    pub(crate) fn of(asked: &ReadinessProbe) -> Option<Self> {
        let port = |port: u32| u16::try_from(port).ok().filter(|port| *port > 0);
        let action = if let Some(get) = &asked.http_get {
            let (path, headers) = (path(get).ok()?, headers(get).ok()?);
            Action::Http { secure: get.scheme == "HTTPS", port: port(get.port)?, path, headers }
        } else if let Some(socket) = &asked.tcp_socket {
            Action::Tcp { port: port(socket.port)? }
        } else {
            let grpc = asked.grpc.as_ref()?;
            Action::Grpc { port: port(grpc.port)?, service: grpc.service.clone() }
        };
        let or = |number: i32, default: u32| u32::try_from(number).ok().filter(|n| *n > 0).unwrap_or(default);
        let seconds = |number, default| Duration::from_secs(or(number, default).into());
        Some(Self {
            action,
            initial_delay: seconds(asked.initial_delay_seconds, 0),
            timeout: seconds(asked.timeout_seconds, 1),
            period: seconds(asked.period_seconds, 10),
            successes: or(asked.success_threshold, 1),
            failures: or(asked.failure_threshold, 3),
        })
    }
}

fn path(get: &HttpHealthCheck) -> Result<PathAndQuery, String> {
    let slash = if get.path.starts_with('/') { "" } else { "/" };
    format!("{slash}{}", get.path).parse().map_err(|e| format!("not a path ({e})"))
}

/// The headers of the request; `host` is one of them where none of that name is given.
fn headers(get: &HttpHealthCheck) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let host = HttpHeader { name: "host".to_owned(), value: get.host.clone() };
    for header in Some(&host).filter(|h| !is_the_machine_itself(&h.value)).into_iter().chain(&get.http_headers) {
        let name = HeaderName::try_from(&header.name).map_err(|e| e.to_string())?;
        let value = HeaderValue::try_from(&header.value).map_err(|e| format!("{}: {e}", header.name))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// What of a probe a gateway cannot do: the field that asks for it, and why.
pub(crate) fn cannot(asked: &ReadinessProbe) -> Option<(&'static str, String)> {
    let unprobed = |why: String| format!("{why}: the entries of this group are not probed");
    if asked.exec.is_some() {
        return Some(("spec.probe.exec", unprobed("a command cannot be run from a gateway".to_owned())));
    }
    if let Some(get) = &asked.http_get {
        let wrong = path(get).err().map(|why| ("spec.probe.httpGet.path", unprobed(why)));
        return wrong.or_else(|| headers(get).err().map(|why| ("spec.probe.httpGet.httpHeaders", unprobed(why))));
    }
    let socket = asked.tcp_socket.as_ref().filter(|socket| !is_the_machine_itself(&socket.host));
    socket.map(|_| ("spec.probe.tcpSocket.host", "not used: a gateway connects to the address of each entry".to_owned()))
}

/// True where a probe's `host`, as the machine itself reads it, means the machine.
fn is_the_machine_itself(host: &str) -> bool {
    host.is_empty() || host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

/// Makes one probe.
pub(crate) trait Ask: Send + Sync + 'static {
    /// Asks an entry how it is, without bound in time.
    fn ask(&self, target: &Target) -> impl Future<Output = Outcome> + Send;
}

/// An entry that is probed.
struct Followed {
    target: Target,
    course: Arc<Mutex<Course>>,
    task: AbortHandle,
}

/// Probes what `targets` holds and tells what changes, until nobody listens any more.
pub(crate) async fn probe(mut targets: watch::Receiver<Targets>, tell: Sender<Batch>, ask: impl Ask) {
    let shared = Arc::new((ask, Semaphore::new(AT_ONCE)));
    let mut tasks = JoinSet::new();
    let mut followed: HashMap<Entry, Followed> = HashMap::new();
    loop {
        let wanted = targets.borrow_and_update().clone();
        followed.retain(|entry, f| {
            let keep = wanted.contains_key(entry);
            if !keep {
                f.task.abort();
            }
            keep
        });
        for (entry, target) in wanted {
            let course = match followed.get(&entry) {
                Some(f) if f.target == target => continue,
                // What is known of an address outlives another way of asking it.
                Some(f) if f.target.address == target.address => f.course.clone(),
                Some(_) | None => Arc::default(),
            };
            let task = tasks.spawn(follow(entry.clone(), target.clone(), course.clone(), shared.clone(), tell.clone()));
            if let Some(old) = followed.insert(entry, Followed { target, course, task }) {
                old.task.abort();
            }
        }
        tokio::select! {
            changed = targets.changed() => if changed.is_err() { return },
            () = tell.closed() => return,
            // A task ends only when it was aborted; its handle is gone already.
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// Probes one entry again and again.
async fn follow(entry: Entry, target: Target, course: Arc<Mutex<Course>>, shared: Arc<(impl Ask, Semaphore)>, tell: Sender<Batch>) {
    let probe = &*target.probe;
    tokio::time::sleep(probe.initial_delay + uneven(probe.period.min(SPREAD), 0.0..0.5)).await;
    loop {
        let begun = tokio::time::Instant::now();
        let outcome = {
            let Ok(_permit) = shared.1.acquire().await else { return };
            match tokio::time::timeout(probe.timeout, shared.0.ask(&target)).await {
                Ok(outcome) => outcome,
                Err(_) => Outcome::Failed(format!("no answer within {} s", probe.timeout.as_secs())),
            }
        };
        debug!(cluster = %entry.0, entry = %entry.1, ?outcome, "probed");
        // Between what is noted and what is told nothing may wait: this task may be ended wherever it waits.
        let Ok(place) = tell.reserve().await else { return };
        let (told, wait) = {
            let mut course = course.lock().unwrap_or_else(PoisonError::into_inner);
            let told = course.take(outcome, probe.successes, probe.failures, begun.into_std());
            (told, course.wait(probe.period))
        };
        if let Some(verdict) = told {
            match &verdict.failure {
                Some(reason) => warn!(cluster = %entry.0, entry = %entry.1, reason = &**reason, "probe failed, no traffic until it succeeds"),
                None => info!(cluster = %entry.0, entry = %entry.1, "probe succeeded"),
            }
            place.send(vec![Event::Probed(entry.clone(), target.address.clone(), verdict)]);
        }
        // Never in step with others.
        tokio::time::sleep_until(begun + uneven(wait, 0.9..1.1)).await;
    }
}

/// Some share of a time.
fn uneven(time: Duration, share: Range<f64>) -> Duration {
    time.mul_f64(rand::rng().random_range(share))
}

#[cfg(test)]
mod tests;
