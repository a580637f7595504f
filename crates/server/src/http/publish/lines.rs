//! Cuts a stream of bytes into lines as they arrive: [`LineCutter`]. Pure.

use bytes::Bytes;

/// Finds the lines of a stream that comes in pieces. A line ends with LF or CRLF; neither belongs to it.
#[derive(Debug)]
pub(super) struct LineCutter {
    /// The beginning of a line whose end has not come.
    partial: Vec<u8>,
    line_bytes_max: usize,
}

/// A line is longer than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LineTooLong;

impl LineCutter {
    pub(super) fn new(line_bytes_max: usize) -> LineCutter {
        LineCutter { partial: Vec::new(), line_bytes_max }
    }

    /// The next line, taken from the front of `input`; `None` when more input is needed, and all of it is taken then.
    ///
    /// # Errors
    /// [`LineTooLong`], as soon as it is known.
    pub(super) fn next_line(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, LineTooLong> {
        let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
            // One byte more may be a CR that does not belong to the line.
            if self.partial.len() + input.len() > self.line_bytes_max + 1 {
                return Err(LineTooLong);
            }
            self.partial.extend_from_slice(input);
            input.clear();
            return Ok(None);
        };
        let mut rest = input.split_to(end + 1);
        rest.truncate(end);
        self.finish(&rest).map(Some)
    }

    /// The last line, where the stream did not end with a line's end.
    ///
    /// # Errors
    /// [`LineTooLong`].
    pub(super) fn last_line(&mut self) -> Result<Option<Bytes>, LineTooLong> {
        if self.partial.is_empty() { Ok(None) } else { self.finish(&[]).map(Some) }
    }

    /// How many bytes are held.
    pub(super) fn held_bytes(&self) -> usize {
        self.partial.len()
    }

    fn finish(&mut self, rest: &[u8]) -> Result<Bytes, LineTooLong> {
        let line = if self.partial.is_empty() {
            // A copy, since a slice would keep all of a large read in memory for as long as any of its lines.
            Bytes::copy_from_slice(rest.strip_suffix(b"\r").unwrap_or(rest))
        } else {
            let mut line = std::mem::take(&mut self.partial);
            line.extend_from_slice(rest);
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            line.into()
        };
        if line.len() > self.line_bytes_max { Err(LineTooLong) } else { Ok(line) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(pieces: &[&[u8]]) -> Vec<Bytes> {
        let mut cutter = LineCutter::new(5);
        let mut lines = Vec::new();
        for piece in pieces {
            let mut input = Bytes::copy_from_slice(piece);
            while let Some(line) = cutter.next_line(&mut input).unwrap() {
                lines.push(line);
            }
        }
        lines.extend(cutter.last_line().unwrap());
        lines
    }

    #[test]
    fn lines_are_the_same_wherever_the_stream_is_cut() {
        let text = b"one\r\ntwo\n\n\r\na\rb\nfinal";
        let whole = cut(&[text]);
        assert_eq!(whole, ["one", "two", "", "", "a\rb", "final"]);
        for at in 0..=text.len() {
            let (left, right) = text.split_at(at);
            assert_eq!(cut(&[left, right]), whole, "cut at {at}");
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(cut(&bytes), whole);
    }

    #[test]
    fn a_line_may_be_as_long_as_allowed_and_no_longer() {
        assert_eq!(cut(&[b"12345\r\n", b"123", b"45\r", b"\n"]), ["12345", "12345"]);
        for pieces in
            [&[b"123456\n".as_slice()] as &[&[u8]], &[b"123", b"4567"], &[b"12345\r", b"6\n"]]
        {
            let mut cutter = LineCutter::new(5);
            let failed = pieces.iter().any(|piece| {
                cutter.next_line(&mut Bytes::copy_from_slice(piece)) == Err(LineTooLong)
            });
            assert!(failed, "{pieces:?}");
        }
    }

    proptest! {
        #[test]
        fn no_byte_is_lost(text in "[a-c\n]{0,40}", at in 0_usize..40) {
            let (left, right) = text.as_bytes().split_at(at.min(text.len()));
            let mut cutter = LineCutter::new(64);
            let mut found = Vec::new();
            for piece in [left, right] {
                let mut input = Bytes::copy_from_slice(piece);
                while let Some(line) = cutter.next_line(&mut input).unwrap() {
                    found.extend_from_slice(&line);
                    found.push(b'\n');
                }
            }
            found.extend(cutter.last_line().unwrap().into_iter().flatten());
            prop_assert_eq!(found, text.as_bytes());
        }
    }
}
