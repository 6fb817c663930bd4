//! Request targets: split, checked and normalised before anything is matched (contract envoy.md 8.2).
//!
//! Matching and forwarding use the same normalised path, so no request can be matched as one path and served as another.
//! Nothing is allocated when a path needs no work. Escapes are decoded once and never twice, and a normalised path stays
//! as it is when normalised again: in that we are stricter than Envoy, to whom `/a/%2e%2e;x` is no dot segment but `/a/..;x` is.

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
    /// It holds the escape of a zero byte.
    #[error("the request target holds %00")]
    Nul,
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
    if mode != PathNormalization::None && raw.contains("%00") {
        return Err(PathError::Nul);
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

/// Characters that have no place in a path as they are.
const ESCAPED: [char; 8] = ['"', '<', '>', '^', '|', '`', '{', '}'];

fn base(raw: &str) -> Cow<'_, str> {
    if !raw.contains(['%', '\\']) && !raw.contains(ESCAPED) && !raw.contains("/.") {
        return Cow::Borrowed(raw);
    }
    let decoded = decode(raw, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'));
    let mut out = String::with_capacity(decoded.len());
    let mut rest = Some(&decoded[1..]);
    while let Some(left) = rest {
        let mut end = left.find(['/', '\\']);
        let name = &left[..end.unwrap_or(left.len())];
        let dots = match name.split_once(';') {
            Some((dots @ ("." | ".."), _)) => {
                // The parameters of a dot segment go with it, and only a `/` ends them.
                end = left.find('/');
                dots
            }
            Some(_) | None => name,
        };
        rest = end.map(|end| &left[end + 1..]);
        match dots {
            "." => {}
            ".." => out.truncate(out.rfind('/').unwrap_or(0)),
            _ => {
                out.push('/');
                escape(name, &mut out);
                continue;
            }
        }
        if rest.is_none() {
            out.push('/');
        }
    }
    if out == raw { Cow::Borrowed(raw) } else { Cow::Owned(out) }
}

fn escape(segment: &str, out: &mut String) {
    for c in segment.chars() {
        if ESCAPED.contains(&c) {
            out.push_str(&format!("%{:02X}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
}

/// Decodes the escapes whose byte is `wanted`; all others stay as they are written. Where decoded bytes would complete a
/// broken escape (`%2` and `%65`), the sign of that one is escaped: else the next reader would decode what we did not see.
fn decode(raw: &str, wanted: impl Fn(u8) -> bool) -> Cow<'_, str> {
    let Some(first) = raw.find('%') else { return Cow::Borrowed(raw) };
    let mut out = String::with_capacity(raw.len());
    out.push_str(&raw[..first]);
    let mut rest = &raw[first..];
    let mut broken = None;
    while let Some(c) = rest.chars().next() {
        let hex = rest.get(1..3).filter(|hex| c == '%' && hex.bytes().all(|b| b.is_ascii_hexdigit()));
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if wanted(byte) => {
                out.push(char::from(byte));
                rest = &rest[3..];
            }
            Some(_) => {
                out.push_str(&rest[..3]);
                rest = &rest[3..];
                continue;
            }
            None => {
                if c == '%' {
                    broken = Some(out.len());
                }
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
        if let Some(sign) = broken.filter(|sign| out.len() == sign + 3)
            && out.as_bytes()[sign + 1..].iter().all(u8::is_ascii_hexdigit)
        {
            out.insert_str(sign + 1, "25");
        }
    }
    Cow::Owned(out)
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
            (Base, "/%2%65%2%65/a", "/%252e%252e/a"),
            (Base, "/%%32e/a", "/%252e/a"),
            (Base, "/%2%46", "/%252F"),
            (Base, "/%6%3%31", "/%6%2531"),
            (Base, "/%2%7a", "/%2z"),
            (Base, "/%%65", "/%e"),
            (Base, "/%2%2f", "/%2%2f"),
            (Base, r#"/{a}"<>^|`[];"#, "/%7Ba%7D%22%3C%3E%5E%7C%60[];"),
            (Base, "/%0a%7f", "/%0a%7f"),
            (Base, "/a/..;x=1/admin", "/admin"),
            (Base, "/a/.;/b", "/a/b"),
            (Base, r"/a/..;x\b/c", "/c"),
            (Base, "/a/..;", "/"),
            (Base, "/a/b;x/../c", "/a/c"),
            (Base, "/a/...;b", "/a/...;b"),
            (Base, "/a/%2e%2e;x/admin", "/admin"),
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
        fn what_is_normal_stays_so_and_holds_no_dot_segment(raw in r"/([./\\a2%{;]|%2[eE5fF]|%5[cC]|%6[15]|%3[2]){0,12}") {
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
            ("/a%00", Err(PathError::Nul)),
            ("/a?%00", target(None, "/a", Some("%00"))),
            ("admin", Err(PathError::NoSlash)),
            ("", Err(PathError::NoSlash)),
            ("ftp://x.com/", Err(PathError::NoSlash)),
        ] {
            assert_eq!(Target::parse(raw, Base), want, "{raw}");
        }
    }
}
