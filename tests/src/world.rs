//! Small Istio worlds as YAML text: one HTTP server, services that stand for scripted backends, routes between them.

use std::net::SocketAddr;

/// A Gateway server for every host.
pub fn server(name: &str, port: u16, protocol: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: {name}, namespace: default}}\nspec:\n  selector: {{istio: ingressgateway}}\n  \
         servers:\n  - port: {{number: {port}, name: {name}, protocol: {protocol}}}\n    hosts: ['*']\n---\n"
    )
}

/// A service of fixed endpoints; `protocol` and the port's name say how they are spoken to.
pub fn service(host: &str, protocol: &str, endpoints: &[SocketAddr]) -> String {
    let name = host.replace('.', "-");
    let mut text = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: default}}\nspec:\n  hosts: [{host}]\n  \
         location: MESH_EXTERNAL\n  resolution: STATIC\n  ports: [{{number: 80, name: {}, protocol: {protocol}}}]\n  endpoints:\n",
        protocol.to_ascii_lowercase()
    );
    for e in endpoints {
        text.push_str(&format!("  - {{address: {}, ports: {{{}: {}}}}}\n", e.ip(), protocol.to_ascii_lowercase(), e.port()));
    }
    text + "---\n"
}

/// A VirtualService for `host` at the gateways `gateways`, with `rules` as its `http` or `tcp` list, indented by two.
pub fn routes(name: &str, host: &str, gateways: &[&str], rules: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: default}}\nspec:\n  hosts: ['{host}']\n  \
         gateways: [{}]\n{rules}---\n",
        gateways.join(", ")
    )
}

/// Everything that comes for `host` at gateway `gateway` goes to `service`.
pub fn route(name: &str, host: &str, gateway: &str, service: &str) -> String {
    routes(name, host, &[gateway], &format!("  http:\n  - route:\n    - destination: {{host: {service}}}\n"))
}

/// One plain HTTP server on port 8080 whose every request goes to the backends at `endpoints` over HTTP/1.1.
pub fn simple(endpoints: &[SocketAddr]) -> String {
    server("front", 8080, "HTTP") + &service("backend.test", "HTTP", endpoints) + &route("all", "*", "front", "backend.test")
}
