//! Where output goes: data to stdout, messages to stderr, colour only where it is wanted.

use std::io::{self, IsTerminal, Write};

use super::args::Color;

/// Exit codes, as istioctl's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is well.
    Done = 0,
    /// Something went wrong.
    Failed = 1,
    /// The command line is wrong.
    Usage = 64,
    /// A file cannot be read.
    Unreadable = 65,
    /// Something was found.
    Findings = 79,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Where a command writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    /// Colour on stdout.
    pub(crate) color: bool,
    /// Colour on stderr.
    pub(crate) color_messages: bool,
}

impl Out {
    /// By the flag, `NO_COLOR` and what the streams are.
    pub(crate) fn new(color: Color) -> Self {
        let wanted = |terminal: bool| match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        };
        Self { color: wanted(io::stdout().is_terminal()), color_messages: wanted(io::stderr().is_terminal()) }
    }
    /// Writes data. A reader that has gone away (`| head`) has read what it wanted.
    pub(crate) fn data(self, text: &str) {
        let mut stdout = io::stdout().lock();
        drop(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()));
    }
    /// Writes a message, a line.
    pub(crate) fn message(self, text: &str) {
        // Nobody is left to tell where stderr cannot be written.
        drop(writeln!(io::stderr().lock(), "{text}"));
    }
    /// Writes an error message, a line.
    pub(crate) fn error(self, text: &str) {
        let head = if self.color_messages { "\u{1b}[31;1merror:\u{1b}[0m" } else { "error:" };
        self.message(&format!("{head} {text}"));
    }
    /// A message's `text` in a colour of ANSI's, where colour is wanted.
    pub(crate) fn paint_message(self, paint: Paint, text: &str) -> String {
        Self { color: self.color_messages, ..self }.paint(paint, text)
    }
    /// `text` in a colour of ANSI's, where colour is wanted.
    pub(crate) fn paint(self, paint: Paint, text: &str) -> String {
        if self.color { format!("\u{1b}[{}m{text}\u{1b}[0m", paint as u8) } else { text.to_owned() }
    }
}

/// Colours with a meaning.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Paint {
    /// A heading.
    Bold = 1,
    /// Beside the point.
    Dim = 2,
    /// Wrong.
    Red = 31,
    /// Well.
    Green = 32,
    /// Doubtful.
    Yellow = 33,
    /// A name.
    Cyan = 36,
}

/// A table of columns as wide as they must be, two spaces apart, as istioctl and kubectl print them.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(comfy_table::ContentArrangement::Disabled);
    table.set_header(head.iter().map(|h| (*h).to_owned()));
    for row in rows {
        table.add_row(row.iter().cloned());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A cell that is never empty.
pub(crate) fn dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// A share of 0 to 1 in percent, with a tenth where there is one.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0).replace(".0 %", " %")
}

/// So many of something, in the singular where there is one.
pub(crate) fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A bar of at most `width` characters for `share`, 0 to 1.
pub(crate) fn bar(share: f64, width: usize) -> String {
    let eighths = (share.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    if let Some(part) = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"].get(eighths % 8) {
        bar.push_str(part);
    }
    bar
}

/// A chart: one line per name with its count, share and bar, in the order given.
pub(crate) fn chart(out: Out, rows: &[(String, u64)]) -> String {
    let total: u64 = rows.iter().map(|(_, count)| count).sum();
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, count) in rows {
        let share = if total == 0 { 0.0 } else { *count as f64 / total as f64 };
        let painted = out.paint(Paint::Cyan, &bar(share, 30));
        text += &format!("  {name:width$}  {count:>6}  {:>5.1} %  {painted}\n", share * 100.0);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_plain_columns() {
        let text = table(&["NAME", "PORT"], &[vec!["a-long-name".into(), "80".into()], vec!["b".into(), "8080".into()]]);
        assert_eq!(text, "NAME          PORT\na-long-name   80\nb             8080\n");
    }

    #[test]
    fn bars_are_as_long_as_their_share() {
        assert_eq!((bar(0.5, 4).as_str(), bar(1.0, 2).as_str(), bar(0.0, 4).as_str(), bar(0.125, 4).as_str()), ("██", "██", "", "▌"));
    }
}
