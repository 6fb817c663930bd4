//! HTTP/2 with prior knowledge: a client and a server of the tests, on the `h2` crate, so that frames and trailers are what the test says.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request, Response};
use tokio::net::{TcpListener, TcpStream};

/// A whole message of either side.
#[derive(Debug, Clone, Default)]
pub struct Whole {
    /// Status of a response.
    pub status: u16,
    /// Path of a request.
    pub path: String,
    /// Its fields.
    pub fields: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// What followed the body.
    pub trailers: Option<HeaderMap>,
}

/// Opens a connection.
pub async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.expect("the gateway accepts connections");
    let (client, connection) = h2::client::handshake(stream).await.expect("the gateway speaks HTTP/2");
    // Ends with its connection; what goes wrong on it shows in the requests.
    tokio::spawn(connection);
    client
}

/// A GET of `path` for `host`.
pub fn get(host: &str, path: &str) -> Request<()> {
    Request::get(format!("http://{host}{path}")).body(()).expect("host and path of a test are valid")
}

/// A POST of `path` for `host` with this content type.
pub fn post(host: &str, path: &str, kind: &str) -> Request<()> {
    Request::post(format!("http://{host}{path}")).header("content-type", kind).body(()).expect("host and path of a test are valid")
}

/// Sends a request whose body is `frames`, one DATA frame each, the last one ending the stream, and reads the answer.
///
/// # Errors
/// The stream's or connection's error.
pub async fn ask(client: &SendRequest<Bytes>, request: Request<()>, frames: &[&[u8]]) -> Result<Whole, h2::Error> {
    let mut client = client.clone().ready().await?;
    let (answer, mut body) = client.send_request(request, frames.is_empty())?;
    for (n, frame) in frames.iter().enumerate() {
        body.send_data(Bytes::copy_from_slice(frame), n + 1 == frames.len())?;
    }
    let (head, stream) = answer.await?.into_parts();
    let (body, trailers) = read(stream).await?;
    Ok(Whole { status: head.status.as_u16(), path: String::new(), fields: head.headers, body, trailers })
}

async fn read(mut stream: h2::RecvStream) -> Result<(Bytes, Option<HeaderMap>), h2::Error> {
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    Ok((body.into(), stream.trailers().await?))
}

/// An HTTP/2 server that keeps what it was asked.
#[derive(Debug, Clone)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Whole>>>,
}

impl Server {
    /// Listens on a free port of `ip` and answers each request as `answer` says; an answer without body and trailers ends with its head.
    pub async fn start(ip: IpAddr, answer: impl Fn(&Whole) -> Whole + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.expect("a loopback address has free ports");
        let server = Self { address: listener.local_addr().expect("a bound socket has an address"), asked: Arc::default() };
        let (asked, answer) = (Arc::clone(&server.asked), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (asked, answer) = (Arc::clone(&asked), Arc::clone(&answer));
                tokio::spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        tokio::spawn(serve(request, respond, Arc::clone(&asked), Arc::clone(&answer)));
                    }
                });
            }
        });
        server
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Whole> {
        self.asked.lock().expect("nobody panics while it records").clone()
    }
}

async fn serve(
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    asked: Arc<Mutex<Vec<Whole>>>,
    answer: Arc<impl Fn(&Whole) -> Whole>,
) -> Option<()> {
    let (head, stream) = request.into_parts();
    let (body, trailers) = read(stream).await.ok()?;
    let whole = Whole { status: 0, path: head.uri.path().to_owned(), fields: head.headers, body, trailers };
    let reply = answer(&whole);
    asked.lock().ok()?.push(whole);
    let mut response = Response::new(());
    *response.status_mut() = http::StatusCode::from_u16(reply.status).ok()?;
    *response.headers_mut() = reply.fields;
    let mut out = respond.send_response(response, reply.body.is_empty() && reply.trailers.is_none()).ok()?;
    if !reply.body.is_empty() {
        out.send_data(reply.body, reply.trailers.is_none()).ok()?;
    }
    match reply.trailers {
        Some(trailers) => out.send_trailers(trailers).ok(),
        None => Some(()),
    }
}

/// Fields from pairs.
pub fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(n, v)| (http::HeaderName::from_static(n), http::HeaderValue::from_static(v))).collect()
}
