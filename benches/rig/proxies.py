"""How each proxy of the rig is configured: the same routes, one worker, an access log line for every request.

Each function writes its files into a directory and returns the command that serves on `port` of 127.0.0.1.
"""
import json
import pathlib
import shutil

HOST = "bench.test"
ISTIO_LOG = ('[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
             '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% '
             '%DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" '
             '"%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% '
             '%DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n')


def prefixes(routes):
    """The routes of the one virtual host, in order: a path prefix each."""
    return [f"/svc-{i}/" for i in range(routes)]


def backend(folder, port):
    """nginx that answers any path ending in `small` with 100 bytes and in `large` with 100 kB."""
    (folder / "large").write_bytes(b"x" * 100_000)
    (folder / "backend.conf").write_text(f"""
daemon off; worker_processes 1; pid {folder}/backend.pid; error_log {folder}/backend.err;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; sendfile on; default_type text/plain;
  server {{ listen 127.0.0.1:{port} reuseport;
    location ~ small$ {{ return 200 "{'x' * 100}"; }}
    location ~ large$ {{ alias {folder}/large; }} }} }}
""")
    return ["nginx", "-p", str(folder), "-c", str(folder / "backend.conf")]


def nginx(folder, port, to, routes):
    places = "\n".join(f"location {p} {{ proxy_pass http://one; }}" for p in prefixes(routes))
    (folder / "nginx.conf").write_text(f"""
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.err;
events {{ worker_connections 4096; }}
http {{ access_log {folder}/access.log combined buffer=64k flush=1s; keepalive_requests 1000000000; keepalive_timeout 1h;
  upstream one {{ server 127.0.0.1:{to}; keepalive 1024; keepalive_requests 1000000000; }}
  proxy_buffer_size 16k; proxy_buffers 16 16k; proxy_max_temp_file_size 0; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; proxy_set_header X-Request-Id $request_id;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  server {{ listen 127.0.0.1:{port}; server_name {HOST}; {places} }} }}
""")
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def haproxy(folder, port, to, routes):
    uses = "\n".join(f"  use_backend one if {{ path_beg {p} }}" for p in prefixes(routes))
    (folder / "haproxy.cfg").write_text(f"""
global
  nbthread 1
  log stdout format raw local0
  maxconn 8192
defaults
  mode http
  log global
  option httplog
  option forwardfor
  timeout connect 10s
  timeout client 1h
  timeout server 1h
frontend front
  bind 127.0.0.1:{port}
  unique-id-format %[uuid()]
  unique-id-header x-request-id
{uses}
backend one
  http-reuse always
  server one 127.0.0.1:{to} pool-max-conn 1024
""")
    return ["haproxy", "-f", str(folder / "haproxy.cfg")]


# The policies of a DestinationRule, as its YAML and as what Istio makes of it for Envoy.
POLICY = """{connectionPool: {tcp: {maxConnections: 1000, connectTimeout: 1s}, http: {http1MaxPendingRequests: 1000, http2MaxRequests: 1000, maxRetries: 100}},
    outlierDetection: {consecutive5xxErrors: 5, interval: 1s, baseEjectionTime: 60s, maxEjectionPercent: 100},
    loadBalancer: {simple: LEAST_REQUEST, localityLbSetting: {enabled: true}}}"""
ENVOY_POLICY = {
    "connect_timeout": "1s",
    "circuit_breakers": {"thresholds": [{"max_connections": 1000, "max_pending_requests": 1000, "max_requests": 1000, "max_retries": 100,
                                         "track_remaining": True}]},
    "outlier_detection": {"consecutive_5xx": 5, "enforcing_consecutive_5xx": 100, "consecutive_gateway_failure": 0,
                          "enforcing_consecutive_gateway_failure": 0, "interval": "1s", "base_ejection_time": "60s", "max_ejection_percent": 100,
                          "enforcing_success_rate": 0},
    "common_lb_config": {"locality_weighted_lb_config": {}, "healthy_panic_threshold": {"value": 0}}}


def ports_of(to):
    return to if isinstance(to, list) else [to]


def envoy(binary, policy=None):
    """Envoy with what Istio sends to a gateway; `policy` is laid over its cluster."""
    def start(folder, port, to, routes):
        kind = "type.googleapis.com/envoy.extensions."
        http = kind + "filters.http."
        filters = [("grpc_stats", {"@type": http + "grpc_stats.v3.FilterConfig", "emit_filter_state": True, "stats_for_all_methods": False}),
                   ("fault", {"@type": http + "fault.v3.HTTPFault"}), ("cors", {"@type": http + "cors.v3.Cors"}),
                   ("router", {"@type": http + "router.v3.Router"})]
        retry = {"retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes", "num_retries": 2,
                 "retry_host_predicate": [{"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {
                     "@type": kind + "retry.host.previous_hosts.v3.PreviousHostsPredicate"}}], "host_selection_retry_max_attempts": 5}
        name = f"outbound|80||{HOST}"
        wide = 4294967295
        config = {
            "stats_config": {"use_all_default_tags": False, "stats_matcher": {"inclusion_list": {"patterns": [
                {"prefix": p} for p in ("cluster_manager", "listener_manager", "server", "component", "reporter=", "istio")] + [
                {"suffix": "downstream_cx_active"}, {"safe_regex": {"regex": r"vhost\..*\.route\..*"}}]}}},
            "static_resources": {
                "listeners": [{"name": f"0.0.0.0_{port}", "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                    "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": {
                        "@type": kind + "filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": f"outbound_0.0.0.0_{port}",
                        "use_remote_address": True, "normalize_path": True, "server_name": "istio-envoy", "stream_idle_timeout": "0s",
                        "proxy_100_continue": True, "upgrade_configs": [{"upgrade_type": "websocket"}], "forward_client_cert_details": "SANITIZE_SET",
                        "set_current_client_cert_details": {"subject": True, "cert": True, "dns": True, "uri": True},
                        "access_log": [{"name": "envoy.access_loggers.file", "typed_config": {
                            "@type": kind + "access_loggers.file.v3.FileAccessLog", "path": str(folder / "access.log"),
                            "log_format": {"text_format_source": {"inline_string": ISTIO_LOG}}}}],
                        "http_filters": [{"name": "envoy.filters.http." + n, "typed_config": c} for n, c in filters],
                        "route_config": {"name": f"http.{port}", "ignore_port_in_host_matching": True, "virtual_hosts": [{
                            "name": f"{HOST}:{port}", "domains": [HOST], "include_request_attempt_count": True, "routes": [{
                                "match": {"prefix": p, "case_sensitive": True}, "name": f"r{i}", "decorator": {"operation": f"{HOST}:80{p}*"},
                                "route": {"cluster": name, "timeout": "0s", "retry_policy": retry,
                                          "max_stream_duration": {"max_stream_duration": "0s", "grpc_timeout_header_max": "0s"}}}
                                for i, p in enumerate(prefixes(routes))]}]}}}]}]}],
                "clusters": [{"name": name, "type": "STATIC", "connect_timeout": "10s", "lb_policy": "LEAST_REQUEST",
                    "circuit_breakers": {"thresholds": [{"max_connections": wide, "max_pending_requests": wide, "max_requests": wide,
                                                         "max_retries": wide, "track_remaining": True}]},
                    "common_lb_config": {"locality_weighted_lb_config": {}},
                    "load_assignment": {"cluster_name": name, "endpoints": [{"load_balancing_weight": 1, "lb_endpoints": [
                        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": p}}}} for p in ports_of(to)]}]},
                    **(policy or {})}]}}
        (folder / "envoy.json").write_text(json.dumps(config))
        return [binary, "-c", str(folder / "envoy.json"), "--concurrency", "1", "--use-dynamic-base-id", "--file-flush-interval-msec", "1000",
                "--disable-hot-restart", "-l", "error"]
    return start


def isthmus(binary, policy=None):
    """Isthmus with the access log on, in Istio's text format as the others log text; `policy` is a DestinationRule's trafficPolicy."""
    def start(folder, port, to, routes):
        cluster = folder / "clusters" / "local"
        shutil.rmtree(folder / "clusters", ignore_errors=True)
        cluster.mkdir(parents=True)
        (folder / "isthmus.yaml").write_text(f"""
gateway: {{name: istio-ingressgateway, namespace: istio-system, labels: {{istio: ingressgateway}}, cluster: local, bind: 127.0.0.1, threads: 1}}
clusters: [{{name: local, path: clusters/local}}]
accessLog: {{path: {folder}/access.log, format: text}}
admin: {{address: "127.0.0.1:{port + 1}"}}
status: {{address: "127.0.0.1:{port + 2}"}}
metrics: {{address: "127.0.0.1:{port + 3}"}}
""")
        rules = "".join(f'  - match: [{{uri: {{prefix: "{p}"}}}}]\n    route: [{{destination: {{host: {HOST}}}}}]\n' for p in prefixes(routes))
        (cluster / "world.yaml").write_text(f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: bench, namespace: bench}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: [{HOST}]}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: bench, namespace: bench}}
spec:
  hosts: [{HOST}]
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: [{", ".join(f"{{address: 127.0.0.1, ports: {{http: {p}}}}}" for p in ports_of(to))}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: bench, namespace: bench}}
spec:
  hosts: [{HOST}]
  gateways: [bench]
  http:
{rules}""")
        if policy:
            (cluster / "policy.yaml").write_text(f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: bench, namespace: bench}}
spec:
  host: {HOST}
  trafficPolicy: {policy}
""")
        return [str(pathlib.Path(binary).resolve()), "run", "--config", str(folder / "isthmus.yaml")]
    return start
