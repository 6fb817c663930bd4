//! The admission rules as tables: the wrong input beside the right one, and the field that is named.

use std::sync::Arc;

use super::*;
use crate::name::ClusterId;
use crate::parse::parse;

mod destination_rule;
mod entries;
mod envoy_filter;
mod gateway;
mod virtual_service;

fn found(kind: &str, text: &str) -> Vec<Problem> {
    let version = if kind == "EnvoyFilter" { "v1alpha3" } else { "v1" };
    let metadata = if text.starts_with("metadata") { "" } else { "metadata: {name: x, namespace: ns}\n" };
    let text = format!("apiVersion: networking.istio.io/{version}\nkind: {kind}\n{metadata}{text}\n");
    let parsed = parse(text.as_bytes(), &ClusterId::default(), &Arc::from("f.yaml"));
    let mut problems = parsed.problems;
    problems.extend(parsed.documents.iter().flat_map(validate));
    problems
}

/// Each row: the right input, the wrong one, the path of the one error it has.
fn check(kind: &str, rows: &[(&str, &str, &str)]) {
    for (right, wrong, path) in rows {
        let errors = |text| found(kind, text).into_iter().filter(|p| p.severity == Severity::Error).map(|p| p.path).collect::<Vec<_>>();
        assert_eq!(errors(right), Vec::<String>::new(), "{kind} {right}");
        assert_eq!(errors(wrong), [*path], "{kind} {wrong}");
    }
}

/// Each row: an accepted input, and the code and path of one thing told about it.
fn warns(kind: &str, rows: &[(&str, &str, &str)]) {
    for (text, code, path) in rows {
        let problems = found(kind, text);
        assert!(!problems.iter().any(|p| p.severity == Severity::Error), "{kind} {text}: {problems:?}");
        assert!(problems.iter().any(|p| p.code == *code && p.path == *path), "{kind} {text}: {problems:?}");
    }
}
