//! Probes as a group asks for them, over real sockets, and in time.

use std::net::SocketAddr;

use isthmus_config::istio::workload::{GrpcHealthCheck, HttpHealthCheck, TcpHealthCheck};
use isthmus_config::object::Kind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::channel;

use super::*;

fn get(host: &str, path: &str) -> ReadinessProbe {
    ReadinessProbe {
        http_get: Some(HttpHealthCheck { host: host.into(), path: path.into(), port: 80, ..HttpHealthCheck::default() }),
        ..ReadinessProbe::default()
    }
}

#[test]
fn absent_numbers_are_kubernetes_defaults() {
    let probe = Probe::of(&get("", "")).expect("a probe");
    let seconds = [probe.initial_delay, probe.timeout, probe.period].map(|d| d.as_secs());
    assert_eq!((seconds, probe.successes, probe.failures), ([0, 1, 10], 1, 3));
    let asked =
        ReadinessProbe { initial_delay_seconds: 4, timeout_seconds: 5, period_seconds: 6, success_threshold: 7, failure_threshold: 8, ..get("", "") };
    let probe = Probe::of(&asked).expect("a probe");
    let seconds = [probe.initial_delay, probe.timeout, probe.period].map(|d| d.as_secs());
    assert_eq!((seconds, probe.successes, probe.failures), ([4, 5, 6], 7, 8));
}

#[test]
fn a_host_names_and_does_not_lead_elsewhere() {
    for (host, path, want_host, want_path) in
        [("", "", None, "/"), ("127.0.0.1", "/a?b", None, "/a?b"), ("localhost", "a", None, "/a"), ("vm.demo", "/", Some("vm.demo"), "/")]
    {
        let Some(Action::Http { path: got, headers, .. }) = Probe::of(&get(host, path)).map(|p| p.action) else { panic!("{host} {path}") };
        assert_eq!((headers.get("host").and_then(|h| h.to_str().ok()), got.as_str()), (want_host, want_path));
    }
}

#[test]
fn what_a_gateway_cannot_do_is_told() {
    let exec = ReadinessProbe { exec: Some(Default::default()), ..ReadinessProbe::default() };
    let socket = |host: &str| ReadinessProbe { tcp_socket: Some(TcpHealthCheck { host: host.into(), port: 1 }), ..ReadinessProbe::default() };
    for (asked, field, made) in [
        (exec, Some("spec.probe.exec"), false),
        (socket("10.0.0.1"), Some("spec.probe.tcpSocket.host"), true),
        (socket("127.0.0.1"), None, true),
        (get("", "/a b"), Some("spec.probe.httpGet.path"), false),
        (get("a\nb", "/"), Some("spec.probe.httpGet.httpHeaders"), false),
        (get("vm.demo", "/ok"), None, true),
    ] {
        assert_eq!((cannot(&asked).map(|(field, _)| field), Probe::of(&asked).is_some()), (field, made), "{asked:?}");
    }
}

fn target(address: SocketAddr, action: impl FnOnce(u16) -> Action) -> Target {
    let probe = Probe { action: action(address.port()), ..Probe::of(&get("", "")).expect("a probe") };
    Target { address: address.ip().to_string().into(), probe: Arc::new(probe) }
}

fn plain(port: u16) -> Action {
    Action::Http { secure: false, port, path: PathAndQuery::from_static("/ready"), headers: HeaderMap::new() }
}

/// A server that says `answer` to everybody and closes.
async fn server(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 1024];
            let read = stream.read(&mut head).await.unwrap_or(0);
            let wanted = String::from_utf8_lossy(&head[..read]).to_lowercase();
            let fits = wanted.starts_with("get /ready http/1.1\r\n") && wanted.contains("user-agent: isthmus-probe\r\n");
            let answer = if fits { answer } else { "HTTP/1.1 418 teapot\r\ncontent-length: 0\r\n\r\n" };
            // A client that has gone away has what it wanted.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

#[tokio::test]
async fn http_and_tcp_are_asked_over_the_network() {
    let well = server("HTTP/1.1 204 x\r\n\r\n").await;
    let moved = server("HTTP/1.1 302 x\r\nlocation: /\r\ncontent-length: 0\r\n\r\n").await;
    let ill = server("HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n").await;
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("an address")
    };
    assert_eq!(Network.ask(&target(well, plain)).await, Outcome::Passed);
    assert_eq!(Network.ask(&target(moved, plain)).await, Outcome::Passed, "a redirection is an answer");
    assert_eq!(Network.ask(&target(ill, plain)).await, Outcome::Failed("answered 503".into()));
    assert_eq!(Network.ask(&target(ill, |port| Action::Tcp { port })).await, Outcome::Passed, "a port that is open");
    for action in [plain as fn(u16) -> Action, |port| Action::Tcp { port }, |port| Action::Grpc { port, service: String::new() }] {
        let outcome = Network.ask(&target(nobody, action)).await;
        assert!(matches!(&outcome, Outcome::Failed(reason) if reason.contains("refused")), "{outcome:?}");
    }
    let secure = |port| Action::Http { secure: true, port, path: PathAndQuery::from_static("/ready"), headers: HeaderMap::new() };
    assert!(matches!(Network.ask(&target(well, secure)).await, Outcome::Failed(_)), "what speaks no TLS fails a probe over HTTPS");
    let name = Target { address: "localhost".into(), ..target(well, plain) };
    assert_eq!(Network.ask(&name).await, Outcome::Passed, "a name is looked up");
}

/// gRPC's health service: `message` and `status` to whoever asks for the service `db`.
async fn health(message: &'static [u8], status: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut connection) = h2::server::handshake(stream).await else { continue };
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                tokio::spawn(async move {
                    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                    let question = request.into_body().data().await.expect("a message").expect("data");
                    assert_eq!(&question[..], b"\0\0\0\0\x04\x0a\x02db");
                    let head = http::Response::builder().header("content-type", "application/grpc").body(()).expect("a head");
                    let mut body = respond.send_response(head, false).expect("sent");
                    body.send_data(message.into(), false).expect("sent");
                    let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static(status))]);
                    body.send_trailers(trailers).expect("sent");
                });
            }
        }
    });
    address
}

#[tokio::test]
async fn grpc_is_asked_for_its_health() {
    let action = |port| Action::Grpc { port, service: "db".into() };
    assert!(Probe::of(&ReadinessProbe { grpc: Some(GrpcHealthCheck { port: 1, service: "db".into() }), ..ReadinessProbe::default() }).is_some());
    for (message, status, want) in [
        (&b"\0\0\0\0\x02\x08\x01"[..], "0", Outcome::Passed),
        (b"\0\0\0\0\x02\x08\x02", "0", Outcome::Failed("answered NOT_SERVING".into())),
        (b"\0\0\0\0\0", "0", Outcome::Failed("answered UNKNOWN".into())),
        (b"", "12", Outcome::Failed("answered gRPC status 12".into())),
    ] {
        assert_eq!(Network.ask(&target(health(message, status).await, action)).await, want, "{message:?}");
    }
    let plain = server("HTTP/1.1 200 x\r\n\r\n").await;
    assert!(matches!(Network.ask(&target(plain, action)).await, Outcome::Failed(_)), "what speaks HTTP/1 is no gRPC server");
}

/// The addresses that were asked. 10.0.0.1 fails four times, 10.0.0.3 every other time, others are well.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Vec<Arc<str>>>>);

impl Script {
    fn asked(&self, address: &str) -> usize {
        self.0.lock().expect("nobody panics here").iter().filter(|a| &***a == address).count()
    }
}

impl Ask for Script {
    async fn ask(&self, target: &Target) -> Outcome {
        self.0.lock().expect("nobody panics here").push(target.address.clone());
        let times = self.asked(&target.address);
        let well = match &*target.address {
            "10.0.0.1" => times > 4,
            "10.0.0.3" => times.is_multiple_of(2),
            _ => true,
        };
        if well { Outcome::Passed } else { Outcome::Failed("no".into()) }
    }
}

#[tokio::test(start_paused = true)]
async fn entries_are_probed_while_they_are_wanted() {
    let (targets, wanted) = watch::channel(Targets::default());
    let (tell, mut told) = channel(4);
    let script = Script::default();
    tokio::spawn(probe(wanted, tell, script.clone()));
    let entry: Entry = ("c1".into(), ObjectRef::new(Kind::WorkloadEntry, "vm", "a"));
    let of = |asked: &ReadinessProbe, address: &str| Target { address: address.into(), probe: Arc::new(Probe::of(asked).expect("a probe")) };
    let slow = ReadinessProbe { period_seconds: 20, initial_delay_seconds: 5, ..get("", "") };
    let start = tokio::time::Instant::now();
    targets.send_modify(|t| drop(t.insert(entry.clone(), of(&slow, "10.0.0.1"))));
    let mut next = async || {
        let batch = told.recv().await.expect("a verdict");
        let verdict = batch.into_iter().find_map(|e| if let Event::Probed(_, address, verdict) = e { Some((address, verdict)) } else { None });
        verdict.expect("a verdict")
    };
    let (address, verdict) = next().await;
    assert_eq!((&*address, verdict.failure.as_deref()), ("10.0.0.1", Some("no")));
    let took = start.elapsed().as_secs_f64();
    assert!((6.8..8.5).contains(&took), "a delay of 5 s, then three probes a second apart: {took}");
    // Another way of asking keeps what is known: one more failure says nothing new, a success does.
    let quick = ReadinessProbe { period_seconds: 2, ..get("", "") };
    targets.send_modify(|t| drop(t.insert(entry.clone(), of(&quick, "10.0.0.1"))));
    let (_, verdict) = next().await;
    assert_eq!((verdict.failure, script.asked("10.0.0.1")), (None, 5));
    // Another address is another machine.
    targets.send_modify(|t| drop(t.insert(entry.clone(), of(&quick, "10.0.0.2"))));
    let (address, verdict) = next().await;
    assert_eq!((&*address, verdict.failure), ("10.0.0.2", None));
    // Who is no longer wanted is not asked while another one is, many times.
    let restless = ReadinessProbe { failure_threshold: 1, ..quick };
    targets.send_modify(|t| {
        t.clear();
        t.insert(("c1".into(), ObjectRef::new(Kind::WorkloadEntry, "vm", "b")), of(&restless, "10.0.0.3"));
    });
    assert_eq!(&*next().await.0, "10.0.0.3");
    let before = script.asked("10.0.0.2");
    for _ in 0..20 {
        next().await;
    }
    assert_eq!((script.asked("10.0.0.2"), script.asked("10.0.0.3")), (before, 21));
}
