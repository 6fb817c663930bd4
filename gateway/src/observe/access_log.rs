//! The access log's way to its file: workers format, one thread writes.
//!
//! A worker formats its line and offers it to a bounded queue without ever waiting; a line that finds the queue full is
//! dropped and counted. The writer looks every 50 ms, so workers never pay for waking it, and a line is in the file well
//! within a second. After [`AccessLog::reopen`] the file is opened anew, for log rotation.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::warn;

use super::format::Format;
use super::record::Record;

/// Lines that wait for the writer at most.
const QUEUE: usize = 32_768;
/// How often the writer looks.
const PERIOD: Duration = Duration::from_millis(50);
/// Lines are gathered into writes of this size.
const CHUNK: usize = 256 * 1024;

/// The access log, shared by all workers.
#[derive(Debug)]
pub(crate) struct AccessLog {
    format: Format,
    lines: SyncSender<Vec<u8>>,
    signals: Arc<Signals>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Signals {
    reopen: AtomicBool,
    stop: AtomicBool,
    dropped: AtomicU64,
}

impl AccessLog {
    /// Opens the file, or stdout and stderr by their `/dev` names, and starts the writer.
    pub(crate) fn open(path: &Path, format: Format) -> io::Result<Self> {
        let sink = open(path)?;
        let (lines, queue) = sync_channel(QUEUE);
        let signals = Arc::new(Signals::default());
        let (path, heard) = (path.to_owned(), signals.clone());
        let writer = std::thread::Builder::new().name("access-log".to_owned()).spawn(move || write(&path, sink, &queue, &heard))?;
        Ok(Self { format, lines, signals, writer: Mutex::new(Some(writer)) })
    }
    /// Writes a line for `record`, or counts it as dropped where the writer cannot follow.
    pub(crate) fn log(&self, record: &Record<'_>) {
        let mut line = Vec::with_capacity(640);
        self.format.write(&mut line, record);
        if self.lines.try_send(line).is_err() {
            self.signals.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
    /// Opens the file anew before the next write.
    pub(crate) fn reopen(&self) {
        self.signals.reopen.store(true, Ordering::Relaxed);
    }
    /// Writes what is queued, and ends the writer.
    pub(crate) fn finish(&self) {
        self.signals.stop.store(true, Ordering::Release);
        if let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            writer.thread().unpark();
            // The writer only ends by panic or by the signal just given; there is nobody left to tell of a panic.
            drop(writer.join());
        }
    }
    /// Lines lost, because the queue was full or the file could not be written.
    pub(crate) fn dropped(&self) -> u64 {
        self.signals.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.finish();
    }
}

fn open(path: &Path) -> io::Result<Box<dyn Write + Send>> {
    Ok(match path.to_str() {
        Some("/dev/stdout") => Box::new(io::stdout()),
        Some("/dev/stderr") => Box::new(io::stderr()),
        _ => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
    })
}

fn write(path: &Path, mut sink: Box<dyn Write + Send>, queue: &Receiver<Vec<u8>>, signals: &Signals) {
    let mut chunk = Vec::with_capacity(CHUNK);
    let mut failing = false;
    loop {
        let stop = signals.stop.load(Ordering::Acquire);
        if signals.reopen.swap(false, Ordering::Relaxed) {
            match open(path) {
                Ok(fresh) => sink = fresh,
                Err(error) => warn!(path = %path.display(), %error, "access log not reopened, writing on to the old file"),
            }
        }
        loop {
            let mut lines = 0;
            while chunk.len() < CHUNK
                && let Ok(line) = queue.try_recv()
            {
                chunk.extend_from_slice(&line);
                lines += 1;
            }
            if chunk.is_empty() {
                break;
            }
            let wrote = sink.write_all(&chunk).and_then(|()| sink.flush());
            chunk.clear();
            match wrote {
                Ok(()) => failing = false,
                Err(error) => {
                    signals.dropped.fetch_add(lines, Ordering::Relaxed);
                    if !std::mem::replace(&mut failing, true) {
                        warn!(path = %path.display(), %error, "access log not written");
                    }
                }
            }
        }
        if stop {
            return;
        }
        std::thread::park_timeout(PERIOD);
    }
}
