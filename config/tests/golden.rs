//! Golden cases of reading and validating: `golden/parse/NAME.in.yaml` -> `NAME.out.yaml`.
//!
//! The first line of each input names the rule it shows. `UPDATE_GOLDEN=1` rewrites the outputs; review the diff like code.
//! The users' own files are read too: their outcome is `golden/input.out.yaml`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isthmus_config::name::ClusterId;
use isthmus_config::parse::{Document, parse};
use isthmus_config::problem::Problem;
use isthmus_config::validate::validate;

fn shown(problem: &Problem) -> String {
    let spot = problem.origin.spot(&problem.path);
    let mut line = format!("- {} {}", problem.severity, problem.code);
    if let Some(object) = &problem.object {
        let _ = write!(line, " {object}");
    }
    if !problem.path.is_empty() {
        let _ = write!(line, " {}", problem.path);
    }
    let _ = write!(line, " {}:{}: {}", spot.line, spot.column, problem.message);
    if let Some(hint) = &problem.hint {
        let _ = write!(line, " ({hint})");
    }
    line
}

fn named(document: &Document) -> String {
    let line = document.origin().start.line;
    let created = document.meta().created.map(|at| format!(" created {at}")).unwrap_or_default();
    match (document, document.reference()) {
        (_, Some(object)) => format!("- {object} line {line}{created}"),
        (Document::Unenforced(o), None) => format!("- unenforced {} {}/{} line {line}", o.kind, o.meta.namespace, o.meta.name),
        (other, None) => format!("- not used {}/{} line {line}", other.meta().namespace, other.meta().name),
    }
}

fn outcome(text: &[u8]) -> String {
    let parsed = parse(text, &ClusterId::default(), &Arc::from("in.yaml"));
    let mut out = "objects:\n".to_owned();
    parsed.documents.iter().for_each(|d| out.push_str(&(named(d) + "\n")));
    out.push_str("problems:\n");
    let found: Vec<Problem> = parsed.problems.into_iter().chain(parsed.documents.iter().flat_map(validate)).collect();
    found.iter().for_each(|p| out.push_str(&(shown(p) + "\n")));
    if parsed.unreadable > 0 {
        let _ = writeln!(out, "unreadable: {}", parsed.unreadable);
    }
    out
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Compares with the file, or rewrites it; the difference where there is one.
fn compared(output: &Path, got: String) -> Option<String> {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(output, got).expect("a writable outcome");
        return None;
    }
    let wanted = std::fs::read_to_string(output).unwrap_or_default();
    (wanted != got).then(|| format!("{}:\n{got}", output.display()))
}

#[test]
fn every_case_has_its_outcome() {
    let folder = golden().join("parse");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .expect("the folder of cases")
        .filter_map(|entry| Some(entry.expect("a case").file_name().to_str()?.strip_suffix(".in.yaml")?.to_owned()))
        .collect();
    names.sort();
    let outcome = |name: &String| {
        let text = std::fs::read_to_string(folder.join(format!("{name}.in.yaml"))).expect("a readable case");
        assert!(text.starts_with("# "), "{name}: the first line names its rule");
        compared(&folder.join(format!("{name}.out.yaml")), outcome(text.as_bytes()))
    };
    let wrong: Vec<String> = names.iter().filter_map(outcome).collect();
    assert!(names.len() >= 20 && wrong.is_empty(), "{} of {} differ; UPDATE_GOLDEN=1 rewrites:\n{}", wrong.len(), names.len(), wrong.join("\n"));
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the users' files") {
        let path = entry.expect("a file").path();
        if path.is_dir() {
            files_below(&path, files);
        } else if path.extension().is_some_and(|e| e == "yaml") {
            files.push(path);
        }
    }
}

#[test]
fn the_users_files_are_read_as_their_table_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/input");
    let mut files = Vec::new();
    files_below(&root, &mut files);
    files.sort();
    let mut out = String::new();
    for file in files {
        let name = file.strip_prefix(&root).expect("a file below the root").display().to_string();
        let _ = write!(out, "## {name}\n{}", outcome(&std::fs::read(&file).expect("a readable file")));
    }
    let wrong = compared(&golden().join("input.out.yaml"), out);
    assert!(wrong.is_none(), "UPDATE_GOLDEN=1 rewrites: {}", wrong.unwrap_or_default());
}
