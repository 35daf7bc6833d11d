//! What the benches share: the event, the SDK beside us, tables, and the facts about the machine.

#![allow(dead_code, reason = "not every bench needs everything")]

pub(crate) mod checkout;
pub(crate) mod process;
pub(crate) mod sink;
pub(crate) mod subject;
pub(crate) mod times;

use std::fmt::Display;
use std::time::Duration;

use posthog_health::layers::RateLimitConfig;
use posthog_health::posthog_rs::{Client, ClientOptionsBuilder, client};
use posthog_health::testing::FakePostHog;
use posthog_health::{Event, PostHog, PostHogBuilder};

/// What came after `cargo bench --bench NAME --`.
pub(crate) struct Arguments(Vec<String>);

impl Arguments {
    /// `None` under `cargo test --all-targets`, which builds benches and runs them too: they take minutes.
    pub(crate) fn read() -> Option<Self> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        arguments.iter().any(|argument| argument == "--bench").then_some(Self(arguments))
    }

    /// The value that follows this flag. Unknown flags are nobody's business.
    pub(crate) fn value(&self, flag: &str) -> Option<&str> {
        let at = self.0.iter().position(|argument| argument == flag)?;
        self.0.get(at + 1).map(String::as_str)
    }

    pub(crate) fn has(&self, flag: &str) -> bool {
        self.0.iter().any(|argument| argument == flag)
    }
}

/// Ours, at this server, all else by default.
pub(crate) fn ours(server: &FakePostHog) -> PostHogBuilder {
    PostHog::builder(FakePostHog::TOKEN).host(server.url())
}

/// The SDK, at this server, all else by default but the bound of its queue.
pub(crate) async fn theirs(server: &FakePostHog, queue_events: usize) -> Client {
    let mut options = ClientOptionsBuilder::default();
    options.api_key(FakePostHog::TOKEN.to_owned()).host(server.url()).max_queue_size(queue_events);
    client(options.build().expect("complete options")).await
}

/// Ours, with a queue for so many events and nothing in the way of sending them.
pub(crate) fn ours_unbounded(url: &str, events: usize) -> PostHogBuilder {
    let unlimited = RateLimitConfig::default().rate(1_000_000).burst(1_000_000);
    PostHog::builder(FakePostHog::TOKEN)
        .host(url)
        .queue_events(events)
        .queue_bytes(1 << 36)
        .rate_limit(unlimited)
        .flush_timeout(Duration::from_secs(60))
}

/// The SDK, with a queue for so many events.
pub(crate) fn theirs_unbounded(url: &str, events: usize) -> ClientOptionsBuilder {
    let mut options = ClientOptionsBuilder::default();
    options.api_key(FakePostHog::TOKEN.to_owned()).host(url).max_queue_size(events);
    options
}

/// The bound of both queues by default.
pub(crate) const DEFAULT_QUEUE: usize = 10_000;

/// A server that remembers counts, not bodies: long runs must not grow it.
pub(crate) fn server() -> FakePostHog {
    let server = FakePostHog::start();
    server.keep_bodies(false);
    server
}

/// Ten properties of mixed types, about 600 bytes as JSON; with a uuid of its own.
pub(crate) fn event(number: usize) -> Event {
    let mut event = Event::new("checkout_completed".to_owned(), format!("user-{number:08}"));
    let mut set = |key: &str, value: serde_json::Value| {
        event.insert_prop(key, value).expect("a JSON value is JSON");
    };
    set("order_id", format!("ord-2026-11-{number:012}").into());
    set("total_cents", 12_990.into());
    set("discount_rate", 0.15.into());
    set("currency", "EUR".into());
    set("first_purchase", false.into());
    set("coupon", serde_json::Value::Null);
    set("items", serde_json::json!(["sku-10442", "sku-20917", "sku-31008"]));
    set("shipping", serde_json::json!({"carrier": "post", "express": true, "days": 2, "country": "DE"}));
    set("$current_url", "https://shop.example.com/checkout/confirmation?step=4&source=newsletter".into());
    set(
        "user_agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0".into(),
    );
    event
}

/// One line of a table: what is measured, ours, theirs, and ours / theirs where that says something.
pub(crate) struct Row(String, String, String, Option<f64>);

impl Row {
    pub(crate) fn words(name: &str, ours: impl Display, theirs: impl Display) -> Self {
        Self(name.to_owned(), ours.to_string(), theirs.to_string(), None)
    }

    pub(crate) fn count(name: &str, ours: usize, theirs: usize) -> Self {
        Self(name.to_owned(), ours.to_string(), theirs.to_string(), ratio(ours as f64, theirs as f64))
    }

    pub(crate) fn nanos(name: &str, ours: f64, theirs: f64) -> Self {
        Self(name.to_owned(), nanos(ours), nanos(theirs), ratio(ours, theirs))
    }
}

pub(crate) fn print_table(rows: &[Row]) {
    println!("| {:<32} | {:>16} | {:>16} | {:>14} |", "", "posthog-health", "posthog-rs", "ours / theirs");
    println!("|{:-<34}|{:->17}:|{:->17}:|{:->15}:|", "", "", "", "");
    for Row(name, ours, theirs, ratio) in rows {
        let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
        println!("| {name:<32} | {ours:>16} | {theirs:>16} | {ratio:>14} |");
    }
    println!();
}

/// A table of its own shape: the first line has the heads.
pub(crate) fn print_columns(lines: &[Vec<String>]) {
    let Some((heads, _)) = lines.split_first() else { return };
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<usize> = (0..heads.len()).map(|column| width(column).unwrap_or(0)).collect();
    for (at, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        println!("| {} |", cells.collect::<Vec<_>>().join(" | "));
        if at == 0 {
            let rest: String = widths[1..].iter().map(|width| format!("{:->1$}:|", "", width + 1)).collect();
            println!("|{:-<1$}|{rest}", "", widths[0] + 2);
        }
    }
    println!();
}

/// A line of such a table.
#[allow(unused_macros, reason = "not every bench needs it")]
macro_rules! cells {
    ($($cell:expr),+ $(,)?) => { vec![$($cell.to_string()),+] };
}
#[allow(unused_imports, reason = "not every bench needs it")]
pub(crate) use cells;

/// As people write it.
pub(crate) fn seconds(time: Option<Duration>) -> String {
    time.map_or("never".to_owned(), |time| format!("{:.2} s", time.as_secs_f64()))
}

/// The last line of every bench.
pub(crate) fn print_machine(seen_by: &FakePostHog) {
    // As it calls itself on the wire: that is the one that ran.
    let requests = seen_by.requests();
    let sdk = requests.first().and_then(|request| request.header("user-agent")).unwrap_or("posthog-rs");
    print_machine_beside(sdk);
}

/// The same, where somebody else saw it.
pub(crate) fn print_machine_beside(sdk: &str) {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
    println!(
        "machine: {cores} cores, {arch} {os}; posthog-health/{} beside {sdk}",
        env!("CARGO_PKG_VERSION")
    );
}

fn ratio(ours: f64, theirs: f64) -> Option<f64> {
    (theirs > 0.0).then(|| ours / theirs)
}

pub(crate) fn nanos(time: f64) -> String {
    match time {
        ..10_000.0 => format!("{time:.0} ns"),
        ..10_000_000.0 => format!("{:.1} µs", time / 1e3),
        _ => format!("{:.1} ms", time / 1e6),
    }
}
