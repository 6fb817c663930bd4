//! Regular expressions as Istio means them: RE2 over bytes, size-capped, matching the whole text (V-6).
//!
//! Classes such as `\d` and `\w` are ASCII, as in RE2. A pattern costs linear time and bounded memory whatever it says.

use std::fmt;
use std::sync::Arc;

use regex_automata::hybrid::dfa;
use regex_automata::meta::{Config, Regex};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind, PatternSet};

/// The largest compiled form of one pattern, bytes.
const SIZE_LIMIT: usize = 1 << 20;
/// The largest compiled form of a set, bytes.
const SET_SIZE_LIMIT: usize = 2 << 20;
/// Room for a lazily built automaton, per pattern or set and worker, bytes.
const CACHE: usize = 256 << 10;

/// A pattern that does not compile, or would be too large.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a regular expression (RE2), found {pattern:?}: {reason}")]
pub struct PatternError {
    /// The pattern as written.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

fn syntax_config() -> syntax::Config {
    syntax::Config::new().unicode(false).utf8(false)
}

/// The pattern with both ends tied down.
fn whole(source: &str) -> String {
    format!(r"\A(?:{source})\z")
}

/// Without the eager automaton, which would cost four times the memory and fifteen times the compile time of all the rest.
fn regex_config(captures: WhichCaptures) -> Config {
    let config = Config::new().nfa_size_limit(Some(SIZE_LIMIT)).hybrid_cache_capacity(CACHE).which_captures(captures);
    config.onepass(false).dfa(false).auto_prefilter(false).utf8_empty(false)
}

fn fails(pattern: &str, error: &dyn std::error::Error) -> PatternError {
    let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    PatternError { pattern: pattern.to_owned(), reason }
}

/// A pattern that must match a whole text.
#[derive(Clone)]
pub struct Pattern {
    pub(super) source: Arc<str>,
    pub(super) regex: Arc<Regex>,
}

/// Compiles what must match a whole text.
pub(super) fn compile_whole(source: &str) -> Result<Regex, PatternError> {
    // Alone first: `a)|(b` would otherwise become valid by the parentheses that are put around it.
    syntax::parse_with(source, &syntax_config()).map_err(|e| PatternError { pattern: source.to_owned(), reason: e.to_string() })?;
    let config = regex_config(WhichCaptures::None);
    Regex::builder().configure(config).syntax(syntax_config()).build(&whole(source)).map_err(|e| fails(source, &e))
}

/// Compiles what is looked for anywhere in a text, with its groups.
pub(super) fn compile_any(source: &str) -> Result<Regex, PatternError> {
    Regex::builder().configure(regex_config(WhichCaptures::All)).syntax(syntax_config()).build(source).map_err(|e| fails(source, &e))
}

impl Pattern {
    /// Compiles `source`; what is held for long comes from [`super::Patterns`].
    pub fn new(source: &str) -> Result<Self, PatternError> {
        Ok(Self { source: source.into(), regex: Arc::new(compile_whole(source)?) })
    }
    /// As written.
    pub fn source(&self) -> &Arc<str> {
        &self.source
    }
    /// True where all of `text` matches.
    pub fn matches(&self, text: &[u8]) -> bool {
        self.regex.is_match(Input::new(text).anchored(Anchored::Yes))
    }
}

impl PartialEq for Pattern {
    /// The regex is made of the source and of nothing else.
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

/// RE2's global replacement: every match of a pattern by a text with `\0` to `\9` for groups (V-49).
#[derive(Clone)]
pub struct Substitution {
    pattern: Arc<str>,
    regex: Arc<Regex>,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
}

impl Substitution {
    /// Reads the rewrite, of which `regex`, compiled from `pattern`, has the groups.
    pub(super) fn of(pattern: Arc<str>, regex: Arc<Regex>, rewrite: &str) -> Result<Self, PatternError> {
        let refused = |reason: String| PatternError { pattern: rewrite.to_owned(), reason };
        let groups = regex.group_info().group_len(regex_automata::PatternID::ZERO);
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut chars = rewrite.chars();
        while let Some(c) = chars.next() {
            if c != '\\' {
                text.push(c);
                continue;
            }
            match chars.next() {
                Some('\\') => text.push('\\'),
                Some(digit @ '0'..='9') => {
                    let group = digit as usize - '0' as usize;
                    if group >= groups {
                        return Err(refused(format!("the rewrite names group {group}, but the match has {} groups", groups - 1)));
                    }
                    parts.extend((!text.is_empty()).then(|| Part::Text(std::mem::take(&mut text))));
                    parts.push(Part::Group(group));
                }
                Some(_) | None => return Err(refused(r"in a rewrite, \ stands before a digit or another \".to_owned())),
            }
        }
        parts.extend((!text.is_empty()).then_some(Part::Text(text)));
        Ok(Self { pattern, regex, parts })
    }
    /// Replaces every match in `text`; `None` where there is none.
    pub fn apply(&self, text: &str) -> Option<String> {
        let mut out = Vec::with_capacity(text.len());
        let mut last = 0;
        let mut found = false;
        for captures in self.regex.captures_iter(text) {
            let Some(all) = captures.get_match() else { continue };
            found = true;
            out.extend_from_slice(&text.as_bytes()[last..all.start()]);
            for part in &self.parts {
                match part {
                    Part::Text(part) => out.extend_from_slice(part.as_bytes()),
                    Part::Group(group) => out.extend_from_slice(captures.get_group(*group).map_or(&[][..], |span| &text.as_bytes()[span.range()])),
                }
            }
            last = all.end();
        }
        out.extend_from_slice(&text.as_bytes()[last..]);
        found.then(|| String::from_utf8_lossy(&out).into_owned())
    }
}

impl fmt::Debug for Substitution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} -> {:?}", self.pattern, self.parts)
    }
}

/// Several patterns looked for at once, so that a table of regexes is not tried one by one.
#[derive(Debug)]
pub(super) struct Set(dfa::DFA);

impl Set {
    /// Compiles patterns that compile alone; `None` where they are too large together.
    pub(super) fn new(sources: &[&str]) -> Option<Self> {
        let wrapped: Vec<String> = sources.iter().map(|s| whole(s)).collect();
        let automaton = dfa::DFA::builder()
            .configure(
                dfa::Config::new()
                    .match_kind(MatchKind::All)
                    .cache_capacity(CACHE)
                    .skip_cache_capacity_check(true)
                    .minimum_cache_clear_count(Some(4)),
            )
            .thompson(thompson::Config::new().nfa_size_limit(Some(SET_SIZE_LIMIT)).which_captures(WhichCaptures::None))
            .syntax(syntax_config())
            .build_many(&wrapped)
            .ok()?;
        Some(Self(automaton))
    }
    /// Working memory for [`Self::find`], one per worker.
    pub(super) fn cache(&self) -> dfa::Cache {
        self.0.create_cache()
    }
    /// Marks the patterns that match; false where the search gave up, and each pattern must be tried by itself.
    pub(super) fn find(&self, text: &[u8], cache: &mut dfa::Cache, found: &mut PatternSet) -> bool {
        found.clear();
        let input = Input::new(text).anchored(Anchored::Yes);
        self.0.try_which_overlapping_matches(cache, &input, found).is_ok()
    }
}

/// The text with which everything that matches `source` begins; "" where that is not plain to see.
pub(super) fn literal_prefix(source: &str) -> String {
    let mut prefix = String::new();
    let mut open = true;
    let mut depth = 0usize;
    let mut chars = source.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                let Some(escaped) = chars.next() else { return String::new() };
                if open && escaped.is_ascii_punctuation() && escaped != '<' && escaped != '>' {
                    prefix.push(escaped);
                } else {
                    open = false;
                }
            }
            '[' => {
                open = false;
                // A `]` right after the bracket is a member; a bracket inside needs a real parser.
                chars.next_if_eq(&'^');
                chars.next_if_eq(&']');
                loop {
                    match chars.next() {
                        None | Some('[') => return String::new(),
                        Some(']') => break,
                        Some('\\') => drop(chars.next()),
                        Some(_) => {}
                    }
                }
            }
            '|' if depth == 0 => return String::new(),
            '(' => {
                // A flag may turn blanks into comments, and then counting parentheses means nothing.
                if chars.next_if_eq(&'?').is_some() && !matches!(chars.peek(), Some(':' | 'P' | '<')) {
                    return String::new();
                }
                open = false;
                depth += 1;
            }
            ')' => depth = depth.saturating_sub(1),
            '*' | '?' | '{' => {
                if open {
                    prefix.pop();
                }
                open = false;
            }
            '+' | '.' | '^' | '$' | '|' => open = false,
            plain if open => prefix.push(plain),
            _ => {}
        }
    }
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Patterns;

    #[test]
    fn a_pattern_matches_the_whole_text_v6() {
        for (pattern, text, want) in [
            ("/foo", "/foo", true),
            ("/foo", "/foo/1", false),
            ("/re/[0-9]+", "/re/42", true),
            ("a|ab", "ab", true),
            (r"\d", "٣", false),
            (r"\w+", "ä", false),
            ("ä", "ä", true),
            ("(?i)abc", "aBc", true),
            ("", "", true),
            ("^/a$", "/a", true),
            (".*", "a\nb", false),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().matches(text.as_bytes()), want, "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for pattern in ["(", "a)|(b", "[", "*", r"\1", "(?=a)", "((a{1000}){1000}){1000}"] {
            assert_eq!(Pattern::new(pattern).map_err(|e| e.pattern).err().as_deref(), Some(pattern));
        }
    }

    #[test]
    fn every_match_is_replaced_v49() {
        for (pattern, rewrite, text, want) in [
            (r"^/svc/([^/]+)(/.*)$", r"\2", "/svc/a/b", Some("/b")),
            (r"^/svc/([^/]+)(/.*)$", r"\2?", "/svc/a/b", Some("/b?")),
            ("a", r"\0\0", "/aba", Some("/aabaa")),
            ("a", r"\\", "/a", Some(r"/\")),
            ("x", "y", "/a", None),
            ("(b)?c", r"<\1>", "cbc", Some("<><b>")),
        ] {
            assert_eq!(Patterns::default().substitution(pattern, rewrite).unwrap().apply(text).as_deref(), want, "{pattern} {rewrite}");
        }
        for rewrite in [r"\2", r"\x", r"\"] {
            assert!(Patterns::default().substitution("(a)", rewrite).is_err(), "{rewrite}");
        }
    }

    #[test]
    fn the_literal_prefix_is_never_too_long() {
        for (source, want) in [
            ("/a/b/[0-9]+", "/a/b/"),
            (r"/v1\.0/.*", "/v1.0/"),
            ("/ab*", "/a"),
            ("/ab?c", "/a"),
            ("/ab+c", "/ab"),
            ("/ab{2}", "/a"),
            ("/a|/b", ""),
            ("/a(x|y)", "/a"),
            ("/a[|]b", "/a"),
            ("/a[]|]b", "/a"),
            ("/a[[:alpha:]|]b", ""),
            ("(?i)/a", ""),
            ("/a(?:b|c)", "/a"),
            ("/a(?x) # (\n|/b", ""),
            (r"/a\d", "/a"),
            (".*", ""),
            ("/a^b", "/a"),
            ("", ""),
        ] {
            assert_eq!(literal_prefix(source), want, "{source}");
        }
    }
}
