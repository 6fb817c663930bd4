//! Whatever stands in a file: reading and validating end, and do not panic.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use isthmus_config::bootstrap::Bootstrap;
use isthmus_config::mesh::MeshConfig;
use isthmus_config::name::ClusterId;
use isthmus_config::parse::parse;
use isthmus_config::validate::validate;
use proptest::prelude::*;

/// The inputs of the golden cases, to be damaged.
static CASES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/parse");
    let mut paths: Vec<_> = std::fs::read_dir(folder).expect("the golden cases").map(|entry| entry.expect("a case").path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(".in.yaml"));
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a readable case")).collect()
});

/// Pieces that mean something to YAML, or to our kinds.
const PIECES: [&str; 24] = [
    "\n",
    "  ",
    "\t",
    "- ",
    ": ",
    "? ",
    "{",
    "}",
    "[",
    "]",
    "&a ",
    "*a",
    "<<: ",
    "!!str ",
    "|\n",
    ">-\n",
    "'",
    "\"",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "#",
    "null",
    "-1",
];

fn read(bytes: &[u8]) {
    let parsed = parse(bytes, &ClusterId::default(), &Arc::from("f.yaml"));
    for document in &parsed.documents {
        for problem in validate(document) {
            problem.origin.spot(&problem.path);
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Bootstrap::parse(text, Path::new("isthmus.yaml"));
        let _ = MeshConfig::parse(text, Path::new("mesh.yaml"));
    }
}

#[derive(Clone, Debug)]
enum Damage {
    Cut(usize, usize),
    Insert(usize, usize),
    Byte(usize, u8),
    Double(usize, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<usize>(), 0..40usize).prop_map(|(at, length)| Damage::Cut(at, length)),
        (any::<usize>(), 0..PIECES.len()).prop_map(|(at, piece)| Damage::Insert(at, piece)),
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        (any::<usize>(), 0..200usize).prop_map(|(at, length)| Damage::Double(at, length)),
    ]
}

fn damaged(mut text: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        let place = |at: usize| at % (text.len() + 1);
        match damage {
            Damage::Cut(at, length) => drop(text.drain(place(*at)..(place(*at) + length).min(text.len()))),
            Damage::Insert(at, piece) => drop(text.splice(place(*at)..place(*at), PIECES[*piece].bytes()).collect::<Vec<_>>()),
            Damage::Byte(at, byte) => text.insert(place(*at), *byte),
            Damage::Double(at, length) => {
                let part = text[place(*at)..(place(*at) + length).min(text.len())].to_vec();
                let at = place(*at);
                drop(text.splice(at..at, part).collect::<Vec<_>>());
            }
        }
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        read(&bytes);
    }

    #[test]
    fn pieces_of_yaml(pieces in proptest::collection::vec(0..PIECES.len(), 0..60)) {
        read(pieces.iter().map(|piece| PIECES[*piece]).collect::<String>().as_bytes());
    }

    #[test]
    fn damaged_objects(case in any::<prop::sample::Index>(), damages in proptest::collection::vec(damage(), 1..8)) {
        read(&damaged(case.get(&CASES).clone(), &damages));
    }
}
