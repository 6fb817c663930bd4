//! How many gRPC messages passed, for `istio_request_messages_total` and its twin (10.2).

/// Counts the length-prefixed messages of one direction, however their bytes are cut into pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Messages {
    count: u64,
    /// Bytes of the present prefix that have come: a flag and four bytes of length.
    prefix: u8,
    length: u32,
    /// Bytes of the present message that are to come.
    left: u32,
}

impl Messages {
    /// Takes in a piece.
    pub(crate) fn feed(&mut self, mut piece: &[u8]) {
        loop {
            if self.left > 0 {
                let skip = piece.len().min(self.left as usize);
                self.left -= skip as u32;
                piece = &piece[skip..];
            }
            let Some((byte, rest)) = piece.split_first() else { return };
            piece = rest;
            self.length = self.length << 8 | u32::from(if self.prefix == 0 { 0 } else { *byte });
            self.prefix += 1;
            if self.prefix == 5 {
                self.count += 1;
                self.left = self.length;
                (self.prefix, self.length) = (0, 0);
            }
        }
    }
    /// Messages begun.
    pub(crate) fn count(self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let stream: Vec<u8> = [&[0, 0, 0, 0, 3][..], b"abc", &[1, 0, 0, 0, 0], &[0, 0, 0, 1, 0], &[7; 256]].concat();
        for cut in [1, 2, 3, 5, 7, 64, 1000] {
            let mut messages = Messages::default();
            stream.chunks(cut).for_each(|piece| messages.feed(piece));
            assert_eq!((messages.count(), messages.left), (3, 0), "{cut}");
        }
    }
}
