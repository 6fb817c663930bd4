//! One probe over the network: a GET, a connection, or gRPC's health question; a new connection each time.
//!
//! HTTP and HTTPS go through the client that API servers are read with, which brings TLS. As the kubelet does, a probe takes
//! any certificate: it asks whether a machine answers, and carries no secret.

use std::io;
use std::net::{IpAddr, SocketAddr};

use bytes::{BufMut, Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Uri};
use kube::client::Body;
use kube::{Client, Config};
use tokio::net::TcpStream;

use super::{Action, Ask, Outcome, Target};
use crate::source::kube::chain;

/// Who asks, as servers log it.
const AGENT: &str = "isthmus-probe";
/// Errors of our own side (ENFILE, EMFILE, ENOMEM, ENOBUFS, EADDRNOTAVAIL): they say nothing about a machine.
const OURS: [i32; 5] = [23, 24, 12, 105, 99];

/// Asks over the network.
#[derive(Debug, Default)]
pub(crate) struct Network;

impl Ask for Network {
    async fn ask(&self, target: &Target) -> Outcome {
        match asked(target).await {
            Ok(()) => Outcome::Passed,
            Err(Trouble::Ours(reason)) => Outcome::Unsure(reason),
            Err(Trouble::Theirs(reason)) => Outcome::Failed(reason),
        }
    }
}

enum Trouble {
    Ours(String),
    Theirs(String),
}

impl Trouble {
    /// By what lies at the bottom of an error.
    fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            let system = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
            if system.is_some_and(|code| OURS.contains(&code)) {
                return Self::Ours(error.to_string());
            }
            cause = error.source();
        }
        Self::Theirs(chain(error))
    }
}

async fn asked(target: &Target) -> Result<(), Trouble> {
    match &target.probe.action {
        Action::Http { secure, port, path, headers } => http(&authority(&target.address, *port), *secure, path, headers).await,
        Action::Tcp { port } => connect(&target.address, *port).await.map(drop),
        Action::Grpc { port, service } => grpc(connect(&target.address, *port).await?, &authority(&target.address, *port), service).await,
    }
}

fn authority(address: &str, port: u16) -> String {
    address.parse::<IpAddr>().map_or_else(|_| format!("{address}:{port}"), |ip| SocketAddr::new(ip, port).to_string())
}

async fn connect(address: &str, port: u16) -> Result<TcpStream, Trouble> {
    TcpStream::connect((address, port)).await.map_err(|e| Trouble::of(&e))
}

async fn http(authority: &str, secure: bool, path: &PathAndQuery, headers: &HeaderMap) -> Result<(), Trouble> {
    let wrong = |e: &dyn std::error::Error| Trouble::Ours(e.to_string());
    let scheme = if secure { "https" } else { "http" };
    let uri: Uri = format!("{scheme}://{authority}").parse().map_err(|e: http::uri::InvalidUri| wrong(&e))?;
    let mut config = Config::new(uri);
    // Waiting and trying again are up to whoever asks.
    (config.accept_invalid_certs, config.default_retry) = (true, false);
    (config.connect_timeout, config.read_timeout, config.write_timeout) = (None, None, None);
    let client = Client::try_from(config).map_err(|e| wrong(&e))?;
    let mut request = Request::get(path.clone()).header("user-agent", AGENT).body(Body::empty()).map_err(|e| wrong(&e))?;
    request.headers_mut().extend(headers.clone());
    let answer = client.send(request).await.map_err(|e| Trouble::of(&e))?;
    match answer.status().as_u16() {
        200..400 => Ok(()),
        status => Err(Trouble::Theirs(format!("answered {status}"))),
    }
}

async fn grpc(stream: TcpStream, authority: &str, service: &str) -> Result<(), Trouble> {
    let theirs = |e: h2::Error| Trouble::Theirs(e.to_string());
    let (mut send, connection) = h2::client::handshake(stream).await.map_err(theirs)?;
    let asking = async {
        let request = Request::post(format!("http://{authority}/grpc.health.v1.Health/Check"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", AGENT)
            .body(());
        let request = request.map_err(|e| Trouble::Ours(e.to_string()))?;
        let (answer, mut body) = send.send_request(request, false).map_err(theirs)?;
        body.send_data(question(service), true).map_err(theirs)?;
        let answer = answer.await.map_err(theirs)?;
        // An error without a body stands in the headers.
        well(answer.headers()).unwrap_or(Ok(()))?;
        let mut body = answer.into_body();
        let mut bytes = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data.map_err(theirs)?;
            bytes.extend_from_slice(&data);
            body.flow_control().release_capacity(data.len()).map_err(theirs)?;
            if bytes.len() > MAX_ANSWER {
                return Err(Trouble::Theirs("answered too much".to_owned()));
            }
        }
        let trailers = body.trailers().await.map_err(theirs)?.unwrap_or_default();
        well(&trailers).unwrap_or_else(|| Err(Trouble::Theirs("answered without a gRPC status".to_owned())))?;
        serves(&bytes)
    };
    // The connection has to be driven while we ask.
    tokio::pin!(asking);
    tokio::select! {
        done = &mut asking => done,
        ended = connection => match ended {
            Ok(()) => asking.await,
            Err(error) => Err(theirs(error)),
        },
    }
}

/// A health answer has a few bytes.
const MAX_ANSWER: usize = 1024;

/// `HealthCheckRequest{service}`, as gRPC frames it.
fn question(service: &str) -> Bytes {
    let service = service.as_bytes();
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        put_varint(&mut message, service.len());
        message.put_slice(service);
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(&message);
    framed.freeze()
}

fn put_varint(into: &mut BytesMut, mut number: usize) {
    while number >= 0x80 {
        into.put_u8((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    into.put_u8(number as u8);
}

/// What `grpc-status` says, where it stands here.
fn well(headers: &HeaderMap) -> Option<Result<(), Trouble>> {
    let status = headers.get("grpc-status")?.to_str().unwrap_or("?");
    if status == "0" {
        return Some(Ok(()));
    }
    let message = headers.get("grpc-message").and_then(|m| m.to_str().ok()).unwrap_or_default();
    Some(Err(Trouble::Theirs(format!("answered gRPC status {status} {message}").trim_end().to_owned())))
}

/// `HealthCheckResponse{status}`: SERVING is 1.
fn serves(framed: &[u8]) -> Result<(), Trouble> {
    match framed {
        [0, 0, 0, 0, 2, 0x08, 1, ..] => Ok(()),
        [0, 0, 0, 0, 2, 0x08, 2, ..] => Err(Trouble::Theirs("answered NOT_SERVING".to_owned())),
        [0, 0, 0, 0, 2, 0x08, 3, ..] => Err(Trouble::Theirs("answered SERVICE_UNKNOWN".to_owned())),
        _ => Err(Trouble::Theirs("answered UNKNOWN".to_owned())),
    }
}
