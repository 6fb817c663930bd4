//! Plays conformance cases with the runner of `tests/conformance`, each in a network namespace of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use super::{binary, project};

/// Cases played at a time. They mostly wait, but some measure time.
const LANES: usize = 2;

/// Plays every case and fails with the names and the runner's words of those that do not hold.
pub fn hold(cases: &[PathBuf]) {
    for case in cases {
        assert!(case.is_file(), "{} is no case", case.display());
    }
    let (python, isthmus) = (binary::python(), binary::isthmus());
    let (left, failed) = (Mutex::new(cases.iter()), Mutex::new(Vec::new()));
    let next = || left.lock().expect("no lane panics while it takes a case").next();
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                while let Some(case) = next() {
                    if let Err(output) = play(python, &isthmus, case) {
                        failed.lock().expect("no lane panics while it reports").push((case, output));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no lane panicked");
    let names: Vec<_> = failed.iter().filter_map(|(case, _)| case.file_stem()).collect();
    let told: String = failed.iter().map(|(_, output)| output.as_str()).collect();
    assert!(failed.is_empty(), "{} of {} cases fail: {names:?}\n{told}", failed.len(), cases.len());
}

fn play(python: &str, isthmus: &Path, case: &Path) -> Result<(), String> {
    let runner = project::root().join("tests/conformance/conform.py");
    let run = Command::new(python).arg(runner).arg("--isthmus").arg(isthmus).arg(case).output();
    let run = run.map_err(|e| format!("{python} cannot be started: {e}\n"))?;
    if run.status.success() {
        return Ok(());
    }
    Err(format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr)))
}
