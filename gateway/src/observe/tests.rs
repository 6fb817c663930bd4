//! Table tests of log lines, metric labels and the log file.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::HeaderMap;
use isthmus_core::balance::{BackendPolicy, Line, Slot};
use isthmus_core::failure::{Flag, Flags};
use isthmus_core::model::{Address, Endpoint, GatewayIdentity, Kin, Place, Workload};

use super::*;
use crate::stand_in;

fn slot() -> Arc<Slot> {
    let labels = Arc::new([("app", "a"), ("version", "v1"), ("pod-template-hash", "5d4c")].map(|(k, v)| (k.into(), v.into())).into());
    let kin = Kin { namespace: "default".into(), labels, ..Kin::default() };
    let workload = Workload::new("a-v1-5d4c-x2x", kin, Place { cluster: "c2".into(), ..Place::default() });
    let address = Address::Socket(([10, 244, 1, 1], 8080).into());
    let endpoint = Endpoint { address, workload: Arc::new(workload), ..stand_in::endpoint(1) };
    stand_in::slot("a.default.svc.cluster.local", BackendPolicy::default(), &Line::default(), vec![endpoint])
}

fn gateway() -> Arc<GatewayIdentity> {
    Arc::new(GatewayIdentity {
        name: "istio-ingressgateway".into(),
        namespace: "istio-system".into(),
        labels: [("app".into(), "istio-ingressgateway".into())].into(),
        cluster: "c1".into(),
        network: "".into(),
        locality: "".into(),
        bind: [0, 0, 0, 0].into(),
        ports: [].into(),
        domain: "cluster.local".into(),
        mutual_tls: false,
    })
}

/// Calls `then` with the record of an answered request.
fn answered(then: impl FnOnce(&Record<'_>)) {
    let slot = slot();
    let view = slot.view.load();
    let mut headers = HeaderMap::new();
    for (name, value) in [("user-agent", "me \"x\""), ("x-forwarded-for", "1.2.3.4,10.244.0.10"), ("x-request-id", "abc")] {
        headers.insert(name, value.parse().expect("a value"));
    }
    let mut response = HeaderMap::new();
    response.insert("x-envoy-upstream-service-time", "3".parse().expect("a value"));
    let local: SocketAddr = ([10, 244, 0, 10], 80).into();
    then(&Record {
        start: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_042),
        duration: Duration::from_micros(4_900),
        request: Some(RequestPart {
            method: "POST",
            original_path: "/a?b=c",
            path: "/renamed?b=c",
            protocol: "HTTP/1.1",
            authority: "x.com",
            headers: &headers,
            grpc: None,
        }),
        code: 200,
        flags: Flags::default(),
        details: "via_upstream",
        transport_failure: "",
        received: 5,
        sent: 11,
        response: Some(&response),
        grpc_status: None,
        backend: slot.name(),
        slot: Some(&slot),
        member: view.members.first(),
        upstream_local: Some(([10, 244, 0, 10], 40000).into()),
        local,
        peer: ([10, 1, 1, 1], 5000).into(),
        server_name: "",
        route: "named.first",
    });
}

fn line(format: &Format, record: &Record<'_>) -> String {
    let mut line = Vec::new();
    format.write(&mut line, record);
    String::from_utf8(line).expect("text")
}

#[test]
fn istios_text_line_10_3() {
    answered(|record| {
        assert_eq!(
            line(&Format::istio_text(), record),
            "[2023-11-14T22:13:20.042Z] \"POST /a?b=c HTTP/1.1\" 200 - via_upstream - \"-\" 5 11 4 3 \"1.2.3.4,10.244.0.10\" \"me \"x\"\" \"abc\" \
             \"x.com\" \"10.244.1.1:8080\" outbound|80||a.default.svc.cluster.local 10.244.0.10:40000 10.244.0.10:80 10.1.1.1:5000 - named.first\n"
        );
    });
}

#[test]
fn istios_json_line_10_3() {
    answered(|record| {
        let value: serde_json::Value = serde_json::from_str(&line(&Format::istio_json(), record)).expect("JSON");
        let want = serde_json::json!({
            "authority": "x.com", "bytes_received": 5, "bytes_sent": 11, "connection_termination_details": null,
            "downstream_local_address": "10.244.0.10:80", "downstream_remote_address": "10.1.1.1:5000", "duration": 4, "method": "POST",
            "path": "/a?b=c", "protocol": "HTTP/1.1", "request_id": "abc", "requested_server_name": null, "response_code": 200,
            "response_code_details": "via_upstream", "response_flags": "-", "route_name": "named.first",
            "start_time": "2023-11-14T22:13:20.042Z", "upstream_cluster": "outbound|80||a.default.svc.cluster.local",
            "upstream_host": "10.244.1.1:8080", "upstream_local_address": "10.244.0.10:40000", "upstream_service_time": "3",
            "upstream_transport_failure_reason": null, "user_agent": "me \"x\"", "x_forwarded_for": "1.2.3.4,10.244.0.10",
        });
        assert_eq!(value, want);
    });
}

#[test]
fn a_byte_stream_has_no_request_10_3() {
    answered(|record| {
        let stream = Record { request: None, code: 0, details: "", response: None, ..*record };
        let value: serde_json::Value = serde_json::from_str(&line(&Format::istio_json(), &stream)).expect("JSON");
        for absent in ["method", "path", "protocol", "authority", "upstream_service_time", "response_code_details"] {
            assert!(value[absent].is_null(), "{absent}");
        }
        assert_eq!((&value["response_code"], &value["response_flags"]), (&0.into(), &"-".into()));
    });
}

#[test]
fn the_transports_reason_joins_the_details() {
    answered(|record| {
        let details = "upstream_reset_before_response_started{remote_connection_failure}";
        let refused = Record { details, transport_failure: "delayed_connect_error:_Connection_refused", ..*record };
        let format = Format::text("%RESPONSE_CODE_DETAILS% %UPSTREAM_TRANSPORT_FAILURE_REASON%", &mut Vec::new());
        assert_eq!(
            line(&format, &refused),
            "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused} delayed_connect_error:_Connection_refused\n"
        );
        assert_eq!(line(&format, &Record { transport_failure: "", ..refused }), format!("{details} -\n"));
    });
}

#[test]
fn custom_formats_are_read_and_unknown_operators_told() {
    for (format, want, unknown) in [
        ("%REQ(:PATH)% %REQ(X-NONE?:AUTHORITY)% 100%%", "/renamed?b=c x.com 100%\n", 0),
        ("%REQ(USER-AGENT):2%|%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%\n", "me|10.1.1.1\n", 0),
        ("%FILTER_STATE(x)% %BYTES_SENT%", "- 11\n", 1),
        ("50% of it", "50% of it\n", 0),
    ] {
        let mut problems = Vec::new();
        let format = Format::text(format, &mut problems);
        answered(|record| assert_eq!(line(&format, record), want));
        assert_eq!(problems.len(), unknown, "{problems:?}");
    }
}

#[test]
fn metrics_have_istios_labels_10_2() {
    let metrics = Metrics::new(gateway());
    let observe = Observe { metrics: metrics.clone(), traffic: Arc::default(), trials: Trials::default(), log: None };
    answered(|record| {
        observe.ended(record);
        std::thread::scope(|s| s.spawn(|| observe.ended(record)).join()).expect("a thread");
        let mut flags = Flags::default();
        flags.set(Flag::NoRoute);
        observe.ended(&Record { code: 404, flags, slot: None, member: None, ..*record });
        let request = record.request.map(|request| RequestPart { grpc: Some((2, 5)), ..request });
        observe.ended(&Record { request, grpc_status: Some(0), ..*record });
        let meter = metrics.stream(record.slot, record.member, Flags::default());
        meter.sent(7);
        metrics.forget(Instant::now());
        drop(meter);
    });
    let text = exposition(&metrics, &[]).expect("text");
    let series = |start: &str| text.lines().filter(|l| l.starts_with(start)).map(str::to_owned).collect::<Vec<_>>();
    let requests = series("istio_requests_total{");
    assert_eq!(requests.len(), 3, "{requests:#?}");
    for part in [
        "reporter=\"source\",source_workload=\"istio-ingressgateway\"",
        "source_canonical_revision=\"latest\",source_workload_namespace=\"istio-system\"",
        "destination_workload=\"a-v1\",destination_workload_namespace=\"default\"",
        "destination_app=\"a\",destination_version=\"v1\",destination_service=\"a.default.svc.cluster.local\"",
        "destination_canonical_service=\"a\",destination_canonical_revision=\"v1\"",
        "destination_cluster=\"c2\",request_protocol=\"http\",response_code=\"200\",grpc_response_status=\"\",response_flags=\"-\"",
        "connection_security_policy=\"unknown\"} 2",
    ] {
        assert!(requests.iter().any(|l| l.contains(part)), "{part} in {requests:#?}");
    }
    assert!(requests.iter().any(|l| l.contains("destination_service=\"unknown\"") && l.contains("response_flags=\"NR\"")), "{requests:#?}");
    assert!(requests.iter().any(|l| l.contains("request_protocol=\"grpc\",response_code=\"200\",grpc_response_status=\"0\"")), "{requests:#?}");
    let messages = [series("istio_request_messages_total{"), series("istio_response_messages_total{")].concat();
    assert!(messages.len() == 2 && messages[0].ends_with(" 2") && messages[1].ends_with(" 5"), "{messages:#?}");
    let buckets = series("istio_request_duration_milliseconds_bucket{");
    assert!(buckets.iter().any(|l| l.contains("response_code=\"200\"") && l.ends_with("le=\"5\"} 2")), "{buckets:#?}");
    assert!(buckets.iter().any(|l| l.contains("le=\"3600000\"")));
    assert!(series("istio_tcp_connections_closed_total{")[0].ends_with(" 1") && series("istio_tcp_sent_bytes_total{")[0].ends_with(" 7"));
}

#[test]
fn series_of_what_is_gone_are_told_for_a_while_and_then_forgotten() {
    let metrics = Metrics::new(gateway());
    let count = || exposition(&metrics, &[]).expect("text").lines().filter(|l| l.starts_with("istio_requests_total{")).count();
    let observe = Observe { metrics: metrics.clone(), traffic: Arc::default(), trials: Trials::default(), log: None };
    let now = Instant::now();
    answered(|record| {
        observe.ended(record);
        observe.ended(&Record { slot: None, member: None, code: 404, ..*record });
        observe.traffic.answered(record.slot.expect("a backend"), 200);
        observe.forget(now);
        observe.forget(now + Duration::from_secs(3600));
        assert_eq!(count(), 2, "what is there stays");
    });
    observe.forget(now + Duration::from_secs(3600));
    observe.forget(now + Duration::from_secs(4199));
    assert_eq!(count(), 2, "told for ten minutes");
    observe.forget(now + Duration::from_secs(4200));
    assert_eq!(count(), 1, "only that of no backend stays");
}

#[test]
fn lines_reach_the_file_and_a_rotated_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("access.log");
    let read = |path: &std::path::Path, want: usize| {
        let end = std::time::Instant::now() + Duration::from_secs(5);
        loop {
            let lines = std::fs::read_to_string(path).unwrap_or_default().lines().count();
            if lines >= want || std::time::Instant::now() > end {
                return lines;
            }
            std::thread::yield_now();
        }
    };
    let log = AccessLog::open(&path, Format::istio_text()).expect("opened");
    answered(|record| {
        log.log(record);
        assert_eq!(read(&path, 1), 1);
        std::fs::rename(&path, directory.path().join("old.log")).expect("renamed");
        log.reopen();
        assert_eq!(read(&path, 0), 0);
        drop((0..3).map(|_| log.log(record)).collect::<Vec<_>>());
    });
    drop(log);
    let (old, new) = (read(&directory.path().join("old.log"), 0), read(&path, 0));
    assert_eq!(old + new, 4);
}
