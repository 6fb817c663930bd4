//! Recorded cases that are about what exists, played through API servers instead of files: the same answers are expected.

use isthmus_tests::kube::servers;
use isthmus_tests::namespace::inside;
use isthmus_tests::{cases, project};

/// Services of several clusters, hosts, entries, locality, and changes under load; machines, pods and slices as they come and go.
const CASES: [&str; 9] = ["clusters", "hosts", "service-entry", "locality-none", "live-change", "vm", "entries-workloads", "entries-live", "slices"];

#[test]
fn cases_hold_through_api_servers() {
    inside("cases::cases_hold_through_api_servers", |_| {
        let folder = project::root().join("tests/conformance/cases");
        let paths = CASES.map(|name| folder.join(format!("{name}.yaml")));
        let served: Vec<_> = servers().0.iter().map(|server| format!("{}={}", server.name, server.kubeconfig_file().display())).collect();
        cases::hold_served(&paths, &served);
    });
}
