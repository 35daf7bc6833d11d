//! A simulated network in the place of HTTP.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use reqwest::Request;

use super::Answer;
use crate::Error;

/// Answers requests.
pub trait Network: fmt::Debug + Send + Sync {
    /// Sends a request. As on a real network, it may have arrived although the future was dropped.
    fn send(&self, request: Request) -> Pin<Box<dyn Future<Output = Result<Answer, Error>> + Send + '_>>;
}

/// What [`Http`](super::Http) sends to in a simulation.
pub type Simulated = Arc<dyn Network>;

thread_local! {
    static CURRENT: RefCell<Option<Simulated>> = const { RefCell::new(None) };
}

/// Clients that `work` builds send to this network.
pub fn reached_by<T>(network: Simulated, work: impl FnOnce() -> T) -> T {
    let before = CURRENT.replace(Some(network));
    let result = work();
    CURRENT.set(before);
    result
}

/// The network of the client that is being built, if it is simulated.
pub fn current() -> Option<Simulated> {
    CURRENT.with_borrow(Clone::clone)
}
