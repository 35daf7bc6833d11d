use reqwest::header::HeaderValue;

use super::key::{Key, Secret, check_characters};
use crate::{ConfigError, Error};

/// PostHog rejects a longer token as `too_long`.
const LONGEST: usize = 64;

/// A PostHog project token (`phc_…`): write-only, one a project.
///
/// Parsing takes what PostHog would take: old project tokens have no prefix, so none is required, but a
/// key of another kind is refused, since it is a secret that does not belong into every request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ProjectToken(Secret);

impl Key for ProjectToken {
    const NAME: &'static str = "project token";

    /// # Errors
    ///
    /// When it is blank, a key of another kind, longer than PostHog takes, or has characters that no
    /// token has.
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
    /// No project's: for the SDK while a provider has given none. Its events get the token that is in use when they are
    /// sent.
    pub(crate) fn stand_in() -> Self {
        Self(Secret::new("none_yet"))
    }

    pub(crate) fn expose(&self) -> &str {
        self.0.expose()
    }

    /// The value of a header that names the project.
    pub(crate) fn header(&self) -> Result<HeaderValue, Error> {
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
