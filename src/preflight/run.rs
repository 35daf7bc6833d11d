use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::check::{CheckId, CheckStatus, Finding, Findings};
use super::integration::{self, Surroundings};
use super::logs::{self, Logs};
use super::plan::{Options, Preflight};
use super::report::PreflightReport;
use super::side_by_side::{Group, side_by_side};
use super::subject::Subject;
use super::{
    answers, configuration, documents, health_route, key_scopes, probes, secret_files, spool, status_page,
    test_event, way, webhook,
};
use crate::config::Reviewed;
use crate::credentials::{KeyOrigin, ProjectToken};
use crate::rt::detached_thread;

/// The whole, with half a second to spare.
const WHOLE: Duration = Duration::from_millis(14_500);
const FILES: Duration = Duration::from_secs(4);
const ONE_ANSWER: Duration = Duration::from_secs(5);
/// Of those that take several steps, each of which has its own time.
const STEPS: Duration = Duration::from_secs(10);

/// Of a build with optimizations one expects that it is for production.
const IS_RELEASE: bool = !cfg!(debug_assertions);

pub(super) async fn run(preflight: Preflight) -> PreflightReport {
    let started = Instant::now();
    let Preflight { entry, mut options } = preflight;
    let logs = Logs::look();
    let subject = entry.open(options.secret_key.take()).await;
    let known = known(&subject, &options, logs);
    let mut findings = side_by_side(groups(subject, options), started + WHOLE).await;
    findings.extend(known);
    PreflightReport::new(findings, started.elapsed())
}

/// What needs no I/O.
fn known(subject: &Subject, options: &Options, logs: Logs) -> Findings {
    let Subject { settings, is_disabled, token, host, reviewed, .. } = subject;
    let surroundings = Surroundings {
        grace_period: options.grace_period,
        shutdown: options.shutdown,
        event_rate: options.event_rate,
    };
    let taken = if options.is_outside {
        Finding::skipped("only the service itself can tell: posthog.preflight()")
    } else {
        logs::judge(logs, IS_RELEASE)
    };
    let mut findings = vec![
        (CheckId::Settings, settings.clone()),
        (CheckId::Enabled, configuration::enabled(*is_disabled)),
        (CheckId::Token, of(token, configuration::token)),
        (CheckId::TokenSource, source(reviewed, *is_disabled)),
        (CheckId::Host, of(host, configuration::host)),
        (CheckId::Logs, taken),
        (
            CheckId::WebhookSecret,
            webhook::secret(
                options.webhook_url.is_some(),
                options.webhook_secret.as_ref().map(|secret| secret.as_str()),
            ),
        ),
    ];
    let judged = integration::judge(reviewed, surroundings);
    findings
        .extend(judged.into_iter().map(|(id, finding)| (id, told_as_default(finding, options.is_outside))));
    findings
}

fn of<T>(value: &Result<T, Finding>, judge: fn(&T) -> Finding) -> Finding {
    value.as_ref().map_or_else(Finding::clone, judge)
}

fn source(reviewed: &Reviewed, is_disabled: bool) -> Finding {
    let origin = reviewed.origin.as_ref().filter(|_| !is_disabled);
    configuration::token_source(origin, IS_RELEASE)
}

/// What a command sees of the parts is how they are made when nobody says otherwise.
fn told_as_default(finding: Finding, is_outside: bool) -> Finding {
    if !is_outside || finding.status != CheckStatus::Pass {
        return finding;
    }
    Finding { seen: format!("by default: {}", finding.seen), ..finding }
}

fn groups(subject: Subject, options: Options) -> Vec<Group> {
    let Subject { token, secret_key, host, reviewed, .. } = subject;
    let (token, host) = (token.ok(), host.ok());
    let (tell, connected) = oneshot::channel();
    let Options { needed_scopes, app_host, webhook_url, docs, health_url, status_page, .. } = options;
    let app_host = key_scopes::app_host(app_host, host.as_ref());
    let files = files(options.secret_files, &reviewed);
    vec![
        Group::new(probes::IDS, STEPS, probed(host.clone(), token.clone(), tell)),
        Group::new(way::IDS, STEPS, way(host.clone())),
        Group::new(secret_files::IDS, FILES, async move {
            vec![(CheckId::SecretFiles, in_a_thread(move || secret_files::read(&files)).await)]
        }),
        Group::new(key_scopes::IDS, ONE_ANSWER, key_scopes::check(secret_key, app_host, needed_scopes)),
        Group::new(&[CheckId::Spool], FILES, spooled(reviewed)),
        Group::new(health_route::IDS, ONE_ANSWER, health_route::check(health_url)),
        Group::new(status_page::IDS, STEPS, status_page::check(status_page, connected)),
        Group::new(webhook::IDS, STEPS, webhook::check(webhook_url)),
        Group::new(documents::IDS, FILES, async move {
            match docs {
                None => documents::not_named(),
                Some(directory) => {
                    detached_thread::run(move || documents::read(&directory)).await.unwrap_or_default()
                }
            }
        }),
        Group::new(test_event::IDS, STEPS, test_event::check(options.test_event, host, token)),
    ]
}

async fn way(host: Option<Url>) -> Findings {
    match host {
        None => without_a_host(way::IDS),
        Some(host) => way::check(&host).await,
    }
}

async fn probed(
    host: Option<Url>,
    token: Option<ProjectToken>,
    connected: oneshot::Sender<bool>,
) -> Findings {
    let Some(host) = host else { return without_a_host(probes::IDS) };
    let probed = probes::probe(&host, token.as_ref()).await;
    // The status page may not have been asked.
    let _ = connected.send(answers::is_connected(&probed));
    answers::judge(&probed, token.is_some())
}

fn without_a_host(ids: &[CheckId]) -> Findings {
    ids.iter().map(|&id| (id, Finding::no_host())).collect()
}

/// Those that were named, and those that the token and the secret key come from.
fn files(named: Vec<(&'static str, PathBuf)>, reviewed: &Reviewed) -> Vec<(&'static str, PathBuf)> {
    let file_of = |name, origin: &Option<KeyOrigin>| match origin {
        Some(KeyOrigin::File(path)) => Some((name, path.clone())),
        _ => None,
    };
    let token = file_of("the project token's file", &reviewed.origin);
    let key = file_of("the secret key's file", &reviewed.key_origin);
    token.into_iter().chain(named).chain(key).collect()
}

async fn spooled(reviewed: Reviewed) -> Findings {
    let finding = match reviewed.spool {
        None => Finding::skipped("no spool is configured: what memory cannot hold is lost"),
        Some(config) => in_a_thread(move || spool::judge(&config.look())).await,
    };
    vec![(CheckId::Spool, finding)]
}

/// Files may be on a mount that hangs.
async fn in_a_thread(work: impl FnOnce() -> Finding + Send + 'static) -> Finding {
    let no_thread =
        || Finding::fail("the system gives no thread", "look at the limits of processes and memory");
    detached_thread::run(work).await.unwrap_or_else(no_thread)
}
