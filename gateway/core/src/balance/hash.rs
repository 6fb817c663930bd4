//! Consistent hashing: which text of the request is hashed, and the ring or Maglev table that turns it into an endpoint.
//!
//! Tables and keys follow Envoy's (contract/envoy.md 3.6): xxHash64 of `address_i` on the ring; Maglev with `xxh64(host)` as
//! offset and the same with seed 1 as skip. So a gateway that replaces an Envoy sends a key where that Envoy sent it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::HeaderName;
use xxhash_rust::xxh64::xxh64;

/// Which text of the request decides (contract 1.5, consistentHash).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HashKey {
    /// All values of a header.
    Header(HeaderName),
    /// A cookie; one that is missing is made where `ttl` is given.
    Cookie {
        /// The cookie's name.
        name: String,
        /// Its path.
        path: String,
        /// `None`: never made. Zero: for the browser's session. Else Max-Age.
        ttl: Option<Duration>,
        /// Further attributes, in order.
        attributes: Vec<(String, String)>,
    },
    /// The client's address.
    SourceAddress,
    /// A query parameter, its first value.
    QueryParameter(String),
}

/// What hashing a request yielded.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Hashed {
    /// The hash; `None` where the text is missing, which means any endpoint.
    pub hash: Option<u64>,
    /// The `set-cookie` value that the answer must carry.
    pub set_cookie: Option<String>,
}

impl HashKey {
    /// Hashes a request. `client` and `local` are the connection's two addresses.
    pub fn hash(&self, headers: &http::HeaderMap, query: Option<&str>, client: IpAddr, local: SocketAddr) -> Hashed {
        let of = |text: Option<&[u8]>| Hashed { hash: text.map(|t| xxh64(t, 0)), set_cookie: None };
        match self {
            Self::Header(name) => {
                let mut values = headers.get_all(name).iter();
                match (values.next(), values.next()) {
                    (None, _) => of(None),
                    (Some(one), None) => of(Some(one.as_bytes())),
                    _ => {
                        let mut all: Vec<&[u8]> = headers.get_all(name).iter().map(|v| v.as_bytes()).collect();
                        all.sort_unstable();
                        of(Some(&all.concat()))
                    }
                }
            }
            Self::SourceAddress => of(Some(client.to_string().as_bytes())),
            Self::QueryParameter(name) => of(query.and_then(|q| parameter(q, name)).map(str::as_bytes)),
            Self::Cookie { name, path, ttl, attributes } => match cookie(headers, name) {
                Some(value) => of(Some(value.as_bytes())),
                None => match ttl {
                    None => of(None),
                    Some(ttl) => {
                        let value = format!("{:016x}", xxh64(format!("{client}{local}").as_bytes(), 0));
                        let hash = Some(xxh64(value.as_bytes(), 0));
                        Hashed { hash, set_cookie: Some(set_cookie(name, &value, path, *ttl, attributes)) }
                    }
                },
            },
        }
    }
}

fn set_cookie(name: &str, value: &str, path: &str, ttl: Duration, attributes: &[(String, String)]) -> String {
    let mut text = format!("{name}=\"{value}\"");
    if !ttl.is_zero() {
        text += &format!("; Max-Age={}", ttl.as_secs());
    }
    if !path.is_empty() {
        text += &format!("; Path={path}");
    }
    for (name, value) in attributes {
        text += &if value.is_empty() { format!("; {name}") } else { format!("; {name}={value}") };
    }
    text + "; HttpOnly"
}

/// The first value of a query parameter.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

/// A cookie's value without its quotes.
fn cookie<'a>(headers: &'a http::HeaderMap, name: &str) -> Option<&'a str> {
    headers.get_all(http::header::COOKIE).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(';')).find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then(|| value.trim_matches('"'))
    })
}

/// Hash to position among the eligible endpoints.
#[derive(Debug)]
pub enum HashTable {
    /// Sorted by hash; the first entry at or after the key wins.
    Ring(Vec<(u64, u32)>),
    /// The key modulo the size is the place.
    Maglev(Vec<u32>),
}

/// Envoy's cap on a ring.
const MAX_RING: f64 = 8_388_608.0;

impl HashTable {
    /// A ring with at least `minimum` entries, more for heavier hosts.
    pub(super) fn ring(hosts: &[&str], weights: &[u32], minimum: u32) -> Self {
        let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
        let least = weights.iter().map(|w| f64::from(*w) / total).fold(1.0, f64::min);
        let scale = ((least * f64::from(minimum)).ceil() / least).min(MAX_RING);
        let mut ring = Vec::with_capacity(scale.ceil() as usize);
        let (mut have, mut want) = (0.0, 0.0);
        for ((position, host), weight) in (0u32..).zip(hosts).zip(weights) {
            want += scale * f64::from(*weight) / total;
            let mut i = 0;
            while have < want {
                ring.push((xxh64(format!("{host}_{i}").as_bytes(), 0), position));
                i += 1;
                have += 1.0;
            }
        }
        ring.sort_unstable();
        Self::Ring(ring)
    }

    /// A Maglev table of `size` places, a prime.
    pub(super) fn maglev(hosts: &[&str], weights: &[u32], size: u32) -> Self {
        if hosts.is_empty() || size < 2 {
            return Self::Maglev(Vec::new());
        }
        let m = u64::from(size);
        let mut order: Vec<usize> = (0..hosts.len()).collect();
        order.sort_by_key(|i| hosts[*i]);
        let steps: Vec<(u64, u64)> = hosts.iter().map(|h| (xxh64(h.as_bytes(), 0) % m, xxh64(h.as_bytes(), 1) % (m - 1) + 1)).collect();
        let heaviest = f64::from(weights.iter().copied().max().unwrap_or(1));
        let mut next = vec![0u64; hosts.len()];
        let mut target = vec![0f64; hosts.len()];
        let mut table = vec![u32::MAX; size as usize];
        let mut filled = 0;
        for round in 1u64.. {
            for &i in &order {
                let weight = f64::from(weights[i]);
                if (round as f64) * weight < target[i] {
                    continue;
                }
                target[i] += heaviest;
                let mut place = (steps[i].0 + steps[i].1 * next[i]) % m;
                while table[place as usize] != u32::MAX {
                    next[i] += 1;
                    place = (steps[i].0 + steps[i].1 * next[i]) % m;
                }
                table[place as usize] = i as u32;
                next[i] += 1;
                filled += 1;
                if filled == size {
                    return Self::Maglev(table);
                }
            }
        }
        Self::Maglev(table)
    }

    /// The position for `hash`; `attempt` moves on from it (0 for the first).
    pub(super) fn position(&self, hash: u64, attempt: u32) -> Option<u32> {
        match self {
            Self::Ring(ring) if ring.is_empty() => None,
            Self::Ring(ring) => {
                let at = ring.partition_point(|(h, _)| *h < hash) + attempt as usize;
                Some(ring[at % ring.len()].1)
            }
            Self::Maglev(table) if table.is_empty() => None,
            Self::Maglev(table) => {
                let hash = if attempt == 0 { hash } else { hash ^ (u64::MAX - u64::from(attempt) + 1) };
                Some(table[(hash % table.len() as u64) as usize])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_at_least_its_minimum_and_weighted() {
        let HashTable::Ring(ring) = HashTable::ring(&["a", "b"], &[1, 3], 1024) else { panic!("a ring") };
        assert_eq!(ring.len(), 1024);
        assert_eq!(ring.iter().filter(|(_, p)| *p == 1).count(), 768);
    }

    #[test]
    fn maglev_fills_every_place_by_weight() {
        let HashTable::Maglev(table) = HashTable::maglev(&["a", "b", "c"], &[1, 1, 2], 65537) else { panic!("a table") };
        let share = |p| table.iter().filter(|x| **x == p).count() as f64 / 65537.0;
        assert!((share(2) - 0.5).abs() < 0.01 && (share(0) - 0.25).abs() < 0.01);
    }

    #[test]
    fn a_cookie_is_found_or_made_only_with_a_ttl() {
        let key = |ttl| HashKey::Cookie { name: "sess".into(), path: "/".into(), ttl, attributes: vec![] };
        let hash = |key: HashKey, cookie: Option<&str>| {
            let mut headers = http::HeaderMap::new();
            if let Some(c) = cookie {
                headers.insert("cookie", c.parse().expect("a value"));
            }
            key.hash(&headers, None, [127, 0, 0, 1].into(), ([10, 0, 0, 1], 80).into())
        };
        assert_eq!(hash(key(None), None), Hashed::default());
        assert_eq!(hash(key(None), Some("a=1; sess=x")).hash, hash(key(None), Some("sess=\"x\"")).hash);
        let made = hash(key(Some(Duration::from_secs(60))), None);
        let text = made.set_cookie.expect("a cookie");
        assert!(text.starts_with("sess=\"") && text.ends_with("; Max-Age=60; Path=/; HttpOnly"), "{text}");
    }
}
