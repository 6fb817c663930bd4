//! Rules of EnvoyFilter (contract 1.7).

use super::*;

#[test]
fn an_envoy_filter_is_as_contract_1_7_says() {
    let patches = |patch: &str| format!("spec: {{configPatches: [{{{patch}}}]}}");
    let add = "patch: {operation: ADD, value: {}}";
    let chain = |to: &str, filter: &str| {
        patches(&format!("applyTo: {to}, match: {{listener: {{filterChain: {{filter: {{{filter}}}}}}}}}, patch: {{operation: MERGE, value: {{}}}}"))
    };
    let at = "spec.configPatches[0]";
    let path = |rest: &str| format!("{at}{rest}");
    let manager = "name: envoy.filters.network.http_connection_manager";
    let rows = [
        (patches(&format!("applyTo: CLUSTER, {add}")), patches(add), path(".applyTo")),
        (patches(&format!("applyTo: CLUSTER, {add}")), patches("applyTo: CLUSTER"), path(".patch")),
        (patches("applyTo: CLUSTER, patch: {operation: REMOVE}"), patches("applyTo: CLUSTER, patch: {operation: ADD}"), path(".patch.value")),
        (patches("applyTo: CLUSTER, patch: {operation: REMOVE}"), patches("applyTo: CLUSTER, patch: {}"), path(".patch.operation")),
        (
            patches(&format!("applyTo: CLUSTER, match: {{cluster: {{name: a}}}}, {add}")),
            patches(&format!("applyTo: CLUSTER, match: {{listener: {{name: a}}}}, {add}")),
            path(".match.listener"),
        ),
        (
            patches(&format!("applyTo: CLUSTER, match: {{proxy: {{proxyVersion: '^1.*'}}}}, {add}")),
            patches(&format!("applyTo: CLUSTER, match: {{proxy: {{proxyVersion: '('}}}}, {add}")),
            path(".match.proxy.proxyVersion"),
        ),
        (chain("HTTP_FILTER", manager), chain("HTTP_FILTER", "name: ''"), path(".match.listener.filterChain.filter.name")),
        (
            chain("HTTP_FILTER", &format!("{manager}, subFilter: {{name: a}}")),
            chain("NETWORK_FILTER", &format!("{manager}, subFilter: {{name: a}}")),
            path(".match.listener.filterChain.filter.subFilter"),
        ),
        (
            chain("HTTP_FILTER", &format!("{manager}, subFilter: {{name: a}}")),
            chain("HTTP_FILTER", "name: other, subFilter: {name: a}"),
            path(".match.listener.filterChain.filter.name"),
        ),
        (
            "spec: {workloadSelector: {labels: {a: b}}}".into(),
            "spec: {workloadSelector: {labels: {a: b}}, targetRefs: [{kind: Gateway, name: g}]}".into(),
            "spec.targetRefs".into(),
        ),
        (
            patches("applyTo: HTTP_FILTER, patch: {operation: REPLACE, value: {}}"),
            patches("applyTo: CLUSTER, patch: {operation: REPLACE, value: {}}"),
            at.into(),
        ),
        (patches(&format!("applyTo: CLUSTER, {add}")), patches(&format!("applyTo: HTTP_ROUTE, {add}")), at.into()),
        (patches("applyTo: CLUSTER, patch: {operation: REMOVE}"), patches("applyTo: HTTP_ROUTE, patch: {operation: REMOVE}"), at.into()),
    ];
    check("EnvoyFilter", &rows.each_ref().map(|(right, wrong, path): &(String, String, String)| (right.as_str(), wrong.as_str(), path.as_str())));
    let versioned = "applyTo: HTTP_FILTER, match: {proxy: {proxyVersion: a}}, patch: {operation: INSERT_BEFORE, value: {name: f}}";
    let accepted = [
        ("spec: {}".to_owned(), "IST0133", "spec"),
        (patches("applyTo: HTTP_FILTER, patch: {operation: INSERT_BEFORE, value: {}}"), "IST0151", at),
        (format!("spec: {{configPatches: [{{{versioned}}}, {{{versioned}}}]}}"), "IST0155", "spec.configPatches[1]"),
    ];
    warns("EnvoyFilter", &accepted.each_ref().map(|(text, code, path)| (text.as_str(), *code, *path)));
    let ordered = found("EnvoyFilter", "spec: {priority: 1, configPatches: [{applyTo: HTTP_FILTER, patch: {operation: INSERT_BEFORE, value: {}}}]}");
    assert!(!ordered.iter().any(|p| p.code == "IST0151"), "a priority makes the order certain");
    let misused = found("EnvoyFilter", &patches(&format!("applyTo: HTTP_ROUTE, {add}")));
    assert!(!refuses(&misused) && refuses(&found("EnvoyFilter", &patches(add))), "an analyzer's error refuses its patch alone");
}
