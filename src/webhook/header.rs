use http::HeaderMap;
use http::header::HeaderName;

use super::error::WebhookError;

/// The one value of a header: two are ambiguous.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, WebhookError> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or_else(|| WebhookError::MissingHeader(name.clone()))?;
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(text),
        _ => Err(WebhookError::MalformedHeader(name.clone())),
    }
}
