//! Single flight: concurrent callers with the same question share one piece of work.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::lock;
use super::simulated::in_process;

/// Does at most one piece of work per key at a time, and gives its result to all callers that asked meanwhile.
///
/// The work runs in a task of its own. A caller that gives up therefore wastes nothing: the work goes on for the other
/// callers, and for what it stores.
///
/// A result is not kept: a caller that comes after it starts the work anew. If results are to be kept, the work stores
/// them itself, before it returns. A caller that finds neither the stored result nor work in flight would start the work
/// a second time, so look for the stored result and [join](Self::join) under the lock with which the work stores it.
pub struct SingleFlight<K, V> {
    state: Arc<Mutex<State<K, V>>>,
}

struct State<K, V> {
    /// `None` after the end, because the work holds resources, connections for example.
    work: Option<Work<K, V>>,
    in_flight: HashMap<K, Receiver<V>>,
    tasks: JoinSet<()>,
}

type Work<K, V> = Box<dyn Fn(K) -> Pin<Box<dyn Future<Output = V> + Send>> + Send>;
type Receiver<V> = watch::Receiver<Option<V>>;

impl<K, V> SingleFlight<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub fn new<F>(work: impl Fn(K) -> F + Send + 'static) -> Self
    where
        F: Future<Output = V> + Send + 'static,
    {
        let work: Work<K, V> = Box::new(move |key| Box::pin(work(key)));
        let state = State { work: Some(work), in_flight: HashMap::new(), tasks: JoinSet::new() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Joins the work in flight for `key`, or starts it if there is none: now, not when the future is first polled.
    ///
    /// Resolves to `None` if the work ends without a result, because of [`end`](Self::end), a panic, or the end of the
    /// runtime that it ran on.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the work.
    pub fn join(&self, key: K) -> impl Future<Output = Option<V>> + use<K, V> {
        let joined = self.join_or_start(key);
        async move { joined?.wait_for(Option::is_some).await.ok()?.clone() }
    }

    fn join_or_start(&self, key: K) -> Option<Receiver<V>> {
        let mut state = lock(&self.state);
        // Work whose sender is gone will never have a result: its runtime has ended, or it panicked.
        if let Some(joined) = state.in_flight.get(&key).filter(|joined| joined.has_changed().is_ok()) {
            return Some(joined.clone());
        }
        let work = state.work.as_ref()?(key.clone());
        // A `JoinSet` keeps finished tasks until somebody takes them.
        while state.tasks.try_join_next().is_some() {}
        let (sender, joined) = watch::channel(None);
        state.in_flight.insert(key.clone(), joined.clone());
        // Weak, so that dropping the owner drops the tasks, too.
        let owner = Arc::downgrade(&self.state);
        state.tasks.spawn(in_process(async move {
            let result = work.await;
            // Removed first, so that a caller that has seen the result never joins the work that gave it.
            if let Some(state) = owner.upgrade() {
                lock(&state).in_flight.remove(&key);
            }
            sender.send_replace(Some(result));
        }));
        Some(joined)
    }

    /// Aborts what is in flight, and lets nothing start from now on. Returns the aborted tasks, to be awaited.
    pub fn end(&self) -> JoinSet<()> {
        let mut state = lock(&self.state);
        state.work = None;
        state.in_flight.clear();
        let mut tasks = std::mem::take(&mut state.tasks);
        tasks.abort_all();
        tasks
    }
}

impl<K, V> fmt::Debug for SingleFlight<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleFlight").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::runtime::Runtime;
    use tokio::time::{Instant, sleep, timeout};
    use tokio_test::{assert_pending, assert_ready_eq, task};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Takes a second, and says how often it was done before.
    fn counting() -> (SingleFlight<&'static str, usize>, Arc<AtomicUsize>) {
        let (count, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = {
            let done = Arc::clone(&done);
            move |_| {
                let (number, done) = (count.fetch_add(1, Ordering::Relaxed), Arc::clone(&done));
                async move {
                    sleep(SECOND).await;
                    done.fetch_add(1, Ordering::Relaxed);
                    number
                }
            }
        };
        (SingleFlight::new(work), done)
    }

    #[tokio::test(start_paused = true)]
    async fn callers_share_what_is_in_flight_for_their_key() {
        let (flights, _) = counting();
        let begun = Instant::now();
        let (first, other_key) = (flights.join("a"), flights.join("b"));
        sleep(SECOND / 2).await;
        let second = flights.join("a");
        assert_eq!(tokio::join!(first, second, other_key), (Some(0), Some(0), Some(1)));
        assert_eq!(begun.elapsed(), SECOND, "the second caller waited for the rest alone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_result_is_not_kept() {
        let (flights, _) = counting();
        for number in 0..3 {
            assert_eq!(flights.join("a").await, Some(number));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn work_starts_before_the_future_is_polled() {
        let (flights, done) = counting();
        let joined = flights.join("a");
        sleep(SECOND * 2).await;
        assert_eq!(done.load(Ordering::Relaxed), 1);
        assert_ready_eq!(task::spawn(joined).poll(), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_gives_up_wastes_nothing() {
        let (flights, done) = counting();
        assert!(timeout(SECOND / 2, flights.join("a")).await.is_err());
        drop(flights.join("a"));
        assert_eq!(flights.join("a").await, Some(0), "it was still in flight");
        assert_eq!(done.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_stops_what_is_in_flight_and_what_would_start() {
        let (flights, done) = counting();
        let mut joined = task::spawn(flights.join("a"));
        assert_pending!(joined.poll());
        let mut tasks = flights.end();
        assert!(tasks.join_next().await.unwrap().unwrap_err().is_cancelled());
        assert!(tasks.join_next().await.is_none());
        assert_ready_eq!(joined.poll(), None);
        assert_eq!(flights.join("a").await, None);
        assert_eq!(done.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn the_end_drops_what_the_work_holds() {
        let held = Arc::new(());
        let work = {
            let held = Arc::clone(&held);
            move |()| {
                let held = Arc::clone(&held);
                async move {
                    let _held = held;
                    pending::<()>().await;
                }
            }
        };
        let flights = SingleFlight::new(work);
        drop(flights.join(()));
        while flights.end().join_next().await.is_some() {}
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_the_owner_stops_the_work() {
        let (flights, done) = counting();
        let joined = flights.join("a");
        drop(flights);
        assert_eq!(joined.await, None);
        assert_eq!(done.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn work_that_panics_is_started_anew() {
        let count = AtomicUsize::new(0);
        let flights = SingleFlight::new(move |()| {
            let number = count.fetch_add(1, Ordering::Relaxed);
            async move {
                assert!(number > 0, "as a test wants it");
                number
            }
        });
        assert_eq!(flights.join(()).await, None);
        assert_eq!(flights.join(()).await, Some(1));
    }

    #[test]
    fn work_that_ended_with_its_runtime_is_started_anew() {
        let count = AtomicUsize::new(0);
        let flights = SingleFlight::new(move |()| {
            let number = count.fetch_add(1, Ordering::Relaxed);
            async move { if number == 0 { pending().await } else { number } }
        });
        let first = Runtime::new().unwrap();
        let joined = {
            let _entered = first.enter();
            flights.join(())
        };
        drop(first);
        Runtime::new().unwrap().block_on(async {
            assert_eq!(joined.await, None);
            assert_eq!(flights.join(()).await, Some(1));
        });
    }
}
