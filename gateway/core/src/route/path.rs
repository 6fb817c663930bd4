//! Request targets: split, checked and normalised before anything is matched (contract envoy.md 8.2).
//!
//! Matching and forwarding use the same normalised path, so no request can be matched as one path and served as another.
//! Nothing is allocated when a path needs no work. Escapes are decoded once and never twice.

use std::borrow::Cow;

use isthmus_config::mesh::PathNormalizationType;

/// How far paths are normalised, MeshConfig's `pathNormalization.normalization`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathNormalization {
    /// As received.
    None,
    /// Dot segments resolved, `\` read as `/`, unreserved escapes decoded.
    #[default]
    Base,
    /// Also repeated slashes merged.
    MergeSlashes,
    /// Also `%2F` and `%5C` decoded, before the rest.
    DecodeAndMergeSlashes,
}

impl From<PathNormalizationType> for PathNormalization {
    fn from(setting: PathNormalizationType) -> Self {
        match setting {
            PathNormalizationType::Default | PathNormalizationType::Base => Self::Base,
            PathNormalizationType::None => Self::None,
            PathNormalizationType::MergeSlashes => Self::MergeSlashes,
            PathNormalizationType::DecodeAndMergeSlashes => Self::DecodeAndMergeSlashes,
        }
    }
}

/// Why a request target is answered 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It holds a `#`.
    #[error("the request target holds a fragment")]
    Fragment,
    /// It holds a byte that is neither ASCII nor escaped.
    #[error("the request target holds a byte outside ASCII")]
    NotAscii,
    /// It does not begin with `/`.
    #[error("the request target does not begin with /")]
    NoSlash,
}

/// A request target in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The authority of an absolute-form target, which replaces the Host header.
    pub authority: Option<&'a str>,
    /// The path, normalised.
    pub path: Cow<'a, str>,
    /// What follows the first `?`, as received.
    pub query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Reads a request target in origin form, absolute form or `*`.
    pub fn parse(raw: &'a str, mode: PathNormalization) -> Result<Self, PathError> {
        if raw.contains('#') {
            return Err(PathError::Fragment);
        }
        let (authority, rest) = absolute(raw).map_or((None, raw), |(authority, rest)| (Some(authority), rest));
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        let path = if path.is_empty() && authority.is_some() { "/" } else { path };
        if query.is_some_and(|q| !q.is_ascii()) {
            return Err(PathError::NotAscii);
        }
        Ok(Self { authority, path: normalise(path, mode)?, query })
    }
}

/// Authority and remainder of an absolute-form target.
fn absolute(raw: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = raw.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    Some(rest.split_at(end))
}

/// Normalises a path that carries no query. `*` alone, the target of `OPTIONS *`, is a path that no rule matches.
pub fn normalise(raw: &str, mode: PathNormalization) -> Result<Cow<'_, str>, PathError> {
    if raw.contains('#') {
        return Err(PathError::Fragment);
    }
    if !raw.is_ascii() {
        return Err(PathError::NotAscii);
    }
    if raw == "*" {
        return Ok(Cow::Borrowed(raw));
    }
    if !raw.starts_with('/') {
        return Err(PathError::NoSlash);
    }
    Ok(match mode {
        PathNormalization::None => Cow::Borrowed(raw),
        PathNormalization::Base => base(raw),
        PathNormalization::MergeSlashes => merge(base(raw)),
        PathNormalization::DecodeAndMergeSlashes => {
            let raw = decode(raw, |byte| matches!(byte, b'/' | b'\\'));
            let resolved = match raw {
                Cow::Borrowed(raw) => base(raw),
                Cow::Owned(raw) => Cow::Owned(base(&raw).into_owned()),
            };
            merge(resolved)
        }
    })
}

fn base(raw: &str) -> Cow<'_, str> {
    let bytes = raw.as_bytes();
    if !bytes.iter().any(|b| matches!(b, b'%' | b'\\')) && !raw.contains("/.") {
        return Cow::Borrowed(raw);
    }
    let decoded = decode(raw, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'));
    let mut out = String::with_capacity(decoded.len());
    let mut segments = decoded[1..].split(['/', '\\']).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." => {}
            ".." => out.truncate(out.rfind('/').unwrap_or(0)),
            name => {
                out.push('/');
                out.push_str(name);
                continue;
            }
        }
        if segments.peek().is_none() {
            out.push('/');
        }
    }
    if out == raw { Cow::Borrowed(raw) } else { Cow::Owned(out) }
}

/// Decodes the escapes whose byte is `wanted`; all others stay as they are written.
fn decode(raw: &str, wanted: impl Fn(u8) -> bool) -> Cow<'_, str> {
    let Some(first) = raw.find('%') else { return Cow::Borrowed(raw) };
    let mut out = String::with_capacity(raw.len());
    out.push_str(&raw[..first]);
    let mut rest = &raw[first..];
    while let Some(c) = rest.chars().next() {
        let escaped = rest.get(1..3).filter(|hex| c == '%' && hex.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte.filter(|byte| wanted(*byte) && !completes(&out, *byte)) {
            Some(byte) => {
                out.push(char::from(byte));
                rest = &rest[3..];
            }
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    Cow::Owned(out)
}

/// True where `byte` would finish a broken escape (`%2` and `%65`): the next reader would decode what we did not see.
fn completes(out: &str, byte: u8) -> bool {
    let tail = &out.as_bytes()[out.len().saturating_sub(2)..];
    byte.is_ascii_hexdigit() && (tail.ends_with(b"%") || matches!(tail, [b'%', digit] if digit.is_ascii_hexdigit()))
}

fn merge(path: Cow<'_, str>) -> Cow<'_, str> {
    if !path.contains("//") {
        return path;
    }
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::PathNormalization::{Base, DecodeAndMergeSlashes, MergeSlashes, None as Off};
    use super::*;

    #[test]
    fn paths_are_normalised_as_envoy_does_8_2() {
        for (mode, raw, want) in [
            (Base, "/a/../echo/./x//y%2e%2e%2fz", "/echo/x//y..%2fz"),
            (Base, "/../../echo/x", "/echo/x"),
            (Base, "/a/%2e%2e/admin", "/admin"),
            (Base, "/%61dmin", "/admin"),
            (Base, r"/a\..\admin", "/admin"),
            (Base, "/./admin", "/admin"),
            (Base, "//admin", "//admin"),
            (Base, "/%2fadmin", "/%2fadmin"),
            (Base, "/adm;x/in", "/adm;x/in"),
            (Base, "/%252e%252e/a", "/%252e%252e/a"),
            (Base, "/a%", "/a%"),
            (Base, "/a%4", "/a%4"),
            (Base, "/a%zz", "/a%zz"),
            (Base, "/%2%65%2%65/a", "/%2%65%2%65/a"),
            (Base, "/%%32e/a", "/%%32e/a"),
            (Base, "/a/.", "/a/"),
            (Base, "/a/b/..", "/a/"),
            (Base, "/..", "/"),
            (Base, "/a/.b/..c/...", "/a/.b/..c/..."),
            (Base, "//x/..", "//"),
            (Base, "/", "/"),
            (Base, "*", "*"),
            (MergeSlashes, "//a///b/", "/a/b/"),
            (MergeSlashes, "/a%2Fb", "/a%2Fb"),
            (DecodeAndMergeSlashes, "//echo//x%2Fy%5cz", "/echo/x/y/z"),
            (DecodeAndMergeSlashes, "/a%2f..%2fb", "/b"),
            (Off, "/a/../%61//b", "/a/../%61//b"),
        ] {
            assert_eq!(normalise(raw, mode).as_deref(), Ok(want), "{mode:?} {raw}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn what_is_normal_stays_so_and_holds_no_dot_segment(raw in r"/([./\\a%]|%2[eE5fF]|%5[cC]|%6[15]){0,12}") {
            for mode in [Off, Base, MergeSlashes, DecodeAndMergeSlashes] {
                let once = normalise(&raw, mode).unwrap();
                prop_assert_eq!(&normalise(&once, mode).unwrap(), &once, "{:?}", mode);
                prop_assert!(mode == Off || !once.split('/').any(|s| s == "." || s == ".."), "{}", once);
                prop_assert!(once.starts_with('/'));
            }
        }
    }

    #[test]
    fn a_clean_path_is_borrowed() {
        for mode in [Off, Base, MergeSlashes, DecodeAndMergeSlashes] {
            assert!(matches!(normalise("/a/b-c.d/%2Fx".trim_end_matches("/%2Fx"), mode), Ok(Cow::Borrowed(_))));
        }
        assert!(matches!(normalise("/a%2Fb", Base), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn targets_are_split_and_checked_8_2() {
        let target = |authority, path: &'static str, query| Ok(Target { authority, path: Cow::Borrowed(path), query });
        for (raw, want) in [
            ("/b?c=/../%2e", target(None, "/b", Some("c=/../%2e"))),
            ("/b?", target(None, "/b", Some(""))),
            ("/b?a?b", target(None, "/b", Some("a?b"))),
            ("http://x.com/abs?q", target(Some("x.com"), "/abs", Some("q"))),
            ("https://x.com:8443", target(Some("x.com:8443"), "/", None)),
            ("HTTP://x.com?q", target(Some("x.com"), "/", Some("q"))),
            ("/http://x.com/", target(None, "/http://x.com/", None)),
            ("*", target(None, "*", None)),
            ("/a#/admin", Err(PathError::Fragment)),
            ("/a?b#c", Err(PathError::Fragment)),
            ("/ä", Err(PathError::NotAscii)),
            ("/a?ä", Err(PathError::NotAscii)),
            ("admin", Err(PathError::NoSlash)),
            ("", Err(PathError::NoSlash)),
            ("ftp://x.com/", Err(PathError::NoSlash)),
        ] {
            assert_eq!(Target::parse(raw, Base), want, "{raw}");
        }
    }
}
