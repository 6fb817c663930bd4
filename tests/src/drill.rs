//! What a drill needs: pods that turn bad while they serve, steady load from several clients, and every answer kept with its time.

use std::io::Write as _;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::wire::{self, Client, Parsed};

/// How a pod behaves from the next request on.
#[derive(Debug, Default)]
struct Mood {
    status: AtomicUsize,
    delay_ms: AtomicU64,
    close: AtomicBool,
    hits: AtomicU64,
    last_hit: Mutex<Option<Instant>>,
    connections: Mutex<Vec<TcpStream>>,
    over: AtomicBool,
}

/// A backend process stand-in: it answers with its name, late, wrongly, or not at all.
#[derive(Debug)]
pub struct Pod {
    /// Where it listens.
    pub address: SocketAddr,
    mood: Arc<Mood>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

impl Pod {
    /// Serves on a free port of `ip` with 200 and `name`.
    pub fn start(ip: IpAddr, name: &'static str) -> Self {
        let listener = TcpListener::bind((ip, 0)).expect("the address is ours");
        let address = listener.local_addr().expect("a bound socket has an address");
        let mood = Arc::new(Mood { status: AtomicUsize::new(200), ..Mood::default() });
        let theirs = Arc::clone(&mood);
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if theirs.over.load(Ordering::SeqCst) {
                    return;
                }
                let mood = Arc::clone(&theirs);
                if let Ok(copy) = stream.try_clone() {
                    let mut connections = mood.connections.lock().expect("no pod panics here");
                    // Killed in between: it was not there to be cut.
                    if mood.over.load(Ordering::SeqCst) {
                        return;
                    }
                    connections.push(copy);
                }
                std::thread::spawn(move || serve(stream, name, &mood));
            }
        });
        Self { address, mood, accepting: Mutex::new(Some(accepting)) }
    }
    /// Every answer has this status from now on.
    pub fn answer(&self, status: u16) {
        self.mood.status.store(usize::from(status), Ordering::SeqCst);
    }
    /// Every answer takes this long from now on.
    pub fn slow(&self, delay: Duration) {
        self.mood.delay_ms.store(delay.as_millis() as u64, Ordering::SeqCst);
    }
    /// Every answer ends its connection from now on.
    pub fn close_each(&self) {
        self.mood.close.store(true, Ordering::SeqCst);
    }
    /// Requests that came so far.
    pub fn hits(&self) -> u64 {
        self.mood.hits.load(Ordering::SeqCst)
    }
    /// When the last request came.
    pub fn last_hit(&self) -> Option<Instant> {
        *self.mood.last_hit.lock().expect("no pod panics here")
    }
    /// Ends as a process does that is killed: nobody listens any more, and what is connected is cut.
    pub fn kill(&self) {
        if self.mood.over.swap(true, Ordering::SeqCst) {
            return;
        }
        let wakes_the_accept_loop = TcpStream::connect_timeout(&self.address, Duration::from_millis(200));
        if let (Ok(_), Some(accepting)) = (wakes_the_accept_loop, self.accepting.lock().expect("no pod panics here").take()) {
            accepting.join().expect("no pod panics");
        }
        for stream in self.mood.connections.lock().expect("no pod panics here").drain(..) {
            let _cut_already = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.kill();
    }
}

fn serve(mut stream: TcpStream, name: &str, mood: &Mood) {
    let mut bytes = Vec::new();
    loop {
        match wire::request(&bytes) {
            Parsed::Whole(_, used) => {
                bytes.drain(..used);
                mood.hits.fetch_add(1, Ordering::SeqCst);
                *mood.last_hit.lock().expect("no pod panics here") = Some(Instant::now());
                std::thread::park_timeout(Duration::from_millis(mood.delay_ms.load(Ordering::SeqCst)));
                let close = mood.close.load(Ordering::SeqCst);
                let (status, how) = (mood.status.load(Ordering::SeqCst), if close { "connection: close\r\n" } else { "" });
                let answer = format!("HTTP/1.1 {status} Drill\r\n{how}content-length: {}\r\n\r\n{name}", name.len());
                if stream.write_all(answer.as_bytes()).is_err() || close {
                    return;
                }
            }
            Parsed::Partial => {
                let mut buffer = [0; 4096];
                match std::io::Read::read(&mut stream, &mut buffer) {
                    Ok(0) | Err(_) => return,
                    Ok(n) => bytes.extend_from_slice(&buffer[..n]),
                }
            }
            Parsed::Broken(_) => return,
        }
    }
}

/// One request as its client saw it.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When it was sent.
    pub sent: Instant,
    /// How long its answer took.
    pub took: Duration,
    /// The answer's status; 0 where the connection ended without one.
    pub status: u16,
    /// Which pod answered; the gateway's own words where none did.
    pub by: String,
}

/// Steady load: each client sends its next request a moment after the answer to the last.
#[derive(Debug)]
pub struct Load {
    over: Arc<AtomicBool>,
    samples: Arc<Mutex<Vec<Sample>>>,
    clients: Vec<JoinHandle<()>>,
}

/// Between an answer and the client's next request.
const PAUSE: Duration = Duration::from_millis(5);

impl Load {
    /// `clients` connections to the gateway.
    pub fn start(gateway: SocketAddr, clients: usize) -> Self {
        let (over, samples) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let client = |_| {
            let (over, samples) = (Arc::clone(&over), Arc::clone(&samples));
            std::thread::spawn(move || drive(gateway, &over, &samples))
        };
        let clients = (0..clients).map(client).collect();
        Self { over, samples, clients }
    }

    /// The answers so far.
    pub fn samples(&self) -> Vec<Sample> {
        self.samples.lock().expect("no client panics here").clone()
    }

    /// Waits until that many more requests were answered.
    pub fn runs(&self, more: usize) {
        let before = self.samples.lock().expect("no client panics here").len();
        let enough = || self.samples.lock().expect("no client panics here").len() >= before + more;
        assert!(super::wait::holds(Duration::from_secs(60), enough), "the load goes on");
    }

    /// Ends the load; every answer, by the time its request was sent.
    pub fn stop(mut self) -> Vec<Sample> {
        self.over.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            client.join().expect("no client panics");
        }
        let mut samples = self.samples();
        samples.sort_by_key(|s| s.sent);
        samples
    }
}

fn drive(gateway: SocketAddr, over: &AtomicBool, samples: &Mutex<Vec<Sample>>) {
    let mut client = Client::connect(gateway);
    while !over.load(Ordering::SeqCst) {
        let sent = Instant::now();
        client.send("GET /drill HTTP/1.1\r\nhost: drill.test\r\n\r\n");
        let answer = client.response("GET");
        let took = sent.elapsed();
        let (status, by) = answer.map_or((0, String::new()), |a| (a.status(), a.text()));
        if status == 0 {
            client = Client::connect(gateway);
        }
        samples.lock().expect("no client panics here").push(Sample { sent, took, status, by });
        std::thread::park_timeout(PAUSE);
    }
}

/// Those that were not answered with 200.
pub fn failed(samples: &[Sample]) -> Vec<&Sample> {
    samples.iter().filter(|s| s.status != 200).collect()
}

/// A ServiceEntry `drill.test` whose endpoints have localities, and the rule for it.
pub fn service(endpoints: &[(SocketAddr, &str)], policy: &str) -> String {
    let mut text =
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: drill, namespace: default}\nspec:\n  hosts: [drill.test]\n  \
                    location: MESH_EXTERNAL\n  resolution: STATIC\n  ports: [{number: 80, name: http, protocol: HTTP}]\n  endpoints:\n"
            .to_owned();
    for (at, locality) in endpoints {
        text.push_str(&format!("  - {{address: {}, ports: {{http: {}}}, locality: {locality}}}\n", at.ip(), at.port()));
    }
    text + "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: drill, namespace: default}\nspec:\n  host: drill.test\n  \
            trafficPolicy: "
        + policy
        + "\n---\n"
}

/// A world whose every request goes to that service, under a route with `timeout` (`timeout: 2s`, or nothing).
pub fn world(endpoints: &[(SocketAddr, &str)], policy: &str, timeout: &str) -> String {
    let rules = format!(
        "  http:\n  - route:\n    - destination: {{host: drill.test}}\n{}",
        if timeout.is_empty() { String::new() } else { format!("    {timeout}\n") }
    );
    super::world::server("front", 8080, "HTTP") + &service(endpoints, policy) + &super::world::routes("all", "*", &["front"], &rules)
}
