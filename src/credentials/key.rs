use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::ConfigError;

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
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} characters", self.0.len())
    }
}

/// What no key has, but a placeholder, a template or a quoted value.
pub(super) fn has_quotes(text: &str) -> bool {
    text.contains(['"', '\'', '`', '$', '{', '}', '<', '>', '\\'])
}

pub(super) fn has_odd_characters(text: &str) -> bool {
    !text.bytes().all(|byte| byte.is_ascii_graphic())
}
