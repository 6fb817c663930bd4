//! From files to rows, explanations and findings: what `get`, `explain` and `check` show of one small world.

use std::fs;

use isthmus_config::problem::Severity;
use isthmus_core::explain::{CLIENT, Explanation, Question, fields};

use super::*;
use crate::asked::Asked;

const WORLD: &str = "
apiVersion: v1
kind: Service
metadata: {name: a, namespace: app}
spec: {selector: {app: a}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: a-1, namespace: app, labels: {app: a, version: v1}}
status: {podIP: 10.0.0.1}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: a-x, namespace: app, labels: {kubernetes.io/service-name: a}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.1], conditions: {ready: true}, targetRef: {kind: Pod, name: a-1, namespace: app}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a, namespace: app}
spec: {host: a, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: app}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*.example.com']}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: r, namespace: app}
spec:
  hosts: [shop.example.com]
  gateways: [gw]
  http:
  - name: admin
    match: [{uri: {prefix: /admin}}]
    directResponse: {status: 403, body: {string: 'no'}}
  - match: [{uri: {exact: /gone}}]
    route: [{destination: {host: missing}}]
  - match: [{headers: {x-user: {exact: jason}}}]
    rewrite: {uri: /new}
    headers: {request: {set: {x-tester: 'yes'}}}
    fault: {abort: {httpStatus: 503, percentage: {value: 10}}}
    timeout: 2s
    route: [{destination: {host: a, subset: v1}}]
  - route: [{destination: {host: a}, weight: 100}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: a, namespace: app}
";

/// The world from a file of a directory.
fn with_world<R>(then: impl FnOnce(Now) -> R) -> R {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("world.yaml"), WORLD).expect("written");
    let asked = Asked::read(directory.path()).expect("defaults");
    then(Now::offline(&asked, Vec::new(), Severity::Error))
}

fn ask(now: &Now, url: (&str, u16, &str), headers: &[(&str, &str)]) -> Explanation {
    let (authority, port, target) = url;
    let headers = fields(headers.iter().copied());
    let question =
        Question { method: "GET".into(), tls: false, port, authority: authority.into(), target: target.into(), headers, client: CLIENT, from: None };
    now.explain(&question)
}

#[test]
fn rows_are_istioctls_columns_10_4() {
    with_world(|now| {
        let listeners: Vec<_> = now.listener_rows().into_iter().map(|r| (r.address, r.port, r.matches, r.destination)).collect();
        assert_eq!(listeners, [("0.0.0.0".to_owned(), 80, "ALL".to_owned(), "Route: http.80".to_owned())]);
        let routes: Vec<_> =
            now.route_rows().into_iter().map(|r| (r.virtual_host, r.domains.join(" "), r.matches, r.virtual_service, r.line)).collect();
        let row =
            |matches: &str, line| ("shop.example.com:80".to_owned(), "shop.example.com".to_owned(), matches.to_owned(), "r.app".to_owned(), line);
        assert_eq!(routes, [row("/admin*", 40), row("/gone", 42), row("/*", 44), row("/*", 50)]);
        let backends: Vec<_> = now.backend_rows().into_iter().map(|r| (r.backend, r.kind, r.destination_rule, r.used)).collect();
        let row = |name: &str, rule: &str| (name.to_owned(), "EDS".to_owned(), rule.to_owned(), true);
        assert_eq!(backends, [row("outbound|80||a.app.svc.cluster.local", "a.app"), row("outbound|80|v1|a.app.svc.cluster.local", "a.app")]);
        let endpoints = now.endpoint_rows();
        let first = &endpoints[0];
        assert_eq!(
            (endpoints.len(), first.endpoint.as_str(), first.status.as_str(), first.outlier_check.as_str()),
            (2, "10.0.0.1:8080", "HEALTHY", "OK")
        );
        assert_eq!((first.cluster.as_str(), first.workload.as_str()), ("local", "a-1"));
        assert_eq!(now.cluster_rows().iter().map(|r| (r.name.as_str(), r.status.as_str())).collect::<Vec<_>>(), [("local", "synced")]);
    });
}

#[test]
fn each_route_before_the_winner_says_what_failed() {
    with_world(|now| {
        let told = ask(&now, ("shop.example.com", 80, "/x?y=1"), &[("x-user", "anna")]);
        let reasons: Vec<_> = told.passed_over.iter().map(|p| (p.rule.line, p.reason.as_str())).collect();
        assert_eq!(
            reasons,
            [
                (40, "uri: expected prefix \"/admin\", found \"/x\""),
                (42, "uri: expected exact \"/gone\", found \"/x\""),
                (44, "headers.x-user: expected exact \"jason\", found \"anna\""),
            ]
        );
        let route = told.route.expect("a route");
        assert_eq!((route.position, route.rule.name.as_str(), route.rule.line), (3, "r", 50));
        assert_eq!(told.destinations[0].endpoints.iter().map(|e| (e.address.as_str(), e.odds)).collect::<Vec<_>>(), [("10.0.0.1:8080", 1.0)]);
    });
}

#[test]
fn policies_are_told_in_words_and_edits_as_differences() {
    with_world(|now| {
        let route = ask(&now, ("shop.example.com", 80, "/x"), &[("x-user", "jason")]).route.expect("a route");
        for words in [
            "10 % of requests are answered 503 by the gateway (fault)",
            "the answer may take 2s, all attempts together; then 504 UT",
            "a 503 answer is not retried under the default retryOn",
        ] {
            assert!(route.words.iter().any(|w| w == words), "{words:?} in {:#?}", route.words);
        }
        let edit = |what: &str| route.edits.iter().find(|e| e.of == "request" && e.what == what).and_then(|e| e.after.clone());
        assert_eq!((edit("path").as_deref(), edit("x-tester").as_deref()), (Some("/newx"), Some("yes")), "{:#?}", route.edits);
    });
}

#[test]
fn answers_of_the_gateway_itself_are_told() {
    with_world(|now| {
        for (about, authority, port, target, status, flags, note) in [
            ("direct response", "shop.example.com", 80, "/admin/x", Some(403), "-", ""),
            ("no such service", "shop.example.com", 80, "/gone", Some(503), "NC", ""),
            (
                "no virtual host",
                "other.example.com",
                80,
                "/",
                Some(404),
                "NR",
                "no virtual host answers for \"other.example.com\": there are shop.example.com",
            ),
            ("no listener", "shop.example.com", 81, "/", None, "", "no Gateway server with port 81: nothing listens (servers have 80)"),
        ] {
            let told = ask(&now, (authority, port, target), &[]);
            assert_eq!(told.answer.as_ref().map(|a| (a.status, a.flags.as_str())), status.map(|s| (s, flags)), "{about}");
            assert!(note.is_empty() || told.notes.iter().any(|n| n == note), "{about}: {:?}", told.notes);
        }
    });
}

#[test]
fn a_check_says_where_objects_are_in_force_and_what_is_not_used() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("world.yaml");
    fs::write(&path, WORLD).expect("written");
    let checked = alone(&[path]).expect("checked").rows();
    let missing: Vec<_> = checked.problems.iter().filter(|p| p.code == "IST0101").map(|p| (p.severity.as_str(), p.line)).collect();
    assert_eq!(missing, [("warning", 43)], "{:#?}", checked.problems);
    assert!(checked.problems.iter().any(|p| p.code == NOT_USED && p.message.starts_with("Deployment a")), "{:#?}", checked.problems);
    let places: Vec<_> = checked.in_force.iter().map(|f| (f.kind.as_str(), f.reason.is_none())).collect();
    assert_eq!(places, [("Gateway", true), ("VirtualService", true), ("DestinationRule", true)]);
}

#[test]
fn posted_files_keep_their_names() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("world.yaml"), WORLD).expect("written");
    let asked = Asked::read(directory.path()).expect("defaults");
    let text =
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: n, namespace: app}\nspec: {hosts: [n.example.com], htp: []}\n";
    let known = || isthmus_discovery::offline(asked.settings.clone(), Vec::new());
    let Answered { checked, read } = posted(known(), &asked, &[Posted { path: "mine/n.yaml".into(), text: text.into() }]).expect("checked");
    assert_eq!(read, [""; 0], "nothing is said of files");
    assert_eq!(checked.problems.iter().map(|p| (p.file.as_str(), p.line, p.code.as_str())).collect::<Vec<_>>(), [("mine/n.yaml", 4, "IST0106")]);
}

#[test]
fn listeners_tell_their_urls_and_endpoints_their_network() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = |name: &str, meta: &str, spec: &str, status: &str| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: istio-system{meta}}}\nspec: {{{spec}}}\nstatus: {{{status}}}\n"
        )
    };
    let ours = "selector: {istio: ingressgateway}";
    let text = [
        WORLD,
        &service(
            "balanced",
            "",
            &format!(
                "type: LoadBalancer, externalIPs: [192.0.2.2], {ours}, ports: [{{name: http, port: 80}}, {{name: other, port: 81, targetPort: 9}}]"
            ),
            "loadBalancer: {ingress: [{ip: 192.0.2.1}, {hostname: lb.example.com}, {ip: '2001:db8::1'}]}",
        ),
        &service("nodes", "", &format!("type: NodePort, {ours}, ports: [{{name: web, port: 8000, targetPort: 80, nodePort: 30080}}]"), ""),
        &service("inner", "", &format!("{ours}, ports: [{{name: http, port: 80}}]"), ""),
        &service("foreign", "", "externalIPs: [192.0.2.9], selector: {istio: other}, ports: [{name: http, port: 80}]", ""),
        &service("gw", ", labels: {topology.istio.io/network: n2}", "externalIPs: [192.0.2.3], ports: [{name: tls, port: 15443}]", ""),
        "---\napiVersion: v1\nkind: Node\nmetadata: {name: n1}\nstatus: {addresses: [{type: InternalIP, address: 10.9.0.1}]}\n",
    ]
    .concat()
    .replace("labels: {app: a, version: v1}", "labels: {app: a, version: v1, topology.istio.io/network: n2}");
    fs::write(folder.path().join("world.yaml"), text).expect("a file");
    let asked = Asked::read(folder.path()).expect("a world");
    let now = Now::offline(&asked, Vec::new(), Severity::Error);
    let listeners = now.listener_rows();
    let urls = ["192.0.2.1:80", "192.0.2.2:80", "[2001:db8::1]:80", "lb.example.com:80", "10.9.0.1:30080"].map(|u| format!("http://{u}"));
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    assert_eq!(listeners[0].urls, sorted(urls.to_vec()));
    let endpoints = now.endpoint_rows();
    let behind = endpoints.iter().find(|e| e.backend == "outbound|80||a.app.svc.cluster.local").expect("an endpoint");
    assert_eq!((&*behind.status, &*behind.network, &*behind.gateways), ("UNREACHABLE", "n2", "192.0.2.3:15443"));
    assert_eq!(behind.why, "behind gateways, which only mutual TLS passes, and that is not in force yet");
    let told = now.problem_rows().into_iter().find(|p| p.code == "ISM0404").expect("a problem");
    assert!(
        told.message.starts_with(
            "left out of the 1 endpoints of a.app.svc.cluster.local, as seen from our network, which has no name: 1 in network n2, behind"
        ),
        "{}",
        told.message
    );
    let explained = ask(&now, ("shop.example.com", 80, "/"), &[]);
    let problem = explained.destinations.first().and_then(|d| d.problem.clone()).unwrap_or_default();
    assert!(problem.contains("503 UH; left out are 1 in network n2"), "{problem}");
}
