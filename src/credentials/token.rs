use reqwest::header::HeaderValue;

use super::key::{Key, Secret, check_characters};
use crate::{ConfigError, Error};

/// PostHog rejects a longer token as `too_long`.
const LONGEST: usize = 64;

/// A PostHog project token (`phc_…`). A project has one, and it permits writes only.
///
/// Parsing accepts every token that PostHog accepts. Old project tokens have no prefix, so none is required, but a key of
/// another kind is refused, because it is a secret that must not be in every request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProjectToken(Secret);

impl Key for ProjectToken {
    const NAME: &'static str = "project token";

    /// # Errors
    ///
    /// Returns an error if the text is empty, is a key of another kind, is longer than PostHog accepts, or has characters
    /// that no token has.
    fn parse(token: &str) -> Result<Self, ConfigError> {
        let token = token.trim();
        let refuse =
            |problem: String, remedy: &'static str| Err(ConfigError::new("project_token", problem, remedy));
        if token.is_empty() {
            return refuse(
                "is empty".into(),
                "copy it from PostHog's project settings (it begins with phc_)",
            );
        }
        for (prefix, kind) in [
            ("phx_", "a personal API key"),
            ("phs_", "a project secret API key"),
            ("pha_", "an OAuth access token"),
        ] {
            if token.starts_with(prefix) {
                return refuse(
                    format!("is {kind} ({prefix}…)"),
                    "use the project token (phc_…), and revoke this key if it was sent anywhere",
                );
            }
        }
        check_characters("project_token", token)?;
        if token.len() > LONGEST {
            return refuse(
                format!("has {} characters, and PostHog takes up to {LONGEST}", token.len()),
                "copy it again from PostHog's project settings",
            );
        }
        Ok(Self(Secret::new(token)))
    }
}

impl ProjectToken {
    /// Returns a token of no project, for the SDK while a provider has not returned one. Events are sent with the token that is
    /// in use at that time.
    pub fn stand_in() -> Self {
        Self(Secret::new("none_yet"))
    }

    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// Returns the value of an `Authorization` header.
    pub fn bearer(&self) -> Result<HeaderValue, Error> {
        self.0.header("Bearer ")
    }

    /// Returns the value of a header that names the project.
    pub fn header(&self) -> Result<HeaderValue, Error> {
        self.0.header("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_project_tokens_old_and_new() {
        for token in ["phc_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG", " phc_abc\n", "sTMFPsFhdP1Ssg"] {
            assert_eq!(ProjectToken::parse(token).unwrap().expose(), token.trim());
        }
    }

    #[test]
    fn refuses_what_posthog_would_refuse_and_never_repeats_it() {
        let long = format!("phc_{}", "x".repeat(61));
        for (token, problem) in [
            ("", "empty"),
            (" \n", "empty"),
            ("phx_secretsecret", "personal API key"),
            ("phs_secretsecret", "project secret API key"),
            ("phc_secret\u{e9}secret", "non-ASCII"),
            ("phc_secret secret", "blanks"),
            ("\"phc_secretsecret\"", "quotes"),
            ("$POSTHOG_API_KEY", "quotes"),
            ("<your project token>", "quotes"),
            (&long, "65 characters"),
        ] {
            let error = ProjectToken::parse(token).unwrap_err();
            assert_eq!(error.field(), "project_token");
            assert!(error.problem().contains(problem), "{error}");
            assert!(
                !error.to_string().contains("secretsecret") && !error.to_string().contains("xxxx"),
                "{error}"
            );
        }
    }

    #[test]
    fn debug_shows_no_character_of_it() {
        assert_eq!(format!("{:?}", ProjectToken::parse("phc_abc").unwrap()), "ProjectToken(7 characters)");
    }
}
