//! What stands between a gateway and an API server: connections that are cut, or refused, while the server itself lives.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Hands bytes on, as it is told.
#[derive(Debug, Clone)]
pub struct Between {
    /// Where it listens, with the port.
    pub address: String,
    target: String,
    open: Arc<Mutex<Vec<TcpStream>>>,
    /// Milliseconds between two cuts; none at 0.
    every: Arc<AtomicU64>,
    cuts: Arc<AtomicUsize>,
    /// 1 while connections are refused.
    refusing: Arc<AtomicUsize>,
}

impl Between {
    /// Stands before `target` on a free port of `ip`.
    pub fn new(ip: IpAddr, target: &str) -> Self {
        let listener = TcpListener::bind((ip, 0)).expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address").to_string();
        let between =
            Self { address, target: target.to_owned(), open: Arc::default(), every: Arc::default(), cuts: Arc::default(), refusing: Arc::default() };
        let (taking, cutting) = (between.clone(), between.clone());
        std::thread::spawn(move || listener.incoming().flatten().for_each(|client| taking.take(client)));
        std::thread::spawn(move || {
            loop {
                let every = cutting.every.load(Ordering::Relaxed);
                std::thread::park_timeout(Duration::from_millis(if every == 0 { 100 } else { every }));
                if cutting.every.load(Ordering::Relaxed) != 0 {
                    cutting.cut();
                }
            }
        });
        between
    }

    /// A kubeconfig that leads through here.
    pub fn kubeconfig(&self, direct: &str) -> String {
        direct.replace(&self.target, &self.address)
    }

    /// Cuts everything that is open again and again from now on; a pause of nothing ends it.
    pub fn cut_every(&self, pause: Duration) {
        self.every.store(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many open connections were cut so far.
    pub fn cuts(&self) -> usize {
        self.cuts.load(Ordering::Relaxed)
    }

    /// Cuts everything that is open, and every new connection at once, until `let_through`.
    pub fn refuse(&self) {
        self.refusing.store(1, Ordering::SeqCst);
        self.cut();
    }

    /// Ends `refuse`.
    pub fn let_through(&self) {
        self.refusing.store(0, Ordering::SeqCst);
    }

    fn cut(&self) {
        let open = std::mem::take(&mut *self.open.lock().expect("nobody panics here"));
        // One that has ended already is no cut.
        let ended = open.iter().filter(|stream| stream.shutdown(Shutdown::Both).is_ok()).count();
        self.cuts.fetch_add(ended, Ordering::Relaxed);
    }

    fn take(&self, client: TcpStream) {
        if self.refusing.load(Ordering::SeqCst) == 1 {
            return;
        }
        let Ok(server) = TcpStream::connect(&self.target) else { return };
        let pair = |s: &TcpStream| s.try_clone().expect("a socket can be shared");
        self.open.lock().expect("nobody panics here").push(pair(&client));
        for (mut from, mut to) in [(pair(&client), pair(&server)), (server, client)] {
            std::thread::spawn(move || {
                let mut buffer = [0; 16384];
                while let Ok(n @ 1..) = from.read(&mut buffer) {
                    if to.write_all(&buffer[..n]).is_err() {
                        break;
                    }
                }
                // The other direction ends with this one; it may have ended already.
                let _ = to.shutdown(Shutdown::Both);
                let _ = from.shutdown(Shutdown::Both);
            });
        }
    }
}
