//! `isthmus get`: what is in force, in istioctl's columns.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::args::{Filter, Get, Noun, Where};
use super::out::{Exit, Out, Paint, dash, table};
use super::print::print;
use super::{Done, Failed, client, offline};
use crate::admin::{BackendRow, ClusterRow, EndpointRow, HeldRow, ListenerRow, Now, ProblemRow, RouteRow};

/// Between two looks at what is waited for.
const PAUSE: Duration = Duration::from_millis(200);

/// So many URLs of a listener stand in a table; JSON has all.
const SHOWN: usize = 4;

/// Rows of one kind: where they come from, which are wanted, how they look.
pub(super) trait Row: Serialize + DeserializeOwned {
    /// The admin port's path.
    const PATH: &'static str;
    /// The columns.
    const HEAD: &'static [&'static str];
    /// Further columns of `-o wide`.
    const WIDE: &'static [&'static str];
    /// From files.
    fn of(now: &Now) -> Vec<Self>;
    /// Names that a name may be part of.
    fn names(&self) -> Vec<&str>;
    /// True where the other filters want it.
    fn wanted(&self, filter: &Filter) -> bool;
    /// The cells of `HEAD` and `WIDE`.
    fn cells(&self) -> Vec<String>;
}

/// Runs `isthmus get`.
pub(super) fn run(out: Out, get: &Get) -> Done {
    if let Some(cluster) = &get.wait {
        if get.noun != Noun::Clusters {
            return Err(Failed::Usage("--wait goes with `get clusters`".to_owned()));
        }
        wait(out, get, cluster)?;
    }
    if get.matrix {
        return match get.noun {
            Noun::Backends => super::matrix::run(out, get),
            Noun::Listeners | Noun::Routes | Noun::Endpoints | Noun::Clusters | Noun::Problems => {
                Err(Failed::Usage("--matrix is of backends: isthmus get backends NAME --matrix".to_owned()))
            }
        };
    }
    match get.noun {
        Noun::Listeners => list::<ListenerRow>(out, get),
        Noun::Routes => list::<RouteRow>(out, get),
        Noun::Backends => list::<BackendRow>(out, get),
        Noun::Endpoints => list::<EndpointRow>(out, get),
        Noun::Clusters => list::<ClusterRow>(out, get),
        Noun::Problems => list::<ProblemRow>(out, get),
    }
}

/// Waits until a cluster is synced. A gateway that does not answer yet may do so later.
fn wait(out: Out, get: &Get, cluster: &str) -> Result<(), Failed> {
    let end = Instant::now() + Duration::from_secs(get.timeout);
    loop {
        let state = match rows::<ClusterRow>(out, &get.place) {
            Ok(rows) => match rows.into_iter().find(|row| row.name == cluster) {
                Some(row) if row.status == "synced" => return Ok(()),
                Some(row) if row.reason.is_empty() => row.status,
                Some(row) => format!("{}: {}", row.status, row.reason),
                None => "no isthmus.yaml and no remote secret names it".to_owned(),
            },
            Err(Failed::Other(reason)) => reason,
            Err(other) => return Err(other),
        };
        if Instant::now() >= end {
            return Err(Failed::Other(format!("cluster {cluster} is not synced after {} s: {state}", get.timeout)));
        }
        std::thread::park_timeout(PAUSE);
    }
}

/// All rows of a world.
pub(super) fn rows<R: Row>(out: Out, place: &Where) -> Result<Vec<R>, Failed> {
    match place.asked()? {
        Some(asked) => Ok(R::of(&offline(out, &asked))),
        None => {
            let body = client::ask(place.admin(), "GET", R::PATH, Vec::new()).map_err(Failed::Other)?;
            serde_json::from_slice(&body).map_err(|e| Failed::Other(format!("the admin port answered something else: {e}")))
        }
    }
}

fn list<R: Row>(out: Out, get: &Get) -> Done {
    let mut rows = rows::<R>(out, &get.place)?;
    for name in get.name.iter().chain(&get.filter.name) {
        rows.retain(|row| row.names().iter().any(|n| n.contains(name.as_str())));
    }
    rows.retain(|row| row.wanted(&get.filter));
    print(out, get.output.output, &rows, |wide| {
        let mut head = R::HEAD.to_vec();
        if wide {
            head.extend(R::WIDE);
        }
        let cells: Vec<Vec<String>> = rows.iter().map(|row| row.cells().into_iter().take(head.len()).collect()).collect();
        if cells.is_empty() { String::new() } else { table(&head, &cells) }
    })?;
    if rows.is_empty() {
        out.message(&out.paint_message(Paint::Dim, "nothing found"));
    }
    Ok(Exit::Done)
}

/// True where `want` is not given or is what is there.
fn is<T: PartialEq>(want: Option<&T>, have: &T) -> bool {
    want.is_none_or(|want| want == have)
}

/// A backend is meant by its host, or by all of its name.
pub(super) fn backend_is(want: Option<&String>, host: &str, name: &str) -> bool {
    want.is_none_or(|want| want == host || want == name || host.strip_prefix(want.as_str()).is_some_and(|rest| rest.starts_with('.')))
}

impl Row for ListenerRow {
    const PATH: &'static str = "/listeners";
    const HEAD: &'static [&'static str] = &["ADDRESSES", "PORT", "MATCH", "DESTINATION"];
    const WIDE: &'static [&'static str] = &["SERVER PORTS", "GATEWAYS", "URLS", "STATE"];
    fn of(now: &Now) -> Vec<Self> {
        now.listener_rows()
    }
    fn names(&self) -> Vec<&str> {
        [self.address.as_str(), &self.destination].into_iter().chain(self.gateways.iter().map(String::as_str)).collect()
    }
    fn wanted(&self, filter: &Filter) -> bool {
        let namespace = |want: &String| self.gateways.iter().any(|g| g.ends_with(&format!(".{want}")));
        filter.port.is_none_or(|port| port == self.port || self.server_ports.contains(&port))
            && filter.host.as_ref().is_none_or(|host| self.hosts.iter().any(|h| h == host))
            && filter.namespace.as_ref().is_none_or(namespace)
            && filter.backend.as_ref().is_none_or(|b| self.destination.contains(b.as_str()))
    }
    fn cells(&self) -> Vec<String> {
        let ports: Vec<String> = self.server_ports.iter().map(u16::to_string).collect();
        let first = [self.address.clone(), self.port.to_string(), self.matches.clone(), self.destination.clone()];
        let mut urls = self.urls.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        if let Some(more) = self.urls.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            urls += &format!(" and {more} more");
        }
        first.into_iter().chain([ports.join(","), self.gateways.join(", "), dash(&urls), dash(&self.state)]).collect()
    }
}

impl Row for RouteRow {
    const PATH: &'static str = "/routes";
    const HEAD: &'static [&'static str] = &["NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE"];
    const WIDE: &'static [&'static str] = &["ROUTE", "CONDITIONS", "BACKENDS", "PLACE"];
    fn of(now: &Now) -> Vec<Self> {
        now.route_rows()
    }
    fn names(&self) -> Vec<&str> {
        vec![&self.name, &self.virtual_host, &self.virtual_service, &self.route]
    }
    fn wanted(&self, filter: &Filter) -> bool {
        let backend =
            |want: &String| self.backends.iter().any(|b| backend_is(Some(want), b.backend.rsplit('|').next().unwrap_or_default(), &b.backend));
        is(filter.port.as_ref(), &self.port)
            && filter.host.as_ref().is_none_or(|host| self.domains.iter().any(|d| d == host))
            && is(filter.namespace.as_ref(), &self.namespace)
            && filter.backend.as_ref().is_none_or(backend)
    }
    fn cells(&self) -> Vec<String> {
        let backends: Vec<String> = self.backends.iter().map(|b| format!("{} {:.0}%", b.backend, b.share * 100.0)).collect();
        let place = if self.line == 0 { self.file.clone() } else { format!("{}:{}", self.file, self.line) };
        let first = [self.name.clone(), self.virtual_host.clone(), self.domains.join(", "), self.matches.clone(), self.virtual_service.clone()];
        first.into_iter().chain([dash(&self.route), self.conditions.clone(), backends.join(", "), place]).collect()
    }
}

/// `0, peak 3 of 10, 21 over`: what there is now, the most there has been of what is allowed, and how often that was too little.
fn held(held: Option<&HeldRow>) -> String {
    let Some(HeldRow { limit, used, peak, total: _, overflow }) = held else { return "-".to_owned() };
    let mut text = used.to_string();
    match limit {
        Some(limit) => text.push_str(&format!(", peak {peak} of {limit}")),
        None if *peak > 0 => text.push_str(&format!(", peak {peak}")),
        None => {}
    }
    if *overflow > 0 {
        text.push_str(&format!(", {overflow} over"));
    }
    text
}

impl Row for BackendRow {
    const PATH: &'static str = "/backends";
    const HEAD: &'static [&'static str] = &["SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE"];
    const WIDE: &'static [&'static str] = &["ENDPOINTS", "HEALTHY", "ROUTED TO", "CONNECTIONS", "PENDING", "REQUESTS", "RETRIES", "CONNECT", "NAME"];
    fn of(now: &Now) -> Vec<Self> {
        now.backend_rows()
    }
    fn names(&self) -> Vec<&str> {
        vec![&self.backend, &self.destination_rule]
    }
    fn wanted(&self, filter: &Filter) -> bool {
        is(filter.port.as_ref(), &self.port)
            && is(filter.host.as_ref(), &self.host)
            && is(filter.namespace.as_ref(), &self.namespace)
            && backend_is(filter.backend.as_ref(), &self.host, &self.backend)
    }
    fn cells(&self) -> Vec<String> {
        let first = [self.host.clone(), self.port.to_string(), dash(&self.subset), "outbound".to_owned(), self.kind.clone()];
        let used = if self.used { "yes" } else { "no" };
        let wide = [self.destination_rule.clone(), self.endpoints.to_string(), self.healthy.to_string(), used.to_owned()];
        let usage = self.usage.as_ref();
        let held = [usage.map(|u| &u.connections), usage.map(|u| &u.pending), usage.map(|u| &u.requests), usage.map(|u| &u.retries)].map(held);
        let connect = self.connect_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
        first.into_iter().chain(wide).chain(held).chain([connect, self.backend.clone()]).collect()
    }
}

impl Row for EndpointRow {
    const PATH: &'static str = "/endpoints";
    const HEAD: &'static [&'static str] = &["ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER"];
    const WIDE: &'static [&'static str] = &[
        "IN CLUSTER",
        "NETWORK",
        "LOCALITY",
        "WORKLOAD",
        "WEIGHT",
        "ACTIVE",
        "EJECTIONS",
        "CAUSE",
        "SINCE",
        "UNTIL",
        "PROBE",
        "SOURCE",
        "GATEWAYS",
        "WHY",
    ];
    fn of(now: &Now) -> Vec<Self> {
        now.endpoint_rows()
    }
    fn names(&self) -> Vec<&str> {
        vec![&self.endpoint, &self.backend, &self.workload]
    }
    fn wanted(&self, filter: &Filter) -> bool {
        is(filter.port.as_ref(), &self.port)
            && is(filter.host.as_ref(), &self.host)
            && is(filter.namespace.as_ref(), &self.namespace)
            && backend_is(filter.backend.as_ref(), &self.host, &self.backend)
    }
    fn cells(&self) -> Vec<String> {
        let first = [&self.endpoint, &self.status, &self.outlier_check, &self.backend, &self.cluster].map(Clone::clone);
        let place = [dash(&self.network), dash(&self.locality), dash(&self.workload)];
        let counts = [self.weight, self.active, self.ejections].map(|n| n.to_string());
        let stay = self.ejection.clone().unwrap_or_default();
        let told = [&stay.cause, &stay.since, &stay.until, &self.probe, &self.source, &self.gateways, &self.why].map(|t| dash(t));
        first.into_iter().chain(place).chain(counts).chain(told).collect()
    }
}

impl Row for ClusterRow {
    const PATH: &'static str = "/remote-clusters";
    const HEAD: &'static [&'static str] = &["NAME", "SECRET", "STATUS", "ISTIOD", "REVISION"];
    const WIDE: &'static [&'static str] = &["ENDPOINTS", "FROM", "AGE", "LAST ERROR"];
    fn of(now: &Now) -> Vec<Self> {
        now.cluster_rows()
    }
    fn names(&self) -> Vec<&str> {
        vec![&self.name]
    }
    fn wanted(&self, _: &Filter) -> bool {
        true
    }
    fn cells(&self) -> Vec<String> {
        let first = [&self.name, &self.secret, &self.status, &self.istiod, &self.revision].map(Clone::clone);
        let age = self.age.map(|seconds| format!("{seconds}s")).unwrap_or_default();
        let from = if self.from_disk { "disk" } else { "source" };
        first.into_iter().chain([self.endpoints.to_string(), from.to_owned(), dash(&age), dash(&self.last_error)]).collect()
    }
}

impl Row for ProblemRow {
    const PATH: &'static str = "/problems";
    const HEAD: &'static [&'static str] = &["SEVERITY", "CODE", "OBJECT", "PLACE", "MESSAGE"];
    const WIDE: &'static [&'static str] = &["FIELD", "HINT"];
    fn of(now: &Now) -> Vec<Self> {
        now.problem_rows()
    }
    fn names(&self) -> Vec<&str> {
        vec![&self.name, &self.code, &self.message]
    }
    fn wanted(&self, filter: &Filter) -> bool {
        is(filter.namespace.as_ref(), &self.namespace) && filter.host.as_ref().is_none_or(|host| self.message.contains(host.as_str()))
    }
    fn cells(&self) -> Vec<String> {
        let object = match (self.kind.is_empty(), self.namespace.is_empty()) {
            (true, _) => "-".to_owned(),
            (false, true) => format!("{} {}", self.kind, self.name),
            (false, false) => format!("{} {}.{}", self.kind, self.name, self.namespace),
        };
        let first = [self.severity.clone(), self.code.clone(), object, dash(&self.place()), self.message.clone()];
        first.into_iter().chain([dash(&self.path), self.hint.clone().unwrap_or_else(|| "-".to_owned())]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_backend_holds_reads_beside_its_limit() {
        for (limit, used, peak, overflow, want) in [
            (None, 0, 0, 0, "0"),
            (None, 2, 5, 0, "2, peak 5"),
            (Some(10), 0, 0, 0, "0, peak 0 of 10"),
            (Some(10), 1, 10, 21, "1, peak 10 of 10, 21 over"),
        ] {
            assert_eq!(held(Some(&HeldRow { limit, used, peak, total: 99, overflow })), want);
        }
        assert_eq!(held(None), "-");
    }
}
