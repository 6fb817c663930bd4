//! The scale run: a gateway, built for release, between three API servers that are full, and how long a change takes there
//! (`isthmus-benches scale [ROUTES SERVICES ENDPOINTS]`, after `cargo build --release -p isthmus -p isthmus-benches`).
//!
//! A change is measured from the write at the API server to the first answer that shows it, on one connection that asks
//! without a pause. So the figure holds the watch, the hold-off, the compilation and a request.

mod api;
pub(crate) mod objects;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use api::ApiServer;
use objects::Size;

/// Clusters between which services are spread.
pub(crate) const CLUSTERS: usize = 3;
/// Changes of each figure.
const SAMPLES: usize = 300;
/// Nothing takes longer, or the run has failed.
const PATIENCE: Duration = Duration::from_secs(180);
/// Changes of other endpoints in the second measurement.
const A_SECOND: u32 = 50;
/// Whose change is seen.
const NAMESPACE: &str = "team-0";
const HOST: &str = "probe.example.com";

/// Runs everything and prints it.
pub(crate) fn run(size: Size, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{CLUSTERS} clusters, {} routes, {} services, {} endpoints", size.routes, size.services, size.endpoints())?;
    let servers: Vec<ApiServer> = (0..CLUSTERS).map(|_| ApiServer::start()).collect::<io::Result<_>>()?;
    for (index, server) in servers.iter().enumerate() {
        objects::cluster(index, size).iter().for_each(|(plural, name, object)| server.put(plural, name, object));
    }
    let backends = Backends::start()?;
    backends.prepare(&servers[0]);
    let begun = Instant::now();
    let gateway = Gateway::start(&servers)?;
    gateway.until_ready()?;
    writeln!(out, "ready after {:.1} s", begun.elapsed().as_secs_f64())?;
    pause(Duration::from_secs(5));
    writeln!(out, "resident: {}", gateway.memory()?)?;
    let mut probe = Probe::open(gateway.http)?;
    let endpoint = |round: usize| backends.show(&servers[0], round);
    let route = |round: usize| {
        servers[0].put("virtualservices", "team-0/probe", &objects::virtual_service(NAMESPACE, "probe", HOST, "probe", round));
    };
    writeln!(out, "an endpoint changes: {}", probe.follow(endpoint, |round, answer| answer.body == [b'0' + (round % 2) as u8])?)?;
    let rest = Others::start(&servers, size);
    writeln!(
        out,
        "the same while {A_SECOND} others a second do: {}",
        probe.follow(endpoint, |round, answer| answer.body == [b'0' + (round % 2) as u8])?
    )?;
    rest.stop();
    writeln!(out, "a route changes: {}", probe.follow(route, |round, answer| answer.round == round)?)?;
    drop(probe);
    writeln!(
        out,
        "CPU of an endpoint's change: {}",
        gateway.cpu(|n| {
            let (name, object) = objects::slice(n % CLUSTERS, n % CLUSTERS + 3 * (n % 50), size.each, n + 1);
            servers[n % CLUSTERS].put("endpointslices", &name, &object);
        })?
    )?;
    writeln!(out, "CPU of a route's change: {}", gateway.cpu(|n| route(SAMPLES + 1 + n))?)?;
    writeln!(out, "resident after {} changes: {}", 5 * SAMPLES, gateway.memory()?)?;
    servers.iter().for_each(ApiServer::forget);
    pause(Duration::from_secs(20));
    writeln!(out, "resident after everything was listed again: {}", gateway.memory()?)
}

fn pause(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}

/// Two servers on two addresses and one port, which answer `0` and `1`.
struct Backends {
    port: u16,
}

impl Backends {
    fn start() -> io::Result<Self> {
        let first = TcpListener::bind("127.0.0.2:0")?;
        let port = first.local_addr()?.port();
        let second = TcpListener::bind(("127.0.0.3", port))?;
        for (answer, listener) in [first, second].into_iter().enumerate() {
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    // A client that hangs up ends its thread.
                    std::thread::spawn(move || drop(answer_all(stream, answer)));
                }
            });
        }
        Ok(Self { port })
    }

    fn pod(round: usize) -> (String, String, String) {
        let which = round % 2;
        (format!("probe-{which}"), format!("127.0.0.{}", 2 + which), "ip-10-0-0-1.region-0.compute.internal".to_owned())
    }

    /// The service whose change is seen, its pods and its route.
    fn prepare(&self, server: &ApiServer) {
        server.put("services", "team-0/probe", &objects::service_object(NAMESPACE, "probe"));
        for round in 0..2 {
            let (name, ip, node) = Self::pod(round);
            server.put("pods", &format!("team-0/{name}"), &objects::pod_object(NAMESPACE, "probe", &name, &ip, &node));
        }
        server.put("virtualservices", "team-0/probe", &objects::virtual_service(NAMESPACE, "probe", HOST, "probe", 0));
        self.show(server, 0);
    }

    /// Makes one of them the only endpoint.
    fn show(&self, server: &ApiServer, round: usize) {
        server.put("endpointslices", "team-0/probe-x7k2p", &objects::slice_object(NAMESPACE, "probe", self.port, &[Self::pod(round)]));
    }
}

fn answer_all(mut stream: TcpStream, answer: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while lines.read_line(&mut line)? > 0 {
        if line.len() <= 2 {
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{answer}")?;
        }
        line.clear();
    }
    Ok(())
}

/// The gateway under test, ended when dropped.
struct Gateway {
    process: Child,
    folder: std::path::PathBuf,
    http: SocketAddr,
    status: SocketAddr,
}

impl Gateway {
    fn start(servers: &[ApiServer]) -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("isthmus-scale-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let own = std::process::id().to_be_bytes();
        let ip = format!("127.{}.{}.9", 64 + own[2] % 64, own[3]);
        let mut clusters = String::new();
        for (index, server) in servers.iter().enumerate() {
            let kubeconfig = format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: 'http://{}'}}}}]\nusers: [{{name: u, user: \
                 {{}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n",
                server.address
            );
            std::fs::write(folder.join(format!("c{index}.yaml")), kubeconfig)?;
            clusters += &format!("- {{name: c{index}, kubeconfig: c{index}.yaml}}\n");
        }
        let settings = format!(
            "gateway: {{name: istio-ingressgateway, namespace: istio-system, cluster: c0, locality: r0/r0-1, bind: {ip}, threads: 2}}\nclusters:\n{clusters}\
             admin: {{address: '{ip}:15000'}}\nstatus: {{address: '{ip}:15021'}}\nmetrics: {{address: '{ip}:15090'}}\n"
        );
        std::fs::write(folder.join("isthmus.yaml"), settings)?;
        let log = std::fs::File::create(folder.join("isthmus.log"))?;
        let program = std::env::current_exe()?.with_file_name("isthmus");
        let process = Command::new(program)
            .args(["run", "--config", "isthmus.yaml"])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let at = |port: u16| -> io::Result<SocketAddr> { format!("{ip}:{port}").parse().map_err(io::Error::other) };
        Ok(Self { process, folder, http: at(8080)?, status: at(15021)? })
    }

    fn until_ready(&self) -> io::Result<()> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let asked = TcpStream::connect(self.status).and_then(|mut stream| {
                stream.write_all(b"GET /healthz/ready HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer)?;
                Ok(answer.starts_with("HTTP/1.1 200"))
            });
            if asked.unwrap_or(false) {
                return Ok(());
            }
            pause(Duration::from_millis(20));
        }
        Err(io::Error::other(format!("the gateway is not ready; see {}", self.folder.join("isthmus.log").display())))
    }

    /// Now and at most.
    fn memory(&self) -> io::Result<String> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let of = |key: &str| status.lines().find_map(|l| l.strip_prefix(key)?.split_whitespace().nth(1)?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0;
        Ok(format!("{:.1} MiB (aim: below 100), at most {:.1} MiB so far", of("VmRSS"), of("VmHWM")))
    }

    /// Nanoseconds of CPU that all threads have taken.
    fn spent(&self) -> io::Result<u64> {
        let mut spent = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let told = std::fs::read_to_string(task?.path().join("schedstat"))?;
            spent += told.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(spent)
    }

    /// What a change costs, those taken off that come from standing still.
    fn cpu(&self, change: impl Fn(usize)) -> io::Result<String> {
        const EVERY: Duration = Duration::from_millis(40);
        pause(Duration::from_secs(3));
        let (begun, at_rest) = (Instant::now(), self.spent()?);
        pause(EVERY * SAMPLES as u32);
        let (idle, rested) = (self.spent()? - at_rest, begun.elapsed());
        let (begun, before) = (Instant::now(), self.spent()?);
        for n in 0..SAMPLES {
            change(n);
            pause(EVERY);
        }
        let idle = idle as f64 * begun.elapsed().as_secs_f64() / rested.as_secs_f64();
        Ok(format!("{:.2} ms", ((self.spent()? - before) as f64 - idle) / SAMPLES as f64 / 1e6))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// An answer, as far as changes show in it.
struct Answer {
    round: usize,
    body: Vec<u8>,
}

/// One connection that asks and asks.
struct Probe {
    stream: TcpStream,
    lines: BufReader<TcpStream>,
}

impl Probe {
    fn open(at: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(at)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { lines: BufReader::new(stream.try_clone()?), stream })
    }

    fn ask(&mut self) -> io::Result<Answer> {
        write!(self.stream, "GET /api/x HTTP/1.1\r\nhost: {HOST}\r\n\r\n")?;
        let (mut round, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line)? <= 2 {
                break;
            }
            let line = line.trim_end();
            round = line.strip_prefix("x-round: ").and_then(|n| n.parse().ok()).unwrap_or(round);
            length = line.strip_prefix("content-length: ").and_then(|n| n.parse().ok()).unwrap_or(length);
        }
        let mut body = vec![0; length];
        self.lines.read_exact(&mut body)?;
        Ok(Answer { round, body })
    }

    /// Changes something again and again, and asks until it shows: the middle and the longest times.
    fn follow(&mut self, change: impl Fn(usize), shows: impl Fn(usize, &Answer) -> bool) -> io::Result<String> {
        let mut times = Vec::with_capacity(SAMPLES);
        for round in 1..=SAMPLES {
            // Never in step with anything.
            pause(Duration::from_millis(40 + (round as u64 * 7919) % 37));
            let begun = Instant::now();
            change(round);
            while !shows(round, &self.ask()?) {
                if begun.elapsed() > PATIENCE {
                    return Err(io::Error::other("a change does not come into force"));
                }
            }
            times.push(begun.elapsed());
        }
        times.sort();
        let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
        Ok(format!("p50 {:.1} ms, p99 {:.1} ms (aim: 50), longest {:.1} ms, of {SAMPLES}", at(50), at(99), at(100)))
    }
}

/// Changes of other services' endpoints, until told to stop.
struct Others(Arc<AtomicBool>, JoinHandle<()>);

impl Others {
    fn start(servers: &[ApiServer], size: Size) -> Self {
        let (ends, servers) = (Arc::new(AtomicBool::new(false)), servers.to_vec());
        let told = ends.clone();
        let thread = std::thread::spawn(move || {
            let mut round = 1;
            while !told.load(Ordering::Relaxed) {
                let service = round * 7919 % size.services;
                let cluster = service % CLUSTERS;
                let (name, object) = objects::slice(cluster, service, size.each, round);
                servers[cluster].put("endpointslices", &name, &object);
                round += 1;
                pause(Duration::from_secs(1) / A_SECOND);
            }
        });
        Self(ends, thread)
    }

    fn stop(self) {
        self.0.store(true, Ordering::Relaxed);
        // It has no way to fail.
        let _ = self.1.join();
    }
}
