//! Randomness for retries and keys. The rules that use it take it as an argument; only this file asks the system.

/// 64 random bits.
///
/// A system without a source of randomness gets a constant: retries then lose their spread, and nothing else.
pub(crate) fn random_u64() -> u64 {
    getrandom::u64().unwrap_or(u64::MAX / 2)
}

/// A name that no other publisher has: 26 characters, 130 random bits.
///
/// `None` where the system has no randomness: a key that is not unique would make other people's events vanish.
pub(crate) fn unique_name() -> Option<String> {
    let mut name = String::with_capacity(CHARS_PER_WORD * 2);
    for _ in 0..2 {
        let mut word = getrandom::u64().ok()?;
        for _ in 0..CHARS_PER_WORD {
            let digit = usize::try_from(word % 32).unwrap_or_default();
            name.push(char::from(ALPHABET.get(digit).copied().unwrap_or_default()));
            word /= 32;
        }
    }
    Some(name)
}

/// 64 bits in digits of 5 bits.
const CHARS_PER_WORD: usize = 13;
/// No look-alikes, and safe in any header.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_are_safe_in_a_header() {
        let name = unique_name().unwrap();
        assert_ne!(Some(&name), unique_name().as_ref());
        assert_eq!(name.len(), 26);
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
}
