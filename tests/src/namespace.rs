//! A network of its own for one test: addresses that come, go, and fall silent.
//!
//! The test runs its own binary once more under `unshare`, for itself alone. In there every address is on the loopback device until it is
//! silenced: then packets to it leave by a device whose other end nobody reads, so connecting to it is not refused, nothing is answered, and
//! what was connected hears no more. No root is needed.

use std::io::Write as _;
use std::net::IpAddr;
use std::process::Command;

/// Begins a line that reaches whoever runs the tests.
const MEASURED: &str = "measured:";

/// Says a figure that a test inside measured, whether or not it holds.
pub fn measured(what: &str) {
    let _nobody_listens = writeln!(std::io::stderr(), "{MEASURED} {what}");
}

/// Set in the process that runs inside.
const INSIDE: &str = "ISTHMUS_TEST_NAMESPACE";

/// The network that a test has to itself.
#[derive(Debug)]
pub struct Network(());

/// The test that this process plays in a network of its own, if it is such a process.
pub fn playing() -> Option<String> {
    std::env::var(INSIDE).ok()
}

/// Runs `body` in a network of its own; `test` is the path of the calling test as the test runner prints it.
pub fn inside(test: &str, body: impl FnOnce(&Network)) {
    if playing().is_some() {
        let network = Network(());
        network.prepare();
        body(&network);
        return;
    }
    let me = std::env::current_exe().expect("a process knows its program");
    let arguments = ["--exact", test, "--nocapture", "--test-threads", "1"];
    let run = Command::new("unshare").args(["--user", "--map-root-user", "--net"]).arg(me).args(arguments).env(INSIDE, test).output();
    let run = run.expect("this test needs unshare: apt-get install util-linux");
    let told = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{told}");
    assert!(told.contains("1 passed"), "no test is called {test}: {told}");
    for line in told.lines().filter(|l| l.starts_with(MEASURED)) {
        let _nobody_listens = writeln!(std::io::stderr(), "{test} {line}");
    }
}

impl Network {
    fn prepare(&self) {
        self.ip(&["link", "set", "lo", "up"]);
        self.ip(&["link", "add", "hole", "type", "veth", "peer", "name", "unread"]);
        self.ip(&["addr", "add", "10.255.255.1/32", "dev", "hole"]);
        self.ip(&["link", "set", "hole", "up"]);
        self.ip(&["link", "set", "unread", "up"]);
    }

    /// Gives the host one more address.
    pub fn add(&self, address: IpAddr) {
        self.ip(&["addr", "add", &format!("{address}/32"), "dev", "lo"]);
    }

    /// From now on every packet to the address is lost.
    pub fn silence(&self, address: IpAddr) {
        let address = address.to_string();
        self.ip(&["neigh", "replace", &address, "lladdr", "02:00:00:00:00:01", "dev", "hole", "nud", "permanent"]);
        // The way out is there before the address goes: at no moment is there no way at all, which would be told at once.
        self.ip(&["route", "add", &format!("{address}/32"), "dev", "hole", "src", "10.255.255.1"]);
        self.ip(&["addr", "del", &format!("{address}/32"), "dev", "lo"]);
    }

    /// The address answers again.
    pub fn revive(&self, address: IpAddr) {
        self.add(address);
        self.ip(&["route", "del", &format!("{address}/32"), "dev", "hole"]);
    }

    fn ip(&self, arguments: &[&str]) {
        let run = Command::new("ip").args(arguments).output().expect("this test needs ip: apt-get install iproute2");
        assert!(run.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;

    #[test]
    fn silence_is_no_refusal() {
        inside("namespace::tests::silence_is_no_refusal", |network| {
            let address: IpAddr = [10, 244, 1, 1].into();
            network.add(address);
            let listener = TcpListener::bind((address, 0)).expect("the address is ours");
            let at = listener.local_addr().expect("a bound socket has an address");
            let connect = |at: SocketAddr| TcpStream::connect_timeout(&at, Duration::from_millis(300)).map_err(|e| e.kind());
            assert!(connect(at).is_ok());
            network.silence(address);
            assert_eq!(connect(at).map(|_| ()), Err(ErrorKind::TimedOut));
            network.revive(address);
            assert!(connect(at).is_ok());
            drop(listener);
            assert_eq!(connect(at).map(|_| ()), Err(ErrorKind::ConnectionRefused));
        });
    }
}
