//! Arbitrary text in place of a key.

use bolero::check;
use reqwest::header::HeaderValue;

use super::{Key, ProjectToken, SecretKey};
use crate::fuzz::{ROUNDS, SECRET, fields, told};

/// The text before and after a key.
#[test]
fn key() {
    check!(name = "key").with_iterations(ROUNDS).for_each(|input: &[u8]| {
        let [before, after] = fields(input).map(|field| std::str::from_utf8(field).unwrap_or("\u{e9}"));
        for text in [format!("{before}{SECRET}{after}"), format!("{before}{after}")] {
            match ProjectToken::parse(&text) {
                Ok(token) => {
                    assert!(token.expose() == text.trim() && token.expose().len() <= 64);
                    assert_is_sendable(token.expose());
                    assert!(!format!("{token:?}").contains(SECRET));
                }
                Err(error) => assert!(!told(&error).contains(SECRET), "{error}"),
            }
            match SecretKey::parse(&text) {
                Ok(key) => {
                    assert_eq!(key.expose(), text.trim());
                    assert_is_sendable(&format!("Bearer {}", key.expose()));
                    assert!(!format!("{key:?}").contains(SECRET));
                }
                Err(error) => assert!(!told(&error).contains(SECRET), "{error}"),
            }
        }
    });
}

/// A key must fit into a header, and into JSON without escapes.
fn assert_is_sendable(key: &str) {
    assert!(HeaderValue::from_str(key).is_ok());
    assert_eq!(serde_json::to_string(key).unwrap(), format!("\"{key}\""));
}
