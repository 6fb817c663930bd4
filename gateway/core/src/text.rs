//! Numbers and addresses as bytes, for what is written with every request: `std::fmt` costs ten times as much.

use std::fmt::Display;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use itoa::{Buffer, Integer};
use smallvec::SmallVec;

/// A short text that needs no allocation.
pub type Short = SmallVec<[u8; 64]>;

/// A number in decimal.
pub fn number(number: impl Integer) -> Short {
    Short::from_slice(Buffer::new().format(number).as_bytes())
}

/// An address as its `Display` writes it.
pub fn ip(address: IpAddr) -> Short {
    let IpAddr::V4(address) = address else { return shown(&address) };
    let mut out = Short::new();
    for (at, octet) in address.octets().into_iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        out.extend_from_slice(Buffer::new().format(octet).as_bytes());
    }
    out
}

/// An address and its port as their `Display` writes them.
pub fn socket(address: SocketAddr) -> Short {
    if address.is_ipv6() {
        return shown(&address);
    }
    let mut out = ip(address.ip());
    out.push(b':');
    out.extend_from_slice(Buffer::new().format(address.port()).as_bytes());
    out
}

fn shown(address: &dyn Display) -> Short {
    let mut out = Short::new();
    // A SmallVec takes every write.
    drop(write!(out, "{address}"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_are_displayed() {
        for text in ["0.0.0.0:0", "10.2.33.254:65535", "127.0.0.1:80", "[::1]:8080", "[2001:db8::7]:443", "[::ffff:10.0.0.1]:1"] {
            let address: SocketAddr = text.parse().expect("an address");
            assert_eq!((&*socket(address), &*ip(address.ip())), (text.as_bytes(), address.ip().to_string().as_bytes()));
        }
        for value in [0, 9, 10, 255, u64::MAX] {
            assert_eq!(&*number(value), value.to_string().as_bytes());
        }
    }
}
