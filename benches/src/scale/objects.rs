//! The objects of the scale run, as API servers write them: with the fields that nobody reads.

use std::fmt::Write as _;

/// A size: so many routes, services, endpoints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// VirtualServices of one route, each with a host of its own.
    pub(crate) routes: usize,
    /// Services, each in two of the three clusters.
    pub(crate) services: usize,
    /// Endpoints of a service in one cluster.
    pub(crate) each: usize,
}

impl Size {
    /// Routes, services and endpoints as they are given; the size that is aimed at where they are not.
    pub(crate) fn asked(numbers: &[usize]) -> Self {
        match numbers {
            [routes, services, endpoints, ..] => Self { routes: *routes, services: *services, each: endpoints / services / 2 },
            [..] => Self { routes: 5_000, services: 10_000, each: 5 },
        }
    }

    /// Endpoints in all.
    pub(crate) fn endpoints(self) -> usize {
        self.services * 2 * self.each
    }
}

/// Nodes of a cluster.
const NODES: usize = 150;
/// Namespaces of a cluster.
const NAMESPACES: usize = 40;

/// What a cluster holds: plural, namespace and name, object.
pub(crate) type Objects = Vec<(&'static str, String, String)>;

/// The namespace of a service.
pub(super) fn namespace(service: usize) -> String {
    format!("team-{}", service % NAMESPACES)
}

/// Everything in one of the clusters; the first is the config cluster.
pub(crate) fn cluster(index: usize, size: Size) -> Objects {
    let mut all = Objects::new();
    for n in 0..NAMESPACES {
        all.push(("namespaces", format!("team-{n}"), format!(r#"{{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"team-{n}"}}}}"#)));
    }
    for n in 0..NODES {
        let name = node(index, n);
        let zone = n % 3;
        let labels = format!(
            r#""kubernetes.io/hostname":"{name}","topology.kubernetes.io/region":"r{index}","topology.kubernetes.io/zone":"r{index}-{zone}","node.kubernetes.io/instance-type":"m5""#
        );
        let object =
            format!(r#"{{"apiVersion":"v1","kind":"Node","metadata":{{"name":"{name}","labels":{{{labels}}}}},"spec":{{"podCIDR":"10.0.0.0/24"}}}}"#);
        all.push(("nodes", name, object));
    }
    for service in (0..size.services).filter(|s| s % 3 == index || (s + 1) % 3 == index) {
        let ns = namespace(service);
        all.push(("services", format!("{ns}/s{service}"), service_object(&ns, &format!("s{service}"))));
        let (name, object) = slice(index, service, size.each, 0);
        all.push(("endpointslices", name, object));
        for e in 0..size.each {
            let (name, ip, node) = pod(index, service, e, size.each);
            all.push(("pods", format!("{ns}/{name}"), pod_object(&ns, &format!("s{service}"), &name, &ip, &node)));
        }
    }
    if index == 0 {
        let spec = r#"{"selector":{"istio":"ingressgateway"},"servers":[{"port":{"number":8080,"name":"http","protocol":"HTTP"},"hosts":["*"]}]}"#;
        let name = r#"{"name":"gw","namespace":"istio-system"}"#;
        all.push((
            "gateways",
            "istio-system/gw".into(),
            format!(r#"{{"apiVersion":"networking.istio.io/v1","kind":"Gateway","metadata":{name},"spec":{spec}}}"#),
        ));
        for route in 0..size.routes {
            let ns = namespace(route);
            all.push((
                "virtualservices",
                format!("{ns}/v{route}"),
                virtual_service(&ns, &format!("v{route}"), &format!("h{route}.example.com"), &format!("s{route}"), 0),
            ));
        }
    }
    all
}

fn node(cluster: usize, n: usize) -> String {
    format!("ip-10-{cluster}-0-{n}.region-{cluster}.compute.internal")
}

/// Name, address and node of a pod.
fn pod(cluster: usize, service: usize, e: usize, each: usize) -> (String, String, String) {
    let n = service * each + e;
    let name = format!("s{service}-{:08x}-{:05}", (service as u32).wrapping_mul(2_654_435_761), n % 100_000);
    (name, format!("10.{}.{}.{}", cluster << 6 | n >> 16, n >> 8 & 255, n & 255), node(cluster, n % NODES))
}

/// What every object of a controller carries, before its own labels.
fn meta(ns: &str, name: &str, labels: &str) -> String {
    format!(
        r#"{{"name":"{name}","namespace":"{ns}","uid":"0b54ec8a-7e0b-4a3c-9d2b-6f1e2f3a4b5c","creationTimestamp":"2026-03-01T10:00:00Z","labels":{{{labels}}}}}"#
    )
}

/// A Service with one port.
pub(super) fn service_object(ns: &str, name: &str) -> String {
    let meta = meta(ns, name, &format!(r#""app":"{name}","team":"{ns}""#));
    format!(
        r#"{{"apiVersion":"v1","kind":"Service","metadata":{meta},"spec":{{"selector":{{"app":"{name}"}},"ports":[{{"name":"http","port":80,"targetPort":8080,"protocol":"TCP"}}],"clusterIP":"172.20.0.1","clusterIPs":["172.20.0.1"],"type":"ClusterIP","internalTrafficPolicy":"Cluster"}}}}"#
    )
}

/// The slice of a service; `round` changes the address of its first endpoint.
pub(super) fn slice(cluster: usize, service: usize, each: usize, round: usize) -> (String, String) {
    let ns = namespace(service);
    let endpoints: Vec<(String, String, String)> = (0..each)
        .map(|e| {
            let (name, ip, node) = pod(cluster, service, e, each);
            let ip = if e == 0 && round > 0 { format!("10.{}.{}.{}", cluster << 6 | 63, round >> 8 & 255, round & 255) } else { ip };
            (name, ip, node)
        })
        .collect();
    (format!("{ns}/s{service}-x7k2p"), slice_object(&ns, &format!("s{service}"), 8080, &endpoints))
}

/// A slice of pods: name, address, node.
pub(super) fn slice_object(ns: &str, service: &str, port: u16, endpoints: &[(String, String, String)]) -> String {
    let mut list = String::new();
    for (name, ip, node) in endpoints {
        let comma = if list.is_empty() { "" } else { "," };
        let target = format!(r#"{{"kind":"Pod","name":"{name}","namespace":"{ns}","uid":"0b54ec8a-7e0b-4a3c-9d2b-6f1e2f3a4b5c"}}"#);
        // Writing to a string cannot fail.
        let _ = write!(
            list,
            r#"{comma}{{"addresses":["{ip}"],"conditions":{{"ready":true,"serving":true,"terminating":false}},"nodeName":"{node}","zone":"z1","targetRef":{target}}}"#
        );
    }
    let meta =
        meta(ns, &format!("{service}-x7k2p"), &format!(r#""kubernetes.io/service-name":"{service}","endpointslice.kubernetes.io/managed-by":"c""#));
    format!(
        r#"{{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{meta},"addressType":"IPv4","endpoints":[{list}],"ports":[{{"name":"http","port":{port},"protocol":"TCP"}}]}}"#
    )
}

/// A pod of a deployment.
pub(super) fn pod_object(ns: &str, app: &str, name: &str, ip: &str, node: &str) -> String {
    let meta = meta(ns, name, &format!(r#""app":"{app}","version":"v1","pod-template-hash":"5d4c7b9f66""#));
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{meta},"spec":{{"nodeName":"{node}","serviceAccountName":"{app}","containers":[{{"name":"app","image":"registry/{app}:1","ports":[{{"name":"http","containerPort":8080}}],"resources":{{"requests":{{"cpu":"100m"}}}}}}]}},"status":{{"phase":"Running","podIP":"{ip}","podIPs":[{{"ip":"{ip}"}}],"conditions":[{{"type":"Ready","status":"True"}}]}}}}"#
    )
}

/// A VirtualService of one route, whose answers tell its round.
pub(super) fn virtual_service(ns: &str, name: &str, host: &str, service: &str, round: usize) -> String {
    let meta = meta(ns, name, r#""app":"shop""#);
    let headers = if round == 0 { String::new() } else { format!(r#","headers":{{"response":{{"set":{{"x-round":"{round}"}}}}}}"#) };
    let rule = format!(r#"{{"match":[{{"uri":{{"prefix":"/api/"}}}}],"route":[{{"destination":{{"host":"{service}"}}}}],"timeout":"5s"{headers}}}"#);
    format!(
        r#"{{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{meta},"spec":{{"hosts":["{host}"],"gateways":["istio-system/gw"],"http":[{rule}]}}}}"#
    )
}
