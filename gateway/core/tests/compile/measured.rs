//! Findings about what only a running gateway measures, with the object, the field and the line that they name.

use std::time::Duration;

use isthmus_config::problem::Severity;
use isthmus_core::analyze::{analyze, code};

use super::Compiled;

const WORLD: &str = "services: [app/a, app/b]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: app}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}
  - port: {number: 9000, name: odd, protocol: TCP}
    hosts: ['*']
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all, namespace: app}
spec:
  hosts: ['*']
  gateways: [gw]
  http:
  - route: [{destination: {host: a, subset: s}, weight: 50}, {destination: {host: a}, weight: 50}]
  tcp:
  - route: [{destination: {host: b}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a, namespace: app}
spec:
  host: a
  trafficPolicy:
    connectionPool: {tcp: {connectTimeout: 100ms}}
  subsets:
  - name: s
    labels: {}
    trafficPolicy:
      connectionPool: {tcp: {connectTimeout: 30ms}}
";

/// Code, object, path and line of each finding, once `heard` has been told to the backends.
fn findings(heard: impl Fn(&isthmus_core::balance::Slot)) -> Vec<String> {
    let Compiled { world, compiler, .. } = Compiled::of(WORLD);
    compiler.slots().iter().for_each(|slot| heard(slot));
    let told = analyze(&world, &compiler, Severity::Error).problems.into_iter().filter(|p| [code::HASTY, code::TCP_NAMED_HTTP].contains(&p.code));
    let object = |p: &isthmus_config::problem::Problem| p.object.as_ref().map(ToString::to_string).unwrap_or_default();
    told.map(|p| format!("{} {} {}: {}", object(&p), p.path, p.origin.spot(&p.path).line, p.message.split(':').next_back().unwrap_or_default()))
        .collect()
}

#[test]
fn a_connect_timeout_below_what_connecting_takes_is_told_where_it_stands() {
    let subset = "DestinationRule app/a spec.subsets[0].trafficPolicy.connectionPool.tcp.connectTimeout";
    let top = "DestinationRule app/a spec.trafficPolicy.connectionPool.tcp.connectTimeout";
    let at = |ms: u64| findings(move |slot| slot.connected(Duration::from_millis(ms)));
    assert_eq!(at(15), Vec::<String>::new(), "half is enough");
    let told = at(16);
    assert!(told.len() == 1 && told[0].starts_with(subset), "{told:?}");
    let told = at(60);
    assert!(told.len() == 2 && told.iter().any(|t| t.starts_with(top)), "{told:?}");
    assert_eq!(findings(|_| {}), Vec::<String>::new(), "nothing was measured yet");
}

#[test]
fn a_connect_timeout_in_which_nothing_connects_is_told_by_what_takes_longer_beside_it() {
    let told = |late: usize, elsewhere: Option<u64>| {
        findings(move |slot| {
            if &*slot.key.subset == "s" {
                (0..late).for_each(|_| slot.connects_late());
            } else if let Some(ms) = elsewhere {
                slot.connected(Duration::from_millis(ms));
            }
        })
    };
    let at = told(3, Some(16));
    assert!(at.len() == 1 && at[0].starts_with("DestinationRule app/a spec.subsets[0].trafficPolicy.connectionPool.tcp.connectTimeout"), "{at:?}");
    for (late, elsewhere, why) in [(2, Some(16), "two are an accident"), (3, Some(15), "twice as long is enough"), (3, None, "it may be dead")] {
        assert_eq!(told(late, elsewhere), Vec::<String>::new(), "{why}");
    }
}

#[test]
fn http_on_a_tcp_port_is_told_at_its_server() {
    let told = findings(|slot| {
        if slot.key.host.as_str().starts_with("b.") {
            slot.heard_http()
        }
    });
    assert!(told.len() == 1 && told[0].starts_with("Gateway app/gw spec.servers[1].port.protocol"), "{told:?}");
    let told = findings(|slot| {
        if slot.key.host.as_str().starts_with("a.") {
            slot.heard_http()
        }
    });
    assert_eq!(told, Vec::<String>::new(), "behind an HTTP server it is as it should be");
}
