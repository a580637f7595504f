//! Tokens by which somebody without the provider's key may read or cancel one stream: [`Token`].
//!
//! A token says all by itself: stream, rights and expiry, signed with the server's secret. Nothing of it is kept, so none
//! can be taken back before it expires; another secret ends all. Who needs one, and for what, is said in `access.rs`.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::constant_time;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::HeaderValue;
use longwave_core::UnixMillis;

use super::key::{Secret, encode};
use super::stream::StreamId;

/// What may be done with a stream by who has a token for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    /// Read it, live and afterwards, as a stream and as a topic; and how it is.
    Read,
    /// Stop it, or delete it.
    Cancel,
}

impl Right {
    /// All there are.
    pub(super) const ALL: [Right; 2] = [Right::Read, Right::Cancel];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Right::Read => "read",
            Right::Cancel => "cancel",
        }
    }

    fn bit(self) -> u8 {
        match self {
            Right::Read => 1,
            Right::Cancel => 2,
        }
    }
}

impl FromStr for Right {
    type Err = NoRight;

    fn from_str(text: &str) -> Result<Right, NoRight> {
        Right::ALL.into_iter().find(|right| right.as_str() == text).ok_or(NoRight)
    }
}

/// A text is no right's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a right is one of read, cancel")]
pub(crate) struct NoRight;

/// Some rights, each once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Rights(u8);

impl Rights {
    pub(super) fn has(self, right: Right) -> bool {
        self.0 & right.bit() != 0
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Right> {
        Right::ALL.into_iter().filter(move |right| self.has(*right))
    }
}

impl FromIterator<Right> for Rights {
    fn from_iter<I: IntoIterator<Item = Right>>(rights: I) -> Rights {
        Rights(rights.into_iter().fold(0, |bits, right| bits | right.bit()))
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// A right to one stream, for some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) stream: StreamId,
    pub(super) rights: Rights,
    /// From then on it is worth nothing.
    pub(super) expires: UnixMillis,
}

impl Token {
    /// The shortest and the longest time for which a token may be made.
    pub(super) const TTL_MS_MIN: u64 = 1000;
    pub(super) const TTL_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1000;

    /// The token as it is given away: `lwv_`, what it says, a point, and the signature.
    pub(super) fn sign(&self, secret: &Secret) -> String {
        let payload = self.payload();
        format!("{PREFIX}{}.{}", encode(&payload), encode(&tag(secret, &payload)))
    }

    /// What a text says that this server signed, expired or not.
    ///
    /// # Errors
    /// [`NoToken`] where it is no token, or not this server's.
    pub(super) fn verify(secret: &Secret, text: &str) -> Result<Token, NoToken> {
        let (payload, given) =
            text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('.')).ok_or(NoToken)?;
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| NoToken);
        let (payload, given) = (decode(payload)?, decode(given)?);
        constant_time::verify_slices_are_equal(&tag(secret, &payload), &given)
            .map_err(|_| NoToken)?;
        Token::of_payload(&payload).ok_or(NoToken)
    }

    pub(super) fn is_expired(&self, now: UnixMillis) -> bool {
        self.expires <= now
    }

    /// Version, rights, expiry, and the rest is the stream's id.
    fn payload(&self) -> Vec<u8> {
        let mut payload = vec![VERSION, self.rights.0];
        payload.extend_from_slice(&self.expires.0.to_be_bytes());
        payload.extend_from_slice(self.stream.as_str().as_bytes());
        payload
    }

    fn of_payload(payload: &[u8]) -> Option<Token> {
        let ([VERSION, rights], rest) = payload.split_first_chunk()? else { return None };
        let (expires, stream) = rest.split_first_chunk()?;
        Some(Token {
            stream: std::str::from_utf8(stream).ok()?.parse().ok()?,
            rights: Rights(*rights),
            expires: UnixMillis(u64::from_be_bytes(*expires)),
        })
    }
}

/// A text is no token that this server signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token is none of this server's")]
pub(super) struct NoToken;

/// Whether a text has the form of a token, valid or not.
pub(super) fn is_token(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// The token that a header's value holds, by itself or as `Bearer`.
pub(super) fn token_in(value: &HeaderValue) -> Option<&str> {
    let text = value.to_str().ok()?.trim();
    let text = match text.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => rest.trim_start(),
        Some(_) => return None,
        None => text,
    };
    is_token(text).then_some(text)
}

fn tag(secret: &Secret, payload: &[u8]) -> [u8; 32] {
    secret.digest("token", &[payload])
}

/// What all tokens start with, so that they are told from providers' keys.
const PREFIX: &str = "lwv_";
const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token {
            stream: StreamId::of_bytes([7; 16]),
            rights: [Right::Read].into_iter().collect(),
            expires: UnixMillis(1_000),
        }
    }

    #[test]
    fn a_token_reads_back_what_was_signed() {
        let secret = Secret::new(&[1; 32]);
        for rights in [vec![Right::Read], vec![Right::Cancel], vec![Right::Cancel, Right::Read]] {
            let token = Token { rights: rights.iter().copied().collect(), ..token() };
            let text = token.sign(&secret);
            assert!(
                text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
            );
            assert_eq!(Token::verify(&secret, &text), Ok(token.clone()));
            for right in Right::ALL {
                assert_eq!(token.rights.has(right), rights.contains(&right));
            }
        }
    }

    #[test]
    fn a_token_that_was_changed_at_any_place_is_none() {
        let secret = Secret::new(&[1; 32]);
        let text = token().sign(&secret);
        assert_eq!(Token::verify(&Secret::new(&[2; 32]), &text), Err(NoToken));
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(Token::verify(&secret, &changed), Err(NoToken), "{changed}");
            assert_eq!(Token::verify(&secret, &text[..at]), Err(NoToken));
        }
        for text in ["", "lwv_", "lwv_.", "lwv_AA.AA", "sk-1"] {
            assert_eq!(Token::verify(&secret, text), Err(NoToken), "{text}");
        }
        // Signed, but of a version that nobody knows.
        let payload = [9; 32];
        let text = format!("{PREFIX}{}.{}", encode(&payload), encode(&tag(&secret, &payload)));
        assert_eq!(Token::verify(&secret, &text), Err(NoToken));
    }

    #[test]
    fn a_token_is_worth_nothing_from_its_expiry_on() {
        assert!(!token().is_expired(UnixMillis(999)));
        assert!(token().is_expired(UnixMillis(1_000)));
    }

    #[test]
    fn a_header_holds_a_token_by_itself_or_as_bearer() {
        let found =
            |text: &'static str| token_in(&HeaderValue::from_static(text)).map(str::to_owned);
        for text in ["lwv_a.b", "Bearer lwv_a.b", "bearer  lwv_a.b"] {
            assert_eq!(found(text).as_deref(), Some("lwv_a.b"), "{text}");
        }
        for text in ["Bearer sk-lwv_a", "Basic lwv_a.b", "sk-1", "Bearer", ""] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
