//! One socket: bound, accepting, and the connections that it took.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use isthmus_core::snapshot::ListenKey;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tracing::warn;

use super::front;
use crate::proxy::{Closer, Engine};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;

/// The pause after an accept that failed, such as for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// A socket that accepts, until it is dropped or closed.
#[derive(Debug)]
pub(super) struct Socket {
    /// Where it is bound.
    pub(super) address: SocketAddr,
    /// Its connections.
    pub(super) guests: Arc<Guests>,
    closer: Closer,
    accepting: AbortHandle,
}

impl Socket {
    /// Binds, and accepts from now on.
    pub(super) fn open(key: &ListenKey, engine: &Arc<Engine>, runtime: &Handle) -> io::Result<Self> {
        let _inside = runtime.enter();
        let listener = bind(key)?;
        let address = listener.local_addr()?;
        let guests = Arc::<Guests>::default();
        let (closer, closing) = Closer::new();
        let accepting = runtime.spawn(accept(listener, key.clone(), engine.clone(), guests.clone(), closing)).abort_handle();
        Ok(Self { address, guests, closer, accepting })
    }
    /// Accepts no more, and tells its connections to end.
    pub(super) fn close(&self) {
        self.accepting.abort();
        self.closer.close();
    }
}

fn bind(key: &ListenKey) -> io::Result<TcpListener> {
    let address = SocketAddr::new(key.bind, key.port);
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(listener: TcpListener, key: ListenKey, engine: Arc<Engine>, guests: Arc<Guests>, closing: crate::proxy::Closing) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if stream.set_nodelay(true).is_err() {
                    continue;
                }
                let served = front::serve(engine.clone(), key.clone(), stream, peer, closing.clone());
                Guests::admit(&guests, served);
            }
            Err(error) => {
                warn!(listener = %key, %error, "accept failed");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The connections of one socket.
#[derive(Debug, Default)]
pub(super) struct Guests {
    next: AtomicU64,
    present: Mutex<HashMap<u64, Option<AbortHandle>>>,
    left: Notify,
}

impl Guests {
    /// Runs a connection, and knows of it while it lasts.
    fn admit(this: &Arc<Self>, served: impl Future<Output = ()> + Send + 'static) {
        let number = this.next.fetch_add(1, Ordering::Relaxed);
        this.lock().insert(number, None);
        let guest = Guest { guests: this.clone(), number };
        let handle = tokio::spawn(async move {
            served.await;
            drop(guest);
        });
        if let Some(place) = this.lock().get_mut(&number) {
            *place = Some(handle.abort_handle());
        }
    }
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Option<AbortHandle>>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }
    /// Waits until all have left.
    pub(super) async fn gone(&self) {
        loop {
            let left = self.left.notified();
            if self.count() == 0 {
                return;
            }
            left.await;
        }
    }
    /// Ends all of them.
    pub(super) fn evict(&self) {
        for handle in self.lock().values().flatten() {
            handle.abort();
        }
    }
}

/// A connection while it lasts.
#[derive(Debug)]
struct Guest {
    guests: Arc<Guests>,
    number: u64,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.guests.lock().remove(&self.number);
        self.guests.left.notify_waiters();
    }
}
