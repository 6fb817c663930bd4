//! What we write in HTTP/1: heads, and bodies in one of three framings.
//!
//! The engine alone decides how a message is framed; `content-length` and `transfer-encoding` of the message that came in
//! are never copied through here, so the two sides cannot disagree about where a message ends. Names are in lower case.

use std::io;

use bytes::{BufMut, BytesMut};
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, TRANSFER_ENCODING};
use http::{Method, StatusCode};

use crate::upstream::Outgoing;

/// Pieces below this are kept until more comes, or until nothing does.
const SMALL: usize = 4096;

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is no body, and nothing says how long it would be.
    None,
    /// There is no body here, but its length is told: answers to HEAD, and 304.
    Told(u64),
    /// So many bytes; what is left to write.
    Length(u64),
    /// In chunks.
    Chunked,
    /// By closing the connection: answers to HTTP/1.0.
    UntilClose,
}

impl Framing {
    fn put(self, buffer: &mut BytesMut) {
        match self {
            Self::None | Self::UntilClose => {}
            Self::Told(length) | Self::Length(length) => {
                buffer.put_slice(b"content-length: ");
                put_number(buffer, length);
                buffer.put_slice(b"\r\n");
            }
            Self::Chunked => buffer.put_slice(b"transfer-encoding: chunked\r\n"),
        }
    }
    /// Writes a piece of body; `last` says that nothing follows. More than the length allows is an error.
    pub(crate) fn send(&mut self, out: &mut Outgoing, bytes: &[u8], last: bool) -> io::Result<()> {
        match self {
            Self::None | Self::Told(_) => out.send(&[], &[]),
            Self::UntilClose => out.send(bytes, &[]),
            Self::Length(left) => {
                *left = left.checked_sub(bytes.len() as u64).ok_or(io::ErrorKind::InvalidData)?;
                if last && *left > 0 {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                // What is small and not the end waits for what follows; whoever waits for more writes it first.
                if *left > 0 && bytes.len() < SMALL {
                    out.head().put_slice(bytes);
                    return Ok(());
                }
                out.send(bytes, &[])
            }
            Self::Chunked if bytes.is_empty() => out.send(&[], if last { b"0\r\n\r\n" } else { b"" }),
            Self::Chunked if !last && bytes.len() < SMALL => {
                let kept = out.head();
                put_hex(kept, bytes.len());
                kept.put_slice(bytes);
                kept.put_slice(b"\r\n");
                Ok(())
            }
            Self::Chunked => {
                put_hex(out.head(), bytes.len());
                out.send(bytes, if last { b"\r\n0\r\n\r\n" } else { b"\r\n" })
            }
        }
    }
}

/// Puts a request's head together.
pub(crate) fn request(buffer: &mut BytesMut, method: &Method, target: &str, authority: &str, headers: &HeaderMap, framing: Framing) {
    buffer.reserve(512);
    buffer.put_slice(method.as_str().as_bytes());
    buffer.put_slice(b" ");
    buffer.put_slice(target.as_bytes());
    buffer.put_slice(b" HTTP/1.1\r\nhost: ");
    buffer.put_slice(authority.as_bytes());
    buffer.put_slice(b"\r\n");
    fields(buffer, headers);
    framing.put(buffer);
    buffer.put_slice(b"\r\n");
}

/// Puts a response's head together.
pub(crate) fn response(buffer: &mut BytesMut, http10: bool, status: StatusCode, headers: &HeaderMap, framing: Framing, close: bool) {
    buffer.reserve(512);
    buffer.put_slice(if http10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    buffer.put_slice(status.as_str().as_bytes());
    buffer.put_slice(b" ");
    buffer.put_slice(status.canonical_reason().unwrap_or("Unknown").as_bytes());
    buffer.put_slice(b"\r\n");
    fields(buffer, headers);
    framing.put(buffer);
    if close {
        buffer.put_slice(b"connection: close\r\n");
    } else if http10 {
        buffer.put_slice(b"connection: keep-alive\r\n");
    }
    buffer.put_slice(b"\r\n");
}

fn fields(buffer: &mut BytesMut, headers: &HeaderMap) {
    for (name, value) in headers {
        if name == CONTENT_LENGTH || name == TRANSFER_ENCODING || name == HOST {
            continue;
        }
        buffer.put_slice(name.as_str().as_bytes());
        buffer.put_slice(b": ");
        buffer.put_slice(value.as_bytes());
        buffer.put_slice(b"\r\n");
    }
}

fn put_number(buffer: &mut BytesMut, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    buffer.put_slice(&digits[at..]);
}

fn put_hex(buffer: &mut BytesMut, number: usize) {
    let first = (usize::BITS - number.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..first).rev() {
        buffer.put_u8(b"0123456789abcdef"[(number >> (4 * digit)) & 0xf]);
    }
    buffer.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let mut buffer = BytesMut::new();
        for n in [0, 9, 10, 65536, u64::MAX] {
            buffer.clear();
            put_number(&mut buffer, n);
            assert_eq!(buffer, n.to_string());
        }
        for n in [1usize, 15, 16, 255, 4096, 65536, usize::MAX] {
            buffer.clear();
            put_hex(&mut buffer, n);
            assert_eq!(buffer, format!("{n:x}\r\n"));
        }
    }

    #[test]
    fn heads_carry_one_framing() {
        let mut headers = HeaderMap::new();
        headers.insert("x-a", "1".parse().unwrap());
        headers.insert(CONTENT_LENGTH, "99".parse().unwrap());
        headers.insert(TRANSFER_ENCODING, "gzip".parse().unwrap());
        headers.insert(HOST, "other".parse().unwrap());
        let mut buffer = BytesMut::new();
        request(&mut buffer, &Method::POST, "/a?b", "c", &headers, Framing::Chunked);
        assert_eq!(buffer, "POST /a?b HTTP/1.1\r\nhost: c\r\nx-a: 1\r\ntransfer-encoding: chunked\r\n\r\n");
        buffer.clear();
        response(&mut buffer, true, StatusCode::OK, &headers, Framing::Length(3), false);
        assert_eq!(buffer, "HTTP/1.0 200 OK\r\nx-a: 1\r\ncontent-length: 3\r\nconnection: keep-alive\r\n\r\n");
    }
}
