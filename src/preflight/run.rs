use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::builder::Options;
use super::check::{CheckId, CheckStatus, Finding, Findings};
use super::concurrent::Groups;
use super::integration;
use super::logs::{self, Logs};
use super::report::PreflightReport;
use super::target::{Source, Target};
use super::{
    answers, capture_v1, configuration, documents, health_route, key_scopes, probes, reachability,
    secret_files, spool, status_page, test_event, webhook,
};
use crate::config::Settings;
use crate::credentials::{KeyOrigin, ProjectToken};
use crate::rt::detached_thread;

/// The whole preflight ends within 15 s, with half a second to spare.
const WHOLE: Duration = Duration::from_millis(14_500);
const FILES: Duration = Duration::from_secs(4);
const ONE_ANSWER: Duration = Duration::from_secs(5);
/// For groups of several steps, each of which has its own limit.
const STEPS: Duration = Duration::from_secs(10);

/// A build with optimizations counts as one for production.
const IS_RELEASE: bool = !cfg!(debug_assertions);

pub async fn run(source: Source, mut options: Options) -> PreflightReport {
    let started = Instant::now();
    let logs = Logs::observe();
    let target = source.open(options.secret_key.take()).await;
    let immediate = without_io(&target, &options, logs);
    let mut findings = start(target, options).finish(started + WHOLE).await;
    findings.extend(immediate);
    PreflightReport::new(findings, started.elapsed())
}

/// The checks that need no I/O.
fn without_io(target: &Target, options: &Options, logs: Logs) -> Findings {
    let Target { validity, is_disabled, token, token_origin, host, settings, .. } = target;
    let logs = if options.is_outside {
        Finding::skipped("only the service itself can tell: posthog.preflight()")
    } else {
        logs::judge(logs, IS_RELEASE)
    };
    let mut findings = vec![
        (CheckId::Settings, validity.clone()),
        (CheckId::Enabled, configuration::enabled(*is_disabled)),
        (CheckId::Token, of(token, configuration::token)),
        (CheckId::TokenSource, configuration::token_source(token_origin.as_ref(), IS_RELEASE)),
        (CheckId::Host, of(host, configuration::host)),
        (CheckId::Logs, logs),
        (
            CheckId::WebhookSecret,
            webhook::secret(
                options.webhook_url.is_some(),
                options.webhook_secret.as_ref().map(|secret| secret.as_str()),
            ),
        ),
    ];
    if host.is_err() {
        let ids = probes::IDS.iter().chain(reachability::IDS).chain(&[CheckId::CaptureV1]);
        findings.extend(ids.map(|&id| (id, Finding::no_host())));
    }
    let judged = integration::judge(settings, options.deployment);
    findings.extend(judged.into_iter().map(|(id, finding)| match finding.status {
        // A command outside the service does not see the service's settings, only their defaults.
        CheckStatus::Pass if options.is_outside => {
            (id, Finding { seen: format!("by default: {}", finding.seen), ..finding })
        }
        _ => (id, finding),
    }));
    findings
}

fn of<T>(value: &Result<T, Finding>, judge: fn(&T) -> Finding) -> Finding {
    value.as_ref().map_or_else(Finding::clone, judge)
}

/// Starts the checks that need I/O.
fn start(target: Target, options: Options) -> Groups {
    let Target { token, token_origin, secret_key, secret_key_origin, host, capture, settings, .. } = target;
    let (token, host) = (token.ok(), host.ok());
    let (sender, connected) = oneshot::channel();
    let Options { needed_scopes, app_host, webhook_url, docs, health_url, status_page, .. } = options;
    let app_host = key_scopes::app_host(app_host, host.as_ref());
    let files = files(token_origin, options.secret_files, secret_key_origin);
    let mut groups = Groups::default();
    if let Some(host) = host.clone() {
        groups.start(probes::IDS, STEPS, probed(host.clone(), token.clone(), sender));
        groups.start(reachability::IDS, STEPS, reachability::check(host.clone()));
        let check = capture_v1::check(host, settings.capture_protocol, capture);
        groups.start_one(&CheckId::CaptureV1, ONE_ANSWER, check);
    }
    groups.start_one(&CheckId::SecretFiles, FILES, in_a_thread(move || secret_files::read(&files)));
    groups.start(key_scopes::IDS, ONE_ANSWER, key_scopes::check(secret_key, app_host, needed_scopes));
    groups.start_one(&CheckId::Spool, FILES, spool(settings));
    groups.start_one(&CheckId::HealthRoute, ONE_ANSWER, health_route::check(health_url));
    groups.start_one(&CheckId::StatusPage, STEPS, status_page::check(status_page, connected));
    groups.start(webhook::IDS, STEPS, webhook::check(webhook_url));
    groups.start(documents::IDS, FILES, async move {
        let read = detached_thread::run(move || documents::read(docs.as_deref()));
        read.await.unwrap_or_default()
    });
    groups.start_one(&CheckId::TestEvent, STEPS, test_event::check(options.test_event, host, token));
    groups
}

async fn probed(host: Url, token: Option<ProjectToken>, connected: oneshot::Sender<bool>) -> Findings {
    let probed = probes::probe(&host, token.as_ref()).await;
    // Nobody listens unless the status page is asked.
    let _ = connected.send(answers::is_connected(&probed));
    answers::judge(&probed, token.is_some())
}

/// The files that were named, and those that the token and the secret key come from.
fn files(
    token: Option<KeyOrigin>,
    named: Vec<(&'static str, PathBuf)>,
    secret_key: Option<KeyOrigin>,
) -> Vec<(&'static str, PathBuf)> {
    let file_of = |name, origin| match origin {
        Some(KeyOrigin::File(path)) => Some((name, path)),
        _ => None,
    };
    let token = file_of("the project token's file", token);
    let key = file_of("the secret key's file", secret_key);
    token.into_iter().chain(named).chain(key).collect()
}

async fn spool(settings: Arc<Settings>) -> Finding {
    match settings.spool.clone() {
        None => Finding::skipped("no spool is configured: what memory cannot hold is lost"),
        Some(config) => in_a_thread(move || spool::judge(&config.inspect())).await,
    }
}

/// Runs work on a thread that is left behind if it hangs, as a mount may.
async fn in_a_thread(work: impl FnOnce() -> Finding + Send + 'static) -> Finding {
    let no_thread =
        || Finding::fail("the system gives no thread", "look at the limits of processes and memory");
    detached_thread::run(work).await.unwrap_or_else(no_thread)
}
