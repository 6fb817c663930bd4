//! Real API servers: kube-apiserver with its own etcd, built by Go from `tests/tools/kube`, on loopback
//! addresses of their own.
//!
//! Three of them are started once for a whole test binary and end with it. What a test makes it puts into a namespace of
//! its own, and into secrets of its own; tests share the servers, and one that stops a server has them for itself. There
//! is no controller manager, so nothing exists that a test did not write, but what the API server makes itself.

mod between;
mod certificates;
mod objects;
mod view;

pub use between::Between;
pub use certificates::base64;
pub use objects::{istio, namespace, objects, remote_secret, service, slice};
pub use view::View;

use std::fmt;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::gateway::own_address;
use super::{binary, namespace as network, wait};
use objects::{ISTIO, definition, path};

/// Nothing here takes longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
const TOKEN: &str = "admintoken";

/// An API server and its store.
pub struct ApiServer {
    /// Its cluster's name.
    pub name: &'static str,
    address: SocketAddr,
    etcd: SocketAddr,
    folder: PathBuf,
    index: usize,
    api: Option<Child>,
    _store: Child,
    runtime: Runtime,
    /// Connections that stand; none after the API server was killed.
    client: Mutex<Option<Client>>,
}

/// Three API servers: `cluster1` to `cluster3`.
#[derive(Debug)]
pub struct Servers(pub Vec<ApiServer>);

static SERVERS: LazyLock<RwLock<Servers>> = LazyLock::new(|| {
    let folder = binary::scratch(&format!("kube{}", network::playing().unwrap_or_default().replace("::", "-")));
    let names = ["cluster1", "cluster2", "cluster3"].into_iter().enumerate();
    let mut servers: Vec<ApiServer> = names.map(|(i, name)| ApiServer::new(name, i, &folder)).collect();
    servers.iter_mut().for_each(ApiServer::launch);
    servers.iter().for_each(ApiServer::prepare);
    RwLock::new(Servers(servers))
});

/// A program to start, and where its process is wanted.
type Start = (Command, Sender<std::io::Result<Child>>);

/// Programs end with the thread that started them, so this one lives as long as the process.
static STARTER: LazyLock<Mutex<Sender<Start>>> = LazyLock::new(|| {
    let (tell, told) = channel::<Start>();
    std::thread::spawn(move || {
        for (mut command, started) in told {
            started.send(command.spawn()).expect("who starts a program waits for it");
        }
    });
    Mutex::new(tell)
});

/// The three API servers, shared with other tests; all of them serve.
pub fn servers() -> RwLockReadGuard<'static, Servers> {
    SERVERS.read().unwrap_or_else(PoisonError::into_inner)
}

/// The three API servers for one test alone; what it stopped serves again afterwards, even if the test breaks off.
#[derive(Debug)]
pub struct Alone(RwLockWriteGuard<'static, Servers>);

/// See [`Alone`].
pub fn alone() -> Alone {
    Alone(SERVERS.write().unwrap_or_else(PoisonError::into_inner))
}

impl Deref for Alone {
    type Target = Servers;
    fn deref(&self) -> &Servers {
        &self.0
    }
}

impl DerefMut for Alone {
    fn deref_mut(&mut self) -> &mut Servers {
        &mut self.0
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.0.0.iter_mut().filter(|s| s.api.is_none()).for_each(ApiServer::start);
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A port of an address that nobody else uses, so that it stays free until the program that gets it has started, and while that one is down.
fn free_port(ip: IpAddr) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address")
}

/// Starts a program that ends with this process.
fn spawn(program: &Path, args: &[String], log: &Path) -> Child {
    let log = std::fs::File::create(log).expect("a temporary folder can be written");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program).args(args).stdin(Stdio::null());
    command.stdout(log.try_clone().expect("a file can be shared")).stderr(log);
    let (tell, started) = channel();
    STARTER.lock().expect("nobody panics here").send((command, tell)).expect("the starter lives");
    started.recv().expect("the starter lives").expect("this test needs setpriv: apt-get install util-linux")
}

impl fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl ApiServer {
    fn new(name: &'static str, index: usize, folder: &Path) -> Self {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).expect("a temporary folder can be written");
        let ip = own_address();
        let (address, etcd) = (free_port(ip), free_port(ip));
        let (client, peer) = (format!("http://{etcd}"), format!("http://{}", free_port(ip)));
        let data = folder.join("etcd").display().to_string();
        let args = [
            ["--data-dir", &data],
            ["--listen-client-urls", &client],
            ["--advertise-client-urls", &client],
            ["--listen-peer-urls", &peer],
            ["--initial-advertise-peer-urls", &peer],
            ["--initial-cluster", &format!("default={peer}")],
        ];
        let args: Vec<String> = args.concat().into_iter().map(str::to_owned).chain(["--unsafe-no-fsync".to_owned()]).collect();
        let store = spawn(&binary::tool_of("kube", "etcd", "go.etcd.io/etcd/server/v3"), &args, &folder.join("etcd.log"));
        certificates::make(&folder);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let server = Self { name, address, etcd, folder, index, api: None, _store: store, runtime, client: Mutex::default() };
        server.know(&[TOKEN, "other"]);
        std::fs::write(server.kubeconfig_file(), server.kubeconfig(TOKEN)).expect("a temporary folder can be written");
        server
    }

    /// Starts the API server and does not wait for it.
    fn launch(&mut self) {
        let at = |name: &str| self.folder.join(name).display().to_string();
        let args = [
            ["--etcd-servers", &format!("http://{}", self.etcd)],
            ["--secure-port", &self.address.port().to_string()],
            ["--bind-address", &self.address.ip().to_string()],
            ["--cert-dir", &at("certs")],
            ["--service-account-issuer", "https://kubernetes.default.svc"],
            ["--service-account-key-file", &at("sa.key")],
            ["--service-account-signing-key-file", &at("sa.key")],
            ["--service-cluster-ip-range", &format!("10.9{}.0.0/16", self.index)],
            ["--token-auth-file", &at("tokens.csv")],
            ["--client-ca-file", &at("ca.crt")],
            ["--audit-policy-file", &at("audit.yaml")],
            ["--audit-log-path", &at("audit.log")],
            ["--authorization-mode", "RBAC"],
            ["--disable-admission-plugins", "ServiceAccount"],
            ["--advertise-address", "10.244.0.1"],
        ];
        let served = certificates::SERVED
            .map(|(name, ..)| format!("--tls-sni-cert-key={0},{1}:{name}", at(&format!("{name}.crt")), at(&format!("{name}.key"))));
        let args: Vec<String> = args.concat().into_iter().map(str::to_owned).chain(served).collect();
        let program = binary::tool_of("kube", "kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver");
        self.api = Some(spawn(&program, &args, &self.folder.join("api.log")));
    }

    fn prepare(&self) {
        self.wait();
        self.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "istio-system"}}));
        for (kind, plural) in ISTIO {
            self.define(kind, plural);
        }
    }

    /// Installs one of Istio's kinds, and waits until it is served.
    pub fn define(&self, kind: &str, plural: &str) {
        self.apply(&definition(kind, plural));
        let path = format!("/apis/networking.istio.io/v1alpha3/{plural}");
        assert!(wait::holds(PATIENCE, || self.call("GET", &path, None).is_ok()), "{plural} is not served");
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    fn wait(&self) {
        let log = || std::fs::read_to_string(self.folder.join("api.log")).unwrap_or_default();
        assert!(wait::holds(PATIENCE, || self.call("GET", "/readyz", None).is_ok()), "{} is not ready: {}", self.name, log());
    }

    /// The tokens that it knows when it is started next.
    pub fn know(&self, tokens: &[&str]) {
        let lines: Vec<String> = tokens.iter().map(|token| format!("{token},admin,admin,system:masters\n")).collect();
        std::fs::write(self.folder.join("tokens.csv"), lines.concat()).expect("a temporary folder can be written");
    }

    /// Kills the API server at once; its store stays.
    pub fn kill(&mut self) {
        self.client.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut api) = self.api.take() {
            // Ended already is ended too.
            let _ = api.kill();
            let _ = api.wait();
        }
    }

    /// Starts it again, and waits until it serves.
    pub fn start(&mut self) {
        self.launch();
        self.wait();
    }

    /// A kubeconfig with everything in it; `token` is `admintoken` or `other`.
    pub fn kubeconfig(&self, token: &str) -> String {
        self.kubeconfig_of(&json!({"token": token}))
    }

    /// A kubeconfig of an administrator who goes by another name, which the audit has.
    pub fn kubeconfig_as(&self, name: &str) -> String {
        self.kubeconfig_of(&json!({"token": TOKEN, "as": name, "as-groups": ["system:masters"]}))
    }

    /// What somebody has listed and watched, as the audit has it: verb and address.
    pub fn asked_by(&self, name: &str) -> Vec<(String, String)> {
        let audit = std::fs::read_to_string(self.folder.join("audit.log")).unwrap_or_default();
        let lines = audit.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let began = |line: &Value| line["stage"] == if line["verb"] == "watch" { "ResponseStarted" } else { "ResponseComplete" };
        let own = lines.filter(|line| line["impersonatedUser"]["username"] == name && began(line));
        own.map(|line| (text(&line["verb"]), text(&line["requestURI"]))).collect()
    }

    /// A kubeconfig that believes the API server only by a certificate of this authority, as a name.
    pub fn kubeconfig_trusting(&self, authority: &Path, name: Option<&str>) -> String {
        let mut config: Value = serde_json::from_str(&self.kubeconfig(TOKEN)).expect("JSON");
        let mut cluster = json!({"server": config["clusters"][0]["cluster"]["server"], "certificate-authority": authority});
        if let Some(name) = name {
            cluster["tls-server-name"] = json!(name);
        }
        config["clusters"][0]["cluster"] = cluster;
        config.to_string()
    }

    /// A kubeconfig whose user is so.
    pub fn kubeconfig_of(&self, user: &Value) -> String {
        json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("https://{}", self.address), "insecure-skip-tls-verify": true}}],
            "users": [{"name": "u", "user": user}], "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]})
        .to_string()
    }

    /// The store's newest revision.
    pub fn revision(&self) -> u64 {
        let list = self.call("GET", "/api/v1/services?limit=1", None).expect("a list");
        list["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok()).expect("a list has a revision")
    }

    /// Makes the store forget everything before its newest revision.
    pub fn compact(&self) {
        let body = json!({"revision": self.revision().to_string(), "physical": true}).to_string();
        let head = format!("POST /v3/kv/compaction HTTP/1.1\r\nhost: etcd\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        let mut client = super::wire::Client::connect(self.etcd);
        client.send(format!("{head}{body}"));
        let answer = client.response("POST").expect("etcd answers");
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }

    /// Its kubeconfig as a file.
    pub fn kubeconfig_file(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// One request; the error is the status and what was said.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
        let kind = if method == "PATCH" { "application/apply-patch+yaml" } else { "application/json" };
        let body = body.map(Value::to_string).unwrap_or_default();
        self.runtime.block_on(async {
            let client = self.client().await?;
            let request = http::Request::builder().method(method).uri(path).header("content-type", kind);
            let request = request.body(Body::from(body.into_bytes())).map_err(|e| e.to_string())?;
            let answer = client.send(request).await.map_err(|e| e.to_string())?;
            let status = answer.status();
            let bytes = answer.into_body().collect_bytes().await.map_err(|e| e.to_string())?;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if status.is_success() { Ok(serde_json::from_str(&text).unwrap_or(Value::Null)) } else { Err(format!("{status} {text}")) }
        })
    }

    async fn client(&self) -> Result<Client, String> {
        let kept = || self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = kept().clone() {
            return Ok(client);
        }
        let kubeconfig = Kubeconfig::from_yaml(&self.kubeconfig(TOKEN)).map_err(|e| e.to_string())?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(|e| e.to_string())?;
        config.default_retry = false;
        let client = Client::try_from(config).map_err(|e| e.to_string())?;
        kept().replace(client.clone());
        Ok(client)
    }

    /// Creates or changes an object.
    pub fn apply(&self, object: &Value) {
        let path = format!("{}?fieldManager=test&force=true", path(object));
        let done = wait::until(Duration::from_secs(20), || self.call("PATCH", &path, Some(object)).ok());
        assert!(done.is_some(), "{path}: {:?}", self.call("PATCH", &path, Some(object)));
    }

    /// Applies an object as `kubectl apply --server-side --validate=strict` does: a field that is unknown or stands twice is refused.
    pub fn apply_strictly(&self, object: &Value) {
        let taken = self.call("PATCH", &format!("{}?fieldManager=kubectl&fieldValidation=Strict", path(object)), Some(object));
        assert!(taken.is_ok(), "{taken:?} {object}");
    }

    /// A service with one slice, in its namespace.
    pub fn serve(&self, ns: &str, name: &str, addresses: &[&str]) {
        self.apply(&namespace(ns));
        self.apply(&service(ns, name));
        self.apply(&slice(ns, name, addresses));
    }

    /// Creates or changes the objects of a YAML text.
    pub fn apply_yaml(&self, text: &str) {
        for object in objects(text) {
            self.apply(&object);
            if let (Some(_), "Pod" | "Service" | "Node") = (object.get("status"), object["kind"].as_str().unwrap_or_default()) {
                let path = format!("{}/status?fieldManager=test&force=true", path(&object));
                self.call("PATCH", &path, Some(&object)).expect("a status can be written");
            }
        }
    }

    /// Deletes an object, if it is there.
    pub fn delete(&self, object: &Value) {
        let grace = if object["kind"] == "Pod" { "?gracePeriodSeconds=0" } else { "" };
        let deleted = self.call("DELETE", &format!("{}{grace}", path(object)), None);
        assert!(deleted.as_ref().map_or_else(|reason| reason.starts_with("404"), |_| true), "{deleted:?}");
    }
}
