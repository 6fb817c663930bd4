//! The users' own files (`tests/input`): `isthmus check` finds the errors that `tests/input/README.md` names, where they stand, and no other.

use std::process::Command;

use isthmus_tests::{binary, project};
use serde_json::Value;

/// An error that must be found: field path, line, and a word of its hint or message.
struct Error {
    path: &'static str,
    line: u64,
    says: &'static str,
}

const LOCALITY: &str = "spec.trafficPolicy.loadBalancer.localityLbSetting.failover";

/// The files that have errors; every other file has none.
const WRONG: [(&str, &[Error]); 3] = [
    ("vm/httpd-failover.yaml", &[Error { path: LOCALITY, line: 13, says: "/" }, Error { path: LOCALITY, line: 15, says: "/" }]),
    ("bad/percentage.yaml", &[Error { path: "spec.http[0].fault.delay.value", line: 14, says: "value" }]),
    ("bad/reties.yaml", &[Error { path: "spec.http[0].reties", line: 14, says: "did you mean `retries`" }]),
];

/// Runs `check` on one file; its problems and its exit code.
fn check(path: &str) -> (Vec<Value>, Option<i32>) {
    let file = project::root().join("tests/input").join(path);
    let run = Command::new(binary::isthmus()).args(["check", "-o", "json"]).arg(&file).output().expect("the built gateway can be started");
    let text = String::from_utf8_lossy(&run.stdout);
    let report: Value = serde_json::from_str(&text).unwrap_or_default();
    let problems = report["problems"].as_array().cloned();
    let whole = problems.is_some() && report["inForce"].is_array();
    assert!(whole, "check {path} -o json prints {text:?} and {:?}", String::from_utf8_lossy(&run.stderr));
    (problems.unwrap_or_default(), run.status.code())
}

/// Every example, by path below `tests/input`.
fn examples() -> Vec<String> {
    let files = project::files().into_iter();
    files.filter_map(|f| f.path.strip_prefix("tests/input/").map(str::to_owned)).filter(|p| p.ends_with(".yaml")).collect()
}

#[test]
fn check_finds_the_errors_of_the_readme_and_no_other() {
    let examples = examples();
    assert!(examples.len() > 30, "the examples are found: {examples:?}");
    let mut wrong = Vec::new();
    for path in &examples {
        let expected = WRONG.iter().find(|(p, _)| p == path).map_or(&[][..], |(_, errors)| errors);
        let (problems, code) = check(path);
        let errors: Vec<&Value> = problems.iter().filter(|p| p["severity"] == "error").collect();
        let matches = |e: &Error, found: &Value| {
            let text = format!("{} {}", found["message"].as_str().unwrap_or_default(), found["hint"].as_str().unwrap_or_default());
            let near = found["line"].as_u64().is_some_and(|l| l >= e.line && l <= e.line + 1);
            let place =
                found["path"].as_str().is_some_and(|p| p.starts_with(e.path)) && found["file"].as_str().is_some_and(|f| f.ends_with(path.as_str()));
            near && place && text.contains(e.says) && found["column"].as_u64().is_some_and(|c| c > 0)
        };
        let told = errors.len() == expected.len() && expected.iter().zip(&errors).all(|(e, found)| matches(e, found));
        let exit = if expected.is_empty() { Some(0) } else { Some(79) };
        if !told || code != exit {
            wrong.push(format!("{path}: exit {code:?}, {} errors expected, found {errors:#?}", expected.len()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Codes of findings about policies, file by file; every other file has none. What is not in force yet, and what leads nowhere since a file
/// stands alone, is another matter.
const TRIPS: [(&str, &[&str]); 11] = [
    ("circuit-breaker/httpbin.yaml", &["ISM0408"]),
    ("locality/details-failover.yaml", &["ISM0401"]),
    ("locality/productpage-distribute.yaml", &["ISM0401", "ISM0407", "ISM0407"]),
    ("locality/productpage-failover.yaml", &["ISM0401"]),
    ("locality/ratings-failover.yaml", &["ISM0401"]),
    ("locality/reviews-failover.yaml", &["ISM0401"]),
    ("ambient/helloworld.yaml", &["ISM0401"]),
    ("resilience/retry-abort.yaml", &["ISM0406"]),
    ("resilience/retry-abort-corrected.yaml", &["ISM0406"]),
    ("vm/httpd.yaml", &["ISM0402"]),
    ("vm/httpd-distribute.yaml", &["ISM0401", "ISM0407"]),
];

#[test]
fn check_finds_what_trips_people_and_no_other() {
    let mut wrong = Vec::new();
    for path in &examples() {
        let expected = TRIPS.iter().find(|(p, _)| p == path).map_or(&[][..], |(_, codes)| codes);
        let (problems, _) = check(path);
        let codes = problems.iter().filter_map(|p| p["code"].as_str());
        let mut codes: Vec<&str> = codes.filter(|c| c.starts_with("ISM04") && *c != "ISM0403").collect();
        codes.sort_unstable();
        if codes != expected {
            wrong.push(format!("{path}: {expected:?} expected, found {codes:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Warnings that the README promises: file, and words of one warning.
#[test]
fn check_warns_of_what_is_surprising() {
    let rows: [(&str, &[&str]); 9] = [
        ("ratelimit-local/http.yaml", &["EnvoyFilter"]),
        ("ratelimit-global/gateway-filter.yaml", &["EnvoyFilter"]),
        ("tcp/mysql-vm-limit.yaml", &["EnvoyFilter"]),
        ("circuit-breaker/httpbin.yaml", &["consecutiveErrors"]),
        ("canary/canary.yaml", &["port"]),
        ("topology/as-printed.yaml", &["region"]),
        ("locality/reviews-failover.yaml", &["maxEjectionPercent"]),
        ("vm/httpd.yaml", &["TCP"]),
        ("resilience/retry-abort.yaml", &["nginx-vs", "nginx-svc"]),
    ];
    let mut missing = Vec::new();
    for (path, words) in rows {
        let (problems, _) = check(path);
        let said = |p: &Value| {
            let text = ["kind", "path", "message", "hint"].map(|k| p[k].as_str().unwrap_or_default()).join(" ");
            p["severity"] != "error" && words.iter().all(|w| text.contains(w))
        };
        if !problems.iter().any(said) {
            missing.push(format!("{path}: nothing says {words:?} in {problems:#?}"));
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
