use reqwest::header::HeaderValue;

use super::key::{Key, Secret, check_characters};
use crate::{ConfigError, Error};

/// A key that may read flag definitions: a personal API key (`phx_…`) or a project's secret key (`phs_…`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretKey(Secret);

impl Key for SecretKey {
    const NAME: &'static str = "secret key";

    /// # Errors
    ///
    /// Returns an error if the text is empty, is a project token, or has characters that no key has.
    fn parse(key: &str) -> Result<Self, ConfigError> {
        const GIVE_ONE: &str = "give it a personal API key (phx_…) or a project secret API key (phs_…)";
        let key = key.trim();
        let refuse = |problem, remedy| Err(ConfigError::new("secret_key", problem, remedy));
        if key.is_empty() {
            return refuse("is empty", GIVE_ONE);
        }
        if key.starts_with("phc_") {
            return refuse("is a project token (phc_…)", GIVE_ONE);
        }
        check_characters("secret_key", key)?;
        Ok(Self(Secret::new(key)))
    }
}

impl SecretKey {
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// Returns the value of an `Authorization` header.
    pub fn bearer(&self) -> Result<HeaderValue, Error> {
        self.0.header("Bearer ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_both_kinds_and_unknown_ones() {
        for key in ["phx_abc", " phs_abc\n", "oldkey"] {
            assert_eq!(SecretKey::parse(key).unwrap().expose(), key.trim());
        }
    }

    #[test]
    fn refuses_what_is_no_secret_key_and_never_repeats_it() {
        for (key, problem) in [
            ("", "empty"),
            (" \n", "empty"),
            ("phc_secretsecret", "project token"),
            ("phx_secret secret", "blanks"),
            ("'phx_secretsecret'", "quotes"),
            ("$SECRET_secretsecret", "quotes"),
            ("phx_secret\u{e9}secret", "non-ASCII"),
        ] {
            let error = SecretKey::parse(key).unwrap_err();
            assert_eq!(error.field(), "secret_key");
            assert!(error.problem().contains(problem), "{error}");
            assert!(!error.to_string().contains("secretsecret"), "{error}");
        }
    }

    #[test]
    fn debug_shows_no_character_of_it() {
        assert_eq!(format!("{:?}", SecretKey::parse("phx_abc").unwrap()), "SecretKey(7 characters)");
    }
}
