//! `isthmus check`: what is wrong, with the source line, and where each object is in force.

use std::path::{Path, PathBuf};

use isthmus_config::problem::Severity;

use super::args::{Check, Form};
use super::diagnostic::Printer;
use super::out::{Exit, Out, Paint, count, table};
use super::print::print;
use super::{Done, Failed, client, say_read};
use crate::admin::{Answered, Checked, Findings, InForceRow, NOT_USED, Posted, alone, over};
use crate::asked::Refused;

/// Runs `isthmus check`.
pub(super) fn run(out: Out, check: &Check) -> Done {
    for path in &check.paths {
        readable(path)?;
    }
    let (checked, text) = match check.place.asked()? {
        Some(asked) => of_files(out, over(&asked, check.paths.clone())),
        None if check.place.admin.is_none() && !check.paths.is_empty() => of_files(out, alone(&check.paths)?),
        None => {
            let Answered { checked, read } = of_gateway(check)?;
            say_read(out, &read);
            let text = plain(out, &checked);
            (checked, text)
        }
    };
    print(out, check.output.output, &checked, |_| text + &in_force(out, &checked.in_force))?;
    let found = checked.problems.iter().any(|p| check.failure_threshold.fails(severity(&p.severity)));
    if check.output.output == Form::Table || check.output.output == Form::Wide {
        out.message(&summary(&checked));
    }
    Ok(if found { Exit::Findings } else { Exit::Done })
}

/// A path that cannot be read is no finding, it is exit code 65.
fn readable(path: &Path) -> Result<(), Failed> {
    let refused = |e: std::io::Error| Failed::Input(Refused::Unreadable(format!("{}: {e}", path.display())));
    if std::fs::metadata(path).map_err(refused)?.is_dir() {
        std::fs::read_dir(path).map_err(refused)?;
    } else {
        std::fs::File::open(path).map_err(refused)?;
    }
    Ok(())
}

fn of_files(out: Out, findings: Findings) -> (Checked, String) {
    say_read(out, &findings.read);
    let mut printer = Printer::new(out.color);
    let told = findings.problems.iter().filter(|p| p.code != NOT_USED);
    let mut text: String = told.map(|p| printer.problem(p) + "\n").collect();
    let beside: Vec<&str> = findings.problems.iter().filter(|p| p.code == NOT_USED).map(|p| p.message.as_str()).collect();
    text += &not_used(out, &beside);
    (findings.rows(), text)
}

fn of_gateway(check: &Check) -> Result<Answered, Failed> {
    let mut files = Vec::new();
    for path in &check.paths {
        for path in files_of(path) {
            let text = std::fs::read_to_string(&path).map_err(|e| Failed::Input(Refused::Unreadable(format!("{}: {e}", path.display()))))?;
            files.push(Posted { path: path.display().to_string(), text });
        }
    }
    let body = serde_json::to_vec(&files).map_err(|e| Failed::Other(e.to_string()))?;
    let answer = client::ask_json(check.place.admin(), "/check", body).map_err(Failed::Other)?;
    serde_json::from_slice(&answer).map_err(|e| Failed::Other(format!("the admin port answered something else: {e}")))
}

/// A directory's files as a source reads them: YAML and JSON, no name that begins with a dot (design 4).
fn files_of(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return vec![path.to_owned()] };
    let mut paths: Vec<PathBuf> = entries.filter_map(Result::ok).map(|e| e.path()).collect();
    paths.retain(|p| p.file_name().and_then(|n| n.to_str()).is_some_and(|n| !n.starts_with('.')));
    paths.sort();
    let yaml = |p: &Path| p.extension().and_then(|e| e.to_str()).is_some_and(|e| matches!(e, "yaml" | "yml" | "json"));
    paths.iter().flat_map(|p| if p.is_dir() { files_of(p) } else { vec![p.clone()] }).filter(|p| yaml(p)).collect()
}

/// Problems of a gateway elsewhere, whose files may not be here: a line each.
pub(super) fn plain(out: Out, checked: &Checked) -> String {
    let mut text = String::new();
    for problem in checked.problems.iter().filter(|p| p.code != NOT_USED) {
        let paint = paint_of(severity(&problem.severity));
        let object = if problem.name.is_empty() { String::new() } else { format!(" {} {}/{}:", problem.kind, problem.namespace, problem.name) };
        let place = Some(problem.place()).filter(|place| !place.is_empty()).map(|place| format!(" ({place})")).unwrap_or_default();
        let path = if problem.path.is_empty() { String::new() } else { format!("{}: ", problem.path) };
        text += &format!("{} {}{object} {path}{}{place}\n", out.paint(paint, &problem.severity), problem.code, problem.message);
        if let Some(hint) = &problem.hint {
            text += &format!("  {} {hint}\n", out.paint(Paint::Cyan, "help:"));
        }
    }
    let beside: Vec<&str> = checked.problems.iter().filter(|p| p.code == NOT_USED).map(|p| p.message.as_str()).collect();
    text + &not_used(out, &beside)
}

/// Kinds that live beside the rules: one quiet line.
fn not_used(out: Out, messages: &[&str]) -> String {
    if messages.is_empty() {
        return String::new();
    }
    let names: Vec<&str> = messages.iter().map(|m| m.strip_suffix(" is not used").unwrap_or(m)).take(8).collect();
    let more = messages.len() - names.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    out.paint(Paint::Dim, &format!("not used: {}{more}", names.join(", "))) + "\n"
}

/// The table "where in force".
fn in_force(out: Out, rows: &[InForceRow]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let place = match &row.reason {
                None => format!("{}, {}", count(row.routes, "route"), count(row.backends, "backend")),
                Some(reason) => format!("nowhere: {reason}"),
            };
            vec![row.kind.clone(), row.namespace.clone(), row.name.clone(), place]
        })
        .collect();
    let text = table(&["KIND", "NAMESPACE", "NAME", "IN FORCE"], &cells);
    let mut lines = text.lines();
    let head = lines.next().map(|head| out.paint(Paint::Bold, head)).unwrap_or_default();
    lines.fold(format!("\n{head}\n"), |text, line| text + line + "\n")
}

fn summary(checked: &Checked) -> String {
    let of = |severity: &str| checked.problems.iter().filter(|p| p.severity == severity && p.code != NOT_USED).count();
    let objects = count(checked.in_force.len(), "object");
    match (of("error"), of("warning"), of("info")) {
        (0, 0, 0) => format!("{objects} checked, nothing found"),
        (errors, warnings, infos) => format!("{objects} checked: {}, {}, {infos} to know", count(errors, "error"), count(warnings, "warning")),
    }
}

fn severity(text: &str) -> Severity {
    match text {
        "error" => Severity::Error,
        "warning" => Severity::Warning,
        _ => Severity::Info,
    }
}

fn paint_of(severity: Severity) -> Paint {
    match severity {
        Severity::Error => Paint::Red,
        Severity::Warning => Paint::Yellow,
        Severity::Info => Paint::Cyan,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::ProblemRow;

    #[test]
    fn the_json_is_as_documented() {
        let row = ProblemRow {
            severity: "error".into(),
            code: "IST0106".into(),
            kind: "VirtualService".into(),
            namespace: "default".into(),
            name: "r".into(),
            path: "spec.http[0].reties".into(),
            file: "a.yaml".into(),
            line: 7,
            column: 5,
            message: "unknown field".into(),
            hint: None,
            cluster: String::new(),
        };
        let in_force = InForceRow {
            kind: "Gateway".into(),
            namespace: "a".into(),
            name: "g".into(),
            routes: 0,
            backends: 0,
            reason: Some("not selected".into()),
        };
        let checked = Checked { problems: vec![row], in_force: vec![in_force] };
        let keys = |value: &serde_json::Value| value.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>().join(" "));
        let value = serde_json::to_value(&checked).expect("JSON");
        assert_eq!(keys(&value).as_deref(), Some("inForce problems"));
        assert_eq!(keys(&value["problems"][0]).as_deref(), Some("code column file hint kind line message name namespace path severity"));
        assert_eq!(keys(&value["inForce"][0]).as_deref(), Some("backends kind name namespace reason routes"));
        let out = Out { color: false, color_messages: false };
        assert!(plain(out, &checked).starts_with("error IST0106 VirtualService default/r: spec.http[0].reties: unknown field (a.yaml:7:5)\n"));
        let of_server = ProblemRow { file: String::new(), line: 0, cluster: "c2".into(), ..checked.problems[0].clone() };
        assert_eq!(of_server.place(), "cluster c2", "two clusters may have objects of one name");
        let of_nobody = ProblemRow { cluster: String::new(), ..of_server };
        assert!(plain(out, &Checked { problems: vec![of_nobody], in_force: Vec::new() }).ends_with("unknown field\n"));
        assert!(in_force_text(&checked).contains("nowhere: not selected"));
    }

    fn in_force_text(checked: &Checked) -> String {
        in_force(Out { color: false, color_messages: false }, &checked.in_force)
    }
}
