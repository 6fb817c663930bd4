//! Trees to typed values: every refusal knows its field path and its place.
//!
//! A serde deserializer over [`Node`] that follows protobuf JSON: snake_case is read as camelCase, null is absent.
//! Strict decoding collects every unknown field with the nearest known one; lenient decoding skips them.

use std::fmt::{self, Display, Write as _};

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor};

use crate::locate::{Key, Node, Tree};
use crate::object::{Spans, Spot};

/// Something in the text that does not fit the type.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Misfit {
    pub(crate) path: String,
    pub(crate) spot: Spot,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// It is a field that the type does not have.
    pub(crate) unknown: bool,
    pub(crate) placed: bool,
}

/// So many unknown fields of one object are told.
const MAX_UNKNOWN: usize = 100;
/// So many bytes of field paths are kept for one object; a rule with 100,000 routes stays far below.
const MAX_SPANS: usize = 128 << 20;
/// So many bytes of a key or a value are shown.
const MAX_SHOWN: usize = 256;

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

/// The beginning of a text, as far as it is shown.
fn shortened(text: &str) -> &str {
    let end = (0..=MAX_SHOWN.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or(text)
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

/// The known name nearest to `found`, when it is near enough to be meant.
pub fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let found = Some(found).filter(|f| f.len() <= 64)?.to_ascii_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&found, &name.to_ascii_lowercase()), name))
        .filter(|(distance, name)| *distance <= (name.len().max(found.len()) / 3).clamp(1, 4))
        .min()
        .map(|(_, name)| name)
}

/// "did you mean", or what there is to choose from.
pub(crate) fn suggestion(found: &str, known: &[&'static str]) -> Option<String> {
    match nearest(found, known.iter().copied()) {
        Some(name) => Some(format!("did you mean `{name}`?")),
        None if known.is_empty() || known.len() > 8 => None,
        None => Some(format!("known here: {}", known.join(", "))),
    }
}

impl Misfit {
    /// A misfit of a field whose place is known by its path alone.
    pub(crate) fn at(path: &str, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), message: message.into(), placed: true, ..Self::default() }
    }
    fn placed_at(mut self, path: &str, spot: Spot) -> Self {
        if !self.placed {
            (self.path, self.spot, self.placed) = (path.to_owned(), spot, true);
        }
        self
    }
}

impl Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Misfit {}

impl de::Error for Misfit {
    fn custom<T: Display>(message: T) -> Self {
        Self { message: message.to_string(), ..Self::default() }
    }
    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let expected = plain_words(&expected.to_string());
        let bare = matches!(found, Unexpected::Signed(_) | Unexpected::Unsigned(_) | Unexpected::Float(_) | Unexpected::Bool(_));
        let hint = (expected == "a text" && bare).then(|| "put it in quotes".to_owned());
        Self { message: format!("expected {expected}, found {}", found_words(found)), hint, ..Self::default() }
    }
    fn invalid_value(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let expected = match expected.to_string().as_str() {
            "u16" => "a whole number from 0 to 65535".to_owned(),
            "u32" => format!("a whole number from 0 to {}", u32::MAX),
            "i32" => format!("a whole number from {} to {}", i32::MIN, i32::MAX),
            other => plain_words(other),
        };
        Self { message: format!("expected {expected}, found {}", found_words(found)), ..Self::default() }
    }
    fn unknown_variant(found: &str, known: &'static [&'static str]) -> Self {
        let hint = nearest(found, known.iter().copied()).map(|name| format!("did you mean `{name}`?"));
        Self { message: format!("expected one of {}, found {:?}", known.join(", "), shortened(found)), hint, ..Self::default() }
    }
    fn duplicate_field(field: &'static str) -> Self {
        Self { message: format!("`{field}` stands here twice, in two spellings"), ..Self::default() }
    }
}

fn plain_words(expected: &str) -> String {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "a borrowed string" => "a text",
        "a sequence" => "a list",
        "a map" => "a mapping",
        other if other.starts_with("struct ") => "a mapping",
        other => other,
    }
    .to_owned()
}

fn found_words(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(b) => b.to_string(),
        Unexpected::Signed(n) => n.to_string(),
        Unexpected::Unsigned(n) => n.to_string(),
        Unexpected::Float(n) => n.to_string(),
        Unexpected::Str(s) => format!("the text {:?}", shortened(s)),
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a mapping".to_owned(),
        Unexpected::Char(_)
        | Unexpected::Bytes(_)
        | Unexpected::NewtypeStruct
        | Unexpected::Enum
        | Unexpected::UnitVariant
        | Unexpected::NewtypeVariant
        | Unexpected::TupleVariant
        | Unexpected::StructVariant
        | Unexpected::Other(_) => found.to_string(),
    }
}

struct Decoder<'a, 'de> {
    node: &'de Node<'de>,
    on: &'a mut Decoding,
}

impl<'de> Decoder<'_, 'de> {
    fn mistaken<V: Visitor<'de>>(&self, visitor: &V) -> Misfit {
        de::Error::invalid_type(self.found(), visitor)
    }

    fn found(&self) -> Unexpected<'de> {
        match &self.node.tree {
            Tree::Null => Unexpected::Unit,
            Tree::Bool(b) => Unexpected::Bool(*b),
            Tree::Signed(n) => Unexpected::Signed(*n),
            Tree::Unsigned(n) => Unexpected::Unsigned(*n),
            Tree::Float(n) => Unexpected::Float(*n),
            Tree::Text(t) => Unexpected::Str(t),
            Tree::List(_) => Unexpected::Seq,
            Tree::Map(_) => Unexpected::Map,
        }
    }
}

impl<'de> Deserializer<'de> for Decoder<'_, 'de> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.node.tree {
            Tree::Null => visitor.visit_unit(),
            Tree::Bool(b) => visitor.visit_bool(*b),
            Tree::Signed(n) => visitor.visit_i64(*n),
            Tree::Unsigned(n) => visitor.visit_u64(*n),
            Tree::Float(n) => visitor.visit_f64(*n),
            Tree::Text(t) => visitor.visit_borrowed_str(t),
            Tree::List(items) => visitor.visit_seq(Items { items, next: 0, on: self.on }),
            Tree::Map(entries) => visitor.visit_map(Entries { entries, next: 0, value: None, on: self.on }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        if matches!(self.node.tree, Tree::Null) { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_struct<V: Visitor<'de>>(self, _: &'static str, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Misfit> {
        let Tree::Map(entries) = &self.node.tree else { return Err(self.mistaken(&visitor)) };
        visitor.visit_map(Fields { entries, fields, next: 0, value: None, on: self.on })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(self, _: &'static str, variants: &'static [&'static str], visitor: V) -> Result<V::Value, Misfit> {
        match &self.node.tree {
            Tree::Text(text) => visitor.visit_enum(BorrowedStrDeserializer::new(text)),
            Tree::Map(entries) => match entries.as_slice() {
                [(key, node)] => visitor.visit_enum(Choice { key, node, on: self.on }),
                _ => Err(de::Error::custom(format!("expected exactly one of {}", variants.join(", ")))),
            },
            Tree::Null | Tree::Bool(_) | Tree::Signed(_) | Tree::Unsigned(_) | Tree::Float(_) | Tree::List(_) => {
                Err(de::Error::custom(format!("expected one of {}, found {}", variants.join(", "), found_words(self.found()))))
            }
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        if matches!(self.node.tree, Tree::Null) { visitor.visit_str("") } else { self.deserialize_any(visitor) }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_string(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier
    }
}

/// A list being read.
struct Items<'a, 'de> {
    items: &'de [Node<'de>],
    next: usize,
    on: &'a mut Decoding,
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Misfit;
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Misfit> {
        let Some(node) = self.items.get(self.next) else { return Ok(None) };
        let index = self.next;
        self.next += 1;
        let segment = |path: &mut String| {
            // Writing to a String cannot fail.
            let _ = write!(path, "[{index}]");
        };
        if matches!(node.tree, Tree::Null) && self.on.strict {
            let mut path = self.on.path.clone();
            segment(&mut path);
            self.on.mark(&path, node.spot);
            return Err(Misfit { message: "expected a value, found nothing".to_owned(), ..Misfit::default() }.placed_at(&path, node.spot));
        }
        self.on.below(segment, node.spot, node, seed).map(Some)
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len() - self.next)
    }
}

/// A mapping with free keys being read.
struct Entries<'a, 'de> {
    entries: &'de [(Key<'de>, Node<'de>)],
    next: usize,
    value: Option<&'de (Key<'de>, Node<'de>)>,
    on: &'a mut Decoding,
}

impl<'de> MapAccess<'de> for Entries<'_, 'de> {
    type Error = Misfit;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Misfit> {
        let Some(entry) = self.entries.get(self.next) else { return Ok(None) };
        self.next += 1;
        self.value = Some(entry);
        seed.deserialize(BorrowedStrDeserializer::new(&entry.0.name)).map(Some)
    }
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Misfit> {
        let Some((key, node)) = self.value.take() else { return Err(de::Error::custom("a value was asked for before its key")) };
        self.on.below(|path| push_key(path, &key.name), key.spot, node, seed)
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len() - self.next)
    }
}

/// A mapping with known fields being read.
struct Fields<'a, 'de> {
    entries: &'de [(Key<'de>, Node<'de>)],
    fields: &'static [&'static str],
    next: usize,
    value: Option<(&'static str, &'de Key<'de>, &'de Node<'de>)>,
    on: &'a mut Decoding,
}

impl<'de> MapAccess<'de> for Fields<'_, 'de> {
    type Error = Misfit;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Misfit> {
        while let Some((key, node)) = self.entries.get(self.next) {
            self.next += 1;
            let known = |name: &str| self.fields.iter().find(|f| **f == name).copied();
            let Some(field) = known(&key.name).or_else(|| key.name.contains('_').then(|| known(&camel_case(&key.name))).flatten()) else {
                if self.on.strict && self.on.misfits.len() < MAX_UNKNOWN {
                    let mut path = self.on.path.clone();
                    push_key(&mut path, &key.name);
                    self.on.mark(&path, key.spot);
                    let message = format!("unknown field `{}`", shortened(&key.name));
                    let before = self.next.checked_sub(2).and_then(|i| self.entries.get(i)).filter(|(_, node)| matches!(node.tree, Tree::Null));
                    let hint = match (nearest(&key.name, self.fields.iter().copied()), before) {
                        (None, Some((above, _))) => {
                            Some(format!("`{}` above is empty: indent `{}` to put it inside", above.name, shortened(&key.name)))
                        }
                        _ => suggestion(&key.name, self.fields),
                    };
                    self.on.misfits.push(Misfit { path, spot: key.spot, message, hint, unknown: true, placed: true });
                }
                continue;
            };
            if matches!(node.tree, Tree::Null) {
                continue;
            }
            self.value = Some((field, key, node));
            return seed.deserialize(BorrowedStrDeserializer::new(field)).map(Some);
        }
        Ok(None)
    }
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Misfit> {
        let Some((field, key, node)) = self.value.take() else { return Err(de::Error::custom("a value was asked for before its field")) };
        self.on.below(|path| push_key(path, field), key.spot, node, seed)
    }
}

/// `sni_hosts` as `sniHosts`, the rule of protobuf JSON.
fn camel_case(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut raise = false;
    for c in name.chars() {
        if c == '_' {
            raise = true;
        } else {
            camel.push(if raise { c.to_ascii_uppercase() } else { c });
            raise = false;
        }
    }
    camel
}

/// A oneof written as a mapping with one key.
struct Choice<'a, 'de> {
    key: &'de Key<'de>,
    node: &'de Node<'de>,
    on: &'a mut Decoding,
}

impl<'a, 'de> EnumAccess<'de> for Choice<'a, 'de> {
    type Error = Misfit;
    type Variant = Self;
    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Misfit> {
        seed.deserialize(BorrowedStrDeserializer::new(&self.key.name)).map(|variant| (variant, self))
    }
}

impl<'de> VariantAccess<'de> for Choice<'_, 'de> {
    type Error = Misfit;
    fn unit_variant(self) -> Result<(), Misfit> {
        Err(de::Error::custom("expected a text, found a mapping"))
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Misfit> {
        self.on.below(|path| push_key(path, &self.key.name), self.key.spot, self.node, seed)
    }
    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Misfit> {
        Decoder { node: self.node, on: self.on }.deserialize_any(visitor)
    }
    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Misfit> {
        Decoder { node: self.node, on: self.on }.deserialize_struct("", fields, visitor)
    }
}
