//! Stands in for the spool when the feature is off. No value of these types can exist.

use std::convert::Infallible;
use std::sync::Arc;

use super::queue::Queue;
use crate::ConfigError;

#[derive(Clone, Debug)]
pub struct SpoolConfig(Infallible);

/// Never constructed.
#[cfg(feature = "preflight")]
pub struct SpoolInspection {
    pub written: std::io::Result<()>,
    pub mode: Option<u32>,
    pub free: Option<u64>,
    pub wanted: u64,
    pub min_free: u64,
}

#[derive(Debug)]
pub struct Spool(Infallible);

impl SpoolConfig {
    pub fn none(&self) -> Infallible {
        self.0
    }

    pub fn validate(&self) -> Result<(), ConfigError> {
        match self.0 {}
    }
}

#[cfg(feature = "preflight")]
impl SpoolConfig {
    pub fn bytes(&self) -> u64 {
        match self.0 {}
    }

    pub fn inspect(&self) -> SpoolInspection {
        match self.0 {}
    }
}

impl Spool {
    pub fn start(_: &Arc<Queue>, config: SpoolConfig) -> Self {
        match config.0 {}
    }

    pub async fn ended(&self) {
        match self.0 {}
    }
}
