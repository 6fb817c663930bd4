//! Problems as people read them: severity, code, message, the source line with the field underlined, what to do.

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::path::Path;
use std::sync::Arc;

use isthmus_config::problem::{Problem, Severity};
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode, SourceSpan};

use crate::admin::ProblemRow;

/// Prints problems; reads each file once.
#[derive(Debug, Default)]
pub(crate) struct Printer {
    sources: HashMap<Arc<str>, Option<Arc<str>>>,
    color: bool,
}

impl Printer {
    /// With colour or without.
    pub(crate) fn new(color: bool) -> Self {
        Self { sources: HashMap::new(), color }
    }
    /// One problem with its source excerpt, where its file can be read.
    pub(crate) fn problem(&mut self, problem: &Problem) -> String {
        let spot = problem.origin.spot(&problem.path);
        let source = if spot.line == 0 { None } else { self.source(&problem.origin.file) };
        let excerpt = source.and_then(|text| {
            let (start, length) = underlined(&text, spot.line, spot.column)?;
            Some((NamedSource::new(&problem.origin.file, text.to_string()), SourceSpan::from((start, length))))
        });
        let found = Found { problem, excerpt };
        let theme = if self.color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let mut text = String::new();
        let handler = GraphicalReportHandler::new_themed(theme).with_width(140).with_context_lines(1).with_links(false);
        if handler.render_report(&mut text, &found).is_err() {
            text = found.to_string();
        }
        let mut lines = text.trim_matches('\n').lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        let place = place(problem);
        if found.excerpt.is_none() && !place.is_empty() {
            lines.push_str(&format!("\n   ╰─ {place}"));
        }
        lines.push('\n');
        lines
    }
    fn source(&mut self, file: &Arc<str>) -> Option<Arc<str>> {
        if file.is_empty() {
            return None;
        }
        self.sources.entry(file.clone()).or_insert_with(|| std::fs::read_to_string(Path::new(&**file)).ok().map(Arc::from)).clone()
    }
}

/// `file:line:column`, or the cluster whose API server has it.
pub(crate) fn place(problem: &Problem) -> String {
    ProblemRow::of(problem).place()
}

/// Offset and length in bytes of the word that begins at a spot: a key up to its colon, or a value up to the line's end.
fn underlined(text: &str, line: u32, column: u32) -> Option<(usize, usize)> {
    let start_of_line: usize = text.split_inclusive('\n').take(line.checked_sub(1)? as usize).map(str::len).sum();
    let content = text.get(start_of_line..)?.lines().next()?;
    let skip: usize = content.chars().take(column.saturating_sub(1) as usize).map(char::len_utf8).sum();
    let word = content.get(skip..)?;
    let end = word.find([':', ',', '}', ']', '#']).filter(|end| *end > 0).unwrap_or(word.len());
    Some((start_of_line + skip, word[..end].trim_end().len().max(1)))
}

/// A problem as miette takes it.
#[derive(Debug)]
struct Found<'a> {
    problem: &'a Problem,
    excerpt: Option<(NamedSource<String>, SourceSpan)>,
}

impl Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(object) = &self.problem.object {
            write!(f, "{object}: ")?;
        }
        if !self.problem.path.is_empty() {
            write!(f, "{}: ", self.problem.path)?;
        }
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for Found<'_> {}

impl Diagnostic for Found<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn Display + 'a>> {
        Some(Box::new(format!("{} {}", self.problem.severity, self.problem.code)))
    }
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.problem.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
            Severity::Info => miette::Severity::Advice,
        })
    }
    fn help<'a>(&'a self) -> Option<Box<dyn Display + 'a>> {
        self.problem.hint.as_ref().map(|hint| Box::new(hint) as Box<dyn Display>)
    }
    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.excerpt.as_ref().map(|(source, _)| source as &dyn SourceCode)
    }
    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let (_, span) = self.excerpt.as_ref()?;
        Some(Box::new(std::iter::once(LabeledSpan::underline(*span))))
    }
}

#[cfg(test)]
mod tests {
    use isthmus_config::object::{Origin, Spot};

    use super::*;

    #[test]
    fn the_field_is_underlined() {
        let text = "spec:\n  http:\n  - reties: {attempts: 3}\n";
        let (start, length) = underlined(text, 3, 5).expect("a word");
        assert_eq!(&text[start..start + length], "reties");
        assert_eq!(underlined(text, 9, 1), None);
    }

    #[test]
    fn a_problem_shows_its_line() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "spec:\n  http:\n  - reties: {attempts: 3}\n").expect("written");
        let origin = Origin { file: file.path().to_str().expect("a name").into(), start: Spot { line: 3, column: 5 }, ..Origin::default() };
        let problem = Problem { origin, ..Problem::new(Severity::Error, "IST0106", "unknown field `reties`").hint("did you mean `retries`?") };
        let text = Printer::new(false).problem(&problem);
        for part in ["error IST0106", "unknown field `reties`", ":3:5]", "- reties: {attempts: 3}", "──────", "did you mean `retries`?"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }
}
