//! Checks of configuration values, which produce a [`ConfigError`].

use std::fmt::Debug;
use std::time::Duration;

use super::ConfigError;

pub const MILLISECOND: Duration = Duration::from_millis(1);
pub const HOUR: Duration = Duration::from_secs(3600);

pub fn within<T: PartialOrd + Debug>(
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

/// Refuses a value that is more than the one that it must fit in.
pub fn fits(field: &'static str, value: usize, whole: &'static str, most: usize) -> Result<(), ConfigError> {
    if value > most {
        let remedy = format!("use at most {most}, or raise {whole}");
        return Err(ConfigError::new(field, format!("is {value}, more than {whole} ({most})"), remedy));
    }
    Ok(())
}

pub fn duration(
    field: &'static str,
    value: Duration,
    least: Duration,
    most: Duration,
) -> Result<(), ConfigError> {
    within(field, value, least, most)
}

pub fn share(field: &'static str, value: f64) -> Result<(), ConfigError> {
    if value > 0.0 && value <= 1.0 {
        return Ok(());
    }
    Err(ConfigError::new(field, format!("is {value}"), "use a share above 0 and up to 1"))
}
