//! From a Host header to a virtual host: exact name, then the longest wildcard, then `*` (G-25, G-26).
//!
//! The cost is one hash lookup, plus one for each distinct length of wildcard; it does not grow with the number of hosts.
//! There is no falling through: what is found here is final, even when none of its routes match.

use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::fast::FixedState;
use isthmus_config::name::Hostname;

/// Host names of one listener, each with a number of the caller's.
#[derive(Debug, Default)]
pub struct HostTable {
    names: HashMap<Box<str>, u32, FixedState>,
    /// What follows the `*`.
    suffixes: HashMap<Box<str>, u32, FixedState>,
    /// Distinct lengths of suffixes, longest first.
    lengths: Vec<usize>,
    any: Option<u32>,
}

impl HostTable {
    /// The first entry of a name counts.
    pub fn build(entries: impl Iterator<Item = (Hostname, u32)>) -> Self {
        let mut table = Self::default();
        for (host, value) in entries {
            match host.as_str().strip_prefix('*') {
                Some("") => {
                    table.any.get_or_insert(value);
                }
                Some(suffix) => {
                    table.suffixes.entry(suffix.into()).or_insert(value);
                }
                None => {
                    table.names.entry(without_brackets(host.as_str()).into()).or_insert(value);
                }
            }
        }
        table.lengths = table.suffixes.keys().map(|s| s.len()).collect();
        table.lengths.sort_unstable_by(|a, b| b.cmp(a));
        table.lengths.dedup();
        table
    }
    /// Finds the entry for a Host header or `:authority`, whose port is ignored.
    pub fn find(&self, host: &str) -> Option<u32> {
        let host = without_brackets(without_port(host));
        let lower = if host.bytes().any(|b| b.is_ascii_uppercase()) { Cow::Owned(host.to_ascii_lowercase()) } else { Cow::Borrowed(host) };
        if let Some(value) = self.names.get(&*lower) {
            return Some(*value);
        }
        // A wildcard stands for at least one character (G-23), hence `<`.
        let shorter = self.lengths.iter().filter(|length| **length < lower.len());
        let suffixes = shorter.filter_map(|length| lower.get(lower.len() - length..));
        suffixes.filter_map(|suffix| self.suffixes.get(suffix)).next().copied().or(self.any)
    }
}

/// An authority without its port; an IPv6 literal keeps its brackets.
pub fn without_port(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon) if authority.starts_with('[') && authority.rfind(']').is_some_and(|end| end > colon) => authority,
        Some(colon) if authority.starts_with('[') || authority.find(':') == Some(colon) => &authority[..colon],
        // An IPv6 address that lacks its brackets, or no port at all.
        Some(_) | None => authority,
    }
}

fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_by_specificity_g25_g26() {
        let hosts = ["a.foo.com", "*.foo.com", "*.b.foo.com", "*-x.org", "*", "::1", "10.0.0.1"];
        let table = HostTable::build(hosts.iter().map(|h| Hostname::new(h)).zip(0..));
        for (host, want) in [
            ("a.foo.com", "a.foo.com"),
            ("A.Foo.COM:8080", "a.foo.com"),
            ("b.foo.com", "*.foo.com"),
            ("c.b.foo.com", "*.b.foo.com"),
            ("d.c.b.foo.com:1", "*.b.foo.com"),
            ("q.c.foo.com", "*.foo.com"),
            ("foo.com", "*"),
            (".foo.com", "*"),
            ("a-x.org", "*-x.org"),
            ("-x.org", "*"),
            ("a.foo.com.", "*"),
            ("[::1]:80", "::1"),
            ("[::1]", "::1"),
            ("::1", "::1"),
            ("10.0.0.1:80", "10.0.0.1"),
            ("", "*"),
            ("ä.foo.com", "*.foo.com"),
        ] {
            assert_eq!(table.find(host).map(|i| hosts[i as usize]), Some(want), "{host}");
        }
    }

    #[test]
    fn without_a_star_an_unknown_host_is_nobodys_g26() {
        let table = HostTable::build([(Hostname::new("*.foo.com"), 1), (Hostname::new("*.foo.com"), 2)].into_iter());
        assert_eq!(table.find("bar.com"), None);
        assert_eq!(table.find("a.foo.com"), Some(1), "the first entry of a name counts");
    }

    #[test]
    fn ports_are_cut_off() {
        for (authority, want) in [("a.com:80", "a.com"), ("a.com", "a.com"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("::1", "::1"), ("a:", "a")] {
            assert_eq!(without_port(authority), want);
        }
    }
}
