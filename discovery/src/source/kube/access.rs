//! How an API server is reached: the user's own kubeconfig file, our pod's account, or what a remote secret holds.
//!
//! The user's own file may name anything, plugins and files too. A remote secret is written by whoever may write secrets
//! in another cluster, so it may hold data only: whatever would run a program or read a file here is refused (M-22).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Request;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use isthmus_config::name::ClusterId;
use jiff::Timestamp;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::config::{AuthInfo, Cluster, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster};
use kube::{Client, Config};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, oneshot};
use tower::{BoxError, ServiceExt};

use super::certificates::{self, Certificate};
use super::request::Trouble;

/// How long a connection may take to stand.
const CONNECT: Duration = Duration::from_secs(5);
/// A connection on which nothing comes for so long is asked whether its other end lives, so often, so many times: a watch
/// of a machine that is gone without a word ends after 25 s.
const ALIVE: (Duration, Duration, u32) = (Duration::from_secs(10), Duration::from_secs(5), 3);
/// A certificate that was refused is looked at this often: its server goes on being tried meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(20);
/// A client that failed is not made again more often than this: its file may have been renewed meanwhile.
const REMAKE: Duration = Duration::from_secs(2);

/// How an API server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// The user's own kubeconfig file, and its context if not the current one.
    File {
        /// The file.
        path: PathBuf,
        /// The context; absent is the current one.
        context: Option<String>,
    },
    /// The API server of the pod that we run in, by its mounted account.
    InCluster,
    /// A kubeconfig from a remote secret, found harmless by [`Access::of_secret`].
    Inline(Arc<str>),
}

impl Access {
    /// A remote secret's kubeconfig, or why it is refused (M-22).
    pub fn of_secret(text: &str) -> Result<Self, String> {
        let config = Kubeconfig::from_yaml(text).map_err(|error| format!("not a kubeconfig: {error}"))?;
        if config.contexts.is_empty() || config.clusters.is_empty() {
            return Err("not a kubeconfig: it names no context or no cluster".to_owned());
        }
        for NamedAuthInfo { name, auth_info, .. } in &config.auth_infos {
            if let Some(reason) = auth_info.as_ref().and_then(reaches_out) {
                return Err(format!("refused: user {name:?} {reason}, which a remote secret may not do"));
            }
        }
        for NamedCluster { name, cluster, .. } in &config.clusters {
            if let Some(Cluster { certificate_authority: Some(path), .. }) = cluster {
                return Err(format!("refused: cluster {name:?} reads the file {path:?}, which a remote secret may not do"));
            }
        }
        Ok(Self::Inline(text.into()))
    }

    async fn config(&self) -> Result<Config, String> {
        let told = |error: &dyn std::error::Error| chain(error);
        match self {
            Self::File { path, context } => {
                let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
                let file = Kubeconfig::read_from(path).map_err(|error| format!("{}: {}", path.display(), told(&error)))?;
                Config::from_custom_kubeconfig(file, &options).await.map_err(|error| format!("{}: {}", path.display(), told(&error)))
            }
            Self::InCluster => Config::incluster().map_err(|error| told(&error)),
            Self::Inline(text) => {
                let config = Kubeconfig::from_yaml(text).map_err(|error| told(&error))?;
                Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.map_err(|error| told(&error))
            }
        }
    }

    pub(crate) async fn client(&self) -> Result<Client, String> {
        let config = self.config().await?;
        let (tell, made) = oneshot::channel();
        let runtime = Handle::current();
        // A kubeconfig's program is waited for here: on a thread of its own, so that one that hangs holds up its cluster alone,
        // and not our end either.
        let making = move || {
            let _inside = runtime.enter();
            // Nobody waits any more where the cluster is not asked for any more.
            let _ = tell.send(connect(config).map_err(|error| chain(&error)));
        };
        std::thread::Builder::new().name("kubeconfig".to_owned()).spawn(making).map_err(|error| error.to_string())?;
        made.await.map_err(|error| error.to_string())?
    }
}

/// A client as `Client::try_from` makes it, on connections that notice when their other end is gone. Waiting is bounded
/// for each request by who makes it.
fn connect(config: Config) -> kube::Result<Client> {
    if config.proxy_url.is_some() {
        // It says that proxies are not spoken.
        return Client::try_from(config);
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    let (quiet, interval, times) = ALIVE;
    tcp.set_keepalive(Some(quiet));
    tcp.set_keepalive_interval(Some(interval));
    tcp.set_keepalive_retries(Some(times));
    let tls = config.rustls_https_connector_with_connector(tcp)?;
    let service = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(tls);
    let service = ServiceExt::<Request<Body>>::map_err(service, BoxError::from);
    let service = ClientBuilder::new(service, config.default_namespace.clone()).with_layer(&config.extra_headers_layer()?);
    let uri = config.base_uri_layer();
    Ok(match config.auth_layer()? {
        Some(auth) => service.with_layer(&auth).with_layer(&uri).build(),
        None => service.with_layer(&uri).build(),
    })
}

/// What of a user's entry would run a program or read a file.
fn reaches_out(user: &AuthInfo) -> Option<String> {
    let files = [&user.token_file, &user.client_certificate, &user.client_key];
    if user.exec.is_some() {
        return Some("runs a program (exec)".to_owned());
    }
    if let Some(provider) = &user.auth_provider {
        return Some(format!("uses the auth provider {:?}", provider.name));
    }
    files.into_iter().flatten().next().map(|path| format!("reads the file {path:?}"))
}

/// An error with all that caused it, each said once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// The client that all watchers of one cluster share. One that failed is made anew from its kubeconfig, which may have
/// been renewed meanwhile.
pub(crate) struct Door {
    /// Whose API server it is.
    pub(super) cluster: ClusterId,
    access: Access,
    made: Mutex<Option<(u64, Instant, Client)>>,
    /// What was seen of the API server's certificate, and when.
    seen: Mutex<Option<(Instant, Option<String>)>>,
}

/// A client, and which one it is.
#[derive(Clone)]
pub(crate) struct ClientOf {
    number: u64,
    pub(crate) client: Client,
}

impl Door {
    pub(crate) fn new(cluster: ClusterId, access: Access) -> Self {
        Self { cluster, access, made: Mutex::new(None), seen: Mutex::new(None) }
    }

    pub(crate) async fn client(&self) -> Result<ClientOf, Trouble> {
        let mut made = self.made.lock().await;
        if let Some((number, _, client)) = &*made {
            return Ok(ClientOf { number: *number, client: client.clone() });
        }
        let client = self.access.client().await.map_err(Trouble::Broken)?;
        *made = Some((0, Instant::now(), client.clone()));
        Ok(ClientOf { number: 0, client })
    }

    /// Why nobody knows us: what was said, and the client certificate where its date is why.
    pub(crate) async fn why_unknown(&self, said: &str) -> String {
        let certificate = self.client_certificate().await;
        joined(said, certificate.and_then(|certificate| certificate.refusal(Timestamp::now())))
    }

    /// Why the API server's certificate was refused: what was said, and which one it is.
    pub(crate) async fn why_distrusted(&self, said: &str) -> String {
        let mut seen = self.seen.lock().await;
        if seen.as_ref().is_none_or(|(when, _)| when.elapsed() > LOOK_AGAIN) {
            let found = match self.access.config().await {
                Ok(config) => certificates::look(config).await,
                Err(_) => None,
            };
            *seen = Some((Instant::now(), found));
        }
        joined(said, seen.as_ref().and_then(|(_, told)| told.clone()))
    }

    /// The client certificate as the kubeconfig has it now.
    pub(super) async fn client_certificate(&self) -> Option<Certificate> {
        self.access.config().await.ok().and_then(|config| Certificate::of_client(&config))
    }

    /// The kubeconfig's file, where it is one.
    pub(super) fn file(&self) -> Option<&Path> {
        match &self.access {
            Access::File { path, .. } => Some(path),
            Access::InCluster | Access::Inline(_) => None,
        }
    }

    /// Makes the client anew, unless that happened just now.
    pub(crate) async fn renew(&self, failed: &ClientOf) {
        let mut made = self.made.lock().await;
        if let Some((number, since, client)) = &mut *made
            && *number == failed.number
            && since.elapsed() > REMAKE
            && let Ok(new) = self.access.client().await
        {
            (*number, *since, *client) = (*number + 1, Instant::now(), new);
        }
    }
}

fn joined(said: &str, why: Option<String>) -> String {
    why.map_or_else(|| said.to_owned(), |why| format!("{said}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n";

    #[test]
    fn a_remote_secret_holds_data_only_m22() {
        let good = "clusters: [{name: c, cluster: {server: 'https://a'}}]\n";
        for (rest, want) in [
            (format!("{good}users: [{{name: u, user: {{token: t}}}}]"), ""),
            (format!("{good}users: [{{name: u, user: {{client-certificate-data: YQ==, client-key-data: YQ==}}}}]"), ""),
            (format!("{good}users: [{{name: u, user: {{exec: {{command: sh}}}}}}]"), "runs a program (exec)"),
            (format!("{good}users: [{{name: u, user: {{auth-provider: {{name: gcp, config: {{}}}}}}}}]"), "auth provider \"gcp\""),
            (format!("{good}users: [{{name: u, user: {{tokenFile: /etc/passwd}}}}]"), "reads the file \"/etc/passwd\""),
            (format!("{good}users: [{{name: u, user: {{client-key: /k}}}}]"), "reads the file \"/k\""),
            (format!("{good}users: [{{name: u, user: {{client-certificate: /k}}}}]"), "reads the file \"/k\""),
            ("clusters: [{name: c, cluster: {server: 'https://a', certificate-authority: /ca}}]".to_owned(), "reads the file \"/ca\""),
            ("clusters: []".to_owned(), "no cluster"),
        ] {
            match Access::of_secret(&format!("{HEAD}{rest}")) {
                Ok(_) => assert_eq!(want, "", "{rest}"),
                Err(reason) => assert!(!want.is_empty() && reason.contains(want), "{rest}: {reason}"),
            }
        }
        for garbage in ["", "hello", "{", "\u{0}", "- a"] {
            assert!(Access::of_secret(garbage).is_err(), "{garbage:?}");
        }
    }
}
