//! The fuzz targets' functions under chance: strangers' bytes, and the users' files with pieces changed, cut and doubled.
//!
//! `fuzz/` runs the same functions for as long as one likes: `cargo +nightly fuzz run parse`.

use std::time::{Duration, Instant};

use isthmus_tests::{entry, project};
use proptest::prelude::*;

/// The bytes of every example.
fn examples() -> Vec<Vec<u8>> {
    project::files().into_iter().filter(|f| f.path.starts_with("tests/input/") && f.path.ends_with(".yaml")).map(|f| f.text.into_bytes()).collect()
}

/// Cuts a piece out, doubles it, or puts other bytes in its place.
fn mutate(text: &[u8], at: f64, length: usize, way: u8, bytes: &[u8]) -> Vec<u8> {
    let at = (text.len() as f64 * at) as usize;
    let end = (at + length).min(text.len());
    let piece: &[u8] = match way {
        0 => &[],
        1 => &[&text[at..end], &text[at..end]].concat(),
        _ => bytes,
    };
    [&text[..at], piece, &text[end..]].concat()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parse_takes_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        entry::parse(&bytes);
    }

    #[test]
    fn parse_takes_changed_examples(
        which in any::<prop::sample::Index>(), at in 0.0..1.0, length in 0..60usize, way in 0..3u8, bytes in "[ -~\n]{0,20}",
    ) {
        let examples = examples();
        let text: &Vec<u8> = which.get(&examples);
        entry::parse(&mutate(text, at, length, way, bytes.as_bytes()));
    }

    #[test]
    fn index_and_rules_name_one_route(
        rules in prop::collection::vec("(GET |PUT )?[=^~*](/(a|b|%2e|\\.|\\*|\\[a-b\\]|x+)?){0,3}", 0..30),
        path in "/((a|b|xx|\\.\\.|%2E|%2f|\\.)/?){0,4}(\\?q=1)?",
    ) {
        entry::route(format!("{}\n{path}", rules.join("\n")).as_bytes());
    }

    #[test]
    fn route_takes_any_text(text in "\\PC{0,120}") {
        entry::route(text.as_bytes());
    }

    #[test]
    fn sniff_takes_any_bytes(
        start in prop::sample::select(vec![&b"PROXY TCP4 "[..], b"PROXY TCP6 ", b"PROXY UNKNOWN", b"PROXY", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", b"\r\n\r\n\0\r\nQUIT\n", b""]),
        text in "[0-9a-f.: ]{0,50}(\r\n)?", bytes in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        entry::sniff(&[start, text.as_bytes(), &bytes].concat());
        entry::sniff(&[start, &bytes].concat());
    }

    #[test]
    fn hosts_are_found_only_where_they_belong(
        names in prop::collection::vec("(\\*\\.|\\*)?[a-c]{0,2}(\\.[a-c]{1,2}){0,2}", 0..20), asked in "[a-cA-C.*\\[\\]:0-9]{0,12}",
    ) {
        entry::host(format!("{}\n{asked}", names.join("\n")).as_bytes());
    }
}

/// What would take a careless reader long or much memory is over soon.
#[test]
fn hostile_files_are_over_soon() {
    let bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned()
        + &(1..30).map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(", "))).collect::<String>();
    let rows: [(&str, String); 8] = [
        ("aliases of aliases", bomb),
        ("deep lists", "[".repeat(200_000)),
        ("deep maps", "a: {".repeat(100_000)),
        ("deep indents", (0..3_000).map(|n| " ".repeat(n) + "a:\n").collect()),
        ("one long line", "a".repeat(20_000_000)),
        ("many documents", "---\na: b\n".repeat(200_000)),
        ("many keys", (0..300_000).map(|n| format!("k{n}: v\n")).collect()),
        ("many anchors", (0..100_000).map(|n| format!("k{n}: &x{n} v\n")).collect()),
    ];
    for (name, text) in rows {
        let start = Instant::now();
        entry::parse(text.as_bytes());
        assert!(start.elapsed() < Duration::from_secs(20), "{name} takes {:?}", start.elapsed());
    }
}
