//! Golden cases of reading and validating: `golden/parse/NAME.in.yaml` -> `NAME.out.yaml`.
//!
//! The first line of each input names the rule it shows. `UPDATE_GOLDEN=1` rewrites the outputs; review the diff like code.

use std::fmt::Write as _;
use std::path::Path;
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
    match (document, document.reference()) {
        (_, Some(object)) => format!("- {object} line {line}"),
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
    out
}

#[test]
fn every_case_has_its_outcome() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/parse");
    let (mut wrong, mut cases) = (Vec::new(), 0);
    let mut inputs: Vec<_> = std::fs::read_dir(&folder).expect("the folder of cases").map(|e| e.expect("a case").path()).collect();
    inputs.sort();
    for input in inputs {
        let Some(name) = input.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".in.yaml")) else { continue };
        cases += 1;
        let got = outcome(&std::fs::read(&input).expect("a readable case"));
        let output = folder.join(format!("{name}.out.yaml"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&output, got).expect("a writable outcome");
        } else if std::fs::read_to_string(&output).unwrap_or_default() != got {
            wrong.push(format!("{name}:\n{got}"));
        }
    }
    assert!(cases > 0 && wrong.is_empty(), "{} of {cases} differ; UPDATE_GOLDEN=1 rewrites:\n{}", wrong.len(), wrong.join("\n"));
}
