//! `isthmus get backends NAME --matrix`: percent of traffic from where a gateway stands to where endpoints stand.

use isthmus_core::whatif::{By, Matrix, MatrixRow};

use super::args::{Filter, Get, Places};
use super::get::backend_is;
use super::out::{Exit, Out, Paint, percent, table};
use super::print::print;
use super::{Done, Failed, client, offline};

/// Runs it.
pub(super) fn run(out: Out, get: &Get) -> Done {
    let name = get.name.as_deref().unwrap_or_default();
    if get.filter.namespace.is_some() {
        return Err(Failed::Usage("--matrix takes --host, --port, --name and --backend".to_owned()));
    }
    let mut matrices: Vec<Matrix> = match get.place.asked()? {
        Some(asked) => offline(out, &asked).matrices(name, get.by.into()),
        None => {
            let by = match get.by {
                Places::Region => "region",
                Places::Zone => "zone",
            };
            let path = format!("/matrix?by={by}&name={}", escaped(name));
            let body = client::ask(get.place.admin(), "GET", &path, Vec::new()).map_err(Failed::Other)?;
            serde_json::from_slice(&body).map_err(|e| Failed::Other(format!("the admin port answered something else: {e}")))?
        }
    };
    matrices.retain(|m| wanted(&get.filter, &m.backend));
    print(out, get.output.output, &matrices, |_| matrices.iter().map(|m| text(out, m)).collect::<Vec<_>>().join("\n"))?;
    if matrices.is_empty() {
        out.message(&out.paint_message(Paint::Dim, "nothing found"));
    }
    Ok(Exit::Done)
}

/// True where the filters want the backend of that full name.
fn wanted(filter: &Filter, backend: &str) -> bool {
    let (port, host) = (backend.split('|').nth(1).unwrap_or_default(), backend.rsplit('|').next().unwrap_or_default());
    filter.host.as_ref().is_none_or(|h| h == host)
        && filter.port.is_none_or(|p| p.to_string() == port)
        && filter.name.as_ref().is_none_or(|n| backend.contains(n.as_str()))
        && backend_is(filter.backend.as_ref(), host, backend)
}

/// A query's value: what is no letter, digit or one of `-._` as `%xx`.
fn escaped(text: &str) -> String {
    let one = |b: u8| if b.is_ascii_alphanumeric() || b"-._".contains(&b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(one).collect()
}

/// One backend for people.
fn text(out: Out, matrix: &Matrix) -> String {
    let mut text = out.paint(Paint::Bold, &matrix.backend) + "\n";
    if matrix.to.is_empty() {
        return text + "it has no endpoints\n";
    }
    let unanswered = matrix.rows.iter().any(|r| r.unanswered > 0.0);
    let from = match matrix.by {
        By::Region => "FROM REGION",
        By::Zone => "FROM ZONE",
    };
    let mut head: Vec<&str> = std::iter::once(from).chain(matrix.to.iter().map(String::as_str)).collect();
    head.extend(unanswered.then_some("503 UH"));
    let row = |row: &MatrixRow| {
        let name = format!("{}{}{}", row.from, if row.here { " (here)" } else { "" }, if row.mixed { " *" } else { "" });
        let mut cells = vec![name];
        cells.extend(row.shares.iter().map(|s| if *s > 0.0 { percent(*s) } else { "-".to_owned() }));
        cells.extend(unanswered.then(|| if row.unanswered > 0.0 { percent(row.unanswered) } else { "-".to_owned() }));
        cells
    };
    text += &table(&head, &matrix.rows.iter().map(row).collect::<Vec<_>>());
    if matrix.rows.iter().any(|r| r.mixed) {
        text += "* the mean of localities that differ\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_escaped_for_a_query() {
        assert_eq!(escaped("outbound|80|v1|a.b-c"), "outbound%7C80%7Cv1%7Ca.b-c");
    }

    #[test]
    fn a_row_that_nobody_answers_has_a_column_of_its_own() {
        let row =
            |from: &str, shares: &[f64], unanswered, mixed, here| MatrixRow { from: from.into(), shares: shares.to_vec(), unanswered, mixed, here };
        let rows = vec![row("a", &[0.8, 0.2], 0.0, true, true), row("b", &[0.0, 0.0], 1.0, false, false)];
        let matrix = Matrix { backend: "outbound|80||x".into(), by: By::Region, to: vec!["a".into(), "b".into()], rows };
        let out = Out { color: false, color_messages: false };
        let want = "outbound|80||x\nFROM REGION   a      b      503 UH\na (here) *    80 %   20 %   -\nb             -      -      100 %\n* the mean of localities that differ\n";
        assert_eq!(text(out, &matrix), want);
    }
}
