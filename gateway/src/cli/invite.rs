//! `isthmus remote-secret`: prints the secret that makes a cluster a member, for `kubectl apply -f -` to the config cluster.

use std::path::PathBuf;

use clap::Args;
use isthmus_discovery::Invitation;

use super::out::{Exit, Out, Paint};
use super::{Done, Failed};

/// Which cluster, and how it is reached.
#[derive(Debug, Args)]
pub(crate) struct RemoteSecret {
    /// The name that the member will have.
    #[arg(long, value_name = "CLUSTER", value_parser = key)]
    name: String,
    /// The kubeconfig that reaches the member [default: what kubectl would use].
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Its context [default: the current one].
    #[arg(long)]
    context: Option<String>,
    /// Where the gateway reaches the member's API server [default: what the kubeconfig says].
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Where the account stands, and the secret will.
    #[arg(short, long, default_value = "istio-system")]
    namespace: String,
    /// The account that may read; deploy/member makes it.
    #[arg(long, value_name = "NAME", default_value = "isthmus-reader")]
    service_account: String,
}

/// A name that may be a key of a secret, which is where a member's name stands.
fn key(text: &str) -> Result<String, String> {
    let known = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if text.len() > 200 || !text.bytes().all(known) || !text.bytes().any(|b| b.is_ascii_alphanumeric()) {
        return Err("expected letters, digits, dashes, dots and underscores: it is a key of the secret".to_owned());
    }
    Ok(text.to_owned())
}

/// Runs `isthmus remote-secret`.
pub(super) fn run(out: Out, asked: &RemoteSecret) -> Done {
    let RemoteSecret { name, kubeconfig, context, server, namespace, service_account } = asked;
    let invitation = Invitation {
        name: name.clone(),
        kubeconfig: kubeconfig.clone(),
        context: context.clone(),
        server: server.clone(),
        namespace: namespace.clone(),
        account: service_account.clone(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| Failed::Other(e.to_string()))?;
    let made = runtime.block_on(invitation.make()).map_err(Failed::Other)?;
    for warning in &made.warnings {
        out.message(&format!("{} {warning}", out.paint_message(Paint::Yellow, "warning:")));
    }
    out.data(&serde_yaml::to_string(&made.secret).map_err(|e| Failed::Other(e.to_string()))?);
    Ok(Exit::Done)
}
