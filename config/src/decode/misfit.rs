//! What does not fit its type, in words for the person who wrote it; and the name that was perhaps meant.

use std::fmt::{self, Display};

use serde::de::{self, Unexpected};

use crate::object::Spot;

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

impl Misfit {
    /// A misfit of a field whose place is known by its path alone.
    pub(crate) fn at(path: &str, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), message: message.into(), placed: true, ..Self::default() }
    }
    pub(super) fn placed_at(mut self, path: &str, spot: Spot) -> Self {
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

pub(super) fn found_words(found: Unexpected<'_>) -> String {
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

/// The beginning of a text, as far as it is shown.
pub(super) fn shortened(text: &str) -> &str {
    let end = (0..=MAX_SHOWN.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or(text)
}

/// So many bytes of a key or a value are shown.
const MAX_SHOWN: usize = 256;
