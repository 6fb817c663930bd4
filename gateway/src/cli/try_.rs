//! `isthmus try`: sends requests and shows codes, flags, latencies, and who answered.
//!
//! A nonce, registered on the admin port, makes the gateway say in each answer which endpoint gave it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::args::{ADMIN, Try};
use super::client::{self, Answer, Client, Request, Url};
use super::out::{Exit, Out, Paint, chart};
use super::print::print;
use super::{Done, Failed};
use crate::admin::ListenerRow;
use crate::observe::NONCE;

/// What came of the requests.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Tally {
    pub(super) requests: u32,
    pub(super) codes: BTreeMap<String, u64>,
    pub(super) flags: BTreeMap<String, u64>,
    pub(super) backends: BTreeMap<String, u64>,
    pub(super) clusters: BTreeMap<String, u64>,
    pub(super) zones: BTreeMap<String, u64>,
    pub(super) endpoints: BTreeMap<String, u64>,
    pub(super) latency: Latency,
    #[serde(skip)]
    took: Vec<Duration>,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Latency {
    pub(super) min: f64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Latency {
    fn of(took: &mut [Duration]) -> Self {
        took.sort_unstable();
        let at = |share: f64| {
            let place = ((took.len() as f64 * share).ceil() as usize).clamp(1, took.len().max(1)) - 1;
            took.get(place).map_or(0.0, |t| (t.as_secs_f64() * 1e5).round() / 100.0)
        };
        Self { min: at(0.0), p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1.0) }
    }
}

impl Tally {
    fn count(&mut self, answer: Result<&Answer, &str>, took: Duration) {
        self.requests += 1;
        self.took.push(took);
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return *self.codes.entry(error.to_owned()).or_default() += 1,
        };
        *self.codes.entry(answer.status.to_string()).or_default() += 1;
        let mut told = |map: fn(&mut Self) -> &mut BTreeMap<String, u64>, name: &str, more: Option<&str>| {
            if let Some(value) = answer.header(name).filter(|v| !v.is_empty() && *v != "-") {
                let more = more.and_then(|name| answer.header(name)).filter(|v| !v.is_empty()).map(|v| format!(" {v}")).unwrap_or_default();
                *map(self).entry(format!("{value}{more}")).or_default() += 1;
            }
        };
        told(|t| &mut t.flags, "x-isthmus-flags", None);
        told(|t| &mut t.backends, "x-isthmus-backend", None);
        told(|t| &mut t.clusters, "x-isthmus-cluster", None);
        told(|t| &mut t.zones, "x-isthmus-locality", None);
        told(|t| &mut t.endpoints, "x-isthmus-endpoint", Some("x-isthmus-workload"));
    }
}

/// Runs `isthmus try`.
pub(super) fn run(out: Out, asked: &Try) -> Done {
    let url = Url::parse(&asked.url).map_err(Failed::Usage)?;
    if url.tls {
        return Err(Failed::Usage("https comes with TLS servers; try http".to_owned()));
    }
    let mut headers = asked.headers.iter().map(|h| client::header(h)).collect::<Result<Vec<_>, _>>().map_err(Failed::Usage)?;
    let admin = asked.admin.as_deref().unwrap_or(ADMIN);
    let address = match asked.connect {
        Some(address) => address,
        None => listener(admin, &url)?,
    };
    headers.push(register(admin)?);
    let host = match headers.iter().position(|(name, _)| name.eq_ignore_ascii_case("host")) {
        Some(host) => headers.remove(host).1,
        None => url.authority.clone(),
    };
    let request = Request { method: asked.method.clone(), target: url.target, host, headers, body: Vec::new() };
    let tally = send(address, &request, asked.number, asked.concurrency);
    print(out, asked.output.output, &tally, |wide| text(out, &tally, wide))?;
    let answered = tally.codes.keys().any(|code| code.parse::<u16>().is_ok());
    Ok(if answered { Exit::Done } else { Exit::Failed })
}

/// Registers a nonce, and gives the header that carries it.
pub(super) fn register(admin: &str) -> Result<(String, String), Failed> {
    let nonce = uuid::Builder::from_random_bytes(rand::random()).into_uuid().simple().to_string();
    client::ask(admin, "POST", "/try", nonce.clone().into_bytes()).map_err(Failed::Other)?;
    Ok((NONCE.as_str().to_owned(), nonce))
}

/// Where the gateway listens for servers with the URL's port.
fn listener(admin: &str, url: &Url) -> Result<SocketAddr, Failed> {
    let body = client::ask(admin, "GET", "/listeners", Vec::new()).map_err(Failed::Other)?;
    let rows: Vec<ListenerRow> = serde_json::from_slice(&body).map_err(|e| Failed::Other(format!("the admin port answered something else: {e}")))?;
    let Some(row) = rows.iter().find(|row| row.server_ports.contains(&url.port)) else {
        return Err(Failed::Other(format!("no Gateway server with port {}: `isthmus get listeners -o wide` shows which there are", url.port)));
    };
    let bound: IpAddr = row.address.parse().map_err(|e| Failed::Other(format!("{}: {e}", row.address)))?;
    let address = if bound.is_unspecified() { admin_address(admin) } else { bound };
    Ok(SocketAddr::new(address, row.port))
}

/// A listener on every address is on the admin port's as well.
fn admin_address(admin: &str) -> IpAddr {
    let url = Url::parse(admin).ok();
    let found = url.and_then(|url| (url.host.as_str(), url.port).to_socket_addrs().ok()?.next());
    found.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())
}

/// Sends `number` requests, `concurrency` at a time, each over a kept connection.
pub(super) fn send(address: SocketAddr, request: &Request, number: u32, concurrency: u32) -> Tally {
    let (next, tally) = (AtomicU32::new(0), Mutex::new(Tally::default()));
    std::thread::scope(|scope| {
        for _ in 0..concurrency.min(number) {
            scope.spawn(|| {
                let mut client = Client::new(address);
                while next.fetch_add(1, Ordering::Relaxed) < number {
                    let begun = Instant::now();
                    let answer = client.send(request).map_err(|e| e.to_string());
                    let took = begun.elapsed();
                    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                    tally.count(answer.as_ref().map_err(String::as_str), took);
                }
            });
        }
    });
    let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    tally.latency = Latency::of(&mut tally.took);
    tally
}

fn text(out: Out, tally: &Tally, wide: bool) -> String {
    let Latency { min, p50, p90, p99, max } = tally.latency;
    let mut text = format!("{} requests  min {min} ms  p50 {p50} ms  p90 {p90} ms  p99 {p99} ms  max {max} ms\n", tally.requests);
    let sections = [
        ("codes", &tally.codes),
        ("flags", &tally.flags),
        ("backends", &tally.backends),
        ("clusters", &tally.clusters),
        ("zones", &tally.zones),
        ("endpoints", &tally.endpoints),
    ];
    for (name, counts) in sections.into_iter().filter(|(_, counts)| !counts.is_empty()) {
        text += &format!("{}\n{}", out.paint(Paint::Bold, name), chart(out, &rows(name, counts, wide)));
    }
    text
}

/// Counts by name; backends in Istio's words unless `wide`.
fn rows(section: &str, counts: &BTreeMap<String, u64>, wide: bool) -> Vec<(String, u64)> {
    let shown = |name: &String| if section == "backends" && !wide { plain(name) } else { name.clone() };
    counts.iter().map(|(name, count)| (shown(name), *count)).collect()
}

/// `outbound|80|v1|host` as `host:80 subset v1`.
pub(super) fn plain(backend: &str) -> String {
    match backend.split('|').collect::<Vec<_>>()[..] {
        [_, port, "", host] => format!("{host}:{port}"),
        [_, port, subset, host] => format!("{host}:{port} subset {subset}"),
        _ => backend.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn who_answered_is_counted() {
        let mut tally = Tally::default();
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-isthmus-flags", "-"),
            ("x-isthmus-backend", "outbound|80|v1|a.b.svc.cluster.local"),
            ("x-isthmus-cluster", "c1"),
            ("x-isthmus-locality", "r/z/s"),
            ("x-isthmus-endpoint", "10.0.0.1:80"),
            ("x-isthmus-workload", "a-1"),
        ] {
            headers.insert(name, value.parse().expect("a value"));
        }
        let answer = Answer { status: 200, headers, body: Vec::new() };
        tally.count(Ok(&answer), Duration::from_millis(2));
        tally.count(Ok(&answer), Duration::from_millis(4));
        tally.count(Err("refused"), Duration::from_millis(9));
        tally.latency = Latency::of(&mut tally.took);
        assert_eq!(tally.latency, Latency { min: 2.0, p50: 4.0, p90: 9.0, p99: 9.0, max: 9.0 });
        let value = serde_json::to_value(&tally).expect("JSON");
        assert_eq!(value["codes"], serde_json::json!({"200": 2, "refused": 1}));
        assert_eq!(value["endpoints"], serde_json::json!({"10.0.0.1:80 a-1": 2}));
        assert_eq!(value["flags"], serde_json::json!({}));
        let shown = text(Out { color: false, color_messages: false }, &tally, false);
        assert!(shown.contains("a.b.svc.cluster.local:80 subset v1       2  100.0 %"), "{shown}");
    }
}
