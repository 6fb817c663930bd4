//! The index against the linear matcher, how few routes it tries, and what a change leaves alone.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use isthmus_config::istio::virtual_service::HttpMatchRequest;
use isthmus_config::value::StringMatch;
use proptest::prelude::*;

use super::regexes::{CACHES, SET};
use super::*;
use crate::route::Patterns;
use crate::route::pattern::Set;

fn compile(requests: &[HttpMatchRequest]) -> Vec<Match> {
    requests.iter().map(|r| Match::compile(r, &mut Patterns::default()).expect("a match block that compiles")).collect()
}

/// All routes as one part.
fn filed(matches: &[Match]) -> Vec<Filed<'_>> {
    (0..).zip(matches).map(|(place, route)| (Position::new(0, place, false), route)).collect()
}

fn build(matches: &[Match]) -> RouteIndex {
    let mut index = RouteIndex::default();
    index.change(&[], &filed(matches), Order::of([0].into_iter(), 1));
    index
}

fn find(index: &RouteIndex, head: &Head<'_>, scratch: &mut Scratch, matches: &[Match]) -> Option<usize> {
    index.find(head, scratch, |position| matches.get(position.place())).map(Position::place)
}

fn uri(want: StringMatch) -> HttpMatchRequest {
    HttpMatchRequest { uri: Some(want), ..HttpMatchRequest::default() }
}

fn with_header(name: &str, value: &str) -> HttpMatchRequest {
    let headers = [(name.into(), StringMatch::Exact(value.to_owned()))].into();
    HttpMatchRequest { headers, ..HttpMatchRequest::default() }
}

const MANY: usize = 10_000;

/// Finds the winner among many routes, and how many were tried on the way.
fn check(about: &str, route: impl Fn(usize) -> HttpMatchRequest, head: impl Fn(usize) -> (String, String, HeaderMap)) {
    let mut requests: Vec<_> = (0..MANY).map(route).collect();
    requests.push(HttpMatchRequest::default());
    let matches = compile(&requests);
    let index = build(&matches);
    let mut scratch = Scratch::default();
    for (at, want) in [(0, 0), (77, 77), (MANY / 2, MANY / 2), (MANY - 1, MANY - 1), (MANY + 5, MANY)] {
        let (authority, path, headers) = head(at);
        let head = Head { method: "GET", scheme: "http", authority: &authority, path: &path, query: None, headers: &headers };
        assert_eq!(find(&index, &head, &mut scratch, &matches), Some(want), "{about} {at}");
        assert!(scratch.tried <= 8, "{about} {at}: tried {}", scratch.tried);
    }
}

fn path(path: String) -> (String, String, HeaderMap) {
    ("a.com".into(), path, HeaderMap::new())
}

#[test]
fn a_lookup_among_many_routes_tries_few() {
    check("exact", |i| uri(StringMatch::Exact(format!("/svc/{i}"))), |i| path(format!("/svc/{i}")));
    check("prefix", |i| uri(StringMatch::Prefix(format!("/svc/{i}/"))), |i| path(format!("/svc/{i}/x")));
    check("regex with an own beginning", |i| uri(StringMatch::Regex(format!("/svc{i}/[a-z]+"))), |i| path(format!("/svc{i}/x")));
    let fold = |i| HttpMatchRequest { ignore_uri_case: true, ..uri(StringMatch::Prefix(format!("/Svc/{i}/"))) };
    check("ignoreUriCase", fold, |i| path(format!("/sVC/{i}/x")));
    check(
        "header",
        |i| with_header("x-user", &format!("u{i}")),
        |i| {
            let headers = [("x-user".parse().unwrap(), format!("u{i}").parse().unwrap())].into_iter().collect();
            ("a.com".into(), "/x".into(), headers)
        },
    );
    check(
        "header names",
        |i| with_header(&format!("x-{i}"), "1"),
        |i| {
            let headers = [(HeaderName::try_from(format!("x-{i}")).unwrap(), "1".parse().unwrap())].into_iter().collect();
            ("a.com".into(), "/x".into(), headers)
        },
    );
    let authority = |i: usize| StringMatch::Exact(format!("t{i}.com"));
    let both = |i| HttpMatchRequest {
        authority: Some(authority(i).into()),
        method: Some(StringMatch::Exact("GET".into()).into()),
        ..uri(StringMatch::Prefix("/".into()))
    };
    check("authority", both, |i| (format!("t{i}.com"), "/x".into(), HeaderMap::new()));
}

#[test]
fn regexes_that_begin_alike_are_searched_in_sets() {
    let requests: Vec<_> = (0..500).map(|i| uri(StringMatch::Regex(format!("/[a-z]+/{i}")))).collect();
    let matches = compile(&requests);
    let index = build(&matches);
    let chunks: Vec<_> = sets(&index).into_iter().map(|(_, patterns)| patterns).collect();
    assert!(chunks.iter().all(|len| *len <= SET) && chunks.iter().sum::<usize>() == 500, "{chunks:?}");
    let mut scratch = Scratch::default();
    let headers = HeaderMap::new();
    for at in [0, 1, 250, 499] {
        let path = format!("/abc/{at}");
        let head = Head { method: "GET", scheme: "http", authority: "", path: &path, query: None, headers: &headers };
        assert_eq!(find(&index, &head, &mut scratch, &matches), Some(at));
        assert_eq!(scratch.tried, 1);
    }
}

fn sets(index: &RouteIndex) -> Vec<(*const Set, usize)> {
    index.paths.values().flat_map(|leaf| leaf.regexes.sets()).map(|(set, patterns)| (Arc::as_ptr(set), patterns)).collect()
}

#[test]
fn a_change_compiles_the_sets_that_it_touches() {
    let requests: Vec<_> = (0..1000).map(|i| uri(StringMatch::Regex(format!("/[a-z]+/{i}")))).collect();
    let matches = compile(&requests);
    let before = build(&matches);
    let known = sets(&before);
    let fresh = |index: &RouteIndex| sets(index).into_iter().filter(|set| !known.contains(set)).count();
    let other = compile(&[uri(StringMatch::Regex("/[0-9]".into())), uri(StringMatch::Regex("/[a-z]+/7".into()))]);
    let (first, second) = ((Position::new(1, 0, false), &other[0]), (Position::new(1, 1, false), &other[1]));
    let mut after = before.clone();
    after.change(&[], &[first, second], Order::of([1, 0].into_iter(), 2));
    assert!(fresh(&after) <= 3 && known.len() > 10, "{} of {} are new", fresh(&after), known.len());
    let headers = HeaderMap::new();
    let mut scratch = Scratch::default();
    let mut tries = |index: &RouteIndex, path: &str| {
        let head = Head { method: "GET", scheme: "http", authority: "", path, query: None, headers: &headers };
        index.find(&head, &mut scratch, |p| if p.part() == 0 { matches.get(p.place()) } else { other.get(p.place()) })
    };
    assert_eq!(tries(&after, "/5"), Some(first.0));
    assert_eq!(tries(&after, "/x/7"), Some(second.0), "of one pattern in two parts the first part's");
    assert_eq!(tries(&before, "/x/7"), Some(Position::new(0, 7, false)), "the version before is what it was");
    after.change(&[first, second], &[], Order::of([0].into_iter(), 2));
    assert_eq!((tries(&after, "/5"), tries(&after, "/x/7")), (None, Some(Position::new(0, 7, false))));
    let filed = filed(&matches);
    for gone in filed[10..].chunks(5) {
        after.change(gone, &[], Order::of([0].into_iter(), 2));
    }
    assert_eq!(sets(&after).iter().map(|(_, patterns)| patterns).collect::<Vec<_>>(), [&10], "small sets are joined");
    assert_eq!((tries(&after, "/x/9"), tries(&after, "/x/10")), (Some(filed[9].0), None));
    after.change(&filed[..10], &[], Order::of([].into_iter(), 2));
    assert!(after.paths.is_empty());
}

#[test]
fn a_search_that_gives_up_leaves_the_routes_to_be_tried() {
    let requests: Vec<_> = (0..6).map(|i| uri(StringMatch::Regex(format!("/[ab]*a[ab]{{18}}{i}")))).collect();
    let matches = compile(&requests);
    // Bits of a simple generator, so that the text visits ever new states of the automaton.
    let mut bits = 1u32;
    let mut path = String::from("/");
    for _ in 0..20_000 {
        bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        path.push(if bits >> 31 == 0 { 'a' } else { 'b' });
    }
    path.push_str(&format!("a{}3", "b".repeat(18)));
    let headers = HeaderMap::new();
    let head = Head { method: "GET", scheme: "http", authority: "", path: &path, query: None, headers: &headers };
    let mut scratch = Scratch::default();
    assert_eq!(find(&build(&matches), &head, &mut scratch, &matches), Some(3));
    assert_eq!(scratch.tried, 4, "all up to the winner");
}

#[test]
fn a_worker_forgets_sets_that_are_gone() {
    let mut scratch = Scratch::default();
    let headers = HeaderMap::new();
    let head = Head { method: "GET", scheme: "http", authority: "", path: "/a/1", query: None, headers: &headers };
    for round in 0..CACHES {
        let requests: Vec<_> = (0..8).map(|i| uri(StringMatch::Regex(format!("/[a-z]+/{i}(x{round})?")))).collect();
        let matches = compile(&requests);
        assert_eq!(find(&build(&matches), &head, &mut scratch, &matches), Some(1));
    }
    assert!(scratch.caches.len() <= CACHES, "{}", scratch.caches.len());
}

fn text() -> impl Strategy<Value = StringMatch> {
    let word = "[ab]{0,2}";
    prop_oneof![
        word.prop_map(StringMatch::Exact),
        word.prop_map(StringMatch::Prefix),
        prop_oneof![Just("a*".to_owned()), Just("a|b".to_owned()), Just("*".to_owned()), Just("b.".to_owned())].prop_map(StringMatch::Regex),
        Just(StringMatch::Present),
    ]
}

fn some_uri() -> impl Strategy<Value = Option<StringMatch>> {
    let path = "/[abA/]{0,4}";
    // Most begin with the same text, so that they come into sets.
    let regex = prop_oneof![
        6 => r"/\(a\|b\)[abA.]{0,3}",
        1 => "/[ab]{0,2}[*?]?",
        1 => Just("/a.*".to_owned()),
        1 => Just("/a|/b".to_owned()),
        1 => Just(".*".to_owned()),
    ];
    prop_oneof![
        1 => Just(None),
        2 => path.prop_map(|p| Some(StringMatch::Exact(p))),
        3 => path.prop_map(|p| Some(StringMatch::Prefix(p))),
        3 => regex.prop_map(|p| Some(StringMatch::Regex(p))),
    ]
}

fn block() -> impl Strategy<Value = HttpMatchRequest> {
    let map = || prop::collection::btree_map("x-[ab]".prop_map(Arc::from), text(), 0..2);
    let own = || prop::option::weighted(0.2, text());
    (some_uri(), prop::bool::weighted(0.2), map(), map(), own(), own(), prop::option::weighted(0.2, text())).prop_map(
        |(uri, ignore_uri_case, headers, without_headers, method, authority, query)| HttpMatchRequest {
            uri,
            ignore_uri_case,
            headers: headers.into_iter().collect(),
            without_headers: without_headers.into_iter().take(1).collect(),
            method: method.map(Box::new),
            authority: authority.map(Box::new),
            query_params: query.map(|q| ("q".into(), q)).into_iter().collect(),
            ..HttpMatchRequest::default()
        },
    )
}

type Asked = (String, String, String, Option<String>, Vec<(String, String)>);

fn requests() -> impl Strategy<Value = Vec<Asked>> {
    let fields = prop::collection::vec(("x-[ab]", "[ab]{0,2}"), 0..3);
    prop::collection::vec(("[ab]{0,2}", "[ab]{0,2}", "/[abA/]{0,4}", prop::option::of("(q=[ab]{0,2})?"), fields), 1..20)
}

fn with_head<T>((method, authority, path, query, fields): &Asked, check: impl FnOnce(&Head<'_>) -> T) -> T {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::try_from(name).unwrap(), value.parse().unwrap());
    }
    check(&Head { method, scheme: "http", authority, path, query: query.as_deref(), headers: &headers })
}

/// What becomes of the parts: one comes in at a place, or one goes, or one becomes another.
#[derive(Clone, Debug)]
enum Step {
    Insert(prop::sample::Index, Vec<HttpMatchRequest>),
    Remove(prop::sample::Index),
    Replace(prop::sample::Index, Vec<HttpMatchRequest>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let blocks = || prop::collection::vec(block(), 1..12);
    let step = prop_oneof![
        3 => (any::<prop::sample::Index>(), blocks()).prop_map(|(at, blocks)| Step::Insert(at, blocks)),
        1 => any::<prop::sample::Index>().prop_map(Step::Remove),
        2 => (any::<prop::sample::Index>(), blocks()).prop_map(|(at, blocks)| Step::Replace(at, blocks)),
    ];
    prop::collection::vec(step, 1..12)
}

/// A part as it is filed; a catch-all at its end goes behind all others.
fn part(number: u32, matches: &[Match]) -> Vec<Filed<'_>> {
    let behind = |place: usize, route: &Match| place + 1 == matches.len() && route.is_catch_all();
    matches.iter().enumerate().map(|(place, route)| (Position::new(number, place as u32, behind(place, route)), route)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_index_and_the_linear_matcher_name_one_winner(blocks in prop::collection::vec(block(), 0..40), requests in requests()) {
        let matches = compile(&blocks);
        let index = build(&matches);
        let mut scratch = Scratch::default();
        for request in &requests {
            let (found, linear) = with_head(request, |head| {
                (find(&index, head, &mut scratch, &matches), matches.iter().position(|m| m.matches(head).is_ok()))
            });
            prop_assert_eq!(found, linear);
        }
    }

    #[test]
    fn after_any_history_the_first_part_that_matches_wins(steps in steps(), requests in requests()) {
        let mut parts: Vec<(u32, Vec<Match>)> = Vec::new();
        let (mut index, mut count, mut free) = (RouteIndex::default(), 0, Vec::new());
        let mut scratch = Scratch::default();
        for step in steps {
            let before = index.clone();
            let (gone, new) = match step {
                Step::Insert(at, blocks) => {
                    let number = free.pop().unwrap_or(count);
                    count = count.max(number + 1);
                    parts.insert(at.index(parts.len() + 1), (number, compile(&blocks)));
                    (None, Some(number))
                }
                Step::Remove(_) | Step::Replace(..) if parts.is_empty() => continue,
                Step::Remove(at) => {
                    let gone = parts.remove(at.index(parts.len()));
                    free.push(gone.0);
                    (Some(gone), None)
                }
                Step::Replace(at, blocks) => {
                    let part = &mut parts[at.index(count as usize - free.len())];
                    let old = std::mem::replace(&mut part.1, compile(&blocks));
                    (Some((part.0, old)), Some(part.0))
                }
            };
            let gone: Vec<_> = gone.iter().flat_map(|(number, matches)| part(*number, matches)).collect();
            let new: Vec<_> = parts.iter().filter(|p| Some(p.0) == new).flat_map(|(number, matches)| part(*number, matches)).collect();
            index.change(&gone, &new, Order::of(parts.iter().map(|p| p.0), count as usize));
            let mut all: Vec<_> = parts.iter().flat_map(|(number, matches)| part(*number, matches)).collect();
            all.sort_by_key(|(position, _)| position.place & BEHIND);
            let held = |position| all.iter().find(|(p, _)| *p == position).map(|(_, route)| *route);
            for request in &requests {
                let (found, linear) = with_head(request, |head| {
                    (index.find(head, &mut scratch, held), all.iter().find(|(_, m)| m.matches(head).is_ok()).map(|(p, _)| *p))
                });
                prop_assert_eq!(found, linear);
            }
            // There and back again: what a change leaves behind is what was there before.
            let mut back = index.clone();
            back.change(&new, &gone, before.order().clone());
            prop_assert_eq!(back.paths.is_empty(), before.paths.is_empty());
            prop_assert_eq!(back.paths.values().count(), before.paths.values().count());
        }
    }
}
