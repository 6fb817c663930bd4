//! Names that many rooms share: clusters, networks, localities, host names.
//!
//! All are cheap to clone (one shared allocation). A [`Hostname`] is lower case from birth (G-25) and its `Ord`
//! is Istio's specificity (G-24), so a sorted list of host names is a lookup order.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text as given.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
            /// True where the name was not given.
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self(Arc::default())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d).map(|s| Self(s.into()))
            }
        }
    };
}

text_name!(
    /// A Kubernetes cluster's id, the key of its remote secret or its name in isthmus.yaml. Never Envoy's group of hosts.
    ClusterId
);
text_name!(
    /// A network: endpoints of one network reach each other directly (M-31). Empty means reachable from everywhere.
    Network
);
text_name!(
    /// Where an endpoint or a gateway stands: `region/zone/subzone`, kept as written; a part that is missing is an empty one (L-8).
    Locality
);

impl Locality {
    /// Region, zone and subzone; a missing part is the empty string (L-8). Further segments are ignored (L-3).
    pub fn parts(&self) -> [&str; 3] {
        let mut parts = self.0.splitn(4, '/');
        [(); 3].map(|()| parts.next().unwrap_or(""))
    }
    /// The region, or "".
    pub fn region(&self) -> &str {
        self.parts()[0]
    }
    /// The zone, or "".
    pub fn zone(&self) -> &str {
        self.parts()[1]
    }
    /// The subzone, or "".
    pub fn subzone(&self) -> &str {
        self.parts()[2]
    }
}

/// A host name or wildcard (`*`, `*.suffix`, `*suffix`), lower case.
///
/// `Ord` is specificity, most specific first (G-24): names before wildcards, then longer before shorter, then by alphabet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hostname(Arc<str>);

impl Hostname {
    /// Lower-cases `text`; one trailing dot is dropped, as FQDNs may carry it.
    pub fn new(text: &str) -> Self {
        let text = text.strip_suffix('.').unwrap_or(text);
        Self(if text.bytes().any(|b| b.is_ascii_uppercase()) { text.to_ascii_lowercase().into() } else { text.into() })
    }
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// True for `*` and `*suffix`.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with('*')
    }
    /// True where every name that `other` stands for is one that `self` stands for (G-23). A name covers itself only.
    pub fn covers(&self, other: &Self) -> bool {
        match self.0.strip_prefix('*') {
            None => self == other,
            Some(suffix) => other.0.strip_prefix('*').unwrap_or(&other.0).ends_with(suffix) && (other.is_wildcard() || other.0.len() > suffix.len()),
        }
    }
    /// The more specific of two overlapping names, or `None` where they do not overlap (G-22).
    pub fn intersect<'a>(&'a self, other: &'a Self) -> Option<&'a Self> {
        if self.covers(other) {
            Some(other)
        } else if other.covers(self) {
            Some(self)
        } else {
            None
        }
    }
}

impl Ord for Hostname {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.is_wildcard().cmp(&other.is_wildcard())).then(other.0.len().cmp(&self.0.len())).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Hostname {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Hostname {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl Borrow<str> for Hostname {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for Hostname {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Hostname {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d).map(|s| Self::new(&s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specificity_is_names_then_length_then_alphabet_g24() {
        let mut names = ["*", "*.com", "b.com", "*.foo.com", "a.com", "long.name.com"].map(Hostname::new);
        names.sort();
        assert_eq!(names.map(|n| n.to_string()), ["long.name.com", "a.com", "b.com", "*.foo.com", "*.com", "*"]);
    }

    #[test]
    fn intersection_is_the_more_specific_g22_g23() {
        for (a, b, want) in [
            ("*.example.com", "a.example.com", Some("a.example.com")),
            ("a.example.com", "*.example.com", Some("a.example.com")),
            ("*.com", "*.example.com", Some("*.example.com")),
            ("*.foo.com", "foo.com", None),
            ("*.foo.com", "a.b.foo.com", Some("a.b.foo.com")),
            ("*", "*", Some("*")),
            ("*.a.com", "*.b.com", None),
        ] {
            let (a, b) = (Hostname::new(a), Hostname::new(b));
            assert_eq!(a.intersect(&b).map(Hostname::as_str), want, "{a} x {b}");
        }
    }

    #[test]
    fn a_locality_keeps_its_raw_text_l6() {
        assert_ne!(Locality::from("r1/z1/"), Locality::from("r1/z1"));
        assert_eq!(Locality::from("r1/z1").parts(), ["r1", "z1", ""]);
    }
}
