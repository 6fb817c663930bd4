//! Real API servers: kube-apiserver with its own etcd, built by Go from `tests/tools/kube`, on free ports of loopback.
//!
//! Three of them are started once for a whole test binary and end with it. What a test makes it puts into a namespace of
//! its own, and into secrets of its own; a test that stops a server starts it again. There is no controller manager, so
//! nothing exists that a test did not write, but what the API server makes itself.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::time::Duration;

use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{binary, wait};

/// Nothing here takes longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
const TOKEN: &str = "admintoken";

/// An API server and its store.
#[derive(Debug)]
pub struct ApiServer {
    /// Its cluster's name.
    pub name: &'static str,
    port: u16,
    etcd_port: u16,
    folder: PathBuf,
    index: usize,
    api: Option<Child>,
    _etcd: Child,
    runtime: Runtime,
}

/// Three API servers: `cluster1` to `cluster3`.
#[derive(Debug)]
pub struct Servers(pub Vec<ApiServer>);

static SERVERS: LazyLock<Mutex<Servers>> = LazyLock::new(|| {
    let folder = binary::scratch("kube");
    let names = ["cluster1", "cluster2", "cluster3"].into_iter().enumerate();
    let mut servers: Vec<ApiServer> = names.map(|(i, name)| ApiServer::new(name, i, &folder)).collect();
    servers.iter_mut().for_each(ApiServer::launch);
    servers.iter().for_each(ApiServer::prepare);
    Mutex::new(Servers(servers))
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

/// The three API servers, for one test at a time; all of them serve, even if a test before this one broke off.
pub fn servers() -> MutexGuard<'static, Servers> {
    let mut servers = SERVERS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    servers.0.iter_mut().filter(|s| s.api.is_none()).for_each(ApiServer::start);
    servers
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
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

impl ApiServer {
    fn new(name: &'static str, index: usize, folder: &Path) -> Self {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).expect("a temporary folder can be written");
        let (etcd_port, peers) = (free_port(), free_port());
        let (client, peer) = (format!("http://127.0.0.1:{etcd_port}"), format!("http://127.0.0.1:{peers}"));
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
        let etcd = spawn(&binary::tool_of("kube", "etcd", "go.etcd.io/etcd/server/v3"), &args, &folder.join("etcd.log"));
        let key = Command::new("openssl").args(["genrsa", "-out"]).arg(folder.join("sa.key")).arg("2048").output();
        assert!(key.is_ok_and(|o| o.status.success()), "this test needs openssl: apt-get install openssl");
        std::fs::write(folder.join("tokens.csv"), format!("{TOKEN},admin,admin,system:masters\nother,admin,admin,system:masters\n")).expect("a file");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        Self { name, port: free_port(), etcd_port, folder, index, api: None, _etcd: etcd, runtime }
    }

    /// Starts the API server and does not wait for it.
    fn launch(&mut self) {
        let at = |name: &str| self.folder.join(name).display().to_string();
        let args = [
            ["--etcd-servers", &format!("http://127.0.0.1:{}", self.etcd_port)],
            ["--secure-port", &self.port.to_string()],
            ["--bind-address", "127.0.0.1"],
            ["--cert-dir", &at("certs")],
            ["--service-account-issuer", "https://kubernetes.default.svc"],
            ["--service-account-key-file", &at("sa.key")],
            ["--service-account-signing-key-file", &at("sa.key")],
            ["--service-cluster-ip-range", &format!("10.9{}.0.0/16", self.index)],
            ["--token-auth-file", &at("tokens.csv")],
            ["--authorization-mode", "RBAC"],
            ["--disable-admission-plugins", "ServiceAccount"],
            ["--advertise-address", "10.244.0.1"],
        ];
        let args: Vec<String> = args.concat().into_iter().map(str::to_owned).collect();
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
        format!("127.0.0.1:{}", self.port)
    }

    fn wait(&self) {
        let log = || std::fs::read_to_string(self.folder.join("api.log")).unwrap_or_default();
        assert!(wait::holds(PATIENCE, || self.call("GET", "/readyz", None).is_ok()), "{} is not ready: {}", self.name, log());
    }

    /// Kills the API server at once; its store stays.
    pub fn kill(&mut self) {
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
        json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("https://127.0.0.1:{}", self.port), "insecure-skip-tls-verify": true}}],
            "users": [{"name": "u", "user": {"token": token}}], "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]})
        .to_string()
    }

    /// Its kubeconfig as a file.
    pub fn kubeconfig_file(&self) -> PathBuf {
        let path = self.folder.join("kubeconfig");
        std::fs::write(&path, self.kubeconfig(TOKEN)).expect("a temporary folder can be written");
        path
    }

    /// One request; the error is the status and what was said.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
        let kind = if method == "PATCH" { "application/apply-patch+yaml" } else { "application/json" };
        let body = body.map(Value::to_string).unwrap_or_default();
        self.runtime.block_on(async {
            let kubeconfig = Kubeconfig::from_yaml(&self.kubeconfig(TOKEN)).map_err(|e| e.to_string())?;
            let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(|e| e.to_string())?;
            config.default_retry = false;
            let client = Client::try_from(config).map_err(|e| e.to_string())?;
            let request = http::Request::builder().method(method).uri(path).header("content-type", kind);
            let request = request.body(Body::from(body.into_bytes())).map_err(|e| e.to_string())?;
            let answer = client.send(request).await.map_err(|e| e.to_string())?;
            let status = answer.status();
            let bytes = answer.into_body().collect_bytes().await.map_err(|e| e.to_string())?;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if status.is_success() { Ok(serde_json::from_str(&text).unwrap_or(Value::Null)) } else { Err(format!("{status} {text}")) }
        })
    }

    /// Creates or changes an object.
    pub fn apply(&self, object: &Value) {
        let path = format!("{}?fieldManager=test&force=true", path(object));
        let done = wait::until(Duration::from_secs(20), || self.call("PATCH", &path, Some(object)).ok());
        assert!(done.is_some(), "{path}: {:?}", self.call("PATCH", &path, Some(object)));
    }

    /// Creates or changes the objects of a YAML text.
    pub fn apply_yaml(&self, text: &str) {
        for object in objects(text) {
            self.apply(&object);
            if let (Some(status), "Pod") = (object.get("status"), object["kind"].as_str().unwrap_or_default()) {
                let mut object = object.clone();
                object["status"] = status.clone();
                let path = format!("{}/status?fieldManager=test&force=true", path(&object));
                self.call("PATCH", &path, Some(&object)).expect("a pod's status can be written");
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

/// The objects of a YAML text.
pub fn objects(text: &str) -> Vec<Value> {
    use serde::Deserialize;
    let all = serde_yaml::Deserializer::from_str(text).map(|d| Value::deserialize(d).expect("an object in YAML"));
    all.filter(|v| !v.is_null()).collect()
}

/// A secret of `namespace` that names members, each with its kubeconfig.
pub fn remote_secret(namespace: &str, name: &str, members: &[(&str, &str)]) -> Value {
    let data: serde_json::Map<String, Value> = members.iter().map(|(cluster, text)| ((*cluster).to_owned(), json!(text))).collect();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace, "labels": {"istio/multiCluster": "true"}},
        "stringData": data})
}

const ISTIO: [(&str, &str); 7] = [
    ("Gateway", "gateways"),
    ("VirtualService", "virtualservices"),
    ("DestinationRule", "destinationrules"),
    ("ServiceEntry", "serviceentries"),
    ("WorkloadEntry", "workloadentries"),
    ("WorkloadGroup", "workloadgroups"),
    ("EnvoyFilter", "envoyfilters"),
];

fn definition(kind: &str, plural: &str) -> Value {
    let versions: &[&str] = if kind == "EnvoyFilter" { &["v1alpha3"] } else { &["v1alpha3", "v1beta1", "v1"] };
    let versions: Vec<Value> = versions
        .iter()
        .map(|v| {
            json!({"name": v, "served": true, "storage": *v == versions[versions.len() - 1], "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
        })
        .collect();
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("{plural}.networking.istio.io")},
        "spec": {"group": "networking.istio.io", "scope": "Namespaced", "versions": versions,
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")}}})
}

fn path(object: &Value) -> String {
    let (version, kind) = (object["apiVersion"].as_str().unwrap_or_default(), object["kind"].as_str().unwrap_or_default());
    let plural = match kind {
        "CustomResourceDefinition" => "customresourcedefinitions".to_owned(),
        _ => ISTIO.iter().find(|(k, _)| *k == kind).map_or_else(|| format!("{}s", kind.to_lowercase()), |(_, plural)| (*plural).to_owned()),
    };
    let root = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    let scope = object["metadata"]["namespace"].as_str().map(|n| format!("/namespaces/{n}")).unwrap_or_default();
    format!("{root}{scope}/{plural}/{}", object["metadata"]["name"].as_str().unwrap_or_default())
}
