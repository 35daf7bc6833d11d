use tokio::sync::oneshot;

/// Does this in a thread of its own: a disk that hangs must hold up neither the runtime nor its end, and the runtime's
/// blocking threads may all be taken for long. `None` when the system gives no thread, or the work panicked.
pub(crate) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, told) = oneshot::channel();
    std::thread::Builder::new().name("posthog-aside".into()).spawn(move || done.send(work())).ok()?;
    told.await.ok()
}
