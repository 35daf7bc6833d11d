//! Feature flags in an outage, beside plain posthog-rs in the same run: a PostHog on this machine answers, hangs, and
//! answers again, and a service evaluates flags all the time.
//!
//! ```text
//! cargo run --release --example flags_outage
//! ```
//!
//! Ours is asked 1,000 times in each phase. posthog-rs too, but for the outage, where a few calls take it half a minute.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use posthog_health::posthog_rs::{Client, ClientOptionsBuilder, EvaluateFlagsOptions, client};
use posthog_health::testing::{FakePostHog, Reply};
use posthog_health::{ErrorKind, FlagOptions, PostHog};

const CALLS: usize = 1_000;
const PERSONS: usize = 100;
const THEIRS_IN_THE_OUTAGE: usize = 3;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = FakePostHog::start();
    server.set_flag("new-checkout", true);
    let posthog = PostHog::builder(FakePostHog::TOKEN).host(server.url()).build()?;
    let mut options = ClientOptionsBuilder::default();
    options.api_key(FakePostHog::TOKEN.to_owned()).host(server.url());
    let sdk = client(options.build()?).await;

    println!("{:<34} {:>7} {:>12} {:>12}  what they got", "", "calls", "p50", "p99");
    let (times, got) = ours(&posthog, CALLS).await;
    line("before: posthog-health", &times, &got);
    let (times, got) = theirs(&sdk, CALLS).await;
    line("before: posthog-rs", &times, &got);

    server.flags().always(Reply::hang());
    let (mut times, mut got) = (Vec::new(), BTreeMap::new());
    // One after the other, as the worst case: at the same time they would wait side by side.
    while posthog.flags("user-0", FlagOptions::default()).await.error() != Some(ErrorKind::CircuitOpen) {
        let started = Instant::now();
        let flags = posthog.flags("user-1", FlagOptions::default()).await;
        times.push(started.elapsed());
        *got.entry(flags.source("new-checkout").as_str()).or_default() += 1;
    }
    line("hangs, breaker closed: posthog-health", &times, &got);
    let longest = times.iter().max().copied().unwrap_or_default();
    let (times, got) = ours(&posthog, CALLS).await;
    line("hangs, breaker open: posthog-health", &times, &got);
    let p99_of_the_outage = percentile(&times, 0.99);
    let (times, got) = theirs(&sdk, THEIRS_IN_THE_OUTAGE).await;
    line("hangs: posthog-rs", &times, &got);

    server.recover();
    let recovered = Instant::now();
    while posthog.flags("user-0", FlagOptions::default()).await.source("new-checkout").as_str() != "remote" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("remote again {:.1?} after the recovery", recovered.elapsed());
    let (times, got) = ours(&posthog, CALLS).await;
    line("after: posthog-health", &times, &got);
    let (times, got) = theirs(&sdk, CALLS).await;
    line("after: posthog-rs", &times, &got);

    posthog.shutdown(Duration::from_secs(5)).await;
    sdk.shutdown().await;
    println!("in the outage: longest {longest:.2?}, then p99 {p99_of_the_outage:.1?}");
    Ok(())
}

type Got = BTreeMap<&'static str, usize>;

async fn ours(posthog: &PostHog, calls: usize) -> (Vec<Duration>, Got) {
    let (mut times, mut got) = (Vec::new(), Got::new());
    for n in 0..calls {
        let started = Instant::now();
        let flags = posthog.flags(format!("user-{}", n % PERSONS), FlagOptions::default()).await;
        let is_enabled = flags.is_enabled("new-checkout", false);
        times.push(started.elapsed());
        assert_eq!(is_enabled, flags.source("new-checkout").as_str() != "default");
        *got.entry(flags.source("new-checkout").as_str()).or_default() += 1;
    }
    (times, got)
}

async fn theirs(sdk: &Client, calls: usize) -> (Vec<Duration>, Got) {
    let (mut times, mut got) = (Vec::new(), Got::new());
    for n in 0..calls {
        let started = Instant::now();
        let flags =
            sdk.evaluate_flags(format!("user-{}", n % PERSONS), EvaluateFlagsOptions::default()).await;
        let answered = flags.map(|flags| flags.is_enabled("new-checkout")).is_ok();
        times.push(started.elapsed());
        *got.entry(if answered { "remote" } else { "an error" }).or_default() += 1;
    }
    (times, got)
}

fn percentile(times: &[Duration], share: f64) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted.get(((sorted.len().max(1) - 1) as f64 * share).round() as usize).copied().unwrap_or_default()
}

fn line(what: &str, times: &[Duration], got: &Got) {
    let got: Vec<_> = got.iter().map(|(source, count)| format!("{source} {count}")).collect();
    let [p50, p99] = [0.5, 0.99].map(|share| format!("{:.1?}", percentile(times, share)));
    println!("{what:<34} {:>7} {p50:>12} {p99:>12}  {}", times.len(), got.join(", "));
}
