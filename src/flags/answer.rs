use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::evaluated::{Evaluated, parsed};
use crate::Error;
use crate::api::{Accepted, unexpected_json};

/// PostHog's answer to a question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlagsAnswer {
    pub flags: BTreeMap<String, Evaluated>,
    /// PostHog could not evaluate the flags that are missing.
    pub is_partial: bool,
    pub over_quota: bool,
    pub request_id: Option<String>,
}

impl FlagsAnswer {
    /// What the answer means to the layers.
    pub fn accepted(&self) -> Accepted {
        Accepted { over_quota: self.over_quota }
    }

    /// Whether a flag that is not in the answer does not exist.
    pub fn is_whole(&self) -> bool {
        !self.is_partial && !self.over_quota
    }

    /// Reads the body of a 2xx.
    ///
    /// # Errors
    ///
    /// `WrongHost` if this is not an answer of PostHog's.
    pub fn read(body: &[u8]) -> Result<Self, Error> {
        let wire: Wire = serde_json::from_slice(body).map_err(|cause| unexpected_json(&cause))?;
        let flags = wire.flags.into_iter().map(|(key, detail)| (key, detail.into())).collect();
        Ok(Self {
            flags,
            is_partial: wire.errors_while_computing_flags,
            over_quota: wire.quota_limited.is_over(),
            request_id: wire.request_id,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    flags: BTreeMap<String, Detail>,
    #[serde(default)]
    errors_while_computing_flags: bool,
    #[serde(default)]
    quota_limited: QuotaLimited,
    request_id: Option<String>,
}

/// The server sends a list of the products that are over quota; the SDK declares a bool.
#[derive(Deserialize)]
#[serde(untagged)]
enum QuotaLimited {
    Is(bool),
    Of(Vec<String>),
    Other(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Detail {
    enabled: bool,
    variant: Option<String>,
    reason: Option<Reason>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Reason {
    code: Option<String>,
    description: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    id: Option<u64>,
    version: Option<u64>,
    payload: Option<Value>,
}

impl Default for QuotaLimited {
    fn default() -> Self {
        Self::Is(false)
    }
}

impl QuotaLimited {
    fn is_over(&self) -> bool {
        match self {
            Self::Is(is) => *is,
            Self::Of(names) => names.iter().any(|name| name == "feature_flags"),
            Self::Other(_) => false,
        }
    }
}

impl From<Detail> for Evaluated {
    fn from(detail: Detail) -> Self {
        let Detail { enabled, variant, reason, metadata } = detail;
        let reason = reason.and_then(|reason| reason.description.or(reason.code));
        let (id, version, payload) =
            metadata.map_or((None, None, None), |it| (it.id, it.version, it.payload));
        Self { enabled, variant, payload: payload.map(parsed), id, version, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use proptest::prelude::*;

    #[test]
    fn an_answer_is_read_as_posthog_writes_it() {
        let answer = FlagsAnswer::read(
            br#"{"flags":{
                "on":{"key":"on","enabled":true,"variant":null,"reason":{"code":"condition_match","condition_index":0,
                    "description":"Matched condition set 1"},"metadata":{"id":7,"version":3,"payload":"{\"a\":1}"}},
                "which":{"key":"which","enabled":true,"variant":"blue"},
                "off":{"key":"off","enabled":false,"variant":null,"reason":{"code":"no_condition_match"}}},
                "errorsWhileComputingFlags":true,"requestId":"r1","evaluatedAt":1}"#,
        )
        .unwrap();
        assert!(answer.is_partial && !answer.over_quota);
        assert_eq!(answer.request_id.as_deref(), Some("r1"));
        let on = &answer.flags["on"];
        assert_eq!((on.enabled, on.id, on.version), (true, Some(7), Some(3)));
        assert_eq!(on.payload, Some(serde_json::json!({"a": 1})));
        assert_eq!(on.reason.as_deref(), Some("Matched condition set 1"));
        assert_eq!(answer.flags["which"].variant.as_deref(), Some("blue"));
        assert_eq!(answer.flags["off"].reason.as_deref(), Some("no_condition_match"));
    }

    #[test]
    fn over_quota_is_a_list_or_a_bool() {
        let over = |quota: &str| {
            FlagsAnswer::read(format!(r#"{{"flags":{{}},"quotaLimited":{quota}}}"#).as_bytes())
                .unwrap()
                .over_quota
        };
        assert!(over(r#"["feature_flags"]"#) && over("true"));
        assert!(
            !over(r#"["recordings"]"#) && !over("false") && !over("[]") && !over(r#""odd""#) && !over("null")
        );
    }

    #[test]
    fn what_is_unexpected_json_is_the_wrong_host() {
        for body in ["", "{}", "[]", "null", "<html>", r#"{"flags":[]}"#, r#"{"flags":{"a":{}}}"#] {
            assert_eq!(
                FlagsAnswer::read(body.as_bytes()).unwrap_err().kind(),
                ErrorKind::WrongHost,
                "{body}"
            );
        }
    }

    /// An error's cause is logged.
    #[test]
    fn no_error_quotes_the_answer() {
        for body in [r#"{"flags":"phc_secret"}"#, r#"{"flags":{"a":{"enabled":"phc_secret"}}}"#] {
            let told = format!("{:?}", FlagsAnswer::read(body.as_bytes()).unwrap_err());
            assert!(told.contains("line 1 column") && !told.contains("secret"), "{told}");
            let told = format!("{:?}", super::super::local::LocalFlags::read(body.as_bytes()).unwrap_err());
            assert!(told.contains("line 1 column") && !told.contains("secret"), "{told}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = FlagsAnswer::read(&bytes);
        }
    }
}
