//! Runs clients in simulated worlds, each drawn from a seed. CONTRIBUTING has the story.
//!
//! `cargo run --release --all-features --example simulate -- --seeds 100 --seed 1`

use std::process::ExitCode;

fn main() -> ExitCode {
    posthog_health::simulate_main()
}
