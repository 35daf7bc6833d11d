use std::fmt;

use crate::ConfigError;

/// A key that reads flag definitions: personal (`phx_…`) or of a project (`phs_…`). A secret. Redacts itself.
#[derive(Clone)]
pub(crate) struct SecretKey(String);

impl SecretKey {
    /// Parses a key; blanks around it are no part of it (a mounted secret often ends in a newline).
    ///
    /// # Errors
    ///
    /// When it is blank, a project token, or has characters that no key has.
    pub(crate) fn parse(key: &str) -> Result<Self, ConfigError> {
        let key = key.trim();
        let refuse = |problem, remedy| Err(ConfigError::new("local_evaluation", problem, remedy));
        if key.is_empty() {
            return refuse(
                "has an empty secret key",
                "give it a personal API key (phx_…) or a project secret API key (phs_…)",
            );
        }
        if key.starts_with("phc_") {
            return refuse(
                "has a project token (phc_…) where a secret key belongs",
                "give it a personal API key (phx_…) or a project secret API key (phs_…)",
            );
        }
        let is_odd = |byte: u8| !byte.is_ascii_graphic() || b"\"'`$<>{}\\".contains(&byte);
        if key.bytes().any(is_odd) {
            return refuse(
                "has a secret key with blanks, quotes, braces, control or non-ASCII characters in it",
                "copy it again, or fill in the placeholder or variable that it is",
            );
        }
        Ok(Self(key.to_owned()))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({} characters)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_both_kinds_and_whatever_comes() {
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
            assert_eq!(error.field(), "local_evaluation");
            assert!(error.problem().contains(problem), "{error}");
            assert!(!error.to_string().contains("secretsecret"), "{error}");
        }
    }

    #[test]
    fn debug_shows_no_character_of_it() {
        assert_eq!(format!("{:?}", SecretKey::parse("phx_abc").unwrap()), "SecretKey(7 characters)");
    }
}
