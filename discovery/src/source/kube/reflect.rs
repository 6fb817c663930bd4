//! One kind of one API server: list, then watch from there; list again only where the server has forgotten the place.
//!
//! A list is told as it comes, page by page; only its end removes anything, so a list that breaks off leaves all that was
//! known. A watch that ends is opened again where it stopped; after trouble only where the server has not gone back behind
//! that place, as one does whose store was restored from a backup: it would say nothing until it had caught up. Between
//! tries it waits, longer each time, never in step with others. One try that fails fast is not worth a word, for connections
//! are cut; a second one is a loss, and so is one that nobody answers. A kind that is not installed is asked for again now and
//! then, without a word.

use std::time::{Duration, Instant};

use rand::Rng;
use tracing::{debug, info};

use super::access::{ClientOf, Door};
use super::request::{Head, Line, Page, Said, Trouble, Watch, error_line, page};
use super::resource::Resource;
use crate::source::Batch;

/// Objects of one page: a slice may have a thousand endpoints.
const PAGE: usize = 200;
/// Seconds after which a watch is asked anew.
const WATCH: std::ops::Range<u64> = 40..60;
/// Longer than a watch lasts: who says nothing at all for so long is gone.
const IDLE: Duration = Duration::from_secs(70);
/// A watch that ended sooner did not really work.
const SHORT: Duration = Duration::from_millis(250);
/// A try that fails sooner than this was refused or cut, not left without an answer.
const FAST: Duration = Duration::from_secs(1);
/// How often a kind that is not installed is asked for.
const UNINSTALLED: Duration = Duration::from_secs(4);

/// What is done with what one kind holds. Everything is told in batches; nobody sees the world between two events of one.
pub(crate) trait Take: Send {
    /// A list begins.
    fn begin(&mut self, batch: &mut Batch);
    /// An object is, or is now, so.
    fn take(&mut self, object: &str, api_version: &str, head: &Head, batch: &mut Batch);
    /// An object is gone.
    fn gone(&mut self, head: &Head, batch: &mut Batch);
    /// The list is complete.
    fn done(&mut self, batch: &mut Batch);
    /// Nothing can be read just now.
    fn lost(&mut self, reason: &str, batch: &mut Batch);
    /// Reading goes on where it stopped.
    fn resumed(&mut self, batch: &mut Batch);
    /// True while objects are known: then a kind that is not served any more is lost, not empty.
    fn holds_any(&self) -> bool;
    /// True where something needs all of it once more: it is listed anew when the watch ends.
    fn wants_list(&mut self) -> bool {
        false
    }
    /// Hands on what was gathered; false where nobody listens any more.
    fn tell(&mut self, batch: Batch) -> impl Future<Output = bool> + Send;
}

/// Waits that grow.
struct Backoff(Duration);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LAST: Duration = Duration::from_secs(8);

    async fn wait(&mut self) {
        tokio::time::sleep(uneven(self.0)).await;
        self.0 = (self.0 * 2).min(Self::LAST);
    }

    fn reset(&mut self) {
        self.0 = Self::FIRST;
    }
}

/// Half of `time` or more, so that nobody keeps in step.
fn uneven(time: Duration) -> Duration {
    time.mul_f64(rand::rng().random_range(0.5..1.0))
}

/// Where a watch goes on.
struct Position {
    version: &'static str,
    at: String,
    /// There was trouble since the server was heard last: it may be another, or have another past.
    is_doubted: bool,
}

impl Position {
    /// True where the server's newest state is older than what it has told.
    async fn is_ahead(&self, client: &ClientOf, resource: &Resource) -> Result<bool, Trouble> {
        let bytes = page(&client.client, &resource.list(self.version, 1, None)).await?;
        let page: Page<'_> = serde_json::from_slice(&bytes).map_err(|error| unreadable(resource, &error))?;
        let number = |version: &str| version.parse::<u64>().ok();
        Ok(number(&page.metadata.resource_version).zip(number(&self.at)).is_some_and(|(newest, told)| newest < told))
    }
}

/// Nobody listens any more.
struct Deaf;

enum Ended {
    Trouble(Trouble),
    Deaf,
}

impl From<Trouble> for Ended {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<Deaf> for Ended {
    fn from(_: Deaf) -> Self {
        Self::Deaf
    }
}

/// Follows one kind until nobody listens.
pub(crate) async fn reflect(door: &Door, resource: &Resource, taker: &mut impl Take) {
    let mut backoff = Backoff(Backoff::FIRST);
    let mut position: Option<Position> = None;
    let mut lost: Option<String> = None;
    // Tries in a row that led to nothing.
    let mut failed = 0;
    loop {
        let client = match door.client().await {
            Ok(client) => client,
            Err(trouble) => {
                if tell_lost(&trouble, door, resource, taker, &mut lost).await.is_err() {
                    return;
                }
                backoff.wait().await;
                continue;
            }
        };
        let begun = Instant::now();
        let mut opened: Option<Instant> = None;
        let ended = match &mut position {
            None => match list(&client, resource, taker).await {
                Ok(Some(listed)) => {
                    backoff.reset();
                    (lost, failed) = (None, 0);
                    position = Some(listed);
                    continue;
                }
                Ok(None) => {
                    (lost, failed) = (None, 0);
                    tokio::time::sleep(uneven(UNINSTALLED)).await;
                    continue;
                }
                Err(ended) => ended,
            },
            Some(from) => match watch(door, &client, resource, from, taker, &mut lost, &mut opened).await {
                Ok(()) if begun.elapsed() >= SHORT => {
                    backoff.reset();
                    failed = 0;
                    if taker.wants_list() {
                        position = None;
                    }
                    continue;
                }
                Ok(()) => {
                    backoff.wait().await;
                    continue;
                }
                Err(ended) => ended,
            },
        };
        let trouble = match ended {
            Ended::Deaf => return,
            Ended::Trouble(trouble) => trouble,
        };
        debug!(kind = %resource.kind, ?trouble, "list or watch ended");
        if let Some(position) = &mut position {
            position.is_doubted = true;
        }
        let worked = opened.is_some_and(|since| since.elapsed() >= SHORT);
        match &trouble {
            // A position that is too old and a kind that went away are no loss yet: the list tells.
            Trouble::Gone | Trouble::NotServed if position.is_some() => position = None,
            // A connection that worked until now is tried again at once before anything is said of it.
            Trouble::Broken(_) if worked => {
                backoff.reset();
                failed = 0;
                continue;
            }
            Trouble::Broken(_) if position.is_some() && failed == 0 && begun.elapsed() < FAST => failed = 1,
            Trouble::Gone | Trouble::NotServed | Trouble::Unknown(_) | Trouble::Refused(_) | Trouble::Distrusted(_) | Trouble::Broken(_) => {
                failed += 1;
                if tell_lost(&trouble, door, resource, taker, &mut lost).await.is_err() {
                    return;
                }
                door.renew(&client).await;
            }
        }
        backoff.wait().await;
    }
}

fn unreadable(resource: &Resource, error: &serde_json::Error) -> Trouble {
    Trouble::Broken(format!("not a list of {}: {error}", resource.kind))
}

async fn tell(taker: &mut impl Take, batch: Batch) -> Result<(), Deaf> {
    if batch.is_empty() || taker.tell(batch).await { Ok(()) } else { Err(Deaf) }
}

/// Says that reading stopped, and again only if there is another reason.
async fn tell_lost(trouble: &Trouble, door: &Door, resource: &Resource, taker: &mut impl Take, lost: &mut Option<String>) -> Result<(), Deaf> {
    let reason = match trouble {
        Trouble::Gone => "the API server forgets faster than it can be listed".to_owned(),
        Trouble::NotServed => format!("{} is not served", resource.kind),
        Trouble::Unknown(reason) => door.why_unknown(reason).await,
        Trouble::Distrusted(reason) => door.why_distrusted(reason).await,
        Trouble::Refused(reason) | Trouble::Broken(reason) => reason.clone(),
    };
    if lost.as_ref() == Some(&reason) {
        return Ok(());
    }
    let mut batch = Batch::new();
    taker.lost(&reason, &mut batch);
    *lost = Some(reason);
    tell(taker, batch).await
}

/// Lists everything; `None` where the kind is not installed.
async fn list(client: &ClientOf, resource: &Resource, taker: &mut impl Take) -> Result<Option<Position>, Ended> {
    let mut missing = Ok(None);
    for version in resource.versions {
        match list_version(client, resource, version, taker).await {
            Ok(listed) => return Ok(Some(listed)),
            Err(Ended::Trouble(Trouble::NotServed)) => missing = Err(Trouble::NotServed),
            Err(other) => return Err(other),
        }
    }
    if resource.is_custom() && !taker.holds_any() {
        missing = Ok(None);
        let mut batch = Batch::new();
        taker.begin(&mut batch);
        taker.done(&mut batch);
        tell(taker, batch).await?;
    }
    Ok(missing?)
}

async fn list_version(client: &ClientOf, resource: &Resource, version: &'static str, taker: &mut impl Take) -> Result<Position, Ended> {
    let api_version = resource.api_version(version);
    let mut next: Option<String> = None;
    let mut is_first = true;
    loop {
        let bytes = page(&client.client, &resource.list(version, PAGE, next.as_deref())).await?;
        let unreadable = |error: serde_json::Error| unreadable(resource, &error);
        let mut batch = Batch::new();
        let meta = {
            let page: Page<'_> = serde_json::from_slice(&bytes).map_err(unreadable)?;
            if std::mem::take(&mut is_first) {
                taker.begin(&mut batch);
            }
            for object in page.items.unwrap_or_default() {
                let head: Head = serde_json::from_str(object.get()).map_err(unreadable)?;
                taker.take(object.get(), &api_version, &head, &mut batch);
            }
            page.metadata
        };
        next = meta.r#continue.filter(|token| !token.is_empty());
        if next.is_none() {
            taker.done(&mut batch);
        }
        tell(taker, batch).await?;
        if next.is_none() {
            return Ok(Position { version, at: meta.resource_version, is_doubted: false });
        }
    }
}

/// Watches from `position`, which moves along; `opened` is when the API server agreed to tell.
async fn watch(
    door: &Door,
    client: &ClientOf,
    resource: &Resource,
    position: &mut Position,
    taker: &mut impl Take,
    lost: &mut Option<String>,
    opened: &mut Option<Instant>,
) -> Result<(), Ended> {
    if position.is_doubted && position.is_ahead(client, resource).await? {
        info!(cluster = %door.cluster, kind = %resource.kind, told = position.at, "the API server knows less than it has told, listing anew");
        return Err(Trouble::Gone.into());
    }
    position.is_doubted = false;
    let seconds = rand::rng().random_range(WATCH);
    let api_version = resource.api_version(position.version);
    let mut watch = Watch::open(&client.client, &resource.watch(position.version, &position.at, seconds), IDLE).await?;
    let mut batch = Batch::new();
    *opened = Some(Instant::now());
    if lost.take().is_some() {
        taker.resumed(&mut batch);
    }
    tell(taker, batch).await?;
    while let Some(lines) = watch.lines().await? {
        let mut batch = Batch::new();
        let mut trouble = None;
        for line in lines.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let unreadable = |error: serde_json::Error| Trouble::Broken(format!("not an event: {error}"));
            let line: Line<'_> = serde_json::from_slice(line).map_err(unreadable)?;
            if line.r#type == Said::Error {
                trouble = Some(error_line(line.object));
                break;
            }
            let head: Head = serde_json::from_str(line.object.get()).map_err(unreadable)?;
            match line.r#type {
                Said::Added | Said::Modified => taker.take(line.object.get(), &api_version, &head, &mut batch),
                Said::Deleted => taker.gone(&head, &mut batch),
                Said::Bookmark | Said::Error => {}
            }
            if !head.metadata.resource_version.is_empty() {
                position.at = head.metadata.resource_version;
            }
        }
        tell(taker, batch).await?;
        if let Some(trouble) = trouble {
            return Err(trouble.into());
        }
    }
    Ok(())
}
