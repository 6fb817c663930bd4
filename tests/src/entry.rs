//! Where bytes of strangers enter, as functions of bytes: the fuzz targets (`fuzz/`) and the property tests (`tests/entries.rs`) run the same ones.
//!
//! Each asserts what must hold for any input; none may panic otherwise, nor take long.

use std::sync::Arc;

use isthmus_config::istio::virtual_service::HttpMatchRequest;
use isthmus_config::name::{ClusterId, Hostname};
use isthmus_config::value::StringMatch;
use isthmus_core::route::{Head, HostTable, Match, Order, PathNormalization, Patterns, Position, RouteIndex, Scratch, Target};

/// The gateway's own file: it is a binary, so its pure parser is built in here once more.
#[path = "../../gateway/src/listener/proxy_header.rs"]
mod proxy_header;

/// A file of configuration: every problem says where it is, on a line that the file has.
pub fn parse(bytes: &[u8]) {
    let parsed = isthmus_config::parse::parse(bytes, &ClusterId::new("c"), &Arc::from("f.yaml"));
    let lines = bytes.split(|b| *b == b'\n').count();
    for problem in &parsed.problems {
        let line = problem.origin.spot(&problem.path).line as usize;
        assert!(line <= lines + 1, "line {line} of {lines}: {problem:?}");
    }
}

/// A line a rule (`=` exact, `^` prefix, `~` regex, `*` any; a method may stand before it), the last line a request's target: the index finds the
/// route that the rules name one by one, and no dot segment is left.
pub fn route(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines: Vec<&str> = text.split('\n').collect();
    let Some(raw) = lines.pop() else { return };
    let Ok(target) = Target::parse(raw, PathNormalization::Base) else { return };
    assert!(!target.path.split('/').any(|s| s == "." || s == ".."), "dot segments are left in {:?}", target.path);
    let rules: Vec<Match> = lines.iter().take(200).filter_map(|l| Match::compile(&rule(l), &mut Patterns::default()).ok()).collect();
    let headers = http::HeaderMap::new();
    let head = Head { method: "GET", scheme: "http", authority: "a.test", path: &target.path, query: target.query, headers: &headers };
    let by_line = rules.iter().position(|r| r.matches(&head).is_ok());
    let filed: Vec<_> = (0..).zip(&rules).map(|(place, rule)| (Position::new(0, place, false), rule)).collect();
    let mut index = RouteIndex::default();
    index.change(&[], &filed, Order::of([0].into_iter(), 1));
    let by_index = index.find(&head, &mut Scratch::default(), |position| rules.get(position.place()));
    assert_eq!(by_index.map(Position::place), by_line, "{raw:?} among {lines:?}");
}

fn rule(line: &str) -> HttpMatchRequest {
    let (method, line) = line.split_once(' ').map_or((None, line), |(m, l)| (Some(StringMatch::Exact(m.to_owned())), l));
    let mut chars = line.chars();
    let uri = match chars.next() {
        Some('=') => Some(StringMatch::Exact(chars.as_str().to_owned())),
        Some('^') => Some(StringMatch::Prefix(chars.as_str().to_owned())),
        Some('~') => Some(StringMatch::Regex(chars.as_str().to_owned())),
        _ => None,
    };
    HttpMatchRequest { uri, method: method.map(Box::new), ..HttpMatchRequest::default() }
}

/// The first bytes of a connection where a PROXY header is expected: a header never reaches beyond the bytes, it reads the same whatever follows it, and
/// no shorter beginning of it is one.
pub fn sniff(bytes: &[u8]) {
    use proxy_header::Parsed;
    let parsed = proxy_header::parse(bytes);
    if let Parsed::Header(header) = parsed {
        assert!(header.length <= bytes.len(), "a header of {} in {} bytes", header.length, bytes.len());
        assert_eq!(proxy_header::parse(&[bytes, b"GET / HTTP/1.1"].concat()), parsed);
        let shorter = (0..header.length).find(|n| !matches!(proxy_header::parse(&bytes[..*n]), Parsed::Partial));
        assert_eq!(shorter, None, "the first bytes of a header are its beginning");
        assert!(header.source.is_none_or(|_| !bytes.starts_with(b"PROXY UNKNOWN")));
    }
}

/// A line a host of a virtual host, the last line a Host header: an exact name wins, else the longest wildcard.
pub fn host(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines: Vec<&str> = text.split('\n').collect();
    let Some(asked) = lines.pop() else { return };
    let names: Vec<Hostname> = lines.iter().filter(|l| !l.is_empty()).map(|l| Hostname::new(l)).collect();
    let table = HostTable::build(names.iter().cloned().zip(0..));
    if let Some(found) = table.find(asked) {
        // An IPv6 address is one name, with and without its brackets.
        let bare = |t: &str| t.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(t).to_owned();
        let name = bare(names[found as usize].as_str());
        let asked = bare(&isthmus_core::route::without_port(asked).to_ascii_lowercase());
        assert!(name == asked || name == "*" || name.strip_prefix('*').is_some_and(|s| asked.ends_with(s)), "{asked:?} finds {name:?}");
    }
}
