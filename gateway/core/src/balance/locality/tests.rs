//! The contract's examples of failover and distribution (Ex 61-86), as they stand there.

use super::*;
use crate::model::{Address, Health, Kin, Place};
use isthmus_config::object::{Kind, Labels, ObjectRef};

/// `name locality [label=value ...] [*weight]`
fn endpoint(text: &str) -> Endpoint {
    let mut words = text.split_whitespace();
    let (name, locality) = (words.next().expect("a name"), words.next().expect("a locality"));
    let locality = Locality::from(if locality == "-" { "" } else { locality });
    let mut endpoint = Endpoint {
        address: Address::Unresolved(name.into(), 80),
        port_name: "http".into(),
        weight: 1,
        health: Health::Healthy,
        workload: Arc::default(),
        source: Arc::new(ObjectRef::new(Kind::EndpointSlice, "a", "a")),
        passage: None,
    };
    let mut labels = own_labels(&locality);
    for word in words {
        match word.split_once('=') {
            Some((key, value)) => drop(labels.insert(long(key).into(), value.into())),
            None => endpoint.weight = word.trim_start_matches('*').parse().expect("a weight"),
        }
    }
    endpoint.workload = Arc::new(Workload::new(name, Kin { labels: Arc::new(labels), ..Kin::default() }, Place { locality, ..Place::default() }));
    endpoint
}

fn long(key: &str) -> &str {
    match key {
        "network" => NETWORK,
        "region" => "topology.kubernetes.io/region",
        "zone" => "topology.kubernetes.io/zone",
        "cluster" => "topology.istio.io/cluster",
        other => other,
    }
}

fn own_labels(locality: &Locality) -> Labels {
    let [region, zone, _] = locality.parts();
    [("region", region), ("zone", zone)].into_iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (long(k).into(), v.into())).collect()
}

fn shown(setting: &Setting, stand: &str, labels: &[(&str, &str)], endpoints: &[&str]) -> String {
    let endpoints: Vec<Endpoint> = endpoints.iter().map(|e| endpoint(e)).collect();
    let locality = Locality::from(stand);
    let mut own = own_labels(&locality);
    own.extend(labels.iter().map(|(k, v)| (Arc::from(long(k)), Arc::from(*v))));
    let stand = Stand { locality, labels: own };
    let arranged = arrange(setting, &stand, &endpoints.iter().collect::<Vec<_>>());
    let names = |g: &Group| g.members.iter().map(|m| endpoints[*m as usize].workload.name.to_string()).collect::<Vec<_>>().join("+");
    arranged.groups.iter().map(|g| format!("{} P{} w{}", names(g), g.priority, g.weight)).collect::<Vec<_>>().join(", ")
}

fn failover(labels: &[&str], regions: &[(&str, &str)]) -> Setting {
    let labels: Vec<&str> = labels
        .iter()
        .map(|l| match *l {
            "network" | "region" | "zone" => long(l),
            other => other,
        })
        .collect();
    let regions: Vec<(Arc<str>, Arc<str>)> = regions.iter().map(|(a, b)| (Arc::from(*a), Arc::from(*b))).collect();
    Setting::Failover { weighted: !labels.is_empty() || !regions.is_empty(), labels: LabelTest::list(&labels), regions }
}

fn distribute(from: &str, to: &[(&str, u32)]) -> Setting {
    let entries = vec![Distribute { from: from.into(), to: to.iter().map(|(k, w)| ((*k).into(), *w)).collect() }];
    Setting::Distribute { entries, fallback: false }
}

const FIVE: [&str; 5] = ["a r1/z1/s1", "b r1/z1/s2", "c r1/z2/s1", "d r2/z1/s1", "e r3/z1/s1"];

#[test]
fn examples_61_to_76() {
    let none = failover(&[], &[]);
    let rows: Vec<(&str, Setting, &str, &[&str], &str)> = vec![
        ("61", none.clone(), "r1/z1/s1", &FIVE, "a P0 w1, b P1 w1, c P2 w1, d P3 w1, e P3 w1"),
        ("62", Setting::Off, "r1/z1/s1", &FIVE, "a P0 w1, b P0 w1, c P0 w1, d P0 w1, e P0 w1"),
        ("63", failover(&[], &[("r1", "r2")]), "r1/z1/s1", &FIVE, "a P0 w1, b P1 w1, c P2 w1, d P3 w1, e P4 w1"),
        ("64", failover(&[], &[("r1", "r2"), ("r1", "r3")]), "r1/z1/s1", &FIVE, "a P0 w1, b P1 w1, c P2 w1, d P3 w1, e P4 w1"),
        ("65", failover(&[], &[("r2", "r3")]), "r1/z1/s1", &FIVE, "a P0 w1, b P1 w1, c P2 w1, d P3 w1, e P3 w1"),
        ("66", none.clone(), "r1/z1/s1", &["b r1/z1/s2", "d r2/z1/s1", "e r3/z1/s1"], "b P0 w1, d P1 w1, e P1 w1"),
        ("67", none.clone(), "", &FIVE, "a P0 w1, b P0 w1, c P0 w1, d P0 w1, e P0 w1"),
        ("67", none.clone(), "r9/z/s", &FIVE, "a P0 w1, b P0 w1, c P0 w1, d P0 w1, e P0 w1"),
        ("68", none, "r1/z1/s1", &["a r1/z1/s1", "x -"], "a P0 w1, x P1 w1"),
        ("70", distribute("r1/z1/*", &[("r1/z1/*", 80), ("r1/z2/*", 20)]), "r1/z1/s1", &FIVE[..4], "a P0 w40, b P0 w40, c P0 w20"),
        (
            "71",
            distribute("r1/*", &[("r1/z1/*", 70), ("r1/z2/*", 30)]),
            "r1/z1/s1",
            &["a r1/z1/s1", "b r1/z1/s1", "c r1/z1/s1", "d r1/z1/s2", "e r1/z2/s1"],
            "a+b+c P0 w53, d P0 w18, e P0 w30",
        ),
        (
            "72",
            distribute("*", &[("r1/*", 50), ("r2/*", 50)]),
            "r1/z1/s1",
            &["a r1/z1/s1", "b r1/z1/s2", "c r1/z2/s1", "d r2/z1/s1"],
            "a P0 w17, b P0 w17, c P0 w17, d P0 w50",
        ),
        ("73", distribute("r5/*", &[("r1/*", 100)]), "r1/z1/s1", &FIVE, "a P0 w1, b P0 w1, c P0 w1, d P0 w1, e P0 w1"),
        ("74", distribute("r1/*", &[("r1/*", 60), ("r3/*", 40)]), "r1/z1/s1", &["a r1/z1/s1", "d r2/z1/s1"], "a P0 w60"),
        (
            "75",
            distribute("r1/*", &[("r1/z1/*", 80), ("r1/z2/*", 15), ("r2/*", 5)]),
            "r1/z1/s1",
            &["a r1/z1/s1", "b r1/z1/s2", "c r1/z2/s1", "d r2/z1/s1", "e r3/z1/s1", "f r3/z2/s1", "g r3/z3/s1"],
            "a P0 w40, b P0 w40, c P0 w15, d P0 w5",
        ),
        (
            "L-8 an empty subzone",
            distribute("*", &[("r1/*", 40), ("r2/*", 60)]),
            "r1/z1",
            &["a r1/z1", "b r1/z1/ *2", "c r2/z1", "d r1/z1-x/", "e r1/z1"],
            "a+b+e P0 w32, d P0 w8, c P0 w60",
        ),
        ("L-7 a part of a segment", distribute("r1/z*", &[("r1/*", 100)]), "r1/z1/s1", &FIVE[..1], "a P0 w1"),
    ];
    for (example, setting, stand, endpoints, want) in rows {
        assert_eq!(shown(&setting, stand, &[], endpoints), want, "Ex {example}");
    }
}

#[test]
fn examples_77_to_86() {
    let second = ["a r1/z1/ network=n1", "b r1/z2/ network=n1", "c r2/z1/ network=n1", "d r1/z1/ network=n2", "e r2/z9/ network=n2"];
    let n1 = [("network", "n1")];
    let one = "r1/z1/";
    type Row<'a> = (&'a str, Setting, &'a str, &'a [(&'a str, &'a str)], &'a [&'a str], &'a str);
    let rows: Vec<Row<'_>> = vec![
        ("77", failover(&["network", "region", "zone"], &[]), one, &n1, &second, "a P0 w1, b P1 w1, c P2 w1, d P3 w1, e P4 w1"),
        ("78", failover(&["region", "zone"], &[]), one, &n1, &second, "a+d P0 w2, b P1 w1, c P2 w1, e P2 w1"),
        ("79", failover(&["zone", "region"], &[]), one, &n1, &second, "a+d P0 w2, c P1 w1, b P2 w1, e P2 w1"),
        (
            "80",
            failover(&["version=v1", "topology.istio.io/cluster=cA"], &[]),
            one,
            &[],
            &["a r/z/ version=v1 cluster=cA", "b r/z/ version=v1 cluster=cB", "c r/z/ version=v2 cluster=cA"],
            "a P0 w1, b P1 w1, c P2 w1",
        ),
        ("81", failover(&["tier"], &[]), one, &[], &["a r/z/", "b r/z/ tier=gold"], "a P0 w1, b P1 w1"),
        (
            "82",
            failover(&["version=v1"], &[("r1", "r2")]),
            one,
            &[],
            &["a r1/z1/ version=v1", "b r2/z1/ version=v1", "f r3/z1/ version=v1", "c r1/z1/ version=v2", "d r3/z1/ version=v2"],
            "a P0 w1, b P1 w1, f P2 w1, c P3 w1, d P4 w1",
        ),
        (
            "83",
            failover(&["network", "region", "zone"], &[]),
            one,
            &n1,
            &["a r1/z1/ network=n1 *3", "b r1/z2/ network=n1 *2", "c r1/z2/ network=n2 *6"],
            "a P0 w3, b P1 w2, c P2 w6",
        ),
        ("85", failover(&["version=v1"], &[]), one, &[], &["a r1/z1/ version=v1 *2", "b r1/z1/ version=v2"], "a P0 w2, b P1 w1"),
        (
            "more than one = means no override",
            failover(&["tier=a=b"], &[]),
            one,
            &[("tier", "gold")],
            &["a r/z/ tier=gold", "b r/z/ tier=a"],
            "a P0 w1, b P1 w1",
        ),
        ("the last value counts for both", failover(&["v=1", "v=2"], &[]), one, &[], &["a r/z/ v=1", "b r/z/ v=2"], "b P0 w1, a P1 w1"),
    ];
    for (example, setting, stand, labels, endpoints, want) in rows {
        assert_eq!(shown(&setting, stand, labels, endpoints), want, "Ex {example}");
    }
}
