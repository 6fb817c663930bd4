//! The engine over loopback sockets: a compiled world, backends that follow a script, and clients that send exact bytes.

mod bodies;
mod framing;
mod http2;
mod limits;
mod streams;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use isthmus_config::bootstrap::Bootstrap;
use isthmus_core::compile::Compiler;
use isthmus_discovery::{Settings, offline};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Engine;
use crate::listener::{Listeners, State};
use crate::observe::{Metrics, Observe, Trials};

const LONG: Duration = Duration::from_secs(20);
/// Long enough for an answer on a busy machine, short enough to see it end.
const DRAIN: Duration = Duration::from_secs(3);

/// A gateway with one HTTP listener.
struct Gateway {
    address: SocketAddr,
    listeners: Arc<Listeners>,
    engine: Arc<Engine>,
}

/// A gateway whose host `a.test` routes by `rule`, a list entry of a VirtualService's `http`, to an endpoint on `backend`.
fn gateway(backend: SocketAddr, protocol: &str, rule: &str) -> Gateway {
    routed("a.test", &[backend], protocol, "{}", rule)
}

/// Routes `host` to `backends` under `policy`, the connectionPool of a DestinationRule, and `rule`, further lines of the one route.
fn routed(host: &str, backends: &[SocketAddr], protocol: &str, policy: &str, rule: &str) -> Gateway {
    let endpoints: String = backends.iter().map(|b| format!("  - {{address: {}, ports: {{main: {}}}}}\n", b.ip(), b.port())).collect();
    let (server, route) = if protocol == "TCP" { ("TCP", "tcp") } else { ("HTTP", "http") };
    started(&format!(
        "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: g, namespace: default}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: 80, name: main, protocol: {server}}}, hosts: ['*']}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: b, namespace: default}}
spec:
  hosts: [b.test]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: main, protocol: {protocol}}}]
  endpoints:
{endpoints}---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: b, namespace: default}}
spec: {{host: b.test, trafficPolicy: {{loadBalancer: {{simple: ROUND_ROBIN}}, connectionPool: {policy}}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: v, namespace: default}}
spec:
  hosts: ['{host}']
  gateways: [g]
  {route}:
  - route: [{{destination: {{host: b.test, port: {{number: 80}}}}}}]
{rule}
"
    ))
}

fn started(yaml: &str) -> Gateway {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("world.yaml"), yaml).unwrap();
    let mut bootstrap = Bootstrap::for_directory(directory.path());
    bootstrap.gateway.bind = [127, 0, 0, 1].into();
    bootstrap.gateway.ports.insert(80, 0);
    let (settings, _) = Settings::load(&bootstrap).unwrap();
    let mut registry = offline(settings.clone(), Vec::new());
    let (world, changes) = registry.world();
    let plan = Compiler::new(1).compile(&world, &changes);
    plan.publish_views();
    let metrics = Metrics::new(settings.gateway);
    let engine = Arc::new(Engine::new(
        2,
        Arc::new(Observe { metrics, traffic: Arc::default(), trials: Trials::default(), log: None }),
        mpsc::unbounded_channel().0,
    ));
    let snapshot = plan.snapshot.expect("a first snapshot");
    engine.published.publish(&snapshot);
    let listeners = Listeners::new(engine.clone(), Handle::current(), DRAIN);
    listeners.reconcile(&snapshot);
    let address = listeners.status().into_iter().find_map(|s| match s.state {
        State::Bound(address) => Some(address),
        State::Refused { .. } | State::Draining(_) => None,
    });
    Gateway { address: address.unwrap_or_else(|| panic!("no listener: {:?} {:?}", listeners.status(), Path::new("world.yaml"))), listeners, engine }
}

/// A backend that hands out its connections.
async fn backend() -> (SocketAddr, mpsc::Receiver<Peer>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if tell.send(Peer { stream, seen: Vec::new() }).await.is_err() {
                return;
            }
        }
    });
    (address, told)
}

/// One end of a connection, client's or backend's.
struct Peer {
    stream: TcpStream,
    seen: Vec<u8>,
}

impl Peer {
    async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), seen: Vec::new() }
    }
    async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }
    /// Reads until `end` has come, and returns all up to it.
    async fn hear(&mut self, end: &str) -> String {
        let read = async {
            loop {
                if let Some(at) = self.seen.windows(end.len()).position(|w| w == end.as_bytes()) {
                    let rest = self.seen.split_off(at + end.len());
                    return std::mem::replace(&mut self.seen, rest);
                }
                let mut chunk = [0; 4096];
                let n = self.stream.read(&mut chunk).await.unwrap_or(0);
                assert!(n > 0, "closed after {:?}, waiting for {end:?}", String::from_utf8_lossy(&self.seen));
                self.seen.extend_from_slice(&chunk[..n]);
            }
        };
        let heard = timeout(LONG, read).await;
        String::from_utf8(heard.unwrap_or_else(|_| panic!("no {end:?} came"))).unwrap()
    }
    /// A head, to its empty line.
    async fn head(&mut self) -> String {
        self.hear("\r\n\r\n").await
    }
    /// Everything until the connection is closed.
    async fn rest(&mut self) -> String {
        let mut rest = std::mem::take(&mut self.seen);
        let read = timeout(LONG, self.stream.read_to_end(&mut rest)).await.expect("the connection stays open");
        drop(read);
        String::from_utf8(rest).unwrap()
    }
}

async fn next(connections: &mut mpsc::Receiver<Peer>) -> Peer {
    timeout(LONG, connections.recv()).await.expect("a connection").unwrap()
}
