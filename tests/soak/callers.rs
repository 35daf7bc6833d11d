//! What a service does with the client meanwhile.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use posthog_health::testing::FakePostHog;
use posthog_health::{CredentialSource, Event, FlagOptions, PostHog, TypedEvent};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::{balanced, is_over, scaled, seconds};

pub(crate) const TOKENS: [&str; 2] = [FakePostHog::TOKEN, "phc_theNextOne"];

/// Of an event that is sent, in bytes.
pub(crate) const LARGEST: usize = 10_000;

/// A vault that has either of the tokens, or none, or hangs for a while.
pub(crate) fn tokens() -> CredentialSource {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let provider = || async {
        let mut rng = Rng::with_seed(ASKED.fetch_add(1, Ordering::Relaxed) as u64);
        match rng.u32(..10) {
            0 => return Err("sealed"),
            1 => sleep(seconds(rng.u64(1..20))).await,
            _ => {}
        }
        Ok(TOKENS[rng.usize(..TOKENS.len())].to_owned())
    };
    CredentialSource::provider(provider).check_every(seconds(30))
}

/// Tasks that call until the time is over. Each gives the uuids that were acknowledged as durable.
pub(crate) struct Callers(JoinSet<Vec<String>>);

impl Callers {
    pub(crate) fn start(posthog: &PostHog, mut rng: Rng, length: Duration) -> Self {
        let mut callers = JoinSet::new();
        for _ in 0..8 {
            callers.spawn(call(posthog.clone(), rng.fork(), length));
        }
        Self(callers)
    }

    pub(crate) async fn end(self) -> Vec<String> {
        self.0.join_all().await.concat()
    }
}

async fn call(posthog: PostHog, mut rng: Rng, length: Duration) -> Vec<String> {
    let (started, mut durable) = (Instant::now(), Vec::new());
    while !is_over(started, length) {
        match rng.u32(..1_000) {
            0..500 => posthog.capture(event(&mut rng).0),
            500..700 => capture_typed(&posthog, &mut rng),
            700..850 => {
                let (event, uuid) = event(&mut rng);
                if impatient(&mut rng, posthog.capture_durable(event))
                    .await
                    .is_some_and(|taken| taken.is_ok())
                {
                    durable.push(uuid);
                }
            }
            850..910 => ask_for_flags(&posthog, &mut rng).await,
            910..930 => drop(impatient(&mut rng, posthog.flush()).await),
            930..950 => drop(impatient(&mut rng, posthog.health_check()).await),
            950..965 => look(&posthog),
            965..970 => drop(posthog.replay_dead_letters()),
            970..980 => drop(impatient(&mut rng, posthog.reload_credentials()).await),
            980..990 => drop(tokio::spawn(outlived(posthog.clone(), rng.fork()))),
            _ => conveniences(&posthog, &mut rng),
        }
        if rng.u32(..4) == 0 {
            sleep(scaled(Duration::from_millis(rng.u64(..300)))).await;
        }
    }
    durable
}

/// The uuids of those that were acknowledged.
pub(crate) async fn capture_durably(posthog: &PostHog, rng: &mut Rng, events: usize) -> Vec<String> {
    let mut durable = Vec::new();
    for _ in 0..events {
        let (event, uuid) = event(rng);
        if posthog.capture_durable(event).await.is_ok() {
            durable.push(uuid);
        }
    }
    durable
}

/// Gives up before it is over, now and then.
async fn impatient<T>(rng: &mut Rng, call: impl Future<Output = T>) -> Option<T> {
    let limit =
        if rng.u32(..4) == 0 { scaled(Duration::from_millis(rng.u64(..2_000))) } else { seconds(300) };
    timeout(limit, call).await.ok()
}

/// Good, poison or too large, and its uuid.
fn event(rng: &mut Rng) -> (Event, String) {
    let (name, length) = match rng.u32(..100) {
        0 => ("poison", 10),
        1 => ("", 10),
        2 => ("large", LARGEST + 1),
        3..10 => ("long", rng.usize(..LARGEST / 2)),
        _ => ("good", rng.usize(..500)),
    };
    let id = if rng.u32(..200) == 0 { String::new() } else { user(rng) };
    let mut event = Event::new(name, &id);
    let uuid = Uuid::from_u128(rng.u128(..));
    event.set_uuid(uuid);
    event.insert_prop("text", "x".repeat(length)).unwrap();
    (event, uuid.to_string())
}

fn user(rng: &mut Rng) -> String {
    format!("user-{}", rng.u32(..1_000))
}

fn capture_typed(posthog: &PostHog, rng: &mut Rng) {
    let properties = json!({"amount": rng.f64(), "text": "é".repeat(rng.usize(..100))});
    posthog.capture(TypedEvent::new("typed", &user(rng), &properties).unwrap());
}

async fn ask_for_flags(posthog: &PostHog, rng: &mut Rng) {
    let id = format!("user-{}", rng.u32(..50));
    if let Some(flags) = impatient(rng, posthog.flags(id, FlagOptions::default())).await {
        flags.is_enabled("new-checkout", rng.bool());
        flags.variant("button", "red");
    }
}

/// All that is only looked at; the ledger is closed at every moment.
fn look(posthog: &PostHog) {
    balanced(posthog.stats());
    let health = serde_json::to_string(&posthog.health()).unwrap();
    let letters: String =
        posthog.dead_letters().iter().take(10).map(|letter| serde_json::to_string(letter).unwrap()).collect();
    for token in TOKENS {
        assert!(!health.contains(token) && !letters.contains(token), "{health} {letters}");
    }
    drop((posthog.alerts(), posthog.subscribe_alerts(), posthog.rollout_verdict()));
}

/// A clone that outlives the call that made it.
async fn outlived(posthog: PostHog, mut rng: Rng) {
    sleep(seconds(rng.u64(..10))).await;
    posthog.capture(event(&mut rng).0);
}

fn conveniences(posthog: &PostHog, rng: &mut Rng) {
    posthog.alias("anonymous", user(rng));
    posthog.group_identify("company", "acme", json!({"employees": rng.u32(..)})).unwrap();
    posthog.set("user-1", json!({"plan": "pro"})).unwrap();
    posthog.capture_exception(&std::io::Error::other("checkout failed"));
}
