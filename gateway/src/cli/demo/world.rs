//! The demo's world: three clusters of bookinfo-like pods and two VMs, as files that a person may edit.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

/// Where the pods and VMs of the demo listen.
pub(super) const PORT: u16 = 9080;
/// The file that the play edits.
pub(super) const EDITED: &str = "clusters/cluster2/productpage.yaml";

/// A demo backend: who it is and where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Backend {
    pub(super) name: String,
    pub(super) address: SocketAddr,
}

/// Ports of the demo's own gateway.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) http: u16,
    pub(super) admin: u16,
    pub(super) status: u16,
    pub(super) metrics: u16,
}

const WORKLOADS: [(&str, &str); 4] = [("productpage", "v1"), ("reviews", "v1"), ("reviews", "v2"), ("reviews", "v3")];

/// All backends: the pods of three clusters and two VMs.
pub(super) fn backends() -> Vec<Backend> {
    let pods = (1..=3u8).flat_map(|cluster| {
        (1u8..).zip(WORKLOADS).map(move |(i, (app, version))| Backend {
            name: format!("{app}-{version}-cluster{cluster}"),
            address: (Ipv4Addr::new(127, 0, cluster, i), PORT).into(),
        })
    });
    let vms = (1..=2u8).map(|i| Backend { name: format!("vm{i}"), address: (Ipv4Addr::new(127, 0, 9, i), PORT).into() });
    pods.chain(vms).collect()
}

/// Writes isthmus.yaml, the clusters, the rules and the VMs into `directory`.
pub(super) fn write(directory: &Path, ports: Ports) -> io::Result<()> {
    for cluster in 1..=3u8 {
        let folder = directory.join(format!("clusters/cluster{cluster}"));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("nodes.yaml"), node(cluster))?;
        for app in ["productpage", "reviews"] {
            fs::write(folder.join(format!("{app}.yaml")), service(cluster, app))?;
        }
    }
    for folder in ["mesh", "vms"] {
        fs::create_dir_all(directory.join(folder))?;
    }
    fs::write(directory.join("mesh/rules.yaml"), RULES)?;
    fs::write(directory.join("vms/httpd.yaml"), VMS)?;
    fs::write(directory.join("isthmus.yaml"), isthmus(ports))
}

fn isthmus(ports: Ports) -> String {
    let Ports { http, admin, status, metrics } = ports;
    format!(
        "gateway:
  cluster: cluster1
  locality: us-central1/z1/sz01
  bind: 127.0.0.1
  ports: {{80: {http}}}
clusters:
- {{name: cluster1, path: clusters/cluster1}}
- {{name: cluster2, path: clusters/cluster2}}
- {{name: cluster3, path: clusters/cluster3}}
config:
  cluster: cluster1
  files: [mesh/, vms/]
grace: 0s
accessLog: {{path: access.log, format: text}}
admin: {{address: '127.0.0.1:{admin}'}}
status: {{address: '127.0.0.1:{status}'}}
metrics: {{address: '127.0.0.1:{metrics}'}}
"
    )
}

fn node(cluster: u8) -> String {
    format!(
        "apiVersion: v1
kind: Node
metadata:
  name: node{cluster}
  labels:
    topology.kubernetes.io/region: us-central{cluster}
    topology.kubernetes.io/zone: z{cluster}
    topology.istio.io/subzone: sz0{cluster}
---
apiVersion: v1
kind: Namespace
metadata: {{name: bookinfo}}
"
    )
}

/// A Service with its pods and the EndpointSlice that joins them.
fn service(cluster: u8, app: &str) -> String {
    let mut text = format!(
        "apiVersion: v1
kind: Service
metadata: {{name: {app}, namespace: bookinfo, labels: {{app: {app}}}}}
spec:
  selector: {{app: {app}}}
  ports: [{{name: http, port: 9080, targetPort: {PORT}}}]
"
    );
    let mut endpoints = String::new();
    for (i, (_, version)) in (1u8..).zip(WORKLOADS).filter(|(_, (a, _))| *a == app) {
        let name = format!("{app}-{version}-cluster{cluster}");
        // A String takes every write.
        let _ = write!(
            text,
            "---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: bookinfo, labels: {{app: {app}, version: {version}}}}}
spec: {{nodeName: node{cluster}, containers: [{{name: {app}, image: demo}}]}}
status: {{phase: Running, podIP: 127.0.{cluster}.{i}, conditions: [{{type: Ready, status: 'True'}}]}}
"
        );
        let _ = write!(
            endpoints,
            "
- addresses: [127.0.{cluster}.{i}]
  conditions: {{ready: true}}
  nodeName: node{cluster}
  targetRef: {{kind: Pod, name: {name}, namespace: bookinfo}}"
        );
    }
    let _ = write!(
        text,
        "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {app}-1, namespace: bookinfo, labels: {{kubernetes.io/service-name: {app}}}}}
addressType: IPv4
ports: [{{name: http, port: {PORT}, protocol: TCP}}]
endpoints:{endpoints}
"
    );
    text
}

/// The same slice without endpoints: what the play edits into [`EDITED`].
pub(super) fn without_endpoints(text: &str) -> String {
    match text.find("\nendpoints:") {
        Some(at) => format!("{}\nendpoints: []\n", &text[..at]),
        None => text.to_owned(),
    }
}

const RULES: &str = "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: demo, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ['*.demo']
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bookinfo, namespace: bookinfo}
spec:
  hosts: [bookinfo.demo]
  gateways: [istio-system/demo]
  http:
  - route: [{destination: {host: productpage, port: {number: 9080}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: bookinfo}
spec:
  hosts: [reviews.demo]
  gateways: [istio-system/demo]
  http:
  - name: testers
    match: [{headers: {x-user: {exact: jason}}}]
    route: [{destination: {host: reviews, subset: v3}}]
  - name: canary
    route:
    - {destination: {host: reviews, subset: v1}, weight: 90}
    - {destination: {host: reviews, subset: v2}, weight: 10}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: bookinfo}
spec:
  host: reviews
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
  - {name: v3, labels: {version: v3}}
";

const VMS: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: httpd, namespace: vms}
spec:
  hosts: [httpd.vm.demo]
  location: MESH_INTERNAL
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 9080}]
  resolution: STATIC
  workloadSelector: {labels: {app: httpd}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm1, namespace: vms}
spec: {address: 127.0.9.1, labels: {app: httpd}, locality: us-central1/z1/sz01}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm2, namespace: vms}
spec: {address: 127.0.9.2, labels: {app: httpd}, locality: us-central2/z2/sz02}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: httpd, namespace: vms}
spec:
  hosts: [httpd.vm.demo]
  gateways: [istio-system/demo]
  http:
  - route: [{destination: {host: httpd.vm.demo, port: {number: 80}}}]
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edit_leaves_the_service_and_takes_its_endpoints() {
        let text = service(2, "productpage");
        let edited = without_endpoints(&text);
        assert!(text.contains("127.0.2.1]\n  conditions") && !edited.contains("conditions: {ready"));
        assert!(edited.contains("kind: Service\n") && edited.ends_with("endpoints: []\n"));
        assert_eq!(backends().len(), 14);
    }
}
