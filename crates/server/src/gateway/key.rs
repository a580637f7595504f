//! What only this server can compute: ids for idempotency keys, and digests by which who asked is known again.
//!
//! Read [`Secret`]. No credential is kept: what is kept of one is a digest that differs from stream to stream.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::COOKIE;
use http::{HeaderMap, HeaderName};

use super::stream::StreamId;
use super::upstream::cookies;

/// The key behind all digests of a server. Servers that share a log share it.
#[derive(Clone)]
pub struct Secret(hmac::Key);

impl Secret {
    /// How many bytes make one.
    pub const BYTES: usize = 32;

    /// A secret of these bytes.
    #[must_use]
    pub fn new(bytes: &[u8; Self::BYTES]) -> Secret {
        Secret(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// One that is forgotten at exit.
    ///
    /// # Errors
    /// Where the system gives no randomness.
    pub fn random() -> io::Result<Secret> {
        Ok(Secret::new(&random_bytes()?))
    }

    /// The secret that a file holds, which is created, for its owner only, where there is none.
    ///
    /// # Errors
    /// Where the file can't be read or written, or holds something else.
    pub fn load_or_create(path: &Path) -> io::Result<Secret> {
        match File::open(path) {
            Ok(file) => Secret::read(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Secret::create(path),
            Err(error) => Err(error),
        }
    }

    fn create(path: &Path) -> io::Result<Secret> {
        let bytes = random_bytes()?;
        // Under another name first: a file that is there is whole.
        let unfinished = path.with_extension("unfinished");
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, path)?;
        // Ids that are made with it must be known again even after a crash.
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(Secret::new(&bytes))
    }

    fn read(mut file: File) -> io::Result<Secret> {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let bytes = bytes.try_into().map_err(|_| {
            let expected = format!("expected {} bytes of secret", Self::BYTES);
            io::Error::new(io::ErrorKind::InvalidData, expected)
        })?;
        Ok(Secret::new(&bytes))
    }

    /// The one stream of an idempotency key, among what a principal sends to a route.
    pub(super) fn stream_of(&self, route: &str, principal: &Principal, key: &str) -> StreamId {
        let tag = self.digest("stream", &[route.as_bytes(), &principal.0, key.as_bytes()]);
        StreamId::of_bytes(first_16(&tag))
    }

    /// A name that a principal has for a stream, besides its id.
    pub(super) fn alias_of(&self, principal: &Principal, parts: [&str; 4]) -> String {
        let [kind, route, created_at, name] = parts.map(str::as_bytes);
        encode(&self.digest("alias", &[kind, route, &principal.0, created_at, name]))
    }

    /// Who began a stream.
    pub(super) fn owner_of(&self, id: &StreamId, principal: &Principal) -> String {
        encode(&self.digest("owner", &[id.as_str().as_bytes(), &principal.0]))
    }

    /// What a request asks for.
    pub(super) fn request(&self, method: &str, path: &str, body: &[u8]) -> String {
        encode(&self.digest("request", &[method.as_bytes(), path.as_bytes(), body]))
    }

    /// A digest of parts that can't be mistaken for that of others.
    pub(super) fn digest(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in std::iter::once(purpose.as_bytes()).chain(parts.iter().copied()) {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Who asks: what stands in the headers that tell one client from another.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Principal(Vec<u8>);

impl Principal {
    pub(super) fn of(headers: &HeaderMap, names: &[HeaderName]) -> Principal {
        let mut bytes = Vec::new();
        let mut push = |at: usize, value: &[u8]| {
            bytes.extend_from_slice(&(at as u64).to_le_bytes());
            bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
            bytes.extend_from_slice(value);
        };
        for (at, name) in names.iter().enumerate() {
            // The same client by whatever version of HTTP.
            match cookies(headers).filter(|_| name == COOKIE) {
                Some(joined) => push(at, &joined),
                None => headers.get_all(name).iter().for_each(|value| push(at, value.as_bytes())),
            }
        }
        Principal(bytes)
    }

    /// Whether the client has no credentials at all.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Principal")
    }
}

pub(super) fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn first_16(digest: &[u8; 32]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(digest).for_each(|(to, from)| *to = *from);
    bytes
}

fn random_bytes() -> io::Result<[u8; Secret::BYTES]> {
    let mut bytes = [0; Secret::BYTES];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn principal(authorization: &'static str) -> Principal {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static(authorization));
        Principal::of(
            &headers,
            &[http::header::AUTHORIZATION, HeaderName::from_static("x-api-key")],
        )
    }

    #[test]
    fn a_key_is_one_stream_for_one_client_of_one_route() {
        let secret = Secret::new(&[7; 32]);
        let one = secret.stream_of("/v1", &principal("Bearer a"), "key");
        assert_eq!(one, secret.stream_of("/v1", &principal("Bearer a"), "key"));
        for other in [
            secret.stream_of("/v2", &principal("Bearer a"), "key"),
            secret.stream_of("/v1", &principal("Bearer b"), "key"),
            secret.stream_of("/v1", &principal("Bearer a"), "key2"),
            Secret::new(&[8; 32]).stream_of("/v1", &principal("Bearer a"), "key"),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn a_client_is_the_same_by_whatever_version_of_http_its_cookies_come() {
        let of = |cookies: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for text in cookies {
                headers.append(COOKIE, HeaderValue::from_static(text));
            }
            Principal::of(&headers, &[COOKIE])
        };
        assert_eq!(of(&["a=1; b=2"]), of(&["a=1", "b=2"]));
        assert_ne!(of(&["a=1; b=2"]), of(&["a=1"]));
        assert!(of(&[]).is_empty());
    }

    #[test]
    fn parts_are_not_mistaken_for_each_other() {
        let secret = Secret::new(&[7; 32]);
        assert_ne!(secret.digest("a", &[b"bc", b"d"]), secret.digest("a", &[b"b", b"cd"]));
        assert_ne!(secret.digest("a", &[b"b"]), secret.digest("ab", &[]));
    }

    #[test]
    fn what_is_kept_of_a_client_differs_from_stream_to_stream() {
        let secret = Secret::new(&[7; 32]);
        let [one, two] = [StreamId::of_bytes([1; 16]), StreamId::of_bytes([2; 16])];
        let owner = |id| secret.owner_of(id, &principal("Bearer a"));
        assert_eq!(owner(&one), owner(&one));
        assert_ne!(owner(&one), owner(&two));
        assert_eq!(format!("{secret:?} {:?}", principal("Bearer a")), "Secret Principal");
    }

    #[test]
    fn a_file_keeps_a_secret_for_its_owner() {
        use std::os::unix::fs::MetadataExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.key");
        let [one, two] = [(); 2].map(|()| Secret::load_or_create(&path).unwrap());
        assert_eq!(one.digest("a", &[]), two.digest("a", &[]));
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        std::fs::write(&path, "short").unwrap();
        assert!(Secret::load_or_create(&path).is_err());
    }
}
