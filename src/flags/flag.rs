use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::evaluated::Evaluated;

/// A flag's value for one person.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Flag {
    /// Whether it is on.
    pub enabled: bool,
    /// Which variant, if it has some and is on.
    pub variant: Option<String>,
    /// The JSON that belongs to the value.
    pub payload: Option<Value>,
    /// Where it comes from.
    pub source: FlagSource,
    pub(super) about: About,
}

/// What only `$feature_flag_called` tells.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct About {
    pub(super) id: Option<u64>,
    pub(super) version: Option<u64>,
    pub(super) reason: Option<String>,
}

/// Where a flag's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FlagSource {
    /// PostHog, just now.
    Remote,
    /// [Local evaluation](crate::PostHogBuilder::local_evaluation).
    Local {
        /// How long ago PostHog confirmed the definitions: up to the poll interval when all is well.
        age: Duration,
    },
    /// PostHog, a while ago.
    LastKnownGood {
        /// How long ago.
        age: Duration,
    },
    /// You: nothing is known of the flag.
    Default,
}

impl Flag {
    pub(super) fn new(evaluated: Evaluated, source: FlagSource) -> Self {
        let Evaluated { enabled, variant, payload, id, version, reason } = evaluated;
        Self { enabled, variant, payload, source, about: About { id, version, reason } }
    }

    /// As PostHog writes it: the variant, else whether it is on.
    pub(super) fn response(&self) -> Value {
        match &self.variant {
            Some(variant) if self.enabled => variant.as_str().into(),
            _ => self.enabled.into(),
        }
    }
}

impl FlagSource {
    /// As it stands in `$feature_flag_called`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Remote => "remote",
            Self::Local { .. } => "local_evaluation",
            Self::LastKnownGood { .. } => "last_known_good",
            Self::Default => "default",
        }
    }
}
