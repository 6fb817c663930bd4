//! The demo's pods and VMs: threads of this process, each with an address of its own, that answer with their name.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use super::world::Backend;

/// Starts all of them; they last as long as the process.
pub(super) fn start(backends: &[Backend]) -> io::Result<()> {
    for backend in backends {
        let listener = TcpListener::bind(backend.address).map_err(|e| io::Error::new(e.kind(), format!("demo backend {}: {e}", backend.address)))?;
        let name = backend.name.clone();
        std::thread::Builder::new().name(name.clone()).spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let name = name.clone();
                // A backend that finds no thread for a connection closes it, as a busy one would.
                drop(std::thread::Builder::new().spawn(move || answer(&stream, &name)));
            }
        })?;
    }
    Ok(())
}

/// Answers requests without bodies until the other side closes.
fn answer(stream: &TcpStream, name: &str) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut lines = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let mut line = String::new();
        let mut any = false;
        loop {
            line.clear();
            if lines.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line.trim_end().is_empty() {
                break;
            }
            any = true;
        }
        if any {
            let body = format!("{name}\n");
            write!(writer, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{body}", body.len()).ok()?;
        }
    }
}
