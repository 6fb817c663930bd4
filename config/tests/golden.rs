//! Golden cases of reading and validating: `golden/parse/NAME.in.yaml` -> `NAME.out.yaml`.
//!
//! The first line of each input names the rule it shows. The users' own files are read too: their outcome is `golden/input.out.yaml`.

#[path = "../../tests/golden.rs"]
mod runner;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isthmus_config::name::ClusterId;
use isthmus_config::parse::{Document, parse};
use isthmus_config::problem::Problem;
use isthmus_config::validate::validate;
use runner::{compared, golden, golden_folder};

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

#[test]
fn every_case_has_its_outcome() {
    let cases = golden("parse", |text| {
        assert!(text.starts_with("# "), "the first line names its rule: {text}");
        outcome(text.as_bytes())
    });
    assert!(cases >= 20, "{cases} cases");
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
    let wrong = compared(&golden_folder().join("input.out.yaml"), out);
    assert!(wrong.is_none(), "UPDATE_GOLDEN=1 rewrites: {}", wrong.unwrap_or_default());
}
