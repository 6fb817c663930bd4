//! An API server that is a table of objects: lists in pages, watches with bookmarks, 410 when asked to forget.
//!
//! It knows only what a watcher of a few kinds asks: no writes over HTTP, no discovery, no versions but its own.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a watch says where it stands.
const BOOKMARK: Duration = Duration::from_secs(10);

/// One API server; clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct ApiServer {
    /// Where it listens.
    pub(super) address: SocketAddr,
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    /// Counts writes.
    version: u64,
    /// Objects by kind's plural, then by namespace and name.
    objects: BTreeMap<&'static str, BTreeMap<String, String>>,
    /// Writes since the start or since all was forgotten: version, plural, line of a watch.
    log: Vec<(u64, &'static str, Arc<str>)>,
    watchers: Vec<(String, Sender<Arc<str>>)>,
}

impl ApiServer {
    /// Listens on a free port.
    pub(super) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let server = Self { address: listener.local_addr()?, table: Arc::default() };
        let own = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = own.clone();
                // A client that hangs up ends its thread.
                std::thread::spawn(move || drop(server.serve(stream)));
            }
        });
        Ok(server)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes an object whose metadata begin with `{`; watchers hear of it. `name` is namespace and name.
    pub(super) fn put(&self, plural: &'static str, name: &str, object: &str) {
        let mut table = self.table();
        table.version += 1;
        let version = table.version;
        let object = object.replacen("\"metadata\":{", &format!("\"metadata\":{{\"resourceVersion\":\"{version}\","), 1);
        let line: Arc<str> = format!("{{\"type\":\"MODIFIED\",\"object\":{object}}}\n").into();
        table.objects.entry(plural).or_default().insert(name.to_owned(), object);
        if !table.watchers.is_empty() {
            table.log.push((version, plural, line.clone()));
            table.watchers.retain(|(watched, tell)| watched != plural || tell.send(line.clone()).is_ok());
        }
    }

    /// Ends every watch with 410: everything is listed again.
    pub(super) fn forget(&self) {
        let gone: Arc<str> = "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,\"message\":\"too old\"}}\n".into();
        let mut table = self.table();
        table.log.clear();
        for (_, tell) in table.watchers.drain(..) {
            // Who has hung up lists again anyhow.
            let _ = tell.send(gone.clone());
        }
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut lines = BufReader::new(stream.try_clone()?);
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let mut header = String::new();
            while lines.read_line(&mut header)? > 2 {
                header.clear();
            }
            let uri = line.split(' ').nth(1).unwrap_or_default();
            let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
            let plural = path.rsplit('/').next().unwrap_or_default();
            let asked = |key: &str| query.split('&').find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
            let number = |key: &str| asked(key).and_then(|n| n.parse::<u64>().ok());
            if asked("watch").is_some() {
                let (line, told) = self.watch(plural, number("resourceVersion").unwrap_or(0));
                return self.stream(&mut stream, plural, &line, &told, Duration::from_secs(number("timeoutSeconds").unwrap_or(60)));
            }
            let body = self.list(plural, number("limit").unwrap_or(500) as usize, number("continue").unwrap_or(0) as usize);
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
        }
    }

    fn list(&self, plural: &str, limit: usize, from: usize) -> String {
        let table = self.table();
        let all = table.objects.get(plural);
        let items: Vec<&str> = all.into_iter().flat_map(|o| o.values()).skip(from).take(limit).map(String::as_str).collect();
        let next = from + items.len();
        let more = if next < all.map_or(0, BTreeMap::len) { next.to_string() } else { String::new() };
        format!("{{\"metadata\":{{\"resourceVersion\":\"{}\",\"continue\":\"{more}\"}},\"items\":[{}]}}", table.version, items.join(","))
    }

    /// What was written since `version`, and a channel for what comes.
    fn watch(&self, plural: &str, version: u64) -> (String, Receiver<Arc<str>>) {
        let (tell, told) = channel();
        let mut table = self.table();
        let missed: String = table.log.iter().filter(|(at, of, _)| *at > version && *of == plural).map(|(_, _, line)| &**line).collect();
        table.watchers.push((plural.to_owned(), tell));
        (missed, told)
    }

    fn stream(&self, stream: &mut TcpStream, plural: &str, missed: &str, told: &Receiver<Arc<str>>, at_most: Duration) -> io::Result<()> {
        let end = std::time::Instant::now() + at_most;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")?;
        let mut chunk = |text: &str| if text.is_empty() { Ok(()) } else { write!(stream, "{:x}\r\n{text}\r\n", text.len()) };
        chunk(missed)?;
        while std::time::Instant::now() < end {
            match told.recv_timeout(BOOKMARK) {
                Ok(line) => chunk(&line)?,
                Err(RecvTimeoutError::Timeout) => {
                    let version = self.table().version;
                    chunk(&format!(
                        "{{\"type\":\"BOOKMARK\",\"object\":{{\"kind\":\"{plural}\",\"metadata\":{{\"resourceVersion\":\"{version}\"}}}}}}\n"
                    ))?;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        stream.write_all(b"0\r\n\r\n")
    }
}
