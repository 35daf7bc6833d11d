//! `before_send` hooks: the only foreign code that runs inside `capture`.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use posthog_health::testing::{FakePostHog, Reply};
use posthog_health::{DropReason, Event, PostHog, TypedEvent};
use serde_json::{Value, json};

use crate::support::{assert_balanced, builder, capture, event, flush_lossy, large_event, until};

#[tokio::test]
async fn hooks_change_and_drop_events_and_a_panicking_hook_costs_one() {
    let server = FakePostHog::start();
    let posthog = builder(&server)
        .before_send(|mut event: Event| {
            event.remove_prop("secret");
            Some(event)
        })
        .before_send(|event: Event| match event.event_name() {
            "drop" => None,
            "panic" => panic!("a hook's bug"),
            _ => Some(event),
        })
        .build()
        .unwrap();
    for name in ["keep", "drop", "panic", "keep"] {
        let mut event = Event::new(name, "u");
        event.insert_prop("secret", "s").unwrap();
        posthog.capture(event);
    }
    flush_lossy(&posthog).await;
    let dropped = posthog.stats().dropped;
    assert_eq!((dropped.count(DropReason::BeforeSend), dropped.count(DropReason::HookPanicked)), (1, 1));
    assert_eq!(server.events().len(), 2);
    assert!(server.events().iter().all(|event| event["properties"].get("secret").is_none()));
}

#[tokio::test]
async fn a_hook_runs_on_the_thread_that_captures_and_several_threads_are_in_it_at_once() {
    let server = FakePostHog::start();
    let together = Arc::new(Barrier::new(4));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let hook = {
        let (together, seen) = (Arc::clone(&together), Arc::clone(&seen));
        move |event| {
            // Nobody leaves before all four are here: a lock around hooks would hang this test.
            together.wait();
            seen.lock().unwrap().push(thread::current().id());
            Some(event)
        }
    };
    let posthog = builder(&server).before_send(hook).build().unwrap();
    let mut threads = Vec::new();
    thread::scope(|scope| {
        let captures: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    capture(&posthog, 1);
                    thread::current().id()
                })
            })
            .collect();
        threads.extend(captures.into_iter().map(|capture| capture.join().unwrap()));
    });
    let mut seen = seen.lock().unwrap().clone();
    let key = |id: &thread::ThreadId| format!("{id:?}");
    threads.sort_by_key(key);
    seen.sort_by_key(key);
    assert_eq!(seen, threads);
    posthog.flush().await.unwrap();
    assert_eq!(server.distinct(), 4);
}

/// It would meet the same hook, which would capture another one.
#[tokio::test]
async fn an_event_that_a_hook_captures_is_dropped_and_counted() {
    let server = FakePostHog::start();
    let itself: Arc<Mutex<Option<PostHog>>> = Arc::default();
    let hook = {
        let itself = Arc::clone(&itself);
        move |event| {
            let posthog = itself.lock().unwrap().clone();
            posthog.unwrap().capture(Event::new("from inside", "u"));
            Some(event)
        }
    };
    let posthog = builder(&server).before_send(hook).build().unwrap();
    *itself.lock().unwrap() = Some(posthog.clone());
    capture(&posthog, 3);
    posthog.capture(TypedEvent::new("typed", "u", &json!({})).unwrap());
    flush_lossy(&posthog).await;
    let ledger = posthog.stats();
    assert_eq!((ledger.captured, ledger.delivered), (8, 4));
    assert_eq!(ledger.dropped.count(DropReason::InsideHook), 4);
    assert_balanced(ledger);
    itself.lock().unwrap().take();
}

/// It has no hook to meet again.
#[tokio::test]
async fn an_event_that_a_hook_captures_by_a_client_without_hooks_is_delivered() {
    let server = FakePostHog::start();
    let audit = builder(&server).build().unwrap();
    let hook = {
        let audit = audit.clone();
        move |event| {
            audit.capture(Event::new("audit", "u"));
            Some(event)
        }
    };
    let posthog = builder(&server).before_send(hook).build().unwrap();
    capture(&posthog, 2);
    audit.flush().await.unwrap();
    assert_eq!(audit.stats().delivered, 2);
}

#[tokio::test]
async fn what_a_hook_panics_with_may_panic_too() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            if !thread::panicking() {
                panic!("dropped");
            }
        }
    }
    let server = FakePostHog::start();
    let posthog = builder(&server).before_send(|_| std::panic::panic_any(Bomb)).build().unwrap();
    capture(&posthog, 3);
    assert_eq!(posthog.stats().dropped.count(DropReason::HookPanicked), 3);
    assert_balanced(posthog.stats());
}

/// An event that is not to enter anyway costs no hook and no encoding.
#[tokio::test]
async fn a_full_queue_and_a_closed_client_run_no_hook() {
    let server = FakePostHog::start();
    server.always(Reply::hang());
    let runs = Arc::new(AtomicU64::new(0));
    let counts = Arc::clone(&runs);
    let hook = move |event| {
        counts.fetch_add(1, Ordering::Relaxed);
        Some(event)
    };
    let posthog = builder(&server).queue_events(100).before_send(hook).build().unwrap();
    capture(&posthog, 150);
    assert_eq!(runs.load(Ordering::Relaxed), 100);
    posthog.shutdown(std::time::Duration::ZERO).await;
    capture(&posthog, 50);
    assert_eq!(runs.load(Ordering::Relaxed), 100);
    let dropped = posthog.stats().dropped;
    assert_eq!((dropped.count(DropReason::QueueFull), dropped.count(DropReason::AfterShutdown)), (50, 50));
}

/// A subscriber is foreign code: it may block, and it may panic. The worker logs what `capture` sees.
#[tokio::test]
async fn no_subscriber_runs_on_the_thread_that_captures() {
    #[derive(Default)]
    struct Counting(Arc<AtomicU64>);
    impl tracing::Subscriber for Counting {
        fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
            metadata.target().starts_with("posthog_health")
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            self.0.fetch_add(1, Ordering::Relaxed);
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn event(&self, _: &tracing::Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn enter(&self, _: &tracing::span::Id) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn exit(&self, _: &tracing::span::Id) {}
    }
    let server = FakePostHog::start();
    server.always(Reply::hang());
    let posthog = builder(&server).queue_events(100).before_send(|event| {
        if event.event_name() == "panic" { panic!("a hook's bug") } else { Some(event) }
    });
    let posthog = posthog.build().unwrap();
    let calls = Arc::new(AtomicU64::new(0));
    let captures = {
        let (posthog, calls) = (posthog.clone(), Arc::clone(&calls));
        move || {
            let _subscriber = tracing::subscriber::set_default(Counting(Arc::clone(&calls)));
            posthog.capture(Event::new("panic", "u"));
            capture(&posthog, 1_000);
            posthog.capture(Event::new("", "u"));
        }
    };
    thread::spawn(captures).join().unwrap();
    until(|| posthog.stats().captured == 1_002).await;
    assert!(posthog.stats().dropped.count(DropReason::QueueFull) >= 900);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

/// A value so deep that dropping it by recursion takes more stack than a thread has. A hook may get to see it only if that
/// is safe.
#[tokio::test]
async fn an_event_nested_too_deep_meets_no_hook() {
    let server = FakePostHog::start();
    let posthog = builder(&server).before_send(|_| None).build().unwrap();
    let makes = || {
        let mut event = Event::new("deep", "u");
        let value = (0..100_000).fold(json!(0), |inner, _| Value::Array(vec![inner]));
        event.insert_prop("deep", value).unwrap();
        event
    };
    // `insert_prop` calls itself for each level.
    let event = thread::Builder::new().stack_size(1 << 30).spawn(makes).unwrap().join().unwrap();
    posthog.capture(event);
    assert_eq!(posthog.stats().dropped.count(DropReason::TooDeep), 1);
}

/// Each costs one event.
#[tokio::test]
async fn what_a_hook_returns_is_judged_as_any_other_event() {
    let server = FakePostHog::start();
    let hook = |mut event: Event| match event.event_name() {
        "no name" => Some(Event::new("", "u")),
        "no id" => Some(Event::new("e", " ")),
        "deep" => {
            event.insert_prop("deep", (0..200).fold(json!(0), |inner, _| json!([inner]))).unwrap();
            Some(event)
        }
        "large" => {
            event.insert_prop("large", "x".repeat(3 << 20)).unwrap();
            Some(event)
        }
        "no number" => {
            event.insert_prop("number", f64::NAN).unwrap();
            Some(event)
        }
        _ => Some(event),
    };
    let posthog = builder(&server).queue_bytes(2 << 20).before_send(hook).build().unwrap();
    for name in ["no name", "no id", "deep", "large", "no number", "good"] {
        posthog.capture(Event::new(name, "u"));
    }
    server.wait_for_distinct(2).await;
    let dropped = posthog.stats().dropped;
    for reason in [DropReason::NoName, DropReason::NoDistinctId, DropReason::TooDeep, DropReason::TooLarge] {
        assert_eq!(dropped.count(reason), 1, "{reason:?}");
    }
    assert_eq!(dropped.total(), 4);
}

/// Neither a subscriber that panics nor the end of the thread comes out of `capture`: a panic in the destructor of a thread's
/// variable would abort the process, so it is a process of its own, this test again.
#[test]
fn no_subscriber_can_abort_the_process_from_within_capture() {
    struct Panicking;
    impl tracing::Subscriber for Panicking {
        fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
            metadata.target().starts_with("posthog_health")
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn event(&self, event: &tracing::Event<'_>) {
            panic!("a subscriber's bug: {}", event.metadata().name());
        }
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }
    /// Made before, because `Event::new` itself needs a variable of the thread.
    struct Captures(PostHog, Vec<Event>);
    impl Drop for Captures {
        fn drop(&mut self) {
            self.1.drain(..).for_each(|event| self.0.capture(event));
            self.0.capture(TypedEvent::new("typed", "u", &json!({"a": 1})).unwrap());
        }
    }
    thread_local! { static LATE: RefCell<Option<Captures>> = const { RefCell::new(None) }; }

    if std::env::var_os("CASE").is_some() {
        let server = FakePostHog::start();
        server.always(Reply::hang());
        // Nothing but the captures is to run: no task logs.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        let posthog = builder(&server).queue_events(100).queue_bytes(2 << 20).build().unwrap();
        tracing::subscriber::set_global_default(Panicking).unwrap();
        let odd = [Event::new("", "u"), large_event(0, 3 << 20), large_event(0, 1_100_000)];
        let events = odd.into_iter().chain((0..300).map(event)).collect();
        let late = posthog.clone();
        let ends = move || {
            // Set first, destroyed last.
            LATE.set(Some(Captures(late.clone(), events)));
            capture(&late, 1);
        };
        thread::spawn(ends).join().unwrap();
        assert_eq!(posthog.stats().captured, 305);
        // The end of the last handle logs, too.
        thread::spawn(move || LATE.set(Some(Captures(posthog, Vec::new())))).join().unwrap();
        return;
    }
    let name = "hooks::no_subscriber_can_abort_the_process_from_within_capture";
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", name, "--nocapture"]).env("CASE", "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
