use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use reqwest::header::HeaderValue;
use zeroize::Zeroizing;

use crate::{ConfigError, Error, ErrorKind};

/// A key that a [source](crate::CredentialSource) returns: a project token or a secret key.
pub trait Key: Clone + PartialEq + Send + Sync + 'static {
    /// The name in log lines.
    const NAME: &'static str;

    /// Parses a key. Surrounding whitespace is ignored, because a mounted secret often ends in a newline.
    ///
    /// # Errors
    ///
    /// Returns an error if the text cannot be such a key.
    fn parse(text: &str) -> Result<Self, ConfigError>;
}

/// A text that `Debug` redacts. Clones share the memory, which is overwritten when the last one is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    pub fn new(text: &str) -> Self {
        Self(Arc::new(Zeroizing::new(text.to_owned())))
    }

    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Builds a header's value from this scheme and the text. `Debug` redacts the value.
    ///
    /// # Errors
    ///
    /// Returns `Unauthorized` if the text does not fit into a header. A parsed key does.
    pub fn header(&self, scheme: &str) -> Result<HeaderValue, Error> {
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

/// Checks that the text has only characters that a key of any kind may have: printable ASCII, without the characters that
/// mark a placeholder, a template or a quoted value.
///
/// # Errors
///
/// Returns an error about `field` if there are other characters.
pub fn check_characters(field: &'static str, key: &str) -> Result<(), ConfigError> {
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
