use tokio::sync::oneshot;

use super::thread;

/// Runs `work` in a thread of its own and resolves to its result. Returns `None` if the system cannot start a thread or
/// the work panics. The thread's log lines go where the caller's go.
///
/// The work may touch a disk that hangs. `tokio::task::spawn_blocking` would not do: a hanging task there delays the
/// runtime's shutdown, and long tasks can occupy all of its blocking threads. This thread is never joined.
///
/// # Cancel safety
///
/// Dropping the future discards the result. The thread runs on until the work ends.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, result) = oneshot::channel();
    let send = move || {
        // Nobody may be interested any more.
        let _ = sender.send(work());
    };
    thread::spawn("posthog-detached", send).ok()?;
    result.await.ok()
}
