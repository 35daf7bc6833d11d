use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use reqwest::header::HeaderValue;
use zeroize::Zeroizing;

use crate::{ConfigError, Error, ErrorKind};

/// What a [source](crate::CredentialSource) gives: a project token or a secret key.
pub(crate) trait Key: Clone + PartialEq + Send + Sync + 'static {
    /// As log lines call it.
    const NAME: &'static str;

    /// Blanks around it are no part of it: a mounted secret often ends in a newline.
    ///
    /// # Errors
    ///
    /// When it cannot be one.
    fn parse(text: &str) -> Result<Self, ConfigError>;
}

/// A text that redacts itself. Its memory is overwritten with the last clone; clones share it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    pub(super) fn new(text: &str) -> Self {
        Self(Arc::new(Zeroizing::new(text.to_owned())))
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }

    /// As a header's value behind this scheme, that no `Debug` shows.
    ///
    /// # Errors
    ///
    /// `Unauthorized`: no header can have it. It has the characters of a key, so this does not happen.
    pub(super) fn header(&self, scheme: &str) -> Result<HeaderValue, Error> {
        let text = Zeroizing::new(format!("{scheme}{}", self.expose()));
        let mut value = HeaderValue::from_str(&text).map_err(|_| Error::new(ErrorKind::Unauthorized))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl Hash for Secret {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.expose().hash(state);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} characters", self.0.len())
    }
}

/// Takes what may be a key's characters, in whatever kind of key: printable ASCII without what only a placeholder, a
/// template or a quoted value has.
///
/// # Errors
///
/// About `field`, when there are others.
pub(super) fn check_characters(field: &'static str, key: &str) -> Result<(), ConfigError> {
    if key.contains(['"', '\'', '`', '$', '{', '}', '<', '>', '\\']) {
        return Err(ConfigError::new(
            field,
            "has quotes, braces or the like in it",
            "take away the quotes, or fill in the placeholder or variable that it is",
        ));
    }
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ConfigError::new(
            field,
            format!("has blanks, control or non-ASCII characters among its {}", key.chars().count()),
            "copy it again from PostHog's settings",
        ));
    }
    Ok(())
}
