//! A strict look at a chunked body, beside the codec that reads it.
//!
//! The codec takes an empty size for the last chunk, and a bare line feed inside an extension; another reader might not,
//! and would see another request (contract/envoy.md 8.3). This follows the same bytes and refuses both. It keeps no bytes.

/// Where in a chunked body we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunks {
    at: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In a size, after so many digits.
    Size(u64, u8),
    /// After a size: blanks or an extension.
    Extension(u64),
    /// After the carriage return of a size's line.
    SizeEnd(u64),
    /// In a chunk, with so many bytes to come.
    Data(u64),
    /// After a chunk.
    DataReturn,
    DataEnd,
    /// In a line after the last chunk; true where it has begun.
    Trailer(bool),
    TrailerEnd(bool),
    /// The body is over; what follows is not ours.
    Over,
}

/// The body can be read in more than one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ambiguous;

impl Chunks {
    /// The beginning of a body.
    pub(crate) fn new() -> Self {
        Self { at: At::Size(0, 0) }
    }
    /// Follows more of it. What comes after its end is not looked at.
    pub(crate) fn follow(&mut self, bytes: &[u8]) -> Result<(), Ambiguous> {
        let mut bytes = bytes;
        while let Some((&byte, rest)) = bytes.split_first() {
            if let At::Data(left) = self.at {
                let taken = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                bytes = &bytes[taken..];
                let left = left - taken as u64;
                self.at = if left == 0 { At::DataReturn } else { At::Data(left) };
                continue;
            }
            if self.at == At::Over {
                return Ok(());
            }
            self.at = self.at.after(byte)?;
            bytes = rest;
        }
        Ok(())
    }
}

impl At {
    fn after(self, byte: u8) -> Result<Self, Ambiguous> {
        Ok(match (self, byte) {
            (Self::Size(size, digits), byte) if byte.is_ascii_hexdigit() => {
                if digits == 15 {
                    return Err(Ambiguous);
                }
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                Self::Size(size << 4 | digit, digits + 1)
            }
            (Self::Size(_, 0), _) => return Err(Ambiguous),
            (Self::Size(size, _) | Self::Extension(size), b'\r') => Self::SizeEnd(size),
            (Self::Size(size, _), b';' | b' ' | b'\t') => Self::Extension(size),
            (Self::Extension(size), byte) if byte == b'\t' || !byte.is_ascii_control() => Self::Extension(size),
            (Self::SizeEnd(0), b'\n') => Self::Trailer(false),
            (Self::SizeEnd(size), b'\n') => Self::Data(size),
            (Self::DataReturn, b'\r') => Self::DataEnd,
            (Self::DataEnd, b'\n') => Self::Size(0, 0),
            (Self::Trailer(begun), b'\r') => Self::TrailerEnd(begun),
            (Self::Trailer(_), byte) if byte == b'\t' || !byte.is_ascii_control() => Self::Trailer(true),
            (Self::TrailerEnd(true), b'\n') => Self::Trailer(false),
            (Self::TrailerEnd(false), b'\n') | (Self::Over, _) => Self::Over,
            (
                Self::Size(..)
                | Self::Extension(_)
                | Self::SizeEnd(_)
                | Self::Data(_)
                | Self::DataReturn
                | Self::DataEnd
                | Self::Trailer(_)
                | Self::TrailerEnd(_),
                _,
            ) => return Err(Ambiguous),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_way_to_read_a_body_8_3() {
        for (body, want) in [
            ("5\r\nhello\r\n0\r\n\r\n", true),
            ("5;a=\"b\"\r\nhello\r\n00\r\nX: y\r\nZ: w\r\n\r\nGET / HTTP/1.1\nanything", true),
            ("A \r\n0123456789\r\n0\r\n\r\n", true),
            ("\r\nhello\r\n0\r\n\r\n", false),
            ("5;\nxx\r\nhello\r\n0\r\n\r\n", false),
            ("5\nhello\r\n0\r\n\r\n", false),
            ("5\r\nhello0\r\n\r\n", false),
            ("5\r\nhello\n0\r\n\r\n", false),
            ("0x5\r\nhello\r\n0\r\n\r\n", false),
            ("-1\r\n", false),
            ("zz\r\n", false),
            ("0\r\nX: y\n\r\n", false),
            ("ffffffffffffffff\r\n", false),
        ] {
            assert_eq!(Chunks::new().follow(body.as_bytes()).is_ok(), want, "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_arrive(body in "([0-9a-f]{0,2}(;x|;\n)?\r?\n[a-z]{0,6}\r\n){1,4}0\r\n\r\n", cut in 0usize..40) {
            let cut = cut.min(body.len());
            let mut whole = Chunks::new();
            let mut parts = Chunks::new();
            let first = parts.follow(&body.as_bytes()[..cut]);
            let parted = first.and_then(|()| parts.follow(&body.as_bytes()[cut..]));
            prop_assert_eq!(whole.follow(body.as_bytes()), parted);
        }
    }
}
