use std::error::Error as StdError;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{CredentialsError, Key};
use crate::rt::foreign;

type Failure = Box<dyn StdError + Send + Sync>;
type KeyFuture = Pin<Box<dyn Future<Output = Result<Zeroizing<String>, Failure>> + Send>>;

/// The user's own code, which may fail, hang or panic.
pub struct Provider(Box<dyn Fn() -> KeyFuture + Send + Sync>);

/// Longer than a vault takes to elect a leader. After that, another call is more likely to succeed.
const LONGEST: Duration = Duration::from_secs(30);

impl Provider {
    pub fn new<F, Fut, E>(provider: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<Failure>,
    {
        Self(Box::new(move || {
            let answer = provider();
            Box::pin(async move { answer.await.map(Zeroizing::new).map_err(Into::into) })
        }))
    }

    pub async fn fetch<K: Key>(&self) -> Result<K, CredentialsError> {
        let answer = timeout(LONGEST, self.call_caught()).await.map_err(|_| CredentialsError::TimedOut)?;
        let key = answer.map_err(|failure| CredentialsError::Provider(Arc::from(failure)))?;
        K::parse(&key).map_err(|error| error.of("credentials").into())
    }

    /// Calls the provider, and turns a panic of the call or of its future into an error: it must not end the renewal task.
    async fn call_caught(&self) -> Result<Zeroizing<String>, Failure> {
        let mut answer = foreign::call(|| (self.0)()).map_err(|foreign::Panicked| "it panicked")?;
        poll_fn(|context| {
            foreign::call(|| answer.as_mut().poll(context))
                .unwrap_or_else(|foreign::Panicked| Poll::Ready(Err("it panicked".into())))
        })
        .await
    }
}
