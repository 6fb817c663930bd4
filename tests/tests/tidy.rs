//! The order of the tree, asserted: heads, sizes, who may import whom, a core without clock, chance, environment, async or locks, nothing left over.
//!
//! Each rule reads one file and names what breaks it; each has a text beside it that must be caught and one that must pass.

use isthmus_tests::project::{File, files};

/// A rule: its name and what it finds wrong in one file.
type Rule = (&'static str, fn(&File) -> Vec<String>);

const RULES: [Rule; 9] = [
    ("every source file opens with //!", head),
    ("at most 400 lines in a file", size),
    ("rooms of the core import in order", core_order),
    ("the core has no clock, chance, environment, async or lock", core_purity),
    ("the gateway's data path does not know its frame", gateway_order),
    ("a crate imports only what its layer may", layers),
    ("nothing is left over", left_over),
    ("no test is skipped, no warning silenced", silenced),
    ("no path outside the project", outside),
];

#[test]
fn the_project_is_tidy() {
    let files = files();
    assert!(files.iter().any(|f| f.path == "gateway/core/src/lib.rs"), "the project's files are found");
    let wrong: Vec<String> = files
        .iter()
        .flat_map(|f| RULES.iter().flat_map(move |(rule, find)| find(f).into_iter().map(move |w| format!("{}: {w} ({rule})", f.path))))
        .collect();
    assert!(wrong.is_empty(), "{} findings:\n{}", wrong.len(), wrong.join("\n"));
}

/// The part of a source file that is shipped: what stands before its tests.
fn shipped(f: &File) -> Option<&str> {
    let tests = f.path.ends_with("/tests.rs") || f.path.contains("/tests/");
    (f.path.ends_with(".rs") && !tests).then(|| f.text.split("#[cfg(test)]").next().unwrap_or_default())
}

/// Its lines of code, numbered from 1, without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(n, l)| (n + 1, l.split(" // ").next().unwrap_or_default().trim()));
    lines.filter(|(_, l)| !l.is_empty() && !l.starts_with("//"))
}

fn head(f: &File) -> Vec<String> {
    if !f.path.ends_with(".rs") || f.text.starts_with("//! ") {
        return Vec::new();
    }
    vec!["does not open with `//! `".into()]
}

fn size(f: &File) -> Vec<String> {
    if !f.path.ends_with(".rs") {
        return Vec::new();
    }
    let lines = f.text.lines().count();
    if lines > 400 { vec![format!("{lines} lines: split by idea")] } else { Vec::new() }
}

/// What each room of the core may import beside itself: model < route, policy, balance < snapshot < compile < analyze; snapshot < whatif; failure < decide < explain.
const ROOMS: [(&str, &[&str]); 13] = [
    ("text", &[]),
    ("model", &[]),
    ("failure", &["model"]),
    ("join", &["model"]),
    ("route", &["text", "model", "failure", "policy", "balance"]),
    ("policy", &["model", "failure", "route", "balance"]),
    ("balance", &["model", "failure", "route", "policy"]),
    ("snapshot", &["model", "failure", "route", "policy", "balance"]),
    ("compile", &["model", "failure", "join", "route", "policy", "balance", "snapshot"]),
    ("analyze", &["model", "failure", "join", "route", "policy", "balance", "snapshot", "compile"]),
    ("whatif", &["model", "failure", "route", "policy", "balance", "snapshot"]),
    ("decide", &["model", "failure", "route", "policy", "balance", "snapshot"]),
    ("explain", &["model", "failure", "join", "route", "policy", "balance", "snapshot", "compile", "analyze", "decide"]),
];

fn core_order(f: &File) -> Vec<String> {
    let Some((room, text)) = f.path.strip_prefix("gateway/core/src/").zip(shipped(f)) else { return Vec::new() };
    let room = room.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    if room == "lib" {
        return Vec::new();
    }
    let Some((_, allowed)) = ROOMS.iter().find(|(r, _)| *r == room) else { return vec![format!("`{room}` is no room of the core")] };
    let wrong = imports(&f.path, text).into_iter().filter(|(_, to)| to != room && !allowed.contains(&to.as_str()));
    wrong.map(|(line, to)| format!("line {line}: `{room}` imports `{to}`")).collect()
}

/// The modules at the root of its crate that a file names, by line.
fn imports(path: &str, text: &str) -> Vec<(usize, String)> {
    let below = path.split_once("src/").map(|(_, p)| p).unwrap_or_default();
    let depth = below.split('/').count() - usize::from(below.ends_with("mod.rs"));
    let supers = "super::".repeat(depth);
    let (mut found, mut group) = (Vec::new(), 0);
    for (n, line) in code(text) {
        for start in ["crate::", &supers] {
            for (at, _) in line.match_indices(start) {
                if line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                    continue;
                }
                let rest = &line[at + start.len()..];
                match rest.strip_prefix('{') {
                    Some(list) => group = top_level(list, 1, n, &mut found),
                    None => found.extend(word(rest).map(|w| (n, w))),
                }
            }
        }
        if group > 0 && !line.contains("crate::{") && !line.contains(&format!("{supers}{{")) {
            group = top_level(line, group, n, &mut found);
        }
    }
    found.retain(|(_, w)| w.starts_with(|c: char| c.is_lowercase()) && !["super", "self", "crate"].contains(&w.as_str()));
    found
}

/// Adds the names at the first level of an import's braces; the depth at the end of the line.
fn top_level(list: &str, mut depth: usize, line: usize, found: &mut Vec<(usize, String)>) -> usize {
    let mut fresh = true;
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' => fresh = true,
            c if c.is_whitespace() => {}
            _ => {
                if fresh && depth == 1 {
                    found.extend(word(&list[at..]).map(|w| (line, w)));
                }
                fresh = false;
            }
        }
        if depth == 0 {
            break;
        }
    }
    depth
}

fn word(text: &str) -> Option<String> {
    let w: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!w.is_empty()).then_some(w)
}

/// The lines of code in which one of `words` stands by itself.
fn naming(text: &str, words: &[&str]) -> Vec<String> {
    let alone = |line: &str, w: &str| {
        let (open, close) = (w.starts_with(char::is_alphanumeric), w.ends_with(char::is_alphanumeric));
        let part = |c: char| c.is_alphanumeric() || c == '_';
        line.match_indices(w).any(|(at, _)| {
            let (joined_before, joined_after) = (open && line[..at].ends_with(part), close && line[at + w.len()..].starts_with(part));
            !joined_before && !joined_after
        })
    };
    code(text).flat_map(|(n, l)| words.iter().filter(move |w| alone(l, w)).map(move |w| format!("line {n}: `{w}`"))).collect()
}

fn core_purity(f: &File) -> Vec<String> {
    let Some((_, text)) = f.path.strip_prefix("gateway/core/src/").zip(shipped(f)) else { return Vec::new() };
    let forbidden = [
        "Instant::now",
        "SystemTime::now",
        "rand::rng",
        "thread_rng",
        "std::env",
        "async fn",
        "async move",
        ".await",
        "Mutex",
        "RwLock",
        "std::fs",
        "std::thread",
    ];
    naming(text, &forbidden)
}

fn gateway_order(f: &File) -> Vec<String> {
    let Some((room, text)) = f.path.strip_prefix("gateway/src/").zip(shipped(f)) else { return Vec::new() };
    let room = room.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    if !["listener", "upstream", "proxy"].contains(&room) {
        return Vec::new();
    }
    let frame = ["admin", "cli", "app", "reconcile", "main"];
    imports(&f.path, text)
        .into_iter()
        .filter(|(_, to)| frame.contains(&to.as_str()))
        .map(|(n, to)| format!("line {n}: `{room}` imports `{to}`"))
        .collect()
}

/// By folder: the crates that it must not name, in its manifest or its code.
const LAYERS: [(&str, &[&str]); 3] = [
    ("config/", &["tokio", "pingora", "kube", "tonic", "isthmus_core", "isthmus_discovery"]),
    ("gateway/core/", &["tokio", "pingora", "kube", "tonic", "isthmus_discovery"]),
    ("discovery/", &["pingora", "isthmus_core::compile", "isthmus_core::decide", "isthmus_core::balance", "isthmus_core::snapshot"]),
];

fn layers(f: &File) -> Vec<String> {
    let Some((folder, crates)) = LAYERS.iter().find(|(folder, _)| f.path.starts_with(folder)) else { return Vec::new() };
    let manifest = f.path == format!("{folder}Cargo.toml");
    let named = |line: &str, c: &str| {
        if manifest {
            return line.starts_with(&c.replace('_', "-"));
        }
        line.match_indices(c).any(|(at, _)| {
            let before = line[..at].chars().next_back().is_none_or(|b| !b.is_alphanumeric() && b != '_' && b != ':');
            let after = &line[at + c.len()..];
            before && (after.starts_with("::") || after.starts_with("_core::") || after.starts_with("_http::") || after.starts_with("_error::"))
        })
    };
    // What only tests use does not ship: neither a test's code nor a manifest's dev-dependencies.
    let text = if manifest { f.text.split("[dev-dependencies]").next() } else { shipped(f) };
    code(text.unwrap_or_default())
        .flat_map(|(n, l)| crates.iter().filter(move |c| named(l, c)).map(move |c| format!("line {n}: names `{c}`")))
        .collect()
}

fn left_over(f: &File) -> Vec<String> {
    let source = [".rs", ".py", ".sh", ".toml", ".yaml", "Makefile", "run"].iter().any(|e| f.path.ends_with(e));
    if !source || f.path == "tests/tests/tidy.rs" {
        return Vec::new();
    }
    let mut found: Vec<String> = f
        .text
        .lines()
        .enumerate()
        .filter(|(_, l)| ["TODO", "FIXME", "XXX"].iter().any(|w| l.contains(w)))
        .map(|(n, _)| format!("line {}: unfinished", n + 1))
        .collect();
    if f.path.ends_with(".rs") {
        found.extend(naming(&f.text, &["todo!", "unimplemented!", "dbg!", "Under construction"]));
        found.extend(f.text.contains("//! Under construction").then(|| "under construction".to_owned()));
    }
    found
}

fn silenced(f: &File) -> Vec<String> {
    if !f.path.ends_with(".rs") || f.path == "tests/tests/tidy.rs" {
        return Vec::new();
    }
    naming(&f.text, &["#[ignore", "allow(dead_code", "allow(unused", "allow(clippy::all"])
}

fn outside(f: &File) -> Vec<String> {
    // Put together here, so that this file does not break its own rule.
    let places = [
        concat!("..", "/shared"),
        concat!("/", "work/"),
        concat!("/", "farm/"),
        concat!("/", "root/"),
        concat!("/", "home/"),
        concat!("/tmp/", "brief"),
    ];
    let lines = f.text.lines().enumerate();
    lines.flat_map(|(n, l)| places.iter().filter(move |p| l.contains(**p)).map(move |p| format!("line {}: `{p}`", n + 1))).collect()
}

/// The wrong text beside the right one, for every rule.
#[test]
fn each_rule_catches_its_wrong_text() {
    let core = "gateway/core/src/";
    let rows: [(&str, String, &str, &str); 21] = [
        ("head", "config/src/a.rs".into(), "use std::fmt;\n", "//! What it is for.\n"),
        ("size", "config/src/a.rs".into(), &("// why\n".repeat(200) + &"let a = 1;\n".repeat(201)), &"let a = 1;\n".repeat(400)),
        ("order", format!("{core}route/mod.rs"), "use crate::compile::Plan;", "use crate::model::Service;"),
        ("order", format!("{core}model/mod.rs"), "use super::balance::View;", "use super::model::View;"),
        ("order", format!("{core}model/service.rs"), "use super::super::route;", "use super::endpoint::Endpoint;"),
        (
            "order",
            format!("{core}balance/view.rs"),
            "use crate::{model::Service, snapshot::Snapshot};",
            "use crate::{model::{Service, snapshot}, policy};",
        ),
        (
            "order",
            format!("{core}compile/mod.rs"),
            "use crate::{\n    model::Service,\n    decide::Exchange,\n};",
            "use crate::{\n    model::Service,\n    snapshot::{\n        decide,\n    },\n};",
        ),
        ("order", format!("{core}failure.rs"), "fn f() { crate::decide::step() }", "// crate::decide is not ours"),
        ("order", format!("{core}lobby.rs"), "struct A;", "#[cfg(test)]"),
        ("purity", format!("{core}decide/mod.rs"), "let now = std::time::Instant::now();", "#[cfg(test)]\nlet now = std::time::Instant::now();"),
        ("purity", format!("{core}decide/mod.rs"), "state: RwLock<u8>,", "state: MyRwLocks,"),
        ("purity", format!("{core}decide/mod.rs"), "let a = f().await;", "// f().await belongs to the engine"),
        ("gateway", "gateway/src/proxy/http.rs".into(), "use crate::admin::Explain;", "use crate::observe::Metrics;"),
        (
            "layers",
            "gateway/core/Cargo.toml".into(),
            "tokio.workspace = true",
            "thiserror.workspace = true\n[dev-dependencies]\ntokio.workspace = true",
        ),
        ("layers", "config/src/a.rs".into(), "use isthmus_core::model;", "use serde::Deserialize;"),
        ("layers", "discovery/src/a.rs".into(), "use pingora_core::server;", "use isthmus_core::model::Service;"),
        ("left", "tests/a.py".into(), "# TODO: write", "# Todos are for people."),
        ("left", "config/src/a.rs".into(), "fn f() { todo!() }", "fn todo() {}"),
        ("silenced", "config/src/a.rs".into(), "#[ignore = \"slow\"]", "fn ignore() {}"),
        ("silenced", "config/src/a.rs".into(), "#[allow(dead_code)]", "#[expect(dead_code, reason = \"a\")]"),
        ("outside", "docs/a.md".into(), concat!("see ..", "/shared/design.md"), "see docs/configuration.md"),
    ];
    for (rule, path, wrong, right) in rows {
        let find = match rule {
            "head" => head,
            "size" => size,
            "order" => core_order,
            "purity" => core_purity,
            "gateway" => gateway_order,
            "layers" => layers,
            "left" => left_over,
            "silenced" => silenced,
            _ => outside,
        };
        let run = |text: &str| find(&File { path: path.clone(), text: text.into() });
        assert!(!run(wrong).is_empty(), "{rule} does not catch {wrong:?} in {path}");
        let lobby = path.ends_with("lobby.rs");
        assert!(lobby || run(right).is_empty(), "{rule} finds {:?} in {right:?} in {path}", run(right));
    }
}
