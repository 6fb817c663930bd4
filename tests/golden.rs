//! The runner of golden cases: `NAME.in.yaml` -> `NAME.out.yaml`, for the crates that include this file. `UPDATE_GOLDEN=1` rewrites
//! the outputs; review the diff like code.

use std::path::{Path, PathBuf};

/// Plays every case of `tests/golden` below the crate, or of a folder in it, and compares with what is recorded. How many cases there are.
pub(crate) fn golden(folder: &str, play: impl Fn(&str) -> String) -> usize {
    let folder = golden_folder().join(folder);
    let entries = std::fs::read_dir(&folder).expect("the folder of cases").map(|entry| entry.expect("a case").path());
    let mut inputs: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().ends_with(".in.yaml")).collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "no cases in {}", folder.display());
    let wrong: Vec<String> = inputs
        .iter()
        .filter_map(|input| {
            let text = std::fs::read_to_string(input).expect("a readable case");
            compared(Path::new(&input.to_string_lossy().replace(".in.yaml", ".out.yaml")), play(&text))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {} differ; UPDATE_GOLDEN=1 rewrites:\n{}", wrong.len(), inputs.len(), wrong.join("\n"));
    inputs.len()
}

/// Where the crate's cases stand.
pub(crate) fn golden_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Compares with the file, or rewrites it; the new text where it differs.
pub(crate) fn compared(output: &Path, got: String) -> Option<String> {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(output, got).expect("a writable outcome");
        return None;
    }
    let wanted = std::fs::read_to_string(output).unwrap_or_default();
    (wanted != got).then(|| format!("{}:\n{got}", output.display()))
}
