//! What of a request's and an answer's head is taken away, and what is added (8.1), row by row.

use std::net::Ipv4Addr;

use super::*;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 9, 9));
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

fn map(list: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in list {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

fn texts(headers: &HeaderMap) -> Vec<String> {
    let mut all: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    all.sort();
    all
}

fn arrival(peer: IpAddr, trusted_proxies: u32) -> Arrival {
    Arrival { peer, local: LOCAL, tls: false, trusted_proxies, random: 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef }
}

const ID: &str = "x-request-id: 01234567-89ab-4def-8123-456789abcdef";

#[test]
fn a_request_is_received_8_1() {
    for (about, arrival, sent, want) in [
        (
            "nothing sent",
            arrival(PEER, 0),
            &[][..],
            &["x-envoy-external-address: 192.0.2.7", "x-forwarded-for: 192.0.2.7", "x-forwarded-proto: http", ID][..],
        ),
        (
            "an outsider's claims",
            arrival(PEER, 0),
            &[("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https"), ("x-request-id", "mine"), ("x-envoy-external-address", "8.8.8.8")],
            &["x-envoy-external-address: 192.0.2.7", "x-forwarded-for: 1.2.3.4,192.0.2.7", "x-forwarded-proto: http", ID],
        ),
        (
            "a loopback peer stands for ourselves",
            arrival(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            &[("x-forwarded-for", "1.2.3.4")],
            &["x-envoy-external-address: 127.0.0.1", "x-forwarded-for: 1.2.3.4,10.9.9.9", "x-forwarded-proto: http", ID],
        ),
        (
            "one trusted proxy",
            arrival(PEER, 1),
            &[("x-forwarded-for", "8.8.8.8, 1.2.3.4"), ("x-forwarded-proto", "https")],
            &["x-envoy-external-address: 1.2.3.4", "x-forwarded-for: 8.8.8.8, 1.2.3.4,192.0.2.7", "x-forwarded-proto: https", ID],
        ),
        (
            "what stays",
            arrival(PEER, 0),
            &[("x-real-ip", "1.2.3.4"), ("x-envoy-fault-delay-request", "1"), ("x-forwarded-host", "h"), ("proxy-authorization", "p")],
            &[
                "proxy-authorization: p",
                "x-envoy-external-address: 192.0.2.7",
                "x-envoy-fault-delay-request: 1",
                "x-forwarded-for: 192.0.2.7",
                "x-forwarded-host: h",
                "x-forwarded-proto: http",
                "x-real-ip: 1.2.3.4",
                ID,
            ],
        ),
        (
            "our fields cannot be named in connection",
            arrival(PEER, 0),
            &[
                ("connection", "x-forwarded-for, x-request-id, x-envoy-external-address, content-length"),
                ("content-length", "5"),
                ("x-forwarded-for", "1.2.3.4"),
            ],
            &["content-length: 5", "x-envoy-external-address: 192.0.2.7", "x-forwarded-for: 192.0.2.7", "x-forwarded-proto: http", ID],
        ),
    ] {
        let mut headers = map(sent);
        receive(&mut headers, &arrival);
        strip_request(&mut headers);
        assert_eq!(texts(&headers), want, "{about}");
    }
}

#[test]
fn every_field_of_ours_is_taken_from_outsiders_8_1() {
    let mut headers: HeaderMap = OURS.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("forged"))).collect();
    receive(&mut headers, &arrival(PEER, 0));
    assert!(headers.values().all(|value| value != "forged"), "{headers:?}");
}

#[test]
fn the_trusted_client_is_counted_from_the_right_8_1() {
    for (proxies, sent, want) in [
        (0, "8.8.8.8, 1.2.3.4", "192.0.2.7"),
        (1, "8.8.8.8, 1.2.3.4", "1.2.3.4"),
        (2, "8.8.8.8, 1.2.3.4", "8.8.8.8"),
        (3, "8.8.8.8, 1.2.3.4", "192.0.2.7"),
        (1, "8.8.8.8, unknown", "192.0.2.7"),
        (1, "::1", "::1"),
        (1, "", "192.0.2.7"),
    ] {
        let headers = map(&[("x-forwarded-for", sent)]);
        assert_eq!(trusted_client(&headers, PEER, proxies).to_string(), want, "{proxies} of {sent:?}");
    }
    let two = map(&[("x-forwarded-for", "8.8.8.8"), ("x-forwarded-for", "1.2.3.4")]);
    assert_eq!(trusted_client(&two, PEER, 2).to_string(), "8.8.8.8", "several fields are one list");
}

#[test]
fn hop_by_hop_fields_go_8_1() {
    let upgrade: &[(&str, &str)] = &[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "k")];
    for (about, sent, plain, switching) in [
        (
            "connection and what it names",
            &[("connection", "close, X-Hop"), ("x-hop", "1"), ("x-stay", "1")][..],
            &["x-stay: 1"][..],
            &["x-stay: 1"][..],
        ),
        ("the fixed ones", &[("keep-alive", "5"), ("proxy-connection", "k"), ("transfer-encoding", "chunked"), ("te", "gzip")], &[], &[]),
        ("te: trailers", &[("te", "gzip, trailers;q=1"), ("connection", "te")], &["te: trailers"], &["te: trailers"]),
        ("upgrade", upgrade, &["sec-websocket-key: k"], &["connection: upgrade", "sec-websocket-key: k", "upgrade: websocket"]),
    ] {
        let mut headers = map(sent);
        strip_request(&mut headers);
        assert_eq!(texts(&headers), plain, "{about}");
        let mut headers = map(sent);
        strip_upgrade_request(&mut headers);
        strip_upgrade_request(&mut headers);
        assert_eq!(texts(&headers), switching, "{about}, switching");
    }
    for (sent, want) in [
        (upgrade, true),
        (&[("upgrade", "websocket")], false),
        (&[("connection", "upgrade")], false),
        (&[("connection", "upgrade"), ("upgrade", "h2c")], false),
    ] {
        assert_eq!(asks_to_switch(&map(sent)), want, "{sent:?}");
    }
}

#[test]
fn responses_are_cleaned_and_signed_8_1() {
    let mut headers = map(&[("connection", "x-hop"), ("x-hop", "1"), ("server", "teapot"), ("keep-alive", "5"), ("trailer", "x")]);
    strip_response(&mut headers);
    sign(&mut headers);
    tell_service_time(&mut headers, Duration::from_micros(12_900));
    assert_eq!(texts(&headers), ["server: isthmus", "trailer: x", "x-envoy-upstream-service-time: 12"]);
    let mut headers = map(&[("connection", "Upgrade"), ("upgrade", "websocket")]);
    strip_upgrade_response(&mut headers);
    assert_eq!(texts(&headers), ["connection: upgrade", "upgrade: websocket"]);
}

#[test]
fn the_backend_is_told_what_it_cannot_see_8_1() {
    let mut headers = HeaderMap::new();
    tell_original(&mut headers, Some("/a?b"), Some("a.com"));
    tell_attempt(&mut headers, 1, Some(Duration::from_secs(3)));
    assert_eq!(
        texts(&headers),
        ["x-envoy-attempt-count: 1", "x-envoy-expected-rq-timeout-ms: 3000", "x-envoy-original-host: a.com", "x-envoy-original-path: /a?b"]
    );
    tell_attempt(&mut headers, 2, None);
    assert_eq!(texts(&headers)[0], "x-envoy-attempt-count: 2");
    assert_eq!(headers.len(), 3);
}
