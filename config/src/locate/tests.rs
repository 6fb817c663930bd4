//! Scalars, places, merge keys, and texts that would cost too much.

use super::*;

fn only(text: &str) -> Result<Node<'_>, String> {
    let (mut trees, failed) = trees(text, 1);
    match failed {
        Some(f) => Err(format!("{}:{} {}", f.spot.line, f.spot.column, f.message)),
        None => trees.pop().ok_or_else(|| "nothing".to_owned()),
    }
}

#[test]
fn plain_scalars_read_as_kubernetes_reads_them() {
    for (text, want) in [
        ("1", "Unsigned(1)"),
        ("-1", "Signed(-1)"),
        ("0x10", "Unsigned(16)"),
        ("010", "Unsigned(8)"),
        ("1_000", "Unsigned(1000)"),
        ("1.5", "Float(1.5)"),
        ("1e3", "Float(1000.0)"),
        ("yes", "Bool(true)"),
        ("Off", "Bool(false)"),
        ("'yes'", "Text(\"yes\")"),
        ("\"1\"", "Text(\"1\")"),
        ("100%", "Text(\"100%\")"),
        ("1.2.3", "Text(\"1.2.3\")"),
        ("10s", "Text(\"10s\")"),
        ("- ", "List([Node { spot: Spot { line: 1, column: 3 }, tree: Null }])"),
        ("!!str 12", "Text(\"12\")"),
        ("2024-01-01T00:00:00Z", "Text(\"2024-01-01T00:00:00Z\")"),
    ] {
        let got = only(text).map(|n| format!("{:?}", n.tree));
        if text == "- " {
            assert!(got.is_ok_and(|g| g.contains("Null")), "{text}");
        } else {
            assert_eq!(got.as_deref(), Ok(want), "{text}");
        }
    }
}

#[test]
fn every_node_knows_its_place() -> Result<(), String> {
    let node = only("a:\n  - b: 1\n    c: two\n")?;
    let a = node.get("a").ok_or("a")?;
    let Tree::List(items) = &a.tree else { return Err("a list".into()) };
    let Tree::Map(entries) = &items[0].tree else { return Err("a map".into()) };
    let spots: Vec<_> = entries.iter().map(|(k, n)| (k.spot.line, k.spot.column, n.spot.line, n.spot.column)).collect();
    assert_eq!(spots, [(2, 5, 2, 8), (3, 5, 3, 8)]);
    Ok(())
}

#[test]
fn merge_keys_and_aliases_are_resolved() -> Result<(), String> {
    let node = only("base: &b {x: 1, y: 2}\nmine:\n  <<: *b\n  y: 3\n")?;
    let mine = node.get("mine").ok_or("mine")?;
    assert!(matches!(mine.get("x").map(|n| &n.tree), Some(Tree::Unsigned(1))));
    assert!(matches!(mine.get("y").map(|n| &n.tree), Some(Tree::Unsigned(3))));
    Ok(())
}

#[test]
fn what_costs_too_much_is_refused() {
    let bomb: String = std::iter::once("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned())
        .chain((1..9).map(|i| format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(", "))))
        .collect();
    assert!(only(&bomb).is_err_and(|e| e.contains("more than 100000 nodes")));
    assert!(only(&"[".repeat(1_000_000)).is_err());
    assert!(only(&format!("{}{}", "[".repeat(65), "]".repeat(65))).is_err_and(|e| e.contains("deeper than 64")));
    assert!(only(&(0..100).map(|i| format!("{}a:\n", " ".repeat(i))).collect::<String>()).is_err_and(|e| e.contains("deeper than 64")));
    assert!(only("a: 1\nb: 2\na: 3\n").is_err_and(|e| e == "3:1 the key `a` stands here twice"));
    assert!(only("a: &a [*a]").is_err());
}

#[test]
fn json_with_tabs_is_still_json() {
    assert!(only("{\n\t\"a\": \"\\ud83d\\ude00\",\n\t\"b\": [1, -2, 1.5, true, null]\n}").is_ok());
}
