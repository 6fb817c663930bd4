//! The objects of which histories are made: a few of each kind, in versions that read each other.

use isthmus_config::object::Kind;

/// Objects of one kind: where they may stand, their names, and what may follow their metadata. A version's first line that
/// begins with `,` is more metadata. `N` is the number of the object's name.
pub(crate) struct Pool {
    pub(crate) kind: Kind,
    pub(crate) api: &'static str,
    /// Members have such objects too.
    pub(crate) everywhere: bool,
    pub(crate) names: &'static [(&'static str, &'static str)],
    pub(crate) versions: &'static [&'static str],
}

const ISTIO: &str = "networking.istio.io/v1";

pub(crate) const POOLS: [Pool; 12] = [
    Pool {
        kind: Kind::Service,
        api: "v1",
        everywhere: true,
        names: &[("app", "s0"), ("app", "s1"), ("gw", "s2")],
        versions: &[
            "spec: {ports: [{name: http, port: 80}], selector: {app: x0}}",
            "spec: {ports: [{name: http, port: 80}, {name: web, port: 81, targetPort: 8081}]}",
            "spec: {ports: [{name: http, port: 80, targetPort: 8080}, {name: web, port: 81}], selector: {istio: ingressgateway}}",
            "spec: {ports: [{name: http, port: 80, targetPort: web}], selector: {istio: ingressgateway}}",
            ", annotations: {networking.istio.io/exportTo: .}\nspec: {ports: [{name: http, port: 80}]}",
            ", annotations: {networking.istio.io/exportTo: gw}\nspec: {ports: [{name: http, port: 80}]}",
            ", annotations: {networking.istio.io/traffic-distribution: PreferClose}\nspec: {ports: [{name: http, port: 80}]}",
            "spec: {type: ExternalName, externalName: s1.app.svc.cluster.local, ports: [{name: http, port: 80}]}",
            "spec: {type: ExternalName, externalName: e.example.com, ports: [{name: http, port: 80}]}",
            "spec: {clusterIP: None, ports: [{name: http, port: 80}], publishNotReadyAddresses: true}",
            ", labels: {topology.istio.io/network: n2}\nspec: {externalIPs: [192.0.2.9], ports: [{name: http, port: 15443}]}",
            "spec: {internalTrafficPolicy: Local, ports: [{name: tcp-x, port: 80}]}",
        ],
    },
    Pool {
        kind: Kind::EndpointSlice,
        api: "discovery.k8s.io/v1",
        everywhere: true,
        names: &[("app", "l0"), ("app", "l1"), ("gw", "l2")],
        versions: &[
            ", labels: {kubernetes.io/service-name: sN}\naddressType: IPv4\nports: [{name: http, port: 8080}]\nendpoints: [{addresses: [10.0.0.1], targetRef: {kind: Pod, name: p0}}, {addresses: [10.0.0.2], targetRef: {kind: Pod, name: p1}}]",
            ", labels: {kubernetes.io/service-name: sN}\naddressType: IPv4\nports: [{name: http, port: 8080}, {name: web, port: 8081}]\nendpoints: [{addresses: [10.0.0.3], nodeName: n0}, {addresses: [10.0.0.4], conditions: {ready: false}}, {addresses: [10.0.0.5], nodeName: n1}]",
            ", labels: {kubernetes.io/service-name: s0}\naddressType: IPv4\nports: [{name: http, port: 8080}]\nendpoints: []",
            ", labels: {kubernetes.io/service-name: sN}\naddressType: IPv4\nports: [{name: web, port: 9090}]\nendpoints: [{addresses: [10.0.0.6], targetRef: {kind: Pod, name: p2}, nodeName: n1}]",
            ", labels: {kubernetes.io/service-name: sN}\naddressType: IPv6\nports: [{name: http, port: 8080}]\nendpoints: [{addresses: ['fd00::1']}]",
        ],
    },
    Pool {
        kind: Kind::Pod,
        api: "v1",
        everywhere: true,
        names: &[("app", "p0"), ("app", "p1"), ("gw", "p2")],
        versions: &[
            ", labels: {app: x0, version: v1}\nspec: {nodeName: n0}\nstatus: {phase: Running, podIP: 10.0.0.1, conditions: [{type: Ready, status: 'True'}]}",
            ", labels: {app: x1, version: v2}\nspec: {nodeName: n1}\nstatus: {phase: Running, podIP: 10.0.0.2, conditions: [{type: Ready, status: 'True'}]}",
            ", labels: {app: x0, version: v2, topology.istio.io/network: n2}\nspec: {nodeName: n1}\nstatus: {phase: Running, podIP: 10.0.0.1, conditions: [{type: Ready, status: 'False'}]}",
            ", labels: {istio: ingressgateway, istio-locality: r1.z2}\nspec: {nodeName: n0}\nstatus: {phase: Running, podIP: 10.0.0.6, conditions: [{type: Ready, status: 'True'}]}",
        ],
    },
    Pool {
        kind: Kind::Node,
        api: "v1",
        everywhere: true,
        names: &[("", "n0"), ("", "n1")],
        versions: &[
            ", labels: {topology.kubernetes.io/region: r1, topology.kubernetes.io/zone: z1}\n",
            ", labels: {topology.kubernetes.io/region: r1, topology.kubernetes.io/zone: z2}\n",
            ", labels: {topology.kubernetes.io/region: r2, topology.kubernetes.io/zone: z3, topology.istio.io/subzone: s1}\n",
        ],
    },
    Pool {
        kind: Kind::Namespace,
        api: "v1",
        everywhere: true,
        names: &[("", "app"), ("", "istio-system"), ("", "gw")],
        versions: &[
            ", labels: {topology.istio.io/network: n1}\n",
            ", labels: {topology.istio.io/network: n2}\n",
            ", annotations: {networking.istio.io/traffic-distribution: PreferSameZone}\n",
        ],
    },
    Pool {
        kind: Kind::WorkloadEntry,
        api: ISTIO,
        everywhere: true,
        names: &[("app", "w0"), ("app", "w1")],
        versions: &[
            "spec: {address: 10.0.1.1, labels: {app: x0, version: v1}, locality: r1/z1}",
            "spec: {address: 10.0.1.2, labels: {app: x1, version: v2}, weight: 3, ports: {http: 9000}}",
            "spec: {address: vm.example.com, labels: {app: x0}}",
            "spec: {network: n2, labels: {app: x0}}",
            "spec: {address: 10.0.1.3, network: n2, labels: {app: x1}, locality: r2/z3/s1}",
        ],
    },
    Pool {
        kind: Kind::WorkloadGroup,
        api: ISTIO,
        everywhere: false,
        names: &[("app", "w0")],
        versions: &["spec: {template: {labels: {app: x0}}, probe: {httpGet: {port: 80, path: /}}}", "spec: {template: {network: n2}}"],
    },
    Pool {
        kind: Kind::ServiceEntry,
        api: ISTIO,
        everywhere: false,
        names: &[("app", "e0"), ("app", "e1"), ("gw", "e2")],
        versions: &[
            "spec: {hosts: [e.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, endpoints: [{address: 10.0.2.1, labels: {version: v1}}, {address: 10.0.2.2, labels: {version: v2}, locality: r2/z3}]}",
            "spec: {hosts: [e.example.com, f.example.com], ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: web, protocol: HTTP}], resolution: STATIC, workloadSelector: {labels: {app: x0}}}",
            "spec: {hosts: [f.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS, endpoints: [{address: a.example.com, labels: {version: v1}}, {address: b.example.com}]}",
            "spec: {hosts: [f.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS, workloadSelector: {labels: {app: x0}}}",
            "spec: {hosts: [e.example.com], exportTo: ['.'], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS_ROUND_ROBIN}",
            "spec: {ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC}",
            "spec: {hosts: ['*.example.com'], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DYNAMIC_DNS}",
            "spec: {hosts: [s0.app.svc.cluster.local], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, workloadSelector: {labels: {app: x1}}}",
            "spec: {hosts: [e.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: NONE}",
        ],
    },
    Pool {
        kind: Kind::Gateway,
        api: ISTIO,
        everywhere: false,
        names: &[("app", "g0"), ("app", "g1"), ("gw", "g2")],
        versions: &[
            "spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}",
            "spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['app/*.x.com', './y.com', 'gw/z.com']}]}",
            "spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: [y.com]}, {port: {number: 81, name: b, protocol: HTTP}, hosts: [y.com, '*.x.com'], tls: {httpsRedirect: true}}]}",
            "spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 81, name: tcp, protocol: TCP}, hosts: ['*']}]}",
            "spec: {selector: {istio: other}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}",
            "spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: tls, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: c}}, {port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*']}]}",
            "spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: []}]}",
            "spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, bind: 127.0.0.1, hosts: [y.com]}]}",
        ],
    },
    Pool {
        kind: Kind::VirtualService,
        api: ISTIO,
        everywhere: false,
        names: &[("app", "v0"), ("app", "v1"), ("app", "v2"), ("gw", "v3")],
        versions: &[
            "spec: {hosts: [y.com], gateways: [app/g0, app/g1, gw/g2], http: [{match: [{uri: {prefix: /a}}], route: [{destination: {host: s0, subset: v1}}]}, {route: [{destination: {host: s1}}]}]}",
            "spec: {hosts: ['*.x.com', y.com], gateways: [app/g0, app/g1], http: [{match: [{port: 81}, {uri: {regex: '/r.*'}}], route: [{destination: {host: s0}, weight: 1}, {destination: {host: e.example.com}, weight: 3}]}]}",
            "spec: {hosts: [y.com, a.x.com], gateways: [app/g0], exportTo: [gw], http: [{match: [{uri: {prefix: /d}}], delegate: {name: v2, namespace: app}}, {route: [{destination: {host: f.example.com, subset: v1}}], mirror: {host: s1.app.svc.cluster.local}}]}",
            "spec: {http: [{match: [{uri: {prefix: /d/1}}], route: [{destination: {host: s1, subset: v2}}]}, {match: [{uri: {prefix: /d}, headers: {x: {exact: y}}}], route: [{destination: {host: s0, port: {number: 81}}}]}]}",
            "spec: {exportTo: ['.'], http: [{match: [{uri: {prefix: /d/2}}], route: [{destination: {host: s2.gw.svc.cluster.local}}]}]}",
            "spec: {hosts: ['*'], gateways: [app/g0, app/g1, gw/g2], http: [{match: [{gateways: [app/g1]}, {sourceLabels: {a: b}, uri: {prefix: /l}}], route: [{destination: {host: s0.app.svc.cluster.local}}]}], tcp: [{match: [{port: 81}], route: [{destination: {host: s1.app.svc.cluster.local, port: {number: 80}}}]}]}",
            "spec: {hosts: [y.com], gateways: [gw/g2, app/g0], exportTo: ['.'], http: [{retries: {attempts: 1}, timeout: 2s, route: [{destination: {host: s2, port: {number: 80}}}]}]}",
            "spec: {hosts: ['*'], gateways: [app/g0, mesh], http: [{route: [{destination: {host: s0}}]}]}",
            "spec: {hosts: [z.com, y.com], gateways: [gw/g2, app/g0], http: [{match: [{uri: {prefix: /q}}], delegate: {name: v0}}, {match: [{uri: {prefix: /}}], redirect: {uri: /x}}]}",
        ],
    },
    Pool {
        kind: Kind::DestinationRule,
        api: ISTIO,
        everywhere: false,
        names: &[("app", "d0"), ("app", "d1"), ("gw", "d2"), ("istio-system", "d3")],
        versions: &[
            "spec: {host: s0, subsets: [{name: v1, labels: {version: v1}}]}",
            "spec: {host: s0.app.svc.cluster.local, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}, outlierDetection: {consecutive5xxErrors: 1, minHealthPercent: 50}}, subsets: [{name: v1, labels: {version: v2}}, {name: v2, labels: {}}]}",
            "spec: {host: '*.app.svc.cluster.local', exportTo: [gw], trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x}}}}",
            "spec: {host: s1.app.svc.cluster.local, subsets: [{name: v2, labels: {version: v2}, trafficPolicy: {connectionPool: {tcp: {maxConnections: 3}}}}], trafficPolicy: {portLevelSettings: [{port: {number: 81}, loadBalancer: {simple: RANDOM}}]}}",
            "spec: {host: '*.local', exportTo: ['.'], trafficPolicy: {connectionPool: {http: {useClientProtocol: true}}}, subsets: [{name: v1, labels: {}}]}",
            "spec: {host: '*.example.com', trafficPolicy: {outlierDetection: {}, loadBalancer: {localityLbSetting: {enabled: true, failover: [{from: r1, to: r2}]}}}, subsets: [{name: v1, labels: {version: v1}}]}",
            "spec: {host: s0.app.svc.cluster.local, workloadSelector: {matchLabels: {istio: ingressgateway}}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}",
            "spec: {host: e.example.com, trafficPolicy: {outlierDetection: {}, loadBalancer: {localityLbSetting: {distribute: [{from: '*', to: {'r1/*': 80, 'r2/*': 20}}]}}}}",
            "spec: {trafficPolicy: {loadBalancer: {simple: RANDOM}}}",
            "spec: {host: '*', exportTo: [other], trafficPolicy: {loadBalancer: {simple: RANDOM}}}",
        ],
    },
    Pool {
        kind: Kind::EnvoyFilter,
        api: "networking.istio.io/v1alpha3",
        everywhere: false,
        names: &[("istio-system", "f0")],
        versions: &[
            "spec: {configPatches: [{applyTo: CLUSTER, match: {context: GATEWAY}, patch: {operation: MERGE, value: {}}}]}",
            "spec: {configPatches: [{applyTo: HTTP_ROUTE, match: {context: GATEWAY}, patch: {operation: MERGE, value: {}}}]}",
        ],
    },
];

/// Settings of the mesh, of which one holds at a time.
pub(crate) const MESHES: [&str; 8] = [
    "{}",
    "{defaultVirtualServiceExportTo: ['.'], defaultServiceExportTo: ['.']}",
    "{defaultDestinationRuleExportTo: ['.'], rootNamespace: gw}",
    "{defaultHttpRetryPolicy: {attempts: 7}, pathNormalization: {normalization: MERGE_SLASHES}}",
    "{localityLbSetting: {enabled: false}, connectTimeout: 3s, h2UpgradePolicy: UPGRADE}",
    "{zoneAwareLbSetting: {enabled: true, minEndpointsThreshold: 1}, defaultTrafficPolicy: {outlierDetection: {consecutive5xxErrors: 9}}}",
    "{serviceSettings: [{settings: {clusterLocal: true}, hosts: ['*.app.svc.cluster.local']}], defaultConfig: {gatewayTopology: {numTrustedProxies: 2}}}",
    "{meshNetworks: {n2: {endpoints: [{fromCidr: 10.0.0.2/32}, {fromRegistry: c2}], gateways: [{address: gate.example.com, port: 443}]}, n1: {endpoints: [{fromCidr: 10.0.2.0/24}]}}}",
];
