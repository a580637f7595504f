//! The Encoding Standard's "UTF-8 decode" of one piece of a line. The byte order mark is the decoder's affair.
//!
//! Decoding piece by piece equals decoding the whole stream at once: pieces are cut at CR, LF and colon, which are
//! ASCII and so always end an unfinished sequence, with one U+FFFD for it, in both.

use alloc::string::String;

/// Appends `bytes` to `text`, each maximal subpart of an ill-formed sequence as one U+FFFD.
pub(crate) fn push_lossy(text: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

/// `bytes` as text: themselves where they are well-formed, else decoded into `scratch`, whose content is replaced.
pub(crate) fn decode_or_borrow<'a>(bytes: &'a [u8], scratch: &'a mut String) -> &'a str {
    match checked(bytes) {
        Some(text) => text,
        None => {
            scratch.clear();
            push_lossy(scratch, bytes);
            scratch
        }
    }
}

/// Makes `text` the decoded `bytes`.
pub(crate) fn replace_lossy(text: &mut String, bytes: &[u8]) {
    text.clear();
    match checked(bytes) {
        Some(valid) => text.push_str(valid),
        None => push_lossy(text, bytes),
    }
}

/// `bytes` as text if they are well-formed.
#[inline]
fn checked(bytes: &[u8]) -> Option<&str> {
    if bytes.len() < SIMD_BYTES_MIN {
        str::from_utf8(bytes).ok()
    } else {
        simdutf8::basic::from_utf8(bytes).ok()
    }
}

/// Below this the standard library is faster (`benches/codec.rs`, `decode/llm`).
const SIMD_BYTES_MIN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_maximal_subpart_becomes_one_replacement_character() {
        let cases: &[(&[u8], &str)] = &[
            (b"ok", "ok"),
            (b"\xE2\x82", "\u{FFFD}"),
            (b"\xE2\x82x", "\u{FFFD}x"),
            (b"\xF0\x9F\x98", "\u{FFFD}"),
            (b"\xC0\xAF", "\u{FFFD}\u{FFFD}"),
            (b"\xED\xA0\x80", "\u{FFFD}\u{FFFD}\u{FFFD}"),
            (b"\xF4\x90\x80\x80", "\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}"),
            (b"a\xFFb\xFEc", "a\u{FFFD}b\u{FFFD}c"),
        ];
        for (bytes, expected) in cases {
            let mut text = String::from("old");
            replace_lossy(&mut text, bytes);
            assert_eq!(text, *expected, "{bytes:x?}");
            assert_eq!(decode_or_borrow(bytes, &mut String::from("old")), *expected, "{bytes:x?}");
        }
    }
}
