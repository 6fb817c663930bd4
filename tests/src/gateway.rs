//! A running gateway for one test: its own loopback address, its own directory, killed when dropped.
//!
//! Each gateway has an address of 127.0.0.0/8 to itself, so its ports are those that a person would write and never meet another test's.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use super::wire::{self, Message};
use super::{binary, wait};

/// The port of `world::simple`'s server.
pub const HTTP: u16 = 8080;
/// Where readiness is asked.
pub const STATUS: u16 = 15021;
/// Where the admin answers.
pub const ADMIN: u16 = 15000;
/// Where metrics are scraped.
pub const METRICS: u16 = 15090;

/// A loopback address that no other test of this or another running process uses.
pub fn own_address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let net = 64 + (high << 4 | middle & 0x0f) % 128;
    IpAddr::V4(Ipv4Addr::new(127, net ^ (middle >> 4), low, NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// A gateway that is serving.
#[derive(Debug)]
pub struct Gateway {
    /// The address it binds.
    pub ip: IpAddr,
    folder: tempfile::TempDir,
    process: Child,
}

impl Gateway {
    /// Starts on `ip` with `world` as cluster1's objects and waits until it is ready.
    pub fn start(ip: IpAddr, world: &str) -> Self {
        Self::with(ip, world, "")
    }

    /// As `start`, with more lines of `isthmus.yaml`.
    pub fn with(ip: IpAddr, world: &str, settings: &str) -> Self {
        let gateway = Self::spawn(ip, world, settings);
        assert!(wait::holds(Duration::from_secs(20), || gateway.ready()), "the gateway is not ready: {}", gateway.log());
        gateway
    }

    fn spawn(ip: IpAddr, world: &str, settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("there is a place for temporary files");
        let path = folder.path();
        std::fs::create_dir_all(path.join("clusters/cluster1")).expect("a temporary folder can be written");
        std::fs::write(path.join("clusters/cluster1/objects.yaml"), world).expect("a temporary folder can be written");
        Self::launch(ip, folder, "path: clusters/cluster1", settings)
    }

    /// Starts on `ip` with cluster1 read in another way, such as `kubeconfig: F`, and does not wait.
    pub fn reading(ip: IpAddr, from: &str, settings: &str) -> Self {
        Self::launch(ip, tempfile::tempdir().expect("there is a place for temporary files"), from, settings)
    }

    fn launch(ip: IpAddr, folder: tempfile::TempDir, from: &str, settings: &str) -> Self {
        let path = folder.path();
        let config = format!(
            "gateway: {{name: istio-ingressgateway, namespace: istio-system, cluster: cluster1, locality: r1/z1/s1, bind: {ip}, threads: 2,\n  \
             labels: {{istio: ingressgateway, app: istio-ingressgateway}}}}\n\
             clusters: [{{name: cluster1, {from}}}]\naccessLog: {{path: {}/access.log, format: json}}\n\
             admin: {{address: '{ip}:{ADMIN}'}}\nstatus: {{address: '{ip}:{STATUS}'}}\nmetrics: {{address: '{ip}:{METRICS}'}}\n{settings}",
            path.display()
        );
        std::fs::write(path.join("isthmus.yaml"), config).expect("a temporary folder can be written");
        let log = std::fs::File::create(path.join("isthmus.log")).expect("a temporary folder can be written");
        let process = Command::new(binary::isthmus())
            .args(["run", "--config", "isthmus.yaml"])
            .current_dir(path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log)
            .spawn()
            .expect("the built gateway can be started");
        Self { ip, folder, process }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// One of its sockets.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, port)
    }

    /// The server of `world::simple`.
    pub fn http(&self) -> SocketAddr {
        self.at(HTTP)
    }

    /// Whether it says that it is ready.
    pub fn ready(&self) -> bool {
        self.status() == Some(200)
    }

    /// What readiness answers; nothing where nobody listens.
    pub fn status(&self) -> Option<u16> {
        self.fetch(STATUS, "/healthz/ready").map(|m| m.status())
    }

    /// A page of its status, admin or metrics port.
    pub fn fetch(&self, port: u16, path: &str) -> Option<Message> {
        std::net::TcpStream::connect_timeout(&self.at(port), Duration::from_secs(1)).ok()?;
        wire::ask(self.at(port), "localhost", path)
    }

    /// Puts `world` in the place of cluster1's objects, in one step.
    pub fn change(&self, world: &str) {
        let folder = self.folder.path().join("clusters/cluster1");
        std::fs::write(folder.join(".next"), world).expect("a temporary folder can be written");
        std::fs::rename(folder.join(".next"), folder.join("objects.yaml")).expect("a temporary folder can be written");
    }

    /// Asks it to end, as Kubernetes does.
    pub fn terminate(&self) {
        let told = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status();
        assert!(told.is_ok_and(|s| s.success()), "the gateway has ended before it was asked to: {}", self.log());
    }

    /// How it ended, if it does within `limit`.
    pub fn ended(&mut self, limit: Duration) -> Option<ExitStatus> {
        let process = &mut self.process;
        wait::until(limit, || process.try_wait().ok().flatten())
    }

    /// What it printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("isthmus.log")).unwrap_or_default()
    }

    /// The access log's lines so far.
    pub fn access_log(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.path("access.log")).unwrap_or_default();
        text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect()
    }

    /// A file of its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _reaped = self.process.wait();
    }
}
