//! What somebody has put where a key belongs.

use bolero::check;
use reqwest::header::HeaderValue;

use super::{Key, ProjectToken, SecretKey};
use crate::fuzz::{ROUNDS, SECRET, fields, told};

/// What stands before and after it.
#[test]
fn key() {
    check!(name = "key").with_iterations(ROUNDS).for_each(|input: &[u8]| {
        let [before, after] = fields(input).map(|field| std::str::from_utf8(field).unwrap_or("\u{e9}"));
        for text in [format!("{before}{SECRET}{after}"), format!("{before}{after}")] {
            match ProjectToken::parse(&text) {
                Ok(token) => {
                    assert!(token.expose() == text.trim() && token.expose().len() <= 64);
                    can_travel(token.expose());
                    assert!(!format!("{token:?}").contains(SECRET));
                }
                Err(error) => assert!(!told(&error).contains(SECRET), "{error}"),
            }
            match SecretKey::parse(&text) {
                Ok(key) => {
                    assert_eq!(key.expose(), text.trim());
                    can_travel(&format!("Bearer {}", key.expose()));
                    assert!(!format!("{key:?}").contains(SECRET));
                }
                Err(error) => assert!(!told(&error).contains(SECRET), "{error}"),
            }
        }
    });
}

/// In a header, and in JSON as it stands.
fn can_travel(key: &str) {
    assert!(HeaderValue::from_str(key).is_ok());
    assert_eq!(serde_json::to_string(key).unwrap(), format!("\"{key}\""));
}
