//! h2spec, the checker of HTTP/2 servers, against a listener spoken to with prior knowledge.

use std::process::Command;

use isthmus_tests::backend::Backend;
use isthmus_tests::binary;
use isthmus_tests::gateway::{Gateway, HTTP, own_address};
use isthmus_tests::world;

#[test]
fn h2spec_passes() {
    let h2spec = binary::tool("h2spec", "github.com/summerwind/h2spec/cmd/h2spec");
    let ip = own_address();
    let backend = Backend::named(ip, "h2spec");
    let gateway = Gateway::start(ip, &world::simple(&[backend.address]));
    let (host, port) = (gateway.ip.to_string(), HTTP.to_string());
    let run = Command::new(h2spec).args(["-h", &host, "-p", &port, "-o", "3"]).output().expect("h2spec was built");
    let told = String::from_utf8_lossy(&run.stdout);
    // Only the failures and the count: the rest is a hundred ticks.
    let from = told.find("Failures:").or_else(|| told.find("Finished in")).unwrap_or_default();
    assert!(run.status.success(), "{}{}", &told[from..], String::from_utf8_lossy(&run.stderr));
}
