//! What stands for flags on disk where the feature `spool` is off: there are none.

use std::convert::Infallible;
use std::sync::Arc;

use reqwest::Url;
use tokio::time::Instant;

use super::config::FlagsConfig;
use super::known::{Known, LastKnownGood};
use crate::delivery::SpoolConfig;

#[derive(Debug)]
pub(crate) struct Kept(Infallible);

impl Kept {
    pub(crate) fn beside(spool: &SpoolConfig, _: &Url, _: &FlagsConfig) -> Self {
        Self(spool.none())
    }

    pub(super) fn find(&self, _: &str) -> Option<Arc<Known>> {
        match self.0 {}
    }

    pub(super) async fn read(&self, _: Instant) {
        match self.0 {}
    }

    pub(super) async fn run(self: Arc<Self>, _: Arc<LastKnownGood>) {
        match self.0 {}
    }

    pub(super) async fn write(self: Arc<Self>, _: Arc<LastKnownGood>) {
        match self.0 {}
    }
}
