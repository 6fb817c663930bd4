//! The worlds that are measured, as YAML text, and the registry that takes them in.

use std::path::Path;
use std::sync::Arc;

use isthmus_config::bootstrap::Bootstrap;
use isthmus_config::name::ClusterId;
use isthmus_config::object::Kind;
use isthmus_config::parse::{parse, parse_object};
use isthmus_discovery::kubernetes::{Interner, fact};
use isthmus_discovery::source::{Event, Fact, Partition, SourceId, Via};
use isthmus_discovery::{Registry, Settings};

/// Endpoints of each service; there are as many services as routes.
pub(crate) const ENDPOINTS: usize = 10;

/// Routes of each VirtualService where many share a host.
const EACH: usize = 10;

/// How the routes are spread.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// Each route in a VirtualService and virtual host of its own.
    HostEach,
    /// Ten routes in each VirtualService, all for one host.
    Shared,
    /// All routes in one VirtualService for one host.
    OneHost,
    /// As before, every rule by a regex of its own.
    Regexes,
}

impl Shape {
    /// What is printed above its table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::HostEach => "a virtual host for each route",
            Self::Shared => "one virtual host, ten routes in each VirtualService",
            Self::OneHost => "one virtual host, one VirtualService",
            Self::Regexes => "one virtual host, one VirtualService, regexes alone",
        }
    }

    /// The whole world.
    pub(crate) fn texts(self, routes: usize) -> Vec<String> {
        let mut texts = vec![GATEWAY.to_owned()];
        for i in 0..routes {
            texts.push(format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: s{i}, namespace: app}}\nspec:\n  ports: [{{name: http, port: 80, targetPort: 8080}}]\n"
            ));
            texts.push(slice(i, 0));
        }
        match self {
            Self::HostEach => texts.extend((0..routes).map(|i| virtual_service(i, i, &[self.rule(i, 0)]))),
            Self::Shared => texts.extend((0..routes / EACH).map(|i| virtual_service(i, 0, &self.rules(i * EACH, EACH, None)))),
            Self::OneHost | Self::Regexes => texts.push(virtual_service(0, 0, &self.rules(0, routes, None))),
        }
        texts
    }

    /// The VirtualService of one route, which asks for another timeout in each round.
    pub(crate) fn changed_route(self, routes: usize, round: usize) -> String {
        let place = routes / 2;
        match self {
            Self::HostEach => virtual_service(place, place, &[self.rule(place, round + 1)]),
            Self::Shared => virtual_service(place / EACH, 0, &self.rules(place / EACH * EACH, EACH, Some((place, round + 1)))),
            Self::OneHost | Self::Regexes => virtual_service(0, 0, &self.rules(0, routes, Some((place, round + 1)))),
        }
    }

    /// Host and path of a request that takes a route.
    pub(crate) fn request(self, route: usize) -> (String, String) {
        let host = match self {
            Self::HostEach => route,
            Self::Shared | Self::OneHost | Self::Regexes => 0,
        };
        (format!("h{host}.example.com"), format!("/svc-{route}/x"))
    }

    /// The EndpointSlice of one service, one of whose endpoints moved.
    pub(crate) fn changed_endpoint(self, routes: usize, round: usize) -> String {
        slice(routes / 2, round + 1)
    }

    fn rule(self, service: usize, timeout: usize) -> String {
        let timeout = if timeout == 0 { String::new() } else { format!(r#","timeout":"{timeout}s""#) };
        let uri = match self {
            Self::HostEach | Self::Shared | Self::OneHost => format!(r#"{{"prefix":"/svc-{service}/"}}"#),
            Self::Regexes => format!(r#"{{"regex":"/svc-{service}/[a-z0-9]*(/.*)?"}}"#),
        };
        format!(r#"{{"match":[{{"uri":{uri}}}],"route":[{{"destination":{{"host":"s{service}"}}}}]{timeout}}}"#)
    }

    /// Some rules in a row; one of them with a timeout.
    fn rules(self, first: usize, count: usize, changed: Option<(usize, usize)>) -> Vec<String> {
        (first..first + count).map(|i| self.rule(i, changed.filter(|(place, _)| *place == i).map_or(0, |(_, timeout)| timeout))).collect()
    }
}

fn slice(service: usize, round: usize) -> String {
    let net = format!("10.{}.{}", service >> 8 & 255, service & 255);
    let endpoints: String = (0..ENDPOINTS)
        .map(|e| format!("- {{addresses: [{net}.{}], conditions: {{ready: true}}}}\n", e + 1 + if e == 0 { 100 + round } else { 0 }))
        .collect();
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\nmetadata: {{name: s{service}-1, namespace: app, labels: \
         {{kubernetes.io/service-name: s{service}}}}}\nports: [{{name: http, port: 8080, protocol: TCP}}]\nendpoints:\n{endpoints}"
    )
}

/// What one file of [`crate::memory::files`] holds: a service, its route, its endpoints and the pods behind them.
pub(crate) fn with_pods(service: usize, endpoints: usize) -> String {
    let pods = (0..endpoints).map(|e| {
        let n = service * endpoints + e;
        (format!("s{service}-7d4b9c6f5d-{n:06}"), format!("10.{}.{}.{}", n >> 16 & 255, n >> 8 & 255, n & 255), n % 200)
    });
    let mut text = format!(
        "{}\n---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{service}, namespace: app}}\nspec:\n  selector: {{app: s{service}}}\n  ports: [{{name: http, port: 80, \
         targetPort: 8080}}]\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\nmetadata: {{name: s{service}-1, namespace: app, labels: \
         {{kubernetes.io/service-name: s{service}}}}}\nports: [{{name: http, port: 8080, protocol: TCP}}]\nendpoints:\n",
        virtual_service(service, service, &[Shape::HostEach.rule(service, 0)])
    );
    for (name, ip, node) in pods.clone() {
        text += &format!("- {{addresses: [{ip}], nodeName: n{node}, conditions: {{ready: true}}, targetRef: {{kind: Pod, name: {name}}}}}\n");
    }
    for (name, ip, node) in pods {
        text += &format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: app, labels: {{app: s{service}, version: v1}}}}\nspec: {{nodeName: n{node}, \
             serviceAccountName: s{service}}}\nstatus: {{phase: Running, podIP: {ip}, conditions: [{{type: Ready, status: \"True\"}}]}}\n"
        );
    }
    text
}

/// The Gateway that all routes hang on.
pub(crate) const GATEWAY: &str = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: gw, namespace: app}\nspec:\n  selector: {istio: \
                                  ingressgateway}\n  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]\n";

/// As an API server gives it.
fn virtual_service(name: usize, host: usize, rules: &[String]) -> String {
    format!(
        r#"{{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{{"name":"v{name}","namespace":"app"}},"spec":{{"hosts":["h{host}.example.com"],"gateways":["gw"],"http":[{}]}}}}"#,
        rules.join(",")
    )
}

/// A registry with one cluster, told of objects as a watcher tells.
#[derive(Debug)]
pub(crate) struct Source {
    /// What it was told.
    pub(crate) registry: Registry,
    cluster: ClusterId,
    interner: Interner,
}

/// Every kind that the worlds here hold.
const KINDS: [Kind; 4] = [Kind::Gateway, Kind::VirtualService, Kind::Service, Kind::EndpointSlice];

impl Source {
    /// Nothing told yet.
    pub(crate) fn new() -> Self {
        let bootstrap = Bootstrap::for_directory(Path::new("."));
        let settings = Settings::new(&bootstrap, Arc::default());
        Self { registry: Registry::new(settings), cluster: bootstrap.config.cluster, interner: Interner::default() }
    }

    fn partition(&self, kind: Kind) -> Partition {
        Partition { source: SourceId(self.cluster.clone(), Via::Files), kind, generation: 1 }
    }

    /// Tells a whole list.
    pub(crate) fn list(&mut self, texts: &[String]) {
        KINDS.iter().for_each(|k| self.registry.apply(Event::Init(self.partition(*k))));
        texts.iter().for_each(|t| self.apply(t));
        KINDS.iter().for_each(|k| self.registry.apply(Event::InitDone(self.partition(*k))));
    }

    /// Tells one object.
    pub(crate) fn apply(&mut self, text: &str) {
        let facts = self.read(text);
        self.tell(facts);
    }

    /// Reads one object, which is not the control thread's work: JSON as from an API server, YAML as from a file.
    pub(crate) fn read(&mut self, text: &str) -> Vec<Fact> {
        let parsed = match text.starts_with('{') {
            true => parse_object(text, "networking.istio.io/v1", Kind::VirtualService.as_str(), &self.cluster),
            false => parse(text.as_bytes(), &self.cluster, &"bench.yaml".into()),
        };
        assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
        let facts = parsed.documents.into_iter().map(|document| fact(document, &mut self.interner));
        facts.map(|told| told.expect("the worlds here hold only what a gateway reads")).collect()
    }

    /// Tells what was read.
    pub(crate) fn tell(&mut self, facts: Vec<Fact>) {
        for told in facts {
            self.registry.apply(Event::Apply(self.partition(told.reference().kind), told));
        }
    }
}
