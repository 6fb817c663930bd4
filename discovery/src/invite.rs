//! Making a member: the remote secret that lets a gateway read a cluster (M-20), from that cluster's own API server.
//!
//! As `istioctl create-remote-secret` does, it holds the token of an account that may read, and no data but that. The token
//! is the one that Kubernetes keeps in a secret of that account; where there is none one is asked for, and where nobody
//! fills it, one that expires.

use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use xxhash_rust::xxh64::xxh64;

use crate::source::kube::{Access, chain};

/// How long an answer of the API server may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long filling a secret with a token may take.
const FILLED: Duration = Duration::from_secs(10);
/// Between two looks at it.
const PAUSE: Duration = Duration::from_millis(200);
/// What is asked for where no token lasts; servers may give less.
const LASTS: Duration = Duration::from_secs(365 * 24 * 3600);
/// The type of secrets that hold an account's token.
const OF_ACCOUNT: &str = "kubernetes.io/service-account-token";
/// What the secret's name begins with, as istioctl's.
const PREFIX: &str = "istio-remote-secret-";
/// The annotation that says whose.
const ACCOUNT: &str = "kubernetes.io/service-account.name";

/// What is asked.
#[derive(Clone, Debug)]
pub struct Invitation {
    /// The name that the member will have.
    pub name: String,
    /// The user's own kubeconfig; absent is what kubectl would use.
    pub kubeconfig: Option<PathBuf>,
    /// Its context; absent is the current one.
    pub context: Option<String>,
    /// Where the gateway reaches the API server; absent is what the kubeconfig says.
    pub server: Option<String>,
    /// Where the account stands, and the secret will.
    pub namespace: String,
    /// Whose token it is.
    pub account: String,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Invited {
    /// The secret, to be applied to the config cluster.
    pub secret: Value,
    /// What may keep it from working.
    pub warnings: Vec<String>,
}

/// The token, and what its secret says of who signed the server's certificate.
struct Token {
    token: String,
    authority: Option<ByteString>,
}

impl Invitation {
    /// Asks the API server for the account's token and tries it.
    pub async fn make(&self) -> Result<Invited, String> {
        let file = match &self.kubeconfig {
            Some(path) => Kubeconfig::read_from(path).map_err(|e| format!("{}: {}", path.display(), chain(&e)))?,
            None => Kubeconfig::read().map_err(|e| chain(&e))?,
        };
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let mut config = Config::from_custom_kubeconfig(file, &options).await.map_err(|e| chain(&e))?;
        (config.connect_timeout, config.read_timeout, config.default_retry) = (Some(PATIENCE), Some(PATIENCE), false);
        let own_server = config.cluster_url.to_string();
        let (insecure, own_authority) = (config.accept_invalid_certs, config.root_cert.clone());
        let client = Client::try_from(config).map_err(|e| chain(&e))?;
        let account = format!("/api/v1/namespaces/{}/serviceaccounts/{}", self.namespace, self.account);
        let _: Value = self.ask(&client, "GET", &account, &Value::Null).await.map_err(|e| {
            let missing = if e.starts_with("404") { ": kubectl apply -k deploy/member makes it" } else { "" };
            format!("{own_server}: service account {}/{}: {e}{missing}", self.namespace, self.account)
        })?;
        let mut warnings = Vec::new();
        let found = self.kept(&client).await?;
        let found = match found {
            Some(found) => Some(found),
            None => self.made(&client).await?,
        };
        let Token { token, authority } = match found {
            Some(found) => found,
            None => self.expiring(&client, &mut warnings).await?,
        };
        let authority = authority.or_else(|| own_authority.map(|list| pem(&list)));
        let server = self.server.clone().unwrap_or_else(|| own_server.trim_end_matches('/').to_owned());
        let mut cluster = json!({"server": server});
        match authority {
            Some(authority) if !insecure => cluster["certificate-authority-data"] = json!(authority),
            _ if insecure => {
                cluster["insecure-skip-tls-verify"] = json!(true);
                warnings.push("your kubeconfig trusts any certificate (insecure-skip-tls-verify), and so will the gateway".to_owned());
            }
            Some(_) | None => {}
        }
        let name = &self.name;
        let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "current-context": name,
            "clusters": [{"name": name, "cluster": cluster}], "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}]});
        warnings.extend(tried(&kubeconfig.to_string()).await.err().map(|e| format!("{server} cannot be read from here with this secret: {e}")));
        let metadata = json!({"name": secret_name(name), "namespace": self.namespace,
            "labels": {"istio/multiCluster": "true"}, "annotations": {"networking.istio.io/cluster": name}});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {name: kubeconfig.to_string()}});
        Ok(Invited { secret, warnings })
    }

    async fn ask<T: DeserializeOwned>(&self, client: &Client, method: &str, path: &str, body: &Value) -> Result<T, String> {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = http::Request::builder().method(method).uri(path).header("content-type", "application/json").body(body);
        let request = request.map_err(|e| format!("{path}: {e}"))?;
        client
            .request(request)
            .await
            .map_err(|e| if let kube::Error::Api(status) = e { format!("{} {}", status.code, status.message) } else { chain(&e) })
    }

    fn secrets(&self) -> String {
        format!("/api/v1/namespaces/{}/secrets", self.namespace)
    }

    /// The token that a secret of the account holds already.
    async fn kept(&self, client: &Client) -> Result<Option<Token>, String> {
        let path = format!("{}?fieldSelector=type%3D{}", self.secrets(), OF_ACCOUNT.replace('/', "%2F"));
        let all: kube::core::ObjectList<Secret> = self.ask(client, "GET", &path, &Value::Null).await.map_err(|e| format!("secrets: {e}"))?;
        let of_account = |secret: &Secret| secret.metadata.annotations.as_ref().and_then(|a| a.get(ACCOUNT)) == Some(&self.account);
        Ok(all.items.into_iter().filter(of_account).find_map(token))
    }

    /// The token of a new secret, once it is filled; without a token controller it never is, and goes.
    async fn made(&self, client: &Client) -> Result<Option<Token>, String> {
        let name = format!("{}-isthmus-token", self.account);
        let metadata = json!({"name": name, "namespace": self.namespace, "annotations": {ACCOUNT: self.account}});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": OF_ACCOUNT, "metadata": metadata});
        let _: Value = self.ask(client, "POST", &self.secrets(), &secret).await.map_err(|e| format!("secret {name}: {e}"))?;
        let path = format!("{}/{name}", self.secrets());
        let end = tokio::time::Instant::now() + FILLED;
        while tokio::time::Instant::now() < end {
            let now: Secret = self.ask(client, "GET", &path, &Value::Null).await.map_err(|e| format!("secret {name}: {e}"))?;
            if let Some(token) = token(now) {
                return Ok(Some(token));
            }
            tokio::time::sleep(PAUSE).await;
        }
        let _: Value = self.ask(client, "DELETE", &path, &Value::Null).await.map_err(|e| format!("secret {name}: {e}"))?;
        Ok(None)
    }

    /// A token that expires.
    async fn expiring(&self, client: &Client, warnings: &mut Vec<String>) -> Result<Token, String> {
        let path = format!("/api/v1/namespaces/{}/serviceaccounts/{}/token", self.namespace, self.account);
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": LASTS.as_secs()}});
        let answer: Value = self.ask(client, "POST", &path, &request).await.map_err(|e| format!("a token of {}: {e}", self.account))?;
        let text = |key: &str| answer["status"][key].as_str().unwrap_or_default().to_owned();
        warnings.push(format!("nobody fills secrets with tokens there, so this one expires at {}", text("expirationTimestamp")));
        Ok(Token { token: text("token"), authority: None })
    }
}

/// A name for the secret. Kubernetes allows fewer characters there than in the key, which is the cluster's own name; two clusters
/// never share one.
fn secret_name(cluster: &str) -> String {
    let plain: String = cluster.chars().map(|c| if c == '_' { '-' } else { c.to_ascii_lowercase() }).collect();
    let plain = plain.trim_matches(['-', '.']).to_owned();
    if plain == cluster { format!("{PREFIX}{plain}") } else { format!("{PREFIX}{plain}-{:08x}", xxh64(cluster.as_bytes(), 0) >> 32) }
}

/// What a secret holds, if it is filled.
fn token(secret: Secret) -> Option<Token> {
    let mut data = secret.data?;
    let token = String::from_utf8(data.remove("token")?.0).ok().filter(|token| !token.is_empty())?;
    Some(Token { token, authority: data.remove("ca.crt").filter(|authority| !authority.0.is_empty()) })
}

/// Certificates as kubeconfigs hold them.
fn pem(certificates: &[Vec<u8>]) -> ByteString {
    let encode = |bytes: &[u8]| serde_json::to_value(ByteString(bytes.to_vec())).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    let one = |bytes: &Vec<u8>| format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", encode(bytes));
    ByteString(certificates.iter().map(one).collect::<String>().into_bytes())
}

/// Reads with a remote secret's kubeconfig what a gateway reads, if but one.
async fn tried(kubeconfig: &str) -> Result<(), String> {
    let client = Access::of_secret(kubeconfig)?.client().await?;
    let request = http::Request::get("/apis/discovery.k8s.io/v1/endpointslices?limit=1").body(Vec::new()).map_err(|e| e.to_string())?;
    let asked = tokio::time::timeout(PATIENCE, client.request::<Value>(request)).await;
    asked.map_err(|_| "no answer in time".to_owned())?.map(drop).map_err(|e| chain(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_named_as_kubernetes_allows_it() {
        for (cluster, want) in [
            ("c2", "istio-remote-secret-c2"),
            ("eu.c2", "istio-remote-secret-eu.c2"),
            ("gke_shop_eu-west1_c2", "istio-remote-secret-gke-shop-eu-west1-c2-"),
            ("gke-shop-eu-west1-c2", "istio-remote-secret-gke-shop-eu-west1-c2"),
            ("C2", "istio-remote-secret-c2-"),
            ("c2_", "istio-remote-secret-c2-"),
        ] {
            let name = secret_name(cluster);
            assert!(name.starts_with(want), "{cluster}: {name}");
            assert!(name.ends_with(|c: char| c.is_ascii_alphanumeric()) && !name.contains('_'), "{name}");
        }
        assert_ne!(secret_name("C2"), secret_name("c2_"));
    }
}
