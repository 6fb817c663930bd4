//! Backends that follow a script. Each connection is served by a thread; every byte that comes is kept, in order, by connection.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::wire::{self, Message, Parsed};

/// What came, one entry a connection.
type Record = Arc<Mutex<Vec<Vec<u8>>>>;

/// A listening socket whose connections follow a script.
#[derive(Debug)]
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    record: Record,
    ended: Arc<AtomicBool>,
}

impl Backend {
    /// Listens on a free port of `ip`; `script` serves each connection.
    pub fn start(ip: IpAddr, script: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((ip, 0)).expect("a loopback address has free ports");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (record, ended, script) = (Record::default(), Arc::new(AtomicBool::new(false)), Arc::new(script));
        let (theirs, over) = (Arc::clone(&record), Arc::clone(&ended));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let index = {
                    let mut record = theirs.lock().expect("no script panics while it records");
                    record.push(Vec::new());
                    record.len() - 1
                };
                let mut peer = Peer { stream, index, record: Arc::clone(&theirs), pending: Vec::new() };
                let script = Arc::clone(&script);
                std::thread::spawn(move || script(&mut peer));
            }
        });
        Self { address, record, ended }
    }

    /// Answers every request with 200 and `name` as the body.
    pub fn named(ip: IpAddr, name: &'static str) -> Self {
        Self::start(ip, move |peer| {
            while let Some(request) = peer.request() {
                peer.write(ok(&request, name));
            }
        })
    }

    /// Answers the first request of a connection with exactly `bytes` and closes.
    pub fn answering(ip: IpAddr, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::start(ip, move |peer| {
            if peer.request().is_some() {
                peer.write(&bytes);
            }
        })
    }

    /// Every byte that came, by connection.
    pub fn received(&self) -> Vec<Vec<u8>> {
        self.record.lock().expect("no script panics while it records").clone()
    }

    /// The whole requests that came, over all connections.
    ///
    /// # Errors
    /// The bytes of a connection that no strict reader takes for requests.
    pub fn requests(&self) -> Result<Vec<Message>, String> {
        let mut all = Vec::new();
        for bytes in self.received() {
            let (whole, rest) = wire::requests(&bytes);
            if let Parsed::Broken(why) = rest {
                return Err(format!("a backend got what is no request ({why}): {:?}", String::from_utf8_lossy(&bytes)));
            }
            all.extend(whole);
        }
        Ok(all)
    }

    /// Forgets what came so far.
    pub fn forget(&self) {
        for bytes in self.record.lock().expect("no script panics while it records").iter_mut() {
            bytes.clear();
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _wakes_the_accept_loop = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

/// A 200 with `body` to `request`, which may be a HEAD.
pub fn ok(request: &Message, body: &str) -> Vec<u8> {
    let sent = if request.start.starts_with("HEAD ") { "" } else { body };
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{sent}", body.len()).into_bytes()
}

/// One connection of a backend, from its side.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
    index: usize,
    record: Record,
    pending: Vec<u8>,
}

impl Peer {
    /// Which connection this is, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Reads on, whatever comes; false where the connection has ended.
    pub fn read(&mut self) -> bool {
        let mut buffer = [0; 65536];
        match self.stream.read(&mut buffer) {
            Ok(0) | Err(_) => false,
            Ok(n) => {
                self.pending.extend_from_slice(&buffer[..n]);
                self.record.lock().expect("no script panics while it records")[self.index].extend_from_slice(&buffer[..n]);
                true
            }
        }
    }

    /// What was read and not taken yet.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pending)
    }

    /// The next whole request; nothing where the connection ends or sends something else.
    pub fn request(&mut self) -> Option<Message> {
        loop {
            match wire::request(&self.pending) {
                Parsed::Whole(message, used) => {
                    self.pending.drain(..used);
                    return Some(message);
                }
                Parsed::Broken(_) => return None,
                Parsed::Partial => {
                    if !self.read() {
                        return None;
                    }
                }
            }
        }
    }

    /// The head of the next request, as soon as it is there; its body stays to be read.
    pub fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = wire::find(&self.pending, b"\r\n\r\n") {
                let head: Vec<u8> = self.pending.drain(..end + 4).collect();
                return Some(String::from_utf8_lossy(&head).into_owned());
            }
            if !self.read() {
                return None;
            }
        }
    }

    /// Writes bytes; false where the other side has gone.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Ends this side of the connection and reads on.
    pub fn finish(&mut self) {
        let _ended_already = self.stream.shutdown(Shutdown::Write);
    }
}
