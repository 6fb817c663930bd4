//! The value grammars that all kinds share (contract 1.2): durations, percentages, string matches.
//!
//! A value that exists has the right shape; the admission rules beyond shape are in `validate`.

use std::fmt;
use std::time::Duration as StdDuration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A span of time in Go's syntax (`500ms`, `1.5s`, `1h30m`), whole nanoseconds, never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub StdDuration);

impl Duration {
    /// Reads Go's syntax. `0` needs no unit, everything else does.
    pub fn parse(text: &str) -> Result<Self, DurationError> {
        let err = || DurationError { text: text.to_owned() };
        let mut rest = text.strip_prefix('+').unwrap_or(text);
        if rest == "0" {
            return Ok(Self::default());
        }
        let mut total = 0f64;
        if rest.is_empty() {
            return Err(err());
        }
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(err)?;
            let number: f64 = rest[..end].parse().map_err(|_| err())?;
            rest = &rest[end..];
            let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
            let unit = match &rest[..end] {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return Err(err()),
            };
            rest = &rest[end..];
            total += number * unit;
        }
        if total > 9.2e18 {
            return Err(err());
        }
        Ok(Self(StdDuration::from_nanos(total.round() as u64)))
    }
    /// Whole milliseconds, rounded down.
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A duration that does not read as one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected a duration such as 500ms, 1.5s or 1h30m, found {text:?}")]
pub struct DurationError {
    /// What stood there.
    pub text: String,
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0.as_nanos();
        if ns.is_multiple_of(1_000_000_000) {
            write!(f, "{}s", ns / 1_000_000_000)
        } else if ns.is_multiple_of(1_000_000) {
            write!(f, "{}ms", ns / 1_000_000)
        } else {
            write!(f, "{ns}ns")
        }
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Duration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 500ms, 1.5s or 1h30m")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Duration, E> {
                Duration::parse(text).map_err(E::custom)
            }
        }
        d.deserialize_str(Text)
    }
}

/// A share in percent, 0 to 100 where valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Percent {
    /// The share; 0.0001 is the finest step that takes effect (V-40).
    #[serde(default)]
    pub value: f64,
}

/// Bytes, written in base64 (standard or URL alphabet, padding optional, as protobuf JSON reads it).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(self.0.len().div_ceil(3) * 4);
        for chunk in self.0.chunks(3) {
            let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
            for i in 0..4 {
                text.push(if i <= chunk.len() { char::from(BASE64[(bits >> (18 - 6 * i) & 63) as usize]) } else { '=' });
            }
        }
        s.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let (mut bits, mut held, mut bytes) = (0u32, 0u32, Vec::with_capacity(text.len() / 4 * 3));
        for byte in text.trim_end_matches('=').bytes() {
            let byte = match byte {
                b'-' => b'+',
                b'_' => b'/',
                byte => byte,
            };
            let six = BASE64.iter().position(|b| *b == byte).ok_or_else(|| serde::de::Error::custom("expected base64"))?;
            bits = bits << 6 | six as u32;
            held += 6;
            if held >= 8 {
                held -= 8;
                bytes.push((bits >> held) as u8);
                bits &= (1 << held) - 1;
            }
        }
        if held == 6 { Err(serde::de::Error::custom("expected base64")) } else { Ok(Self(bytes)) }
    }
}

/// How a text is compared; exactly one form is set. `Present` is Istio's `{}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum StringMatch {
    /// The whole text, case-sensitive.
    Exact(String),
    /// A plain string prefix (V-5).
    Prefix(String),
    /// RE2 over the whole text (V-6).
    Regex(String),
    /// No kind set: the header or parameter is there (V-9, V-10).
    #[default]
    Present,
}

#[derive(Deserialize, Serialize, Default)]
#[serde(deny_unknown_fields)]
struct StringMatchForm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exact: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    regex: Option<String>,
}

impl<'de> Deserialize<'de> for StringMatch {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match StringMatchForm::deserialize(d)? {
            StringMatchForm { exact: Some(s), prefix: None, regex: None } => Ok(Self::Exact(s)),
            StringMatchForm { exact: None, prefix: Some(s), regex: None } => Ok(Self::Prefix(s)),
            StringMatchForm { exact: None, prefix: None, regex: Some(s) } => Ok(Self::Regex(s)),
            StringMatchForm { exact: None, prefix: None, regex: None } => Ok(Self::Present),
            _ => Err(serde::de::Error::custom("expected at most one of exact, prefix and regex")),
        }
    }
}

impl Serialize for StringMatch {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut form = StringMatchForm::default();
        match self.clone() {
            Self::Exact(t) => form.exact = Some(t),
            Self::Prefix(t) => form.prefix = Some(t),
            Self::Regex(t) => form.regex = Some(t),
            Self::Present => {}
        }
        form.serialize(s)
    }
}

/// The code of a gRPC status by its canonical name (`UNAVAILABLE` is 14).
pub fn grpc_status(name: &str) -> Option<u32> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    (0..).zip(NAMES).find(|(_, known)| *known == name).map(|(code, _)| code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_base64() -> Result<(), serde_json::Error> {
        for (text, bytes) in [("", &b""[..]), ("aGk=", b"hi"), ("aGk", b"hi"), ("aGV5", b"hey"), ("_-8=", b"\xff\xef")] {
            let read: Bytes = serde_json::from_value(text.into())?;
            assert_eq!(read.0, bytes, "{text}");
            assert_eq!(serde_json::from_value::<Bytes>(serde_json::to_value(&read)?)?, read);
        }
        assert!(serde_json::from_value::<Bytes>("a".into()).is_err() && serde_json::from_value::<Bytes>("a b=".into()).is_err());
        Ok(())
    }

    #[test]
    fn durations_read_as_go_writes_them() {
        for (text, millis) in [
            ("500ms", Some(500)),
            ("1.5s", Some(1500)),
            ("1h30m", Some(5_400_000)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("5", None),
            ("", None),
            ("-1s", None),
            ("1d", None),
        ] {
            assert_eq!(Duration::parse(text).ok().map(Duration::as_millis), millis, "{text}");
        }
    }
}
