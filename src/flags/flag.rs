use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::evaluated::Evaluated;

/// A flag's value for one person.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Flag {
    /// Whether the flag is on.
    pub enabled: bool,
    /// The variant, if the flag has variants and is on.
    pub variant: Option<String>,
    /// The JSON that PostHog has for this value.
    pub payload: Option<Value>,
    /// Where the value comes from.
    pub source: FlagSource,
    pub(crate) details: Details,
}

/// What only exposure events need.
#[derive(Clone, Debug, PartialEq)]
pub struct Details {
    pub id: Option<u64>,
    pub version: Option<u64>,
    pub reason: Option<String>,
}

/// Where a flag's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FlagSource {
    /// PostHog's answer to this question.
    Remote,
    /// [Local evaluation](crate::PostHogBuilder::local_evaluation), without a request.
    Local {
        /// How long ago PostHog confirmed the definitions. At most the poll interval while PostHog answers.
        age: Duration,
    },
    /// An earlier answer of PostHog's to the same question.
    LastKnownGood {
        /// How long ago PostHog evaluated the flag.
        age: Duration,
    },
    /// The default that you pass, since nothing is known of the flag.
    Default,
}

impl Flag {
    pub(crate) fn new(evaluated: Evaluated, source: FlagSource) -> Self {
        let Evaluated { enabled, variant, payload, id, version, reason } = evaluated;
        Self { enabled, variant, payload, source, details: Details { id, version, reason } }
    }

    /// The value as PostHog writes it: the variant, else whether the flag is on.
    pub(crate) fn response(&self) -> Value {
        match &self.variant {
            Some(variant) if self.enabled => variant.as_str().into(),
            _ => self.enabled.into(),
        }
    }
}

impl FlagSource {
    /// Returns the source as `$feature_flag_called` events name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Remote => "remote",
            Self::Local { .. } => "local_evaluation",
            Self::LastKnownGood { .. } => "last_known_good",
            Self::Default => "default",
        }
    }
}
