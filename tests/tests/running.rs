//! A gateway that changes and ends while it serves: listeners that open and close, endpoints and routes that come and go under load, byte streams,
//! and the way out.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use isthmus_tests::backend::{Backend, ok};
use isthmus_tests::gateway::{ADMIN, Gateway, STATUS, own_address};
use isthmus_tests::wire::{self, Client};
use isthmus_tests::{wait, world};

/// For a change to be in force; the aim is 50 ms, the promise half a second, and this machine may be busy.
const CHANGE: Duration = Duration::from_secs(20);

/// A backend that answers `/slow` only when it is let.
fn patient(ip: IpAddr) -> (Backend, mpsc::Sender<()>) {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let backend = Backend::start(ip, move |peer| {
        while let Some(request) = peer.request() {
            if request.start.contains("/slow") {
                let _let_go = released.lock().expect("one slow request at a time").recv_timeout(wire::PATIENCE);
            }
            peer.write(ok(&request, "done"));
        }
    });
    (backend, release)
}

#[test]
fn sigterm_drains_and_exits_when_idle() {
    let ip = own_address();
    let (backend, release) = patient(ip);
    let mut gateway = Gateway::with(ip, &world::simple(&[backend.address]), "grace: 5s\ndrain: 60s\n");
    let mut slow = Client::connect(gateway.http());
    slow.send("GET /slow HTTP/1.1\r\nhost: a.test\r\n\r\n");
    assert!(wait::holds(wire::PATIENCE, || backend.requests().is_ok_and(|r| !r.is_empty())), "the slow request is under way");
    gateway.terminate();
    assert!(wait::holds(Duration::from_secs(4), || gateway.status() == Some(503)), "it says that it is not ready: {:?}", gateway.status());
    assert_eq!(wire::ask(gateway.http(), "a.test", "/new").map(|m| m.status()), Some(200), "it still accepts during its grace");
    let refused = || TcpStream::connect(gateway.http()).is_err() || wire::ask(gateway.http(), "a.test", "/late").is_none();
    assert!(wait::holds(Duration::from_secs(20), refused), "after its grace it accepts no more");
    assert!(gateway.ended(Duration::from_millis(200)).is_none(), "it waits for what is in flight");
    release.send(()).expect("the backend waits");
    assert_eq!(slow.response("GET").map(|m| (m.status(), m.text())), Some((200, "done".into())), "what was in flight is answered");
    let status = gateway.ended(Duration::from_secs(20));
    assert!(status.is_some_and(|s| s.success()), "it exits as soon as it is idle: {status:?}\n{}", gateway.log());
}

#[test]
fn sigterm_ends_what_outlasts_the_drain() {
    let ip = own_address();
    let (backend, _release) = patient(ip);
    let mut gateway = Gateway::with(ip, &world::simple(&[backend.address]), "grace: 0s\ndrain: 1s\n");
    let mut slow = Client::connect(gateway.http());
    slow.send("GET /slow HTTP/1.1\r\nhost: a.test\r\n\r\n");
    assert!(wait::holds(wire::PATIENCE, || backend.requests().is_ok_and(|r| !r.is_empty())), "the slow request is under way");
    gateway.terminate();
    assert!(gateway.ended(Duration::from_secs(20)).is_some(), "after the drain it ends whatever goes on");
    assert!(slow.closes(wire::PATIENCE));
}

#[test]
fn listeners_open_and_close_while_running() {
    let ip = own_address();
    let backend = Backend::named(ip, "one");
    let base = world::simple(&[backend.address]);
    let more = base.clone() + &world::server("more", 9090, "HTTP") + &world::route("more", "*", "more", "backend.test");
    let gateway = Gateway::start(ip, &base);
    let mut kept = Client::connect(gateway.http());
    let mut still_served = |when: &str| {
        kept.send("GET /kept HTTP/1.1\r\nhost: a.test\r\n\r\n");
        assert_eq!(kept.response("GET").map(|m| m.status()), Some(200), "a connection of another listener is not touched: {when}");
    };
    let open = || TcpStream::connect(gateway.at(9090)).is_ok();
    still_served("at first");
    assert!(!open());
    for round in 0..3 {
        gateway.change(&more);
        assert!(wait::holds(CHANGE, open), "round {round}: the listener opens: {}", gateway.log());
        assert_eq!(wire::ask(gateway.at(9090), "a.test", "/").map(|m| m.text()).as_deref(), Some("one"), "round {round}");
        still_served("one more");
        gateway.change(&base);
        assert!(wait::holds(CHANGE, || !open()), "round {round}: the listener closes: {}", gateway.log());
        still_served("one less");
    }
    assert_eq!(gateway.status(), Some(200));
}

#[test]
fn a_port_that_is_taken_is_no_reason_to_stop() {
    let ip = own_address();
    let backend = Backend::named(ip, "one");
    let taken = std::net::TcpListener::bind((ip, 9090)).expect("the address is ours");
    let world = world::simple(&[backend.address]) + &world::server("more", 9090, "HTTP") + &world::route("more", "*", "more", "backend.test");
    let gateway = Gateway::start(ip, &world);
    assert_eq!(wire::ask(gateway.http(), "a.test", "/").map(|m| m.status()), Some(200), "the other listener serves");
    drop(taken);
    let served = || TcpStream::connect(gateway.at(9090)).is_ok();
    assert!(wait::holds(Duration::from_secs(20), served), "it is tried again: {}", gateway.log());
}

/// A world with one TCP server on port 9000.
fn tcp(routes: &str, services: &str) -> String {
    world::server("stream", 9000, "TCP") + services + &world::routes("stream", "*", &["stream"], routes)
}

#[test]
fn byte_streams_keep_half_closed_sides_apart() {
    let ip = own_address();
    // Answers only after the client has ended its side, so half-close must pass.
    let backend = Backend::start(ip, |peer| {
        while peer.read() {}
        let all = peer.take();
        peer.write([b"got ", &all[..]].concat());
        peer.finish();
    });
    let rules = "  tcp:\n  - route:\n    - destination: {host: stream.test, port: {number: 80}}\n";
    let gateway = Gateway::start(ip, &tcp(rules, &world::service("stream.test", "TCP", &[backend.address])));
    let big = "x".repeat(1_000_000);
    for text in ["hello", "", &big] {
        let mut client = Client::connect(gateway.at(9000));
        client.send(text);
        client.finish();
        assert!(client.closes(wire::PATIENCE), "the backend's end passes");
        assert!(client.rest() == format!("got {text}").as_bytes(), "{} bytes came back for {}", client.rest().len(), text.len());
    }
}

#[test]
fn byte_streams_are_shared_out_by_connection() {
    let ip = own_address();
    let hello = |name: &'static str| {
        Backend::start(ip, move |peer| {
            peer.write(name);
        })
    };
    let (one, two) = (hello("1"), hello("2"));
    let rules = "  tcp:\n  - route:\n    - {destination: {host: one.test, port: {number: 80}}, weight: 75}\n    - {destination: {host: two.test, port: {number: 80}}, weight: 25}\n";
    let services = world::service("one.test", "TCP", &[one.address]) + &world::service("two.test", "TCP", &[two.address]);
    let gateway = Gateway::start(ip, &tcp(rules, &services));
    let ones = (0..200).filter(|_| Client::connect(gateway.at(9000)).bytes(1) == b"1").count();
    assert!((120..=180).contains(&ones), "{ones} of 200 at weight 75");
    let dead = SocketAddr::new(ip, 9);
    gateway.change(&tcp(rules, &(world::service("one.test", "TCP", &[dead]) + &world::service("two.test", "TCP", &[dead]))));
    let closed = || Client::connect(gateway.at(9000)).bytes(1).is_empty();
    assert!(wait::holds(CHANGE, closed), "nobody there: the connection is closed");
}

/// Two clients that ask all the time, each on a connection that it keeps.
struct Load {
    over: Arc<AtomicBool>,
    clients: Vec<std::thread::JoinHandle<(usize, Vec<String>)>>,
    asked: Arc<AtomicUsize>,
}

impl Load {
    fn start(address: SocketAddr) -> Self {
        let (over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let clients: Vec<_> = (0..2)
            .map(|_| {
                let (over, asked) = (Arc::clone(&over), Arc::clone(&asked));
                std::thread::spawn(move || {
                    let (mut client, mut count, mut failed) = (Client::connect(address), 0, Vec::new());
                    while !over.load(Ordering::Relaxed) {
                        client.send("GET /load HTTP/1.1\r\nhost: a.test\r\n\r\n");
                        let answer = client.response("GET");
                        count += 1;
                        asked.fetch_add(1, Ordering::Relaxed);
                        if answer.as_ref().map(|m| m.status()) != Some(200) {
                            failed.push(format!("request {count}: {answer:?}"));
                            client = Client::connect(address);
                        }
                    }
                    (count, failed)
                })
            })
            .collect();
        Self { over, clients, asked }
    }

    /// Waits until some more requests were asked.
    fn go_on(&self) {
        let until = self.asked.load(Ordering::Relaxed) + 20;
        assert!(wait::holds(wire::PATIENCE, || self.asked.load(Ordering::Relaxed) >= until), "the load goes on");
    }

    fn end(self) -> (usize, Vec<String>) {
        self.over.store(true, Ordering::Relaxed);
        let results = self.clients.into_iter().map(|c| c.join().expect("a client only records"));
        results.fold((0, Vec::new()), |(count, mut all), (n, failed)| {
            all.extend(failed);
            (count + n, all)
        })
    }
}

#[test]
fn no_request_fails_while_endpoints_and_routes_change() {
    let ip = own_address();
    let (one, two) = (Backend::named(ip, "1"), Backend::named(ip, "2"));
    let gateway = Gateway::start(ip, &world::simple(&[one.address]));
    let load = Load::start(gateway.http());
    let answered_by = |name: &str| wire::ask(gateway.http(), "a.test", "/change").is_some_and(|m| m.text() == name);
    let extra = |n: usize| world::route(&format!("extra-{n}"), &format!("extra-{n}.test"), "front", "backend.test");
    for n in 0..12 {
        let (endpoint, name) = if n % 2 == 0 { (two.address, "2") } else { (one.address, "1") };
        gateway.change(&(world::simple(&[endpoint]) + &(0..n).map(extra).collect::<String>()));
        assert!(wait::holds(CHANGE, || answered_by(name)), "change {n} is in force: {}", gateway.log());
        load.go_on();
    }
    let (count, failed) = load.end();
    assert!(failed.is_empty(), "{} of {count} failed: {:?}", failed.len(), &failed[..failed.len().min(5)]);
    assert!(wait::holds(CHANGE, || gateway.access_log().len() >= count), "requests are logged");
}

/// A file that breaks keeps its last good version in force, and says so.
#[test]
fn a_broken_file_changes_nothing() {
    let ip = own_address();
    let backend = Backend::named(ip, "one");
    let world = world::simple(&[backend.address]);
    let gateway = Gateway::start(ip, &world);
    let misspelt = world.replace("  http:", "  htttp:");
    for broken in ["a: [", "\0", &misspelt] {
        gateway.change(broken);
        let fails = || wire::ask(gateway.http(), "a.test", "/").is_none_or(|m| m.status() != 200);
        assert!(!wait::holds(Duration::from_millis(600), fails), "after {:?}: {}", &broken[..broken.len().min(20)], gateway.log());
    }
    gateway.change(&(world + &world::server("more", 9090, "HTTP")));
    assert!(wait::holds(CHANGE, || TcpStream::connect(gateway.at(9090)).is_ok()), "a good file counts again: {}", gateway.log());
    assert_eq!(gateway.fetch(STATUS, "/healthz/ready").map(|m| m.status()), Some(200));
}

#[test]
fn what_is_said_of_the_mesh_file_goes_with_its_cause() {
    let (ip, folder) = (own_address(), tempfile::tempdir().expect("a folder"));
    let backend = Backend::named(ip, "one");
    let path = folder.path().join("mesh.yaml");
    let put = |text: &str| {
        std::fs::write(folder.path().join("next"), text).expect("a file");
        std::fs::rename(folder.path().join("next"), &path).expect("a file");
    };
    put("discoverySelectors: [{matchLabels: {a: b}}]\n");
    let gateway = Gateway::with(ip, &world::simple(&[backend.address]), &format!("meshFile: {}\n", path.display()));
    let told = |code: &str, field: &str| {
        let rows = gateway.fetch(ADMIN, "/problems").map(|m| m.text()).unwrap_or_default();
        let rows: Vec<serde_json::Value> = serde_json::from_str(&rows).unwrap_or_default();
        rows.iter().any(|row| row["code"] == code && row["path"] == field)
    };
    assert!(wait::holds(CHANGE, || told("ISM0112", "mesh.discoverySelectors")), "{}", gateway.log());
    // One cause goes and another one comes.
    let range = "mesh.meshNetworks.n.endpoints[0].fromCidr";
    put("meshNetworks: {n: {endpoints: [{fromCidr: 10.0.0.0/33}]}}\n");
    assert!(wait::holds(CHANGE, || told("ISM0112", range) && !told("ISM0112", "mesh.discoverySelectors")), "{}", gateway.log());
    put("rootNamespace: istio-system\n");
    assert!(wait::holds(CHANGE, || !told("ISM0112", range)), "{}", gateway.log());
}
