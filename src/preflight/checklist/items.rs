use super::{Construction, Item, Section};
use crate::preflight::CheckId;

/// Every item, in the checklist's order. Each check belongs to one of them.
pub const CHECKLIST: &[Item] = {
    use CheckId as Id;
    use Section::{CodeQuality, Configuration, Documentation, Infrastructure, Rollout};
    &[
        item(
            Configuration,
            "Production API keys in a secure vault",
            &[Id::Token, Id::SecretFiles, Id::TokenAccepted, Id::KeyUse],
        )
        .given(&[
            shown(
                "a token from a file or a vault is taken without a restart",
                "tests/credentials/rotation.rs a_rotation_under_load_loses_nothing",
            ),
            shown(
                "no token is shown or stored",
                "tests/credentials/secrets.rs no_token_is_shown_or_stored_by_a_run_with_a_rotation",
            ),
        ])
        .manual("who may read the vault, and that no copy of the key is anywhere else"),
        item(
            Configuration,
            "Environment variables set in the deployment platform",
            &[Id::Settings, Id::Enabled, Id::Host],
        )
        .given(&[shown(
            "what is missing or wrong is named when the client is built",
            "tests/lifecycle.rs impossible_configurations_are_named_by_build",
        )]),
        item(Configuration, "API key scopes are minimal (least privilege)", &[Id::KeyScopes]).given(&[
            shown(
                "a personal or secret key is refused where the project token belongs",
                "src/credentials/token.rs refuses_what_posthog_would_refuse_and_never_repeats_it",
            ),
        ]),
        item(
            Configuration,
            "Webhook endpoints configured with HTTPS",
            &[Id::WebhookUrl, Id::WebhookCertificate],
        ),
        item(Configuration, "Webhook secrets stored securely", &[Id::WebhookSecret])
            .given(&[
                shown(
                    "a webhook that is not signed with the secret is refused",
                    "tests/webhook/refusals.rs only_what_is_signed_with_our_secret_is_handled",
                ),
                shown(
                    "the secret is changed while two are trusted",
                    "tests/webhook/verifier.rs a_secret_is_changed_by_trusting_two",
                ),
                shown("no secret is in its log lines", "tests/webhook/logs.rs each_kind_of_refusal_is_one_line_an_episode_without_secrets"),
            ])
            .manual("who may read the vault that the secret is in"),
        item(CodeQuality, "All tests passing", &[])
            .given(&[shown("the library's own", ".ci/run")])
            .manual("your service's tests, in its own CI"),
        item(CodeQuality, "No hardcoded credentials", &[Id::TokenSource])
            .manual("a secret scanner over the repository's history"),
        item(CodeQuality, "Error handling covers all PostHog error types", &[]).given(&[
            shown("each answer has one meaning", "src/api/answer.rs every_answer_has_one_meaning"),
            shown(
                "each failure of the network too",
                "tests/transport.rs failures_on_an_open_connection",
            ),
            shown("one bad event costs one event", "tests/dead_letters.rs one_bad_event_costs_one_event_and_few_requests"),
        ]),
        item(CodeQuality, "Rate limiting and backoff implemented", &[Id::RateLimit, Id::Backoff]).given(&[
            shown(
                "a 429 is waited out",
                "tests/delivery/outages.rs a_429_waits_as_long_as_it_says_and_never_opens_the_breaker",
            ),
            shown("retries grow, with jitter", "tests/retry.rs waits_grow_with_jitter_within_their_bounds"),
        ]),
        item(CodeQuality, "Logging is production-appropriate", &[Id::Logs])
            .given(&[
                shown("one line an episode", "tests/logs.rs an_outage_is_one_line_when_it_begins_and_one_when_it_ends"),
                shown("no secret and no event in it", "tests/logs.rs no_secret_and_no_event_content_is_ever_shown"),
                shown("each line is listed", "docs/logging.md"),
            ])
            .manual(
                "panics, if they are to be reported: posthog_rs::init_global(posthog.sdk_options()…); Rust does not \
                 tell which panic hook is set",
            ),
        item(Infrastructure, "Health check endpoint includes PostHog connectivity", &[Id::HealthRoute]).given(&[
            shown("routes for probes and gates", "tests/routes.rs degraded_is_ready_and_only_the_strict_route_says_503"),
            shown("its probe is not billed", "tests/health.rs a_thousand_calls_cost_one_request_that_is_not_billed"),
        ]),
        item(Infrastructure, "Monitoring and alerting configured", &[Id::Alerts])
            .given(&[
                shown("the numbers", "docs/metrics.md"),
                shown("Prometheus rules and a dashboard, tested", ".ci/monitoring"),
            ])
            .manual("that an alert reaches a person: let one fire"),
        item(Infrastructure, "Circuit breaker pattern implemented", &[Id::Breaker]).given(&[
            shown(
                "it opens, lets one probe through, and closes",
                "tests/circuit_breaker.rs a_probe_closes_it_or_opens_it_for_longer",
            ),
            shown(
                "an outage makes no storm",
                "tests/delivery/outages.rs an_outage_loses_nothing_makes_no_storm_and_ends_by_itself",
            ),
        ]),
        item(
            Infrastructure,
            "Graceful degradation configured",
            &[Id::Timeouts, Id::Spool, Id::Queue],
        )
        .given(&[
            shown(
                "capture never waits and never fails",
                "tests/delivery/arrival.rs capture_works_on_any_thread_whatever_posthog_does",
            ),
            shown(
                "flags fall back to what was known, or to your default",
                "tests/flags.rs whatever_posthog_answers_the_last_known_good_stands_in_and_else_the_default",
            ),
            shown(
                "what was known of flags survives a restart",
                "tests/flags_persisted.rs a_start_in_an_outage_answers_as_the_process_before_did",
            ),
        ]),
        item(Documentation, "Incident runbook created", &[Id::Runbook]).given(&[
            shown("a runbook to start from", "docs/runbook.md"),
            shown("a section for each alert, with all its parts", "tests/docs.rs each_alert_has_a_section_with_all_its_parts"),
        ]),
        item(Documentation, "Key rotation procedure documented", &[Id::KeyRotation])
            .given(&[shown("the procedure, to start from", "docs/key-rotation.md")]),
        item(Documentation, "Rollback procedure documented", &[Id::Rollback])
            .given(&[shown("the procedure, to start from", "docs/rollback.md")]),
        item(Documentation, "On-call escalation path defined", &[Id::Escalation])
            .given(&[shown("a template to fill in", "docs/escalation.md")])
            .manual("call the number once"),
        item(
            Rollout,
            "Pre-flight checks: health of staging, PostHog status page",
            &[
                Id::Proxy,
                Id::Dns,
                Id::Tcp,
                Id::Tls,
                Id::Certificate,
                Id::Http,
                Id::Answer,
                Id::Latency,
                Id::Clock,
                Id::StatusPage,
                Id::TestEvent,
            ],
        )
        .manual("staging is healthy: curl -f https://STAGING/readyz/strict"),
        item(Rollout, "Deploy to canary (10 %) first", &[])
            .given(&[shown("a script that does", "examples/kubernetes/rollout.sh")])
            .manual("on another platform, by its means"),
        item(Rollout, "Monitor canary for 10 minutes", &[]).given(&[shown(
            "it watches each step for 600 s, and goes back by itself",
            ".ci/kubernetes",
        )]),
        item(Rollout, "Check error rates and latency before 50 %, then 100 %", &[]).given(&[shown(
            "each pod's own verdict over errors, latency and losses",
            "tests/rollout.rs enough_traffic_that_is_well_proceeds_and_less_holds",
        )]),
        item(Rollout, "Rollback ready", &[]).given(&[
            shown("a verdict turns the rollout back", "tests/rollout.rs an_outage_rolls_back"),
            shown("so does a signal, and a failure on the way", ".ci/kubernetes"),
        ]),
        item(Rollout, "Alert: API Down, 5xx > 10/min, P1", &[]).given(&[shown(
            "it fires and resolves",
            "tests/alerts.rs an_outage_fires_and_the_recovery_resolves",
        )]),
        item(Rollout, "Alert: High Latency, p99 > 5000 ms, P2", &[]).given(&[shown(
            "at its threshold",
            "src/monitor/tests/thresholds.rs high_latency_is_the_99th_percentile_above_five_seconds",
        )]),
        item(Rollout, "Alert: Rate Limited, 429 > 5/min, P2", &[]).given(&[shown(
            "it fires",
            "tests/alerts.rs a_refused_token_a_quota_and_a_rate_limit_fire",
        )]),
        item(Rollout, "Alert: Auth Failures, 401/403 > 0, P1", &[]).given(&[
            shown("it fires", "tests/alerts.rs a_refused_token_a_quota_and_a_rate_limit_fire"),
            shown("by a probe too", "tests/alerts.rs a_probe_that_finds_the_token_unknown_fires"),
        ]),
    ]
};

const fn item(section: Section, text: &'static str, checks: &'static [CheckId]) -> Item {
    Item { section, text, checks, by_construction: &[], manual: None }
}

impl Item {
    const fn given(self, by_construction: &'static [Construction]) -> Self {
        Self { by_construction, ..self }
    }

    const fn manual(self, manual: &'static str) -> Self {
        Self { manual: Some(manual), ..self }
    }
}

const fn shown(what: &'static str, shown_by: &'static str) -> Construction {
    Construction { what, shown_by }
}
