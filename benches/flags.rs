//! What asking for a person's flags costs. See README.md beside it.

mod support;

use std::collections::BTreeSet;
use std::process::exit;
use std::time::{Duration, Instant};

use posthog_health::posthog_rs::{Client, ClientOptionsBuilder, EvaluateFlagsOptions, client};
use posthog_health::testing::{FakePostHog, Reply};
use posthog_health::{ErrorKind, FlagOptions, PostHog};
use support::times::{Times, cpu_time};
use support::{Arguments, cells, nanos, ours, print_columns, print_machine, server};
use tokio::runtime::Runtime;

const FLAGS: usize = 10;
const PERSONS: usize = 100;
/// That ask PostHog.
const REMOTE: usize = 3_000;
/// That do not.
const LOCAL: usize = 100_000;
/// That wait.
const HANGING: usize = 5;
/// The shortest that posthog-rs knows.
const SHORT: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn main() {
    if Arguments::read().is_none() {
        return;
    }
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(run());
    // Dropping the SDK's clients may block.
    exit(0);
}

async fn run() {
    println!(
        "One call after the other: all {FLAGS} flags of a person, of whom there are {PERSONS}, and one of them read."
    );
    println!(
        "CPU is the process's, the fake PostHog's excluded. Both wait for PostHog for {SHORT:?} at most.\n"
    );
    let server = server();
    (0..FLAGS).for_each(|number| server.set_flag(&key(number), number % 2 == 0));

    let (ours_remote, theirs_remote) =
        (ours(&server).build().expect("complete"), theirs(&server, false).await);
    let (ours_local, theirs_local) = (
        ours(&server).local_evaluation(FakePostHog::SECRET_KEY, HOUR).build().expect("complete"),
        theirs(&server, true).await,
    );
    while ask_ours(&ours_local, 0).await != "local_evaluation" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let mut table = Table::default();
    table.of("answered, ours", REMOTE, async |n| ask_ours(&ours_remote, n).await).await;
    table.of("answered, posthog-rs", REMOTE, async |n| ask_theirs(&theirs_remote, n, false).await).await;
    table.of("local, ours", LOCAL, async |n| ask_ours(&ours_local, n).await).await;
    table.of("local, posthog-rs", LOCAL, async |n| ask_theirs(&theirs_local, n, true).await).await;

    server.flags().always(Reply::hang());
    server.definitions().always(Reply::hang());
    table.of("hangs, ours, the first", HANGING, async |n| ask_ours(&ours_remote, n).await).await;
    // One after the other, as the worst case.
    while ours_remote.flags("user-0", FlagOptions::default()).await.error() != Some(ErrorKind::CircuitOpen) {}
    table.of("hangs, ours, breaker open", LOCAL, async |n| ask_ours(&ours_remote, n).await).await;
    table.of("hangs, posthog-rs", HANGING, async |n| ask_theirs(&theirs_remote, n, false).await).await;
    table.of("hangs, local, ours", LOCAL, async |n| ask_ours(&ours_local, n).await).await;
    table.of("hangs, local, posthog-rs", LOCAL, async |n| ask_theirs(&theirs_local, n, true).await).await;
    print_columns(&table.0);
    print_machine(&server);
}

fn key(number: usize) -> String {
    format!("flag-{number}")
}

fn person(number: usize) -> String {
    format!("user-{}", number % PERSONS)
}

async fn theirs(server: &FakePostHog, is_local: bool) -> Client {
    let mut options = ClientOptionsBuilder::default();
    options
        .api_key(FakePostHog::TOKEN.to_owned())
        .host(server.url())
        .feature_flags_request_timeout_seconds(SHORT.as_secs());
    if is_local {
        options
            .secret_key(FakePostHog::SECRET_KEY)
            .enable_local_evaluation(true)
            .poll_interval_seconds(HOUR.as_secs());
    }
    client(options.build().expect("complete options")).await
}

/// What it came from.
async fn ask_ours(posthog: &PostHog, number: usize) -> &'static str {
    let flags = posthog.flags(person(number), FlagOptions::default()).await;
    flags.is_enabled("flag-0", false);
    flags.source("flag-0").as_str()
}

/// `is_local`: as long as it may ask, it does, for flags that it has no definition of.
async fn ask_theirs(sdk: &Client, number: usize, is_local: bool) -> &'static str {
    let options = EvaluateFlagsOptions { only_evaluate_locally: is_local, ..Default::default() };
    match sdk.evaluate_flags(person(number), options).await {
        Ok(flags) if flags.is_enabled("flag-0") => "the value",
        Ok(_) => "nothing",
        Err(_) => "an error",
    }
}

struct Table(Vec<Vec<String>>);

impl Default for Table {
    fn default() -> Self {
        Self(vec![cells!["PostHog", "calls", "p50", "p99", "mean", "CPU a call", "got"]])
    }
}

impl Table {
    async fn of(&mut self, name: &str, calls: usize, ask: impl AsyncFn(usize) -> &'static str) {
        let (mut times, mut got) = (Times::default(), BTreeSet::new());
        let cpu = cpu_time();
        for number in 0..calls {
            let started = Instant::now();
            let answer = ask(number).await;
            times.add(started.elapsed());
            got.insert(answer);
        }
        let cpu = cpu_time().saturating_sub(cpu).as_nanos() as f64 / calls as f64;
        let percentile = |share| nanos(times.percentile(share) as f64);
        self.0.push(cells![
            name,
            calls,
            percentile(0.5),
            percentile(0.99),
            nanos(times.mean()),
            nanos(cpu),
            got.into_iter().collect::<Vec<_>>().join(", "),
        ]);
    }
}
