//! DNS: finds the addresses of the names that ServiceEntries of type DNS give (S-2), and goes on finding them.
//!
//! A name is asked for again when its TTL has passed, at least every five seconds apart. While asking fails the last
//! addresses stay, and it is asked again at MeshConfig's `dnsRefreshRate`. "No such name" counts as a failure for five minutes,
//! since it is more often a mistake than meant; after that the name has no addresses. The hosts file is asked first, anew each time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::ResolveHosts;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use tokio::sync::mpsc::Sender;
use tokio::sync::{OnceCell, Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Batch, Event};
use crate::registry::Names;

/// The shortest time between two questions for one name.
const SHORTEST: Duration = Duration::from_secs(5);
/// The longest: an hour-old answer of a name with a TTL of a week is old enough.
const LONGEST: Duration = Duration::from_secs(3600);
/// For so long "no such name" is taken for a mistake.
const GRACE: Duration = Duration::from_secs(300);
/// Questions under way at one time.
const AT_ONCE: usize = 16;

/// What asking for a name gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Addresses in the order of the answer, never none, and for how long they hold.
    Addresses(Vec<IpAddr>, Duration),
    /// There is no such name, or it has no addresses.
    Nothing,
    /// Nobody could say.
    Failed(String),
}

/// Whom to ask.
pub(crate) trait Lookup: Send + Sync + 'static {
    /// Asks for all addresses of a name.
    fn find(&self, name: &str) -> impl Future<Output = Found> + Send;
}

/// Finds the names that `names` holds and tells their addresses, until nobody listens any more.
pub(crate) async fn resolve(mut names: watch::Receiver<Names>, tell: Sender<Batch>, retry: Duration, lookup: impl Lookup) {
    let shared = Arc::new((lookup, Semaphore::new(AT_ONCE)));
    let mut tasks = JoinSet::new();
    let mut asked: HashMap<Arc<str>, AbortHandle> = HashMap::new();
    loop {
        let wanted = names.borrow_and_update().clone();
        asked.retain(|name, task| {
            let keep = wanted.contains(name);
            if !keep {
                task.abort();
            }
            keep
        });
        for name in wanted.iter() {
            if !asked.contains_key(name) {
                asked.insert(name.clone(), tasks.spawn(follow(name.clone(), shared.clone(), tell.clone(), retry)));
            }
        }
        tokio::select! {
            changed = names.changed() => if changed.is_err() { return },
            () = tell.closed() => return,
            // A task ends only when it was aborted; its handle is gone already.
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// Asks for one name again and again.
async fn follow(name: Arc<str>, shared: Arc<(impl Lookup, Semaphore)>, tell: Sender<Batch>, retry: Duration) {
    let mut known = Known::default();
    loop {
        let found = {
            let Ok(_permit) = shared.1.acquire().await else { return };
            shared.0.find(&name).await
        };
        known.log(&name, &found);
        let (told, wait) = known.take(found, Instant::now(), retry);
        if let Some(addresses) = told
            && tell.send(vec![Event::Resolved(name.clone(), addresses)]).await.is_err()
        {
            return;
        }
        tokio::time::sleep(wait).await;
    }
}

/// What is known of one name.
#[derive(Debug, Default)]
struct Known {
    addresses: Vec<IpAddr>,
    /// Since when there is no such name.
    nothing_since: Option<Instant>,
    failing: bool,
}

impl Known {
    /// Takes in an answer: what to tell, if it differs, and when to ask again.
    fn take(&mut self, found: Found, now: Instant, retry: Duration) -> (Option<Arc<[IpAddr]>>, Duration) {
        match found {
            Found::Addresses(answer, ttl) => {
                self.nothing_since = None;
                // TTL 0 says nothing about when to ask again.
                let wait = if ttl.is_zero() { retry } else { ttl };
                (self.replace(answer), wait.clamp(SHORTEST, LONGEST))
            }
            Found::Nothing => {
                let since = *self.nothing_since.get_or_insert(now);
                let told = if now - since >= GRACE { self.replace(Vec::new()) } else { None };
                (told, retry.max(SHORTEST))
            }
            Found::Failed(_) => (None, retry.max(SHORTEST)),
        }
    }

    /// Servers turn their answers round; the first address stays first while it is there, and order alone is no change.
    fn replace(&mut self, mut answer: Vec<IpAddr>) -> Option<Arc<[IpAddr]>> {
        let first = self.addresses.first().filter(|a| answer.contains(a)).or(answer.first()).copied();
        answer.sort_unstable();
        answer.dedup();
        answer.sort_by_key(|a| Some(*a) != first);
        if answer == self.addresses {
            return None;
        }
        self.addresses = answer;
        Some(Arc::from(self.addresses.as_slice()))
    }

    /// Says when a name begins to fail, and when it is found again.
    fn log(&mut self, name: &str, found: &Found) {
        let failing = !matches!(found, Found::Addresses(..));
        if failing && !self.failing {
            warn!(name, ?found, kept = self.addresses.len(), "name not found, its last addresses stay in force");
        } else if !failing && self.failing {
            info!(name, "name found again");
        }
        self.failing = failing;
    }
}

/// The hosts file, then the servers of resolv.conf.
#[derive(Default)]
pub(crate) struct System {
    resolver: OnceCell<TokioResolver>,
}

impl System {
    async fn resolver(&self) -> Result<&TokioResolver, String> {
        let make = || async {
            let mut builder = TokioResolver::builder_tokio()?;
            let options = builder.options_mut();
            // We wait for the TTL ourselves, and ask the hosts file before.
            options.cache_size = 0;
            options.use_hosts_file = ResolveHosts::Never;
            builder.build()
        };
        self.resolver.get_or_try_init(make).await.map_err(|e| e.to_string())
    }
}

impl Lookup for System {
    async fn find(&self, name: &str) -> Found {
        let local = in_hosts_file(name);
        if !local.is_empty() {
            return Found::Addresses(local, SHORTEST);
        }
        let resolver = match self.resolver().await {
            Ok(resolver) => resolver,
            Err(error) => return Found::Failed(error),
        };
        match resolver.lookup_ip(name).await {
            Ok(answer) => {
                let ttl = answer.valid_until().saturating_duration_since(std::time::Instant::now());
                let addresses: Vec<IpAddr> = answer.iter().collect();
                if addresses.is_empty() { Found::Nothing } else { Found::Addresses(addresses, ttl) }
            }
            Err(error) if error.is_nx_domain() || error.is_no_records_found() => Found::Nothing,
            Err(error) => Found::Failed(error.to_string()),
        }
    }
}

/// What the hosts file says of a name; a file that cannot be read says nothing.
fn in_hosts_file(name: &str) -> Vec<IpAddr> {
    let (Ok(hosts), Ok(mut name)) = (Hosts::from_system(), Name::from_utf8(name)) else { return Vec::new() };
    name.set_fqdn(true);
    let answers = [RecordType::A, RecordType::AAAA].into_iter().filter_map(|kind| hosts.lookup_static_host(&Query::query(name.clone(), kind)));
    answers.flat_map(|lookup| lookup.answers().iter().filter_map(|r| r.data.ip_addr()).collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    use tokio::sync::mpsc::channel;

    use super::*;

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|t| t.parse().expect("an address")).collect()
    }

    fn answer(list: &[&str], seconds: u64) -> Found {
        Found::Addresses(ips(list), Duration::from_secs(seconds))
    }

    #[test]
    fn what_is_known_after_each_answer_s2() {
        let mut known = Known::default();
        let (start, retry) = (Instant::now(), Duration::from_secs(60));
        let failed = || Found::Failed("SERVFAIL".into());
        for (what, found, at, told, wait) in [
            ("a first answer", answer(&["10.0.0.2", "10.0.0.1"], 30), 0, Some(&["10.0.0.2", "10.0.0.1"][..]), 30),
            ("the same turned round", answer(&["10.0.0.1", "10.0.0.2"], 1), 30, None, 5),
            ("a failure keeps it", failed(), 35, None, 60),
            ("TTL 0", answer(&["10.0.0.1", "10.0.0.2"], 0), 95, None, 60),
            ("the first one left", answer(&["10.0.0.3", "10.0.0.1"], 999_999), 155, Some(&["10.0.0.3", "10.0.0.1"]), 3600),
            ("no such name", Found::Nothing, 200, None, 60),
            ("still no such name", Found::Nothing, 499, None, 60),
            ("no such name for five minutes", Found::Nothing, 500, Some(&[]), 60),
            ("back again", answer(&["10.0.0.1"], 30), 560, Some(&["10.0.0.1"]), 30),
            ("the grace begins anew", Found::Nothing, 600, None, 60),
        ] {
            let got = known.take(found, start + Duration::from_secs(at), retry);
            assert_eq!(got, (told.map(|t| Arc::from(ips(t))), Duration::from_secs(wait)), "{what}");
        }
    }

    /// Answers in turn; the last one for ever.
    struct Script(Mutex<Vec<Found>>);

    impl Lookup for Script {
        async fn find(&self, _: &str) -> Found {
            let mut left = self.0.lock().expect("no panic");
            if left.len() > 1 { left.remove(0) } else { left[0].clone() }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn names_are_followed_while_they_are_wanted() {
        let (names, wanted) = watch::channel(Names::default());
        let (tell, mut told) = channel(4);
        let script = Script(Mutex::new(vec![answer(&["10.0.0.1"], 10), Found::Failed("timeout".into()), answer(&["10.0.0.2"], 10)]));
        tokio::spawn(resolve(wanted, tell, Duration::from_secs(60), script));
        names.send_replace(Arc::new(BTreeSet::from([Arc::from("a.example")])));
        let start = Instant::now();
        let mut next = async || {
            let batch = told.recv().await.expect("an answer");
            batch.into_iter().find_map(|e| if let Event::Resolved(_, addresses) = e { Some(addresses.to_vec()) } else { None }).expect("addresses")
        };
        assert_eq!(next().await, ips(&["10.0.0.1"]));
        assert_eq!(next().await, ips(&["10.0.0.2"]));
        assert_eq!(start.elapsed().as_secs(), 70, "a TTL of 10 s, then the failure's 60 s");
        names.send_replace(Names::default());
        drop(names);
        assert!(told.recv().await.is_none(), "nobody is asked any more");
    }

    #[test]
    fn the_hosts_file_is_honoured() {
        assert!(in_hosts_file("localhost").contains(&IpAddr::from([127, 0, 0, 1])));
        assert!(in_hosts_file("no-such-name.invalid").is_empty());
    }
}
