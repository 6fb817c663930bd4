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
                    if let Err(output) = run(runner(python, &isthmus).arg(case)) {
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

/// Plays the cases in turn through API servers, each given as `CLUSTER=KUBECONFIG`, in the network that this process is in.
pub fn hold_served(cases: &[PathBuf], servers: &[String]) {
    let api: Vec<&str> = servers.iter().flat_map(|server| ["--api", server.as_str()]).collect();
    let mut runner = runner(binary::python(), &binary::isthmus());
    let told = run(runner.args(api).args(cases).env("CONFORM_NETNS", "1"));
    assert!(told.is_ok(), "{}", told.err().unwrap_or_default());
}

fn runner(python: &str, isthmus: &Path) -> Command {
    let mut runner = Command::new(python);
    runner.arg(project::root().join("tests/conformance/conform.py")).arg("--isthmus").arg(isthmus);
    runner
}

fn run(runner: &mut Command) -> Result<(), String> {
    let run = runner.output();
    let run = run.map_err(|e| format!("{runner:?} cannot be started: {e}\n"))?;
    if run.status.success() {
        return Ok(());
    }
    Err(format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr)))
}
