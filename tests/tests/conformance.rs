//! The recorded cases that have landed (`tests/conformance/landed.txt`) hold.

use isthmus_tests::{cases, project};

#[test]
fn landed_cases_hold() {
    let folder = project::root().join("tests/conformance");
    let landed = std::fs::read_to_string(folder.join("landed.txt")).expect("landed.txt names the cases");
    let paths: Vec<_> = landed.lines().filter(|l| !l.is_empty()).map(|l| folder.join(format!("cases/{l}.yaml"))).collect();
    assert!(paths.len() >= 16, "landed.txt has lost cases: {landed}");
    cases::hold(&paths);
}
