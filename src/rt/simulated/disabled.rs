//! Stands in for the simulation when the feature is off: no thread is in one.

use std::io;
use std::time::{Instant, SystemTime};

/// Never constructed.
#[derive(Debug)]
pub enum Current {}

/// Never constructed.
#[derive(Debug)]
pub enum Thread {}

#[inline]
pub fn current() -> Option<Current> {
    None
}

#[inline]
pub fn is_on() -> bool {
    false
}

#[inline]
pub fn in_process<F>(future: F) -> F {
    future
}

impl Current {
    pub fn now(&self) -> Instant {
        match *self {}
    }

    pub fn wall(&self) -> SystemTime {
        match *self {}
    }

    pub fn bits(&self) -> u128 {
        match *self {}
    }

    pub fn spawn(&self, _: &str, _: impl FnOnce() + Send + 'static) -> io::Result<Thread> {
        match *self {}
    }
}

#[cfg(feature = "spool")]
impl Current {
    pub fn wait(&self, _: usize, _: std::time::Duration) {
        match *self {}
    }

    pub fn notify_one(&self, _: usize) {
        match *self {}
    }
}

#[cfg(feature = "spool")]
impl Thread {
    pub fn join(self) {
        match self {}
    }
}
