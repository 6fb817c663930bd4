//! The recorded cases that have landed (`tests/conformance/landed.txt`), each played by the runner in a network namespace of its own.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use isthmus_tests::{binary, project};

/// Cases played at a time. They mostly wait, but some measure time.
const LANES: usize = 2;

#[test]
fn landed_cases_hold() {
    let folder = project::root().join("tests/conformance");
    let landed = std::fs::read_to_string(folder.join("landed.txt")).expect("landed.txt names the cases");
    let cases: Vec<&str> = landed.lines().filter(|l| !l.is_empty()).collect();
    for case in &cases {
        assert!(folder.join(format!("cases/{case}.yaml")).is_file(), "landed.txt names {case}, which is no case");
    }
    let (python, isthmus) = (binary::python(), binary::isthmus());
    let (left, failed) = (Mutex::new(cases.iter()), Mutex::new(Vec::new()));
    let next = || left.lock().expect("no lane panics while it takes a case").next().copied();
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                while let Some(case) = next() {
                    if let Err(output) = play(&folder, python, &isthmus, case) {
                        failed.lock().expect("no lane panics while it reports").push((case, output));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no lane panicked");
    let names: Vec<&str> = failed.iter().map(|(case, _)| *case).collect();
    let told: String = failed.iter().map(|(_, output)| output.as_str()).collect();
    assert!(failed.is_empty(), "{} of {} cases fail: {}\n{told}", failed.len(), cases.len(), names.join(" "));
}

fn play(folder: &Path, python: &str, isthmus: &Path, case: &str) -> Result<(), String> {
    let case = folder.join(format!("cases/{case}.yaml"));
    let run = Command::new(python).arg(folder.join("conform.py")).arg("--isthmus").arg(isthmus).arg(&case).output();
    let run = run.map_err(|e| format!("{python} cannot be started: {e}\n"))?;
    if run.status.success() {
        return Ok(());
    }
    Err(format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr)))
}
