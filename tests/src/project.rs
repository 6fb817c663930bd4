//! The project's own files, as the tests of its order read them, and what becomes of `deploy/`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::binary;
use super::kube::objects;

/// One text file of the project.
#[derive(Debug)]
pub struct File {
    /// Path below the project's root, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// The project's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the project").to_path_buf()
}

/// Every text file of the project, in order of path; not what is built, nor what begins with a dot (but `.ci`).
pub fn files() -> Vec<File> {
    let mut out = Vec::new();
    walk(&root(), &root(), &mut out);
    out.sort_by(|a, b| a.path.cmp(&b.path));
    out
}

/// The objects of a folder of `deploy/`, as `kubectl apply -k` sends them.
pub fn rendered(folder: &str) -> Vec<Value> {
    let kustomize = binary::tool_of("kustomize", "kustomize", "sigs.k8s.io/kustomize/kustomize/v5");
    let run = Command::new(kustomize).arg("build").arg(root().join("deploy").join(folder)).output().expect("what was built can be started");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    objects(&String::from_utf8_lossy(&run.stdout))
}

fn walk(root: &Path, folder: &Path, out: &mut Vec<File>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the project can be listed") {
        let path = entry.expect("an entry of the project can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let skipped = ["target", "__pycache__"].contains(&name.as_str()) || (name.starts_with('.') && name != ".ci");
        if skipped {
            continue;
        }
        if path.is_dir() {
            walk(root, &path, out);
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            let path = path.strip_prefix(root).expect("it lies below the root").to_string_lossy().into_owned();
            out.push(File { path, text });
        }
    }
}
