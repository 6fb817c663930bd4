//! The serde deserializer over a [`Node`]: each kind of node offered to serde, unknown fields gathered on the way.

use std::fmt::Write as _;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor};

use super::misfit::{Misfit, found_words, nearest, shortened, suggestion};
use super::{Decoding, push_key};
use crate::locate::{Key, Node, Tree};

/// So many unknown fields of one object are told.
const MAX_UNKNOWN: usize = 100;

pub(super) struct Decoder<'a, 'de> {
    pub(super) node: &'de Node<'de>,
    pub(super) on: &'a mut Decoding,
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
