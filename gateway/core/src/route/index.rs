//! The first route that matches, found without trying the routes one by one (design.md 6).
//!
//! Routes are filed under their path condition: exact paths by hash, prefixes in a trie, regexes in the trie under the
//! literal text they begin with, and there, when they are many, in sets of at most 64 that are searched at once. Where
//! many routes share one path condition they are filed once more under one exact header, authority or method.
//!
//! Filing only narrows: each place yields candidate positions in ascending order, [`Match::matches`] decides on each,
//! and the lowest position that matches wins. So Istio's first-match order holds exactly (V-1).

use std::cmp::Reverse;
use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Weak};

use foldhash::fast::FixedState;
use http::HeaderName;
use regex_automata::PatternSet;
use regex_automata::hybrid::dfa;
use smallvec::SmallVec;

use super::Head;
use super::matcher::{Match, Source, Uri};
use super::pattern::{Set, literal_prefix};
use super::trie::Trie;

/// The most patterns that are compiled into one set.
const SET: usize = 64;
/// As many routes are tried in order rather than filed further.
const FEW: usize = 4;
/// Sets whose working memory a worker keeps before it looks for dead ones.
const CACHES: usize = 256;

type Map<K, V> = HashMap<K, V, FixedState>;
/// Positions, ascending.
type Positions = SmallVec<[u32; 2]>;

/// The routes of one virtual host, filed.
#[derive(Debug, Default)]
pub struct RouteIndex {
    exact: Map<Box<str>, Bucket>,
    exact_folded: Map<Box<str>, Bucket>,
    prefix: Trie<Leaf>,
    prefix_folded: Trie<Leaf>,
    has_folded: bool,
}

/// Routes that ask for the same of the path.
#[derive(Debug, Default)]
struct Bucket {
    plain: Positions,
    keyed: Option<Box<Keyed>>,
}

/// Routes filed under one exact condition.
#[derive(Debug, Default)]
struct Keyed {
    methods: Map<Box<str>, Positions>,
    authorities: Map<Box<str>, Positions>,
    headers: Map<HeaderName, Map<Box<[u8]>, Positions>>,
}

/// What stands at one prefix.
#[derive(Debug, Default)]
struct Leaf {
    routes: Bucket,
    /// Regexes that begin with this prefix, too few or too large for a set.
    singles: Positions,
    chunks: Vec<Chunk>,
}

/// A set of patterns, and the routes that each of them stands for.
#[derive(Debug)]
struct Chunk {
    set: Arc<Set>,
    first: u32,
    routes: Box<[Positions]>,
}

/// A worker's own memory for lookups. It serves every index, and forgets those that are gone.
#[derive(Debug, Default)]
pub struct Scratch {
    /// How many routes the last lookup ran the matcher on.
    pub tried: usize,
    folded: String,
    hits: Vec<u32>,
    caches: HashMap<usize, (Weak<Set>, dfa::Cache), FixedState>,
    found: Option<PatternSet>,
}

impl RouteIndex {
    /// Files `matches`, whose order is the order of precedence.
    pub fn build(matches: &[&Match]) -> Self {
        Self::rebuild(matches, &Self::default())
    }
    /// As [`Self::build`], taking over from `previous` the regex sets that did not change.
    pub fn rebuild(matches: &[&Match], previous: &Self) -> Self {
        let mut exact: Map<&str, Vec<u32>> = Map::default();
        let mut exact_folded: Map<&str, Vec<u32>> = Map::default();
        let mut prefix: Trie<Draft<'_>> = Trie::default();
        let mut prefix_folded: Trie<Draft<'_>> = Trie::default();
        for (position, route) in (0..).zip(matches) {
            match route.uri() {
                Uri::Any => prefix.entry(b"/").get_or_insert_default().routes.push(position),
                Uri::Exact(path) => exact.entry(path).or_default().push(position),
                Uri::ExactFolded(path) => exact_folded.entry(path).or_default().push(position),
                Uri::Prefix(path) => prefix.entry(path.as_bytes()).get_or_insert_default().routes.push(position),
                Uri::PrefixFolded(path) => prefix_folded.entry(path.as_bytes()).get_or_insert_default().routes.push(position),
                Uri::Regex(pattern) => {
                    let literal = literal_prefix(pattern.source());
                    prefix.entry(literal.as_bytes()).get_or_insert_default().regexes.push((position, pattern.source()));
                }
            }
        }
        let known: Map<&[Box<str>], &Arc<Set>> = previous.chunks().map(|c| (c.set.sources(), &c.set)).collect();
        let table = |drafts: Map<&str, Vec<u32>>| drafts.into_iter().map(|(path, list)| (path.into(), Bucket::build(&list, matches))).collect();
        let leaf = |draft: Draft<'_>| Leaf::build(draft, matches, &known);
        let has_folded = !exact_folded.is_empty() || !prefix_folded.is_empty();
        Self { exact: table(exact), exact_folded: table(exact_folded), prefix: prefix.map(leaf), prefix_folded: prefix_folded.map(leaf), has_folded }
    }
    /// The lowest position whose match holds; `get` gives the match at a position of the list that was filed.
    pub fn find<'m>(&self, head: &Head<'_>, scratch: &mut Scratch, get: impl Fn(usize) -> &'m Match) -> Option<usize> {
        let mut lists: SmallVec<[&[u32]; 16]> = SmallVec::new();
        let mut chunks: SmallVec<[&Chunk; 8]> = SmallVec::new();
        if let Some(bucket) = self.exact.get(head.path) {
            bucket.collect(head, &mut lists);
        }
        self.prefix.walk(head.path.as_bytes(), |leaf| leaf.collect(head, &mut lists, &mut chunks));
        if self.has_folded {
            scratch.folded.clear();
            scratch.folded.push_str(head.path);
            scratch.folded.make_ascii_lowercase();
            if let Some(bucket) = self.exact_folded.get(scratch.folded.as_str()) {
                bucket.collect(head, &mut lists);
            }
            self.prefix_folded.walk(scratch.folded.as_bytes(), |leaf| leaf.collect(head, &mut lists, &mut chunks));
        }
        scratch.tried = 0;
        let holds = |position: u32| get(position as usize).matches(head).is_ok();
        let mut best = lowest(&mut lists, &mut scratch.tried, holds);
        chunks.sort_unstable_by_key(|c| c.first);
        for chunk in chunks {
            if best.is_some_and(|best| best < chunk.first) {
                break;
            }
            scratch.search(chunk, head.path.as_bytes());
            let mut hits = mem::take(&mut scratch.hits);
            hits.retain(|hit| best.is_none_or(|best| *hit < best));
            hits.sort_unstable();
            let better = hits.iter().copied().find(|hit| {
                scratch.tried += 1;
                holds(*hit)
            });
            best = better.or(best);
            scratch.hits = hits;
        }
        best.map(|position| position as usize)
    }
    fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.prefix.values().flat_map(|leaf| &leaf.chunks)
    }
}

/// Merges ascending lists, trying each position until one holds.
fn lowest(lists: &mut [&[u32]], tried: &mut usize, holds: impl Fn(u32) -> bool) -> Option<u32> {
    loop {
        let next = lists.iter_mut().filter(|list| !list.is_empty()).min_by_key(|list| list[0])?;
        let (position, rest) = next.split_first()?;
        let position = *position;
        *next = rest;
        *tried += 1;
        if holds(position) {
            return Some(position);
        }
    }
}

/// A leaf while routes are being collected.
#[derive(Default)]
struct Draft<'a> {
    routes: Vec<u32>,
    regexes: Vec<(u32, &'a str)>,
}

impl Leaf {
    fn build(draft: Draft<'_>, matches: &[&Match], known: &Map<&[Box<str>], &Arc<Set>>) -> Self {
        let routes = Bucket::build(&draft.routes, matches);
        let mut patterns: Vec<(&str, Positions)> = Vec::new();
        let mut at: Map<&str, usize> = Map::default();
        for (position, source) in &draft.regexes {
            let slot = *at.entry(source).or_insert(patterns.len());
            if slot == patterns.len() {
                patterns.push((source, Positions::new()));
            }
            patterns[slot].1.push(*position);
        }
        let mut leaf = Self { routes, ..Self::default() };
        if patterns.len() <= FEW {
            leaf.singles = draft.regexes.iter().map(|(position, _)| *position).collect();
            return leaf;
        }
        for group in groups(&patterns) {
            let sources: Vec<Box<str>> = group.iter().map(|(source, _)| Box::from(*source)).collect();
            let reused = known.get(&*sources).map(|set| Arc::clone(set));
            let plain: Vec<&str> = group.iter().map(|(source, _)| *source).collect();
            match reused.or_else(|| Set::new(&plain).map(Arc::new)) {
                Some(set) => {
                    let routes: Box<[Positions]> = group.iter().map(|(_, routes)| routes.clone()).collect();
                    let first = routes.iter().filter_map(|r| r.first()).min().copied().unwrap_or(u32::MAX);
                    leaf.chunks.push(Chunk { set, first, routes });
                }
                None => leaf.singles.extend(group.iter().flat_map(|(_, routes)| routes.iter().copied())),
            }
        }
        leaf.singles.sort_unstable();
        leaf
    }
    fn collect<'a>(&'a self, head: &Head<'_>, lists: &mut SmallVec<[&'a [u32]; 16]>, chunks: &mut SmallVec<[&'a Chunk; 8]>) {
        self.routes.collect(head, lists);
        push(lists, &self.singles);
        chunks.extend(&self.chunks);
    }
}

/// Cuts patterns into groups whose borders depend on the patterns themselves, so that one that comes or goes changes its own group only.
fn groups<'a, 'b>(patterns: &'b [(&'a str, Positions)]) -> Vec<&'b [(&'a str, Positions)]> {
    let mut groups = Vec::new();
    let mut start = 0;
    for (i, (source, _)) in patterns.iter().enumerate() {
        let border = xxhash_rust::xxh3::xxh3_64(source.as_bytes()).is_multiple_of(SET as u64 / 2);
        if border || i + 1 - start == SET || i + 1 == patterns.len() {
            groups.push(&patterns[start..=i]);
            start = i + 1;
        }
    }
    groups
}

/// One exact condition of a route.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key<'a> {
    Method(&'a str),
    Authority(&'a str),
    Header(&'a HeaderName, &'a str),
}

fn keys(route: &Match) -> impl Iterator<Item = Key<'_>> {
    route.conditions().iter().filter_map(|condition| {
        let text = condition.exact()?;
        match &condition.source {
            Source::Method => Some(Key::Method(text)),
            Source::Authority => Some(Key::Authority(text)),
            Source::Header(name) => Some(Key::Header(name, text)),
            Source::Scheme | Source::Path | Source::Query(_) => None,
        }
    })
}

impl Bucket {
    fn build(positions: &[u32], matches: &[&Match]) -> Self {
        if positions.len() <= FEW {
            return Self { plain: Positions::from_slice(positions), keyed: None };
        }
        let mut counts: Map<Key<'_>, usize> = Map::default();
        for key in positions.iter().flat_map(|p| keys(matches[*p as usize])) {
            *counts.entry(key).or_default() += 1;
        }
        let mut plain = Positions::new();
        let mut keyed = Keyed::default();
        for position in positions {
            // The rarest condition tells most; of equally rare ones the last, since headers come after the method.
            let rarest = keys(matches[*position as usize]).max_by_key(|key| Reverse(counts[key]));
            match rarest.filter(|key| counts[key] < positions.len()) {
                None => plain.push(*position),
                Some(Key::Method(text)) => keyed.methods.entry(text.into()).or_default().push(*position),
                Some(Key::Authority(text)) => keyed.authorities.entry(text.into()).or_default().push(*position),
                Some(Key::Header(name, text)) => {
                    keyed.headers.entry(name.clone()).or_default().entry(text.as_bytes().into()).or_default().push(*position)
                }
            }
        }
        let used = plain.len() < positions.len();
        Self { plain, keyed: used.then(|| Box::new(keyed)) }
    }
    fn collect<'a>(&'a self, head: &Head<'_>, lists: &mut SmallVec<[&'a [u32]; 16]>) {
        push(lists, &self.plain);
        let Some(keyed) = &self.keyed else { return };
        lists.extend(keyed.methods.get(head.method).map(|p| &**p));
        lists.extend(keyed.authorities.get(head.authority).map(|p| &**p));
        let mut lookup = |name: &HeaderName, values: &'a Map<Box<[u8]>, Positions>| {
            let sent = head.headers.get_all(name).iter();
            lists.extend(sent.filter_map(|value| values.get(value.as_bytes())).map(|p| &**p));
        };
        // Whichever is fewer: the names that rules ask for, or those that were sent.
        if keyed.headers.len() <= head.headers.keys_len() {
            keyed.headers.iter().for_each(|(name, values)| lookup(name, values));
        } else {
            head.headers.keys().filter_map(|name| keyed.headers.get_key_value(name)).for_each(|(name, values)| lookup(name, values));
        }
    }
}

fn push<'a>(lists: &mut SmallVec<[&'a [u32]; 16]>, positions: &'a Positions) {
    if !positions.is_empty() {
        lists.push(positions);
    }
}

impl Scratch {
    /// Leaves in `hits` the routes of a chunk whose pattern matches; all of them where the search gave up.
    fn search(&mut self, chunk: &Chunk, path: &[u8]) {
        let key = Arc::as_ptr(&chunk.set) as usize;
        if self.caches.len() >= CACHES && !self.caches.contains_key(&key) {
            self.caches.retain(|_, (set, _)| set.strong_count() > 0);
        }
        // The weak reference keeps the address from being used again, so an address is one set.
        let (_, cache) = self.caches.entry(key).or_insert_with(|| (Arc::downgrade(&chunk.set), chunk.set.cache()));
        let found = self.found.get_or_insert_with(|| PatternSet::new(SET));
        let hits = &mut self.hits;
        hits.clear();
        if chunk.set.find(path, cache, found) {
            hits.extend(found.iter().filter_map(|id| chunk.routes.get(id.as_usize())).flatten());
        } else {
            hits.extend(chunk.routes.iter().flatten());
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use isthmus_config::istio::virtual_service::HttpMatchRequest;
    use isthmus_config::value::StringMatch;
    use proptest::prelude::*;

    use super::*;

    fn compile(requests: &[HttpMatchRequest]) -> Vec<Match> {
        requests.iter().map(|r| Match::compile(r).expect("a match block that compiles")).collect()
    }

    fn build(matches: &[Match]) -> RouteIndex {
        RouteIndex::build(&matches.iter().collect::<Vec<_>>())
    }

    fn uri(want: StringMatch) -> HttpMatchRequest {
        HttpMatchRequest { uri: Some(want), ..HttpMatchRequest::default() }
    }

    fn with_header(name: &str, value: &str) -> HttpMatchRequest {
        let headers = [(name.to_owned(), StringMatch::Exact(value.to_owned()))].into();
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
            assert_eq!(index.find(&head, &mut scratch, |i| &matches[i]), Some(want), "{about} {at}");
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
            authority: Some(authority(i)),
            method: Some(StringMatch::Exact("GET".into())),
            ..uri(StringMatch::Prefix("/".into()))
        };
        check("authority", both, |i| (format!("t{i}.com"), "/x".into(), HeaderMap::new()));
    }

    #[test]
    fn regexes_that_begin_alike_are_searched_in_sets() {
        let requests: Vec<_> = (0..500).map(|i| uri(StringMatch::Regex(format!("/[a-z]+/{i}")))).collect();
        let matches = compile(&requests);
        let index = build(&matches);
        let chunks: Vec<_> = index.chunks().map(|c| c.set.sources().len()).collect();
        assert!(chunks.iter().all(|len| *len <= SET) && chunks.iter().sum::<usize>() == 500, "{chunks:?}");
        let mut scratch = Scratch::default();
        let headers = HeaderMap::new();
        for at in [0, 1, 250, 499] {
            let path = format!("/abc/{at}");
            let head = Head { method: "GET", scheme: "http", authority: "", path: &path, query: None, headers: &headers };
            assert_eq!(index.find(&head, &mut scratch, |i| &matches[i]), Some(at));
            assert_eq!(scratch.tried, 1);
        }
    }

    #[test]
    fn a_rebuild_keeps_the_sets_that_did_not_change() {
        let mut requests: Vec<_> = (0..1000).map(|i| uri(StringMatch::Regex(format!("/[a-z]+/{i}")))).collect();
        let before = compile(&requests);
        let before = build(&before);
        requests.insert(300, uri(StringMatch::Regex("/[0-9]".into())));
        let after = compile(&requests);
        let after = RouteIndex::rebuild(&after.iter().collect::<Vec<_>>(), &before);
        let known: Vec<_> = before.chunks().map(|c| Arc::as_ptr(&c.set)).collect();
        let fresh = after.chunks().filter(|c| !known.contains(&Arc::as_ptr(&c.set))).count();
        assert!(fresh <= 2 && known.len() > 10, "{fresh} of {} are new", known.len());
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
        assert_eq!(build(&matches).find(&head, &mut scratch, |i| &matches[i]), Some(3));
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
            assert_eq!(build(&matches).find(&head, &mut scratch, |i| &matches[i]), Some(1));
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
        let map = || prop::collection::btree_map("x-[ab]", text(), 0..2);
        let own = || prop::option::weighted(0.2, text());
        (some_uri(), prop::bool::weighted(0.2), map(), map(), own(), own(), prop::option::weighted(0.2, text())).prop_map(
            |(uri, ignore_uri_case, headers, without_headers, method, authority, query)| HttpMatchRequest {
                uri,
                ignore_uri_case,
                headers,
                without_headers: without_headers.into_iter().take(1).collect(),
                method,
                authority,
                query_params: query.map(|q| ("q".to_owned(), q)).into_iter().collect(),
                ..HttpMatchRequest::default()
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn the_index_and_the_linear_matcher_name_one_winner(
            blocks in prop::collection::vec(block(), 0..40),
            requests in prop::collection::vec(("[ab]{0,2}", "[ab]{0,2}", "/[abA/]{0,4}", prop::option::of("(q=[ab]{0,2})?"), prop::collection::vec(("x-[ab]", "[ab]{0,2}"), 0..3)), 1..20),
        ) {
            let matches = compile(&blocks);
            let index = build(&matches);
            let rebuilt = RouteIndex::rebuild(&matches.iter().collect::<Vec<_>>(), &index);
            let mut scratch = Scratch::default();
            for (method, authority, path, query, fields) in requests {
                let mut headers = HeaderMap::new();
                for (name, value) in fields {
                    headers.append(HeaderName::try_from(name).unwrap(), value.parse().unwrap());
                }
                let head = Head { method: &method, scheme: "http", authority: &authority, path: &path, query: query.as_deref(), headers: &headers };
                let linear = matches.iter().position(|m| m.matches(&head).is_ok());
                prop_assert_eq!(index.find(&head, &mut scratch, |i| &matches[i]), linear);
                prop_assert_eq!(rebuilt.find(&head, &mut scratch, |i| &matches[i]), linear);
            }
        }
    }
}
