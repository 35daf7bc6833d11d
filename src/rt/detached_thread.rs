use tokio::sync::oneshot;

/// Runs `work` in a thread of its own and resolves to its result. Returns `None` if the system cannot start a thread or
/// the work panics.
///
/// The work may touch a disk that hangs. `tokio::task::spawn_blocking` would not do: a hanging task there delays the
/// runtime's shutdown, and long tasks can occupy all of its blocking threads. This thread is never joined.
///
/// # Cancel safety
///
/// Dropping the future discards the result. The thread runs on until the work ends.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, result) = oneshot::channel();
    std::thread::Builder::new().name("posthog-detached".into()).spawn(move || sender.send(work())).ok()?;
    result.await.ok()
}

/// Starts a thread whose log lines go where those of this thread go.
#[cfg(feature = "spool")]
pub fn spawn(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    let (span, subscriber) = (tracing::Span::current(), tracing::dispatcher::get_default(Clone::clone));
    std::thread::Builder::new()
        .name(name.into())
        .spawn(move || tracing::dispatcher::with_default(&subscriber, || span.in_scope(work)))
}
