//! What stands for the spool where the feature is off: there is none.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use super::queue::Queue;
use crate::ConfigError;

#[derive(Clone, Debug)]
pub(crate) struct SpoolConfig(Infallible);

/// What nobody sees of it.
pub(crate) struct SpoolLook {
    pub(crate) written: io::Result<()>,
    pub(crate) mode: Option<u32>,
    pub(crate) free: Option<u64>,
    pub(crate) wanted: u64,
    pub(crate) min_free: u64,
}

#[derive(Debug)]
pub(crate) struct Spool(Infallible);

impl SpoolConfig {
    pub(crate) fn none(&self) -> Infallible {
        self.0
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        match self.0 {}
    }
}

impl SpoolConfig {
    pub(crate) fn bytes(&self) -> u64 {
        match self.0 {}
    }

    pub(crate) fn look(&self) -> SpoolLook {
        match self.0 {}
    }
}

impl Spool {
    pub(crate) fn start(_: &Arc<Queue>, config: SpoolConfig) -> Self {
        match config.0 {}
    }

    pub(crate) async fn ended(&self) {
        match self.0 {}
    }
}
