//! What a plain scalar is: Kubernetes' tools read YAML 1.1 booleans and octals.

use std::borrow::Cow;

use saphyr_parser::{ScalarStyle, Tag};

use super::Tree;

/// Reads a scalar as Kubernetes' YAML reader does; quoted and block texts are always text.
pub(crate) fn scalar<'t>(text: Cow<'t, str>, style: ScalarStyle, tag: Option<&Tag>) -> Tree<'t> {
    let core = tag.filter(|t| t.is_yaml_core_schema()).map(|t| t.suffix.as_str());
    if style != ScalarStyle::Plain || core == Some("str") {
        return Tree::Text(text);
    }
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" => return Tree::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Tree::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Tree::Bool(false),
        _ => {}
    }
    if text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        number(&text).unwrap_or(Tree::Text(text))
    } else {
        Tree::Text(text)
    }
}

fn number<'t>(text: &str) -> Option<Tree<'t>> {
    match text {
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Some(Tree::Float(f64::INFINITY)),
        "-.inf" | "-.Inf" | "-.INF" => return Some(Tree::Float(f64::NEG_INFINITY)),
        ".nan" | ".NaN" | ".NAN" => return Some(Tree::Float(f64::NAN)),
        _ => {}
    }
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let digits = if digits.contains('_') { Cow::Owned(digits.replace('_', "")) } else { Cow::Borrowed(digits) };
    let whole = |digits: &str, radix| (!digits.starts_with(['+', '-'])).then(|| u64::from_str_radix(digits, radix).ok()).flatten();
    let value = match digits.as_bytes() {
        [b'0', b'x', ..] => whole(&digits[2..], 16),
        [b'0', b'o', ..] => whole(&digits[2..], 8),
        [b'0', b'b', ..] => whole(&digits[2..], 2),
        [b'0', _, ..] => whole(&digits[1..], 8),
        _ => whole(&digits, 10),
    };
    match value {
        Some(n) if negative => return i64::try_from(-i128::from(n)).ok().map(Tree::Signed),
        Some(n) => return Some(Tree::Unsigned(n)),
        None => {}
    }
    let float = digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-')) && !digits.starts_with(['+', '-']);
    float.then(|| digits.parse::<f64>().ok()).flatten().map(|f| Tree::Float(if negative { -f } else { f }))
}
