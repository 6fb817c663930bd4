//! What a hostile or broken file may cost: problems, time and memory stay bounded, and the rest of the file is read.

use std::fmt::Write as _;
use std::sync::Arc;

use isthmus_config::name::ClusterId;
use isthmus_config::parse::{MAX_FILE, Parsed, parse};
use isthmus_config::validate::validate;

fn read(text: &str) -> Parsed {
    parse(text.as_bytes(), &ClusterId::default(), &Arc::from("f.yaml"))
}

const GOOD: &str = "\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: good}\n";

fn rule(spec: &str) -> String {
    format!("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a}}\nspec:\n{spec}")
}

#[test]
fn a_file_that_is_too_large_is_refused_unread() {
    let parsed = parse(&vec![b'x'; usize::try_from(MAX_FILE).expect("64 bits") + 1], &ClusterId::default(), &Arc::from("f.yaml"));
    assert_eq!((parsed.problems.len(), parsed.unreadable, parsed.documents.len()), (1, 1, 0));
    assert!(parsed.problems[0].message.contains("at most 64 MiB"), "{}", parsed.problems[0].message);
}

#[test]
fn problems_are_counted_beyond_the_first_thousand() {
    let parsed = read(&("---\nx\n".repeat(5000) + GOOD));
    assert_eq!((parsed.documents.len(), parsed.problems.len(), parsed.unreadable), (1, 1001, 5000));
    assert_eq!(parsed.problems[1000].message, "4000 more problems in this file");
}

#[test]
fn one_object_tells_its_first_unknown_fields() {
    let mut spec = String::new();
    for i in 0..5000 {
        let _ = writeln!(spec, "  unknown{i}: 1");
    }
    let parsed = read(&(rule(&spec) + GOOD));
    assert_eq!((parsed.documents.len(), parsed.problems.len(), parsed.refused.len()), (1, 100, 1));
}

#[test]
fn long_names_are_shown_in_part() {
    let name = "x".repeat(1_000_000);
    for spec in [format!("  ? {name}\n  : 1\n"), format!("  hosts: {name}\n"), format!("  tls: [{{match: {{}}, '{name}': 1}}]\n")] {
        let parsed = read(&(rule(&spec) + GOOD));
        assert_eq!(parsed.documents.len(), 1);
        assert!(parsed.problems.iter().all(|p| p.path.len() + p.message.len() < 2000), "a problem is longer than a screen");
    }
}

#[test]
fn rules_cost_what_they_hold_and_not_their_pairs() {
    let mut spec = "  hosts: [a.com]\n  http:\n".to_owned();
    for i in 0..20_000 {
        let _ = writeln!(spec, "  - match:\n    - uri:\n        prefix: /p{i}\n    route:\n    - destination:\n        host: a");
    }
    let parsed = read(&rule(&spec));
    assert_eq!(parsed.problems, []);
    let told: usize = parsed.documents.iter().map(|d| validate(d).len()).sum();
    assert_eq!(told, 20_000 - 10, "every prefix but /p0 to /p9 stands below a shorter one");
}

#[test]
fn bytes_that_are_no_text_make_the_file_unreadable_not_empty() {
    for (bytes, line) in [(&b"\0\0\0\0"[..], 1), (&b"kind: Service\n\0"[..], 2), (&b"a: 1\n\xff"[..], 2)] {
        let parsed = parse(bytes, &"c".into(), &"f.yaml".into());
        assert_eq!(parsed.unreadable, 1, "{bytes:?}");
        assert_eq!(parsed.problems.iter().map(|p| (p.code, p.origin.start.line)).collect::<Vec<_>>(), [("ISM0101", line)], "{bytes:?}");
    }
}
