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

/// Checks whether this environment is ready for a service that sends events to PostHog.
///
/// The project token and the host come from the environment, as the service's do: POSTHOG_API_KEY or
/// POSTHOG_API_KEY_FILE, POSTHOG_HOST. Two more secrets are checked if they are set:
/// POSTHOG_PERSONAL_API_KEY and POSTHOG_WEBHOOK_SECRET, or the same with _FILE.
///
/// Exit code: 0 pass; 1 warnings, under --strict; 2 failures, or arguments that cannot be read.
#[derive(Parser)]
#[command(name = "posthog-preflight", version, max_term_width = 100)]
struct Arguments {
    /// JSON instead of the table
    #[arg(long)]
    json: bool,
    /// Exit with code 1 if there are warnings
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
    /// The service's own health route, to ask it
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
    /// The address at which PostHog calls you. No request is sent to it
    #[arg(long, value_name = "URL")]
    webhook_url: Option<String>,
    /// A scope that the personal key needs; may be repeated [default: feature_flag:read]
    #[arg(long, value_name = "SCOPE")]
    needed_scope: Vec<String>,
    /// The host of PostHog's private API [default: the region's]
    #[arg(long, value_name = "URL")]
    app_host: Option<String>,
    /// Ask PostHog's status page too. Its answer is advice and fails nothing
    #[arg(long, value_name = "URL", num_args = 0..=1, require_equals = true)]
    status_page: Option<Option<String>>,
    /// Send one event, which is billed as any other
    #[arg(long)]
    send_test_event: bool,
}

/// The limit of the whole. The library keeps within it, but reading a file that the environment names may hang.
const WHOLE: Duration = Duration::from_secs(15);

/// Enters the command: reads its arguments, runs the checklist, prints the report.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (json, strict) = (arguments.json, arguments.strict);
    let (sender, receiver) = mpsc::channel();
    // A thread that hangs is left behind.
    thread::spawn(move || sender.send(report(arguments)));
    let reported = match receiver.recv_timeout(WHOLE) {
        Ok(report) => report.and_then(|report| {
            print(&report, json).or_else(ignore_broken_pipe)?;
            Ok(report.exit_code(strict))
        }),
        Err(RecvTimeoutError::Timeout) => {
            Err(io::Error::other("no report within 15 s: a file that the environment names hangs"))
        }
        Err(RecvTimeoutError::Disconnected) => {
            Err(io::Error::other("no report: a defect, see the panic above"))
        }
    };
    match reported {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // If nobody reads it, the exit code still reports the failure.
            let _ = writeln!(io::stderr(), "posthog-preflight: {error}");
            ExitCode::from(2)
        }
    }
}

/// A reader that stops early, as `head` does, is no failure.
fn ignore_broken_pipe(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}

fn report(arguments: Arguments) -> io::Result<PreflightReport> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(async { configure(arguments).await });
    // A resolver that hangs on its own thread must not delay the end.
    runtime.shutdown_background();
    Ok(report)
}

fn configure(arguments: Arguments) -> Preflight {
    let mut builder = PostHog::from_env();
    if let Some(host) = &arguments.host {
        builder = builder.host(host);
    }
    if let Some(directory) = &arguments.spool {
        builder = builder.spool(SpoolConfig::at(directory));
    }
    let mut preflight = builder.preflight().from_outside();
    let options = &mut preflight.options;
    options.docs = arguments.docs;
    options.health_url = arguments.health_url;
    options.webhook_url = arguments.webhook_url;
    options.app_host = arguments.app_host;
    options.test_event = arguments.send_test_event;
    options.deployment.event_rate = arguments.event_rate;
    options.deployment.grace_period = arguments.grace_period.map(Duration::from_secs);
    options.deployment.shutdown = Duration::from_secs(arguments.shutdown);
    if !arguments.needed_scope.is_empty() {
        options.needed_scopes = arguments.needed_scope;
    }
    preflight = match arguments.status_page {
        None => preflight,
        Some(None) => preflight.status_page(),
        Some(Some(url)) => preflight.status_page_at(url),
    };
    with_webhook_secret(with_personal_key(preflight))
}

/// Reads the key from its variable, or from the file that the other variable names.
fn with_personal_key(preflight: Preflight) -> Preflight {
    const KEY: &str = "POSTHOG_PERSONAL_API_KEY";
    match (env::var_os(KEY), env::var_os("POSTHOG_PERSONAL_API_KEY_FILE")) {
        (Some(_), _) => preflight.secret_key(CredentialSource::environment(KEY)),
        (None, Some(path)) => preflight.secret_key(CredentialSource::file(path)),
        (None, None) => preflight,
    }
}

/// Reads the webhook secret likewise. An unreadable file becomes an empty secret, and text that is not UTF-8 is not base64,
/// so the check refuses both.
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
