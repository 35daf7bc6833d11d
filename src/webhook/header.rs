use http::HeaderMap;
use http::header::HeaderName;

use super::error::WebhookError;

/// Returns the value of a header that must occur exactly once: two values are ambiguous.
pub fn single_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, WebhookError> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or_else(|| WebhookError::MissingHeader(name.clone()))?;
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(text),
        _ => Err(WebhookError::MalformedHeader(name.clone())),
    }
}
