//! The checks that several configurations share.

use std::fmt::Debug;
use std::time::Duration;

use crate::ConfigError;

pub(crate) const MILLISECOND: Duration = Duration::from_millis(1);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn within<T: PartialOrd + Debug>(
    field: &'static str,
    value: T,
    least: T,
    most: T,
) -> Result<(), ConfigError> {
    if value < least || value > most {
        return Err(ConfigError::new(field, format!("is {value:?}"), format!("use {least:?} to {most:?}")));
    }
    Ok(())
}

pub(crate) fn duration(
    field: &'static str,
    value: Duration,
    least: Duration,
    most: Duration,
) -> Result<(), ConfigError> {
    within(field, value, least, most)
}

pub(crate) fn share(field: &'static str, value: f64) -> Result<(), ConfigError> {
    if value > 0.0 && value <= 1.0 {
        return Ok(());
    }
    Err(ConfigError::new(field, format!("is {value}"), "use a share above 0 and up to 1"))
}
