//! The PROXY protocol, versions 1 and 2: who the client is, as told by the load balancer in front of us.
//!
//! A pure parser over the bytes received so far; it never reads past its header. A header that says `UNKNOWN` or `LOCAL`, or
//! names an address family other than IP, is taken and says nothing, so the socket's own address stands.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The first bytes of version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The longest line of version 1, its end included.
const LONGEST_LINE: usize = 107;

/// The longest version 2 header that is taken; address blocks need 36 bytes, the rest are extensions that we skip.
const LONGEST_BLOCK: usize = 4096;

/// A header that was understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProxyHeader {
    /// Its length in bytes.
    pub(crate) length: usize,
    /// The client's address, where it is told.
    pub(crate) source: Option<SocketAddr>,
}

/// What the bytes so far amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// The beginning of a header.
    Partial,
    /// A whole header.
    Header(ProxyHeader),
    /// No PROXY header.
    Invalid,
}

/// Reads a header from the first bytes of a connection.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let common = bytes.len().min(SIGNATURE.len());
    if !bytes.is_empty() && bytes[..common] == SIGNATURE[..common] {
        return if common == SIGNATURE.len() { version2(bytes) } else { Parsed::Partial };
    }
    version1(bytes)
}

fn version1(bytes: &[u8]) -> Parsed {
    const START: &[u8] = b"PROXY ";
    let common = bytes.len().min(START.len());
    if bytes[..common] != START[..common] {
        return Parsed::Invalid;
    }
    let window = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = window.windows(2).position(|w| w == b"\r\n") else {
        return if window.len() < LONGEST_LINE { Parsed::Partial } else { Parsed::Invalid };
    };
    let Ok(line) = std::str::from_utf8(&window[START.len().min(end)..end]) else { return Parsed::Invalid };
    let length = end + 2;
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Parsed::Header(ProxyHeader { length, source: None });
    }
    let parts: Vec<&str> = line.split(' ').collect();
    let [family, source, destination, source_port, destination_port] = parts[..] else { return Parsed::Invalid };
    let address = |text: &str| match family {
        "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => None,
    };
    let port = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u16>().ok()).flatten();
    match (address(source), address(destination), port(source_port), port(destination_port)) {
        (Some(ip), Some(_), Some(port), Some(_)) => Parsed::Header(ProxyHeader { length, source: Some(SocketAddr::new(ip, port)) }),
        _ => Parsed::Invalid,
    }
}

fn version2(bytes: &[u8]) -> Parsed {
    let Some(&[version_command, family, high, low]) = bytes[SIGNATURE.len()..].first_chunk::<4>() else { return Parsed::Partial };
    let block = usize::from(u16::from_be_bytes([high, low]));
    if version_command >> 4 != 2 || version_command & 0xf > 1 || block > LONGEST_BLOCK {
        return Parsed::Invalid;
    }
    let start = SIGNATURE.len() + 4;
    let Some(block) = bytes.get(start..start + block) else { return Parsed::Partial };
    let length = start + block.len();
    let local = version_command & 0xf == 0;
    let source = match (local, family >> 4) {
        (true, _) | (_, 0 | 3) => None,
        (false, 1) => {
            let Some(b) = block.first_chunk::<12>() else { return Parsed::Invalid };
            let ip = Ipv4Addr::new(b[0], b[1], b[2], b[3]);
            Some(SocketAddr::new(ip.into(), u16::from_be_bytes([b[8], b[9]])))
        }
        (false, 2) => {
            let Some(b) = block.first_chunk::<36>() else { return Parsed::Invalid };
            let Some(ip) = b.first_chunk::<16>() else { return Parsed::Invalid };
            Some(SocketAddr::new(Ipv6Addr::from(*ip).into(), u16::from_be_bytes([b[32], b[33]])))
        }
        (false, _) => return Parsed::Invalid,
    };
    Parsed::Header(ProxyHeader { length, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(length: usize, source: &str) -> Parsed {
        Parsed::Header(ProxyHeader { length, source: Some(source.parse().unwrap()) })
    }

    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend((block.len() as u16).to_be_bytes());
        bytes.extend(block);
        bytes
    }

    #[test]
    fn version_1_lines() {
        let silent = |length| Parsed::Header(ProxyHeader { length, source: None });
        for (bytes, want) in [
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1000 80\r\nGET", header(36, "1.2.3.4:1000")),
            ("PROXY TCP6 ::1 ::2 1000 80\r\n", header(28, "[::1]:1000")),
            ("PROXY UNKNOWN\r\n", silent(15)),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", silent(35)),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1000", Parsed::Partial),
            ("PRO", Parsed::Partial),
            ("", Parsed::Partial),
            ("PROXY TCP4 ::1 ::2 1000 80\r\n", Parsed::Invalid),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 70000 80\r\n", Parsed::Invalid),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 +1 80\r\n", Parsed::Invalid),
            ("PROXY TCP4 1.2.3.4\r\n", Parsed::Invalid),
            ("GET / HTTP/1.1\r\n", Parsed::Invalid),
        ] {
            assert_eq!(parse(bytes.as_bytes()), want, "{bytes}");
        }
        assert_eq!(parse(format!("PROXY {}", "x".repeat(200)).as_bytes()), Parsed::Invalid);
    }

    #[test]
    fn version_2_blocks() {
        let v4 = [1, 2, 3, 4, 5, 6, 7, 8, 0x03, 0xe8, 0, 80];
        assert_eq!(parse(&v2(1, 0x11, &v4)), header(28, "1.2.3.4:1000"));
        let mut longer = v4.to_vec();
        longer.extend([4, 0, 1, 0]);
        assert_eq!(parse(&v2(1, 0x11, &longer)), header(32, "1.2.3.4:1000"));
        assert_eq!(parse(&v2(0, 0x00, &[])), Parsed::Header(ProxyHeader { length: 16, source: None }));
        assert_eq!(parse(&v2(1, 0x11, &v4[..8])), Parsed::Invalid);
        assert_eq!(parse(&v2(2, 0x11, &v4)), Parsed::Invalid);
        assert_eq!(parse(&v2(1, 0x11, &v4)[..20]), Parsed::Partial);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic_and_never_past_themselves(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Parsed::Header(header) = parse(&bytes) {
                prop_assert!(header.length <= bytes.len());
            }
        }

        #[test]
        fn a_prefix_of_a_header_is_partial(source: [u8; 4], port: u16, cut in 0usize..28) {
            let mut block = source.to_vec();
            block.extend([9, 9, 9, 9]);
            block.extend(port.to_be_bytes());
            block.extend([0, 80]);
            let bytes = v2(1, 0x11, &block);
            prop_assert_eq!(parse(&bytes[..cut]), Parsed::Partial);
            prop_assert_eq!(parse(&bytes), header(28, &SocketAddr::new(IpAddr::from(source), port).to_string()));
        }
    }
}
