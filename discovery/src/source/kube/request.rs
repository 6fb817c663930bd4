//! List and watch, as bytes: pages of raw objects, and lines of a watch.
//!
//! Objects are not decoded here: one that nobody can read must not cost its page or its watch.

use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::access::chain;
use super::certificates::is_distrust;

/// How long one page may take.
const PAGE_TIME: Duration = Duration::from_secs(60);
/// How long the head of an answer may take.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// No object is nearly as large: etcd refuses more than 1.5 MiB.
const MAX_LINE: usize = 16 << 20;
/// A page of so many bytes is refused.
const MAX_PAGE: usize = 256 << 20;

/// Why a list or watch ended.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The position is too old: list again (410).
    Gone,
    /// The kind is not served (404).
    NotServed,
    /// Nobody knows us (401).
    Unknown(String),
    /// We are not let do it (403), or the request is wrong.
    Refused(String),
    /// The API server's certificate was refused.
    Distrusted(String),
    /// Everything else.
    Broken(String),
}

/// A page of a list.
#[derive(Deserialize)]
pub(crate) struct Page<'a> {
    #[serde(borrow, default)]
    pub(crate) items: Option<Vec<&'a RawValue>>,
    #[serde(default)]
    pub(crate) metadata: PageMeta,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PageMeta {
    pub(crate) resource_version: String,
    pub(crate) r#continue: Option<String>,
}

/// One line of a watch.
#[derive(Deserialize)]
pub(crate) struct Line<'a> {
    pub(crate) r#type: Said,
    #[serde(borrow)]
    pub(crate) object: &'a RawValue,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Said {
    Added,
    Modified,
    Deleted,
    Bookmark,
    Error,
}

/// What every object says of itself.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Head {
    pub(crate) metadata: HeadMeta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct HeadMeta {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) resource_version: String,
}

/// What the API server says instead of an answer.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Told {
    message: String,
    code: u16,
}

fn trouble(status: u16, body: &[u8]) -> Trouble {
    let told: Told = serde_json::from_slice(body).unwrap_or_default();
    let message = if told.message.is_empty() { format!("the API server answers {status}") } else { format!("{} ({status})", told.message) };
    match status {
        410 => Trouble::Gone,
        404 => Trouble::NotServed,
        401 => Trouble::Unknown(message),
        400 | 403 => Trouble::Refused(message),
        _ => Trouble::Broken(message),
    }
}

async fn open(client: &Client, uri: &str) -> Result<Body, Trouble> {
    let request = Request::get(uri).body(Body::empty()).map_err(|e| Trouble::Refused(e.to_string()))?;
    let answer = timeout(HEAD_TIME, client.send(request)).await.map_err(|_| Trouble::Broken("no answer in time".to_owned()))?;
    let answer = answer.map_err(|error| if is_distrust(&error) { Trouble::Distrusted(chain(&error)) } else { Trouble::Broken(chain(&error)) })?;
    let status = answer.status();
    if status == StatusCode::OK {
        return Ok(answer.into_body());
    }
    let body = timeout(HEAD_TIME, collect(answer.into_body(), MAX_LINE)).await.ok().and_then(Result::ok).unwrap_or_default();
    Err(trouble(status.as_u16(), &body))
}

async fn collect(mut body: Body, limit: usize) -> Result<Vec<u8>, Trouble> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Trouble::Broken(chain(&error)))?;
        if let Some(data) = frame.data_ref() {
            if bytes.len() + data.len() > limit {
                return Err(Trouble::Broken(format!("an answer of more than {} MiB", limit >> 20)));
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes)
}

/// One page as it came.
pub(crate) async fn page(client: &Client, uri: &str) -> Result<Vec<u8>, Trouble> {
    let whole = async { collect(open(client, uri).await?, MAX_PAGE).await };
    timeout(PAGE_TIME, whole).await.map_err(|_| Trouble::Broken("a list takes too long".to_owned()))?
}

/// A watch that is open.
pub(crate) struct Watch {
    body: Body,
    buffer: Vec<u8>,
    /// So many bytes of the buffer have been given out.
    given: usize,
    idle: Duration,
}

impl Watch {
    /// Opens a watch; nothing for `idle` ends it.
    pub(crate) async fn open(client: &Client, uri: &str, idle: Duration) -> Result<Self, Trouble> {
        Ok(Self { body: open(client, uri).await?, buffer: Vec::new(), given: 0, idle })
    }

    /// Waits for bytes and gives all complete lines; `None` where the server has ended the watch.
    pub(crate) async fn lines(&mut self) -> Result<Option<&[u8]>, Trouble> {
        self.buffer.drain(..self.given);
        self.given = 0;
        loop {
            let frame = timeout(self.idle, self.body.frame()).await.map_err(|_| Trouble::Broken("nothing was heard for too long".to_owned()))?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| Trouble::Broken(chain(&error)))?;
            let Some(data) = frame.data_ref() else { continue };
            self.buffer.extend_from_slice(data);
            if let Some(end) = self.buffer.iter().rposition(|b| *b == b'\n') {
                self.given = end + 1;
                return Ok(Some(&self.buffer[..end]));
            }
            if self.buffer.len() > MAX_LINE {
                return Err(Trouble::Broken(format!("an event of more than {} MiB", MAX_LINE >> 20)));
            }
        }
    }
}

/// What an `ERROR` line means.
pub(crate) fn error_line(object: &RawValue) -> Trouble {
    let told: Told = serde_json::from_str(object.get()).unwrap_or_default();
    trouble(told.code, object.get().as_bytes())
}
