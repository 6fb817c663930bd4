//! Where the programs are that the tests start: the built gateway, Python, and what Go builds from `tests/tools`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// The target directory's profile folder that the running test was built into, such as `target/debug`.
fn profile() -> PathBuf {
    let exe = std::env::current_exe().expect("a running test knows its own path");
    exe.parent().and_then(Path::parent).expect("a test lies in PROFILE/deps").to_path_buf()
}

/// The gateway built beside the running test.
pub fn isthmus() -> PathBuf {
    let path = profile().join("isthmus");
    assert!(path.is_file(), "{} is not built: run `cargo build -p isthmus` first, as `make test` does", path.display());
    path
}

/// An empty folder of the target directory, for what outlives its test; one test binary at a time uses it.
pub fn scratch(name: &str) -> PathBuf {
    let folder = profile().parent().expect("a profile folder has a parent").join("tmp").join(name);
    let emptied = std::fs::remove_dir_all(&folder);
    let gone = emptied.as_ref().map_or_else(|e| e.kind() == std::io::ErrorKind::NotFound, |()| true);
    assert!(gone, "{}: {emptied:?}", folder.display());
    std::fs::create_dir_all(&folder).expect("the target directory can be written");
    folder
}

/// A Python 3 that has PyYAML.
pub fn python() -> &'static str {
    let usable = |p: &&str| Command::new(p).args(["-c", "import yaml"]).output().is_ok_and(|o| o.status.success());
    let found = ["python3", "/usr/bin/python3"].into_iter().find(usable);
    assert!(found.is_some(), "this test needs Python 3 with PyYAML: apt-get install python3-yaml");
    found.unwrap_or_default()
}

/// A checker named in `tests/tools/tools.go`, built once into `target/tools`.
pub fn tool(name: &str, package: &str) -> PathBuf {
    tool_of("", name, package)
}

/// A program named in the `tools.go` of a folder of `tests/tools`, built once into `target/tools`.
pub fn tool_of(folder: &str, name: &str, package: &str) -> PathBuf {
    // Tests of one process that want the same program wait for it, and one that is there is whole.
    static BUILDING: Mutex<()> = Mutex::new(());
    let _alone = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let out = profile().parent().expect("a profile folder has a parent").join("tools").join(name);
    if out.is_file() {
        return out;
    }
    let unfinished = out.with_extension(std::process::id().to_string());
    let built = Command::new("go")
        .args(["build", "-mod=readonly", "-trimpath", "-ldflags", "-s -w", "-o"])
        .arg(&unfinished)
        .arg(package)
        .current_dir(super::project::root().join("tests/tools").join(folder))
        .output();
    let built = built.expect("this test needs Go to build its checker: apt-get install golang-go");
    assert!(built.status.success(), "go build {package}: {}", String::from_utf8_lossy(&built.stderr));
    std::fs::rename(unfinished, &out).expect("the target directory can be written");
    out
}
