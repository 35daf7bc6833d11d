//! The go-live checklist as a command. The code is in the library, behind the feature `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    posthog_health::preflight_main()
}
