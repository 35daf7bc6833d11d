//! `posthog-preflight`, the go-live checklist as a command for pipelines and init containers. `docs/preflight.md` has its
//! manual.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::preflight::{Preflight, PreflightReport};
use crate::{CredentialSource, PostHog, SpoolConfig};
use clap::Parser;

/// Looks whether this place is ready for a service that sends events to PostHog.
///
/// The project token and the host come from the environment, as the service's do: POSTHOG_API_KEY or
/// POSTHOG_API_KEY_FILE, POSTHOG_HOST. Two more secrets are looked at if they are there:
/// POSTHOG_PERSONAL_API_KEY and POSTHOG_WEBHOOK_SECRET, or the same with _FILE.
///
/// Exit code: 0 pass; 1 warnings, under --strict; 2 failures, or arguments that cannot be read.
#[derive(Parser)]
#[command(name = "posthog-preflight", version, max_term_width = 100)]
struct Arguments {
    /// JSON instead of the table
    #[arg(long)]
    json: bool,
    /// Warnings count: exit code 1
    #[arg(long)]
    strict: bool,
    /// us, eu or a URL, instead of POSTHOG_HOST
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// The directory of runbook.md, key-rotation.md, rollback.md and escalation.md
    #[arg(long, value_name = "DIR")]
    docs: Option<PathBuf>,
    /// The directory of the service's spool: is it writable, and large enough
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
    /// The service's own health route, to be asked
    #[arg(long, value_name = "URL")]
    health_url: Option<String>,
    /// Events per second on a busy day
    #[arg(long, value_name = "NUMBER")]
    event_rate: Option<f64>,
    /// Seconds that the orchestrator waits from the signal to the kill
    #[arg(long, value_name = "SECONDS")]
    grace_period: Option<u64>,
    /// Seconds that the service gives to shutdown()
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    shutdown: u64,
    /// Where PostHog calls you: https, public, with a good certificate. No request is sent to it
    #[arg(long, value_name = "URL")]
    webhook_url: Option<String>,
    /// A scope that the personal key is there for; may be repeated [default: feature_flag:read]
    #[arg(long, value_name = "SCOPE")]
    needed_scope: Vec<String>,
    /// Where PostHog's private API is [default: that of the region]
    #[arg(long, value_name = "URL")]
    app_host: Option<String>,
    /// Ask PostHog's status page too: advice, which fails nothing
    #[arg(long, value_name = "URL", num_args = 0..=1, require_equals = true)]
    status_page: Option<Option<String>>,
    /// Send one event, which is billed as any
    #[arg(long)]
    send_test_event: bool,
}

/// What the library promises, and a little for what it cannot wait for: the reading of the environment's files.
const WHOLE: Duration = Duration::from_secs(15);

/// Enters the command: reads its arguments, runs the checklist, prints the report.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (json, strict) = (arguments.json, arguments.strict);
    let (tell, told) = mpsc::channel();
    // Left behind if it hangs.
    thread::spawn(move || tell.send(report(&arguments)));
    let reported = match told.recv_timeout(WHOLE) {
        Ok(report) => report.and_then(|report| {
            print(&report, json).or_else(who_left)?;
            Ok(report.exit_code(strict))
        }),
        Err(RecvTimeoutError::Timeout) => {
            Err(io::Error::other("no report within 15 s: a file that the environment names hangs"))
        }
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("no report: a defect, told above")),
    };
    match reported {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Nobody may be there to hear it; the code tells too.
            let _ = writeln!(io::stderr(), "posthog-preflight: {error}");
            ExitCode::from(2)
        }
    }
}

/// A reader that has seen enough, as `head` has, is no failure.
fn who_left(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}

fn report(arguments: &Arguments) -> io::Result<PreflightReport> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(async { plan(arguments).await });
    // A resolver that hangs in a thread of its own must not hold up the end.
    runtime.shutdown_background();
    Ok(report)
}

fn plan(arguments: &Arguments) -> Preflight {
    let mut builder = PostHog::from_env();
    if let Some(host) = &arguments.host {
        builder = builder.host(host);
    }
    if let Some(directory) = &arguments.spool {
        builder = builder.spool(SpoolConfig::at(directory));
    }
    let mut preflight =
        builder.preflight().from_outside().shutdown_deadline(Duration::from_secs(arguments.shutdown));
    if let Some(directory) = &arguments.docs {
        preflight = preflight.docs(directory);
    }
    if let Some(url) = &arguments.health_url {
        preflight = preflight.health_url(url);
    }
    if let Some(rate) = arguments.event_rate {
        preflight = preflight.event_rate(rate);
    }
    if let Some(seconds) = arguments.grace_period {
        preflight = preflight.grace_period(Duration::from_secs(seconds));
    }
    if let Some(url) = &arguments.webhook_url {
        preflight = preflight.webhook_url(url);
    }
    if !arguments.needed_scope.is_empty() {
        preflight = preflight.needed_scopes(arguments.needed_scope.clone());
    }
    if let Some(url) = &arguments.app_host {
        preflight = preflight.app_host(url);
    }
    match &arguments.status_page {
        None => {}
        Some(None) => preflight = preflight.status_page(),
        Some(Some(url)) => preflight = preflight.status_page_at(url),
    }
    if arguments.send_test_event {
        preflight = preflight.send_test_event();
    }
    with_webhook_secret(with_personal_key(preflight))
}

/// From the variable, or from the file that the other names.
fn with_personal_key(preflight: Preflight) -> Preflight {
    const KEY: &str = "POSTHOG_PERSONAL_API_KEY";
    match (env::var_os(KEY), env::var_os("POSTHOG_PERSONAL_API_KEY_FILE")) {
        (Some(_), _) => preflight.secret_key(CredentialSource::environment(KEY)),
        (None, Some(path)) => preflight.secret_key(CredentialSource::file(path)),
        (None, None) => preflight,
    }
}

/// The same. What cannot be read is an empty secret, and what is not UTF-8 is no base64: no check takes them for one.
fn with_webhook_secret(preflight: Preflight) -> Preflight {
    const FILE: &str = "POSTHOG_WEBHOOK_SECRET_FILE";
    match (env::var_os("POSTHOG_WEBHOOK_SECRET"), env::var_os(FILE)) {
        (Some(secret), _) => preflight.webhook_secret(secret.to_string_lossy()),
        (None, Some(path)) => {
            let secret = fs::read_to_string(&path).unwrap_or_default();
            preflight.webhook_secret(secret).secret_file(FILE, path)
        }
        (None, None) => preflight,
    }
}

fn print(report: &PreflightReport, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, report)?;
        return writeln!(out);
    }
    if is_colored(out.is_terminal(), env::var_os("NO_COLOR")) {
        write!(out, "{}", report.colored())
    } else {
        write!(out, "{report}")
    }
}

fn is_colored(is_terminal: bool, no_color: Option<OsString>) -> bool {
    is_terminal && no_color.is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_terminals_whose_user_wants_it() {
        assert!(is_colored(true, None));
        assert!(is_colored(true, Some("".into())), "as no-color.org has it");
        assert!(!is_colored(true, Some("1".into())));
        assert!(!is_colored(false, None));
    }
}
