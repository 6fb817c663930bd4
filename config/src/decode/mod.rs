//! Trees to typed values: every refusal knows its field path and its place.
//!
//! A serde deserializer over [`Node`] that follows protobuf JSON: snake_case is read as camelCase, null is absent.
//! Strict decoding collects every unknown field with the nearest known one; lenient decoding skips them.

mod decoder;
mod misfit;

use std::fmt::Write as _;

use serde::de::{DeserializeOwned, DeserializeSeed};

use crate::locate::Node;
use crate::object::{Spans, Spot};
use decoder::Decoder;
pub(crate) use misfit::Misfit;
pub use misfit::nearest;
use misfit::shortened;

/// So many bytes of field paths are kept for one object; a rule with 100,000 routes stays far below.
const MAX_SPANS: usize = 128 << 20;

/// What is gathered while decoding one object.
#[derive(Debug)]
pub(crate) struct Decoding {
    path: String,
    strict: bool,
    spans: Option<Vec<(Box<str>, Spot)>>,
    span_bytes: usize,
    /// Unknown fields and the type error, if there was one.
    pub(crate) misfits: Vec<Misfit>,
}

impl Decoding {
    /// Unknown fields are misfits, and every field's place is kept.
    pub(crate) fn strict() -> Self {
        Self { path: String::new(), strict: true, spans: Some(Vec::new()), span_bytes: 0, misfits: Vec::new() }
    }
    /// Unknown fields are misfits; there are no places, for the text was not a person's.
    pub(crate) fn strict_without_places() -> Self {
        Self { spans: None, ..Self::strict() }
    }
    /// Unknown fields are skipped, and places are forgotten.
    pub(crate) fn lenient() -> Self {
        Self { path: String::new(), strict: false, spans: None, span_bytes: 0, misfits: Vec::new() }
    }
    /// Reads `node`, which stands at `path`. A value is returned where every field has its type, even beside unknown ones.
    pub(crate) fn read<T: DeserializeOwned>(&mut self, node: &Node<'_>, path: &str) -> Option<T> {
        path.clone_into(&mut self.path);
        let read = T::deserialize(Decoder { node, on: self });
        read.map_err(|misfit| self.misfits.push(misfit.placed_at(path, node.spot))).ok()
    }
    /// Records the place of a field that is not decoded.
    pub(crate) fn mark(&mut self, path: &str, spot: Spot) {
        self.span_bytes += path.len();
        if let Some(spans) = self.spans.as_mut().filter(|_| self.span_bytes <= MAX_SPANS) {
            spans.push((path.into(), spot));
        }
    }
    /// The places of all fields read so far.
    pub(crate) fn spans(&mut self) -> Spans {
        let mut spans = self.spans.take().unwrap_or_default();
        spans.sort();
        Spans(spans.into())
    }

    /// Reads the value below a key or an index. `segment` writes itself onto the path.
    fn below<'de, S: DeserializeSeed<'de>>(
        &mut self,
        segment: impl FnOnce(&mut String),
        spot: Spot,
        node: &'de Node<'de>,
        seed: S,
    ) -> Result<S::Value, Misfit> {
        let length = self.path.len();
        segment(&mut self.path);
        if self.spans.is_some() {
            let path = std::mem::take(&mut self.path);
            self.mark(&path, spot);
            self.path = path;
        }
        let value = seed.deserialize(Decoder { node, on: self }).map_err(|m| m.placed_at(&self.path, spot));
        self.path.truncate(length);
        value
    }
}

/// Writes `.name`, or `["name"]` where the name would not read as one.
pub(crate) fn push_key(path: &mut String, name: &str) {
    let name = shortened(name);
    if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') && !name.is_empty() {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(name);
    } else {
        // Writing to a String cannot fail.
        let _ = write!(path, "[{name:?}]");
    }
}
