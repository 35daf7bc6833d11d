use super::{Construction, Item, Section};
use crate::preflight::CheckId;

macro_rules! checklist {
    ($($section:ident $title:literal {
        $($item:literal [$($check:ident)*] $(given $what:literal => $shown_by:literal)* $(manual $manual:literal)?)*
    })*) => {
        impl Section {
            /// All of them, in order.
            pub const ALL: [Self; 5] = [$(Self::$section,)*];

            /// The checklist's wording.
            pub fn title(self) -> &'static str {
                match self { $(Self::$section => $title,)* }
            }
        }

        /// Every item, in the checklist's order. Each check belongs to one of them.
        pub const CHECKLIST: &[Item] = &[$($(Item {
            section: Section::$section,
            text: $item,
            checks: &[$(CheckId::$check,)*],
            by_construction: &[$(Construction { what: $what, shown_by: $shown_by },)*],
            manual: [$(Some($manual),)? None][0],
        },)*)*];
    };
}

checklist! {
    Configuration "Pre-Deployment Configuration" {
        "Production API keys in a secure vault" [Token SecretFiles TokenAccepted KeyUse]
            given "a token from a file or a vault is taken without a restart" => "tests/credentials/rotation.rs a_rotation_under_load_loses_nothing"
            given "no token is shown or stored" => "tests/credentials/secrets.rs no_token_is_shown_or_stored_by_a_run_with_a_rotation"
            manual "who may read the vault, and that no copy of the key is anywhere else"
        "Environment variables set in the deployment platform" [Settings Enabled Host]
            given "what is missing or wrong is named when the client is built" => "tests/lifecycle.rs impossible_configurations_are_named_by_build"
        "API key scopes are minimal (least privilege)" [KeyScopes]
            given "a personal or secret key is refused where the project token belongs" => "src/credentials/token.rs refuses_what_posthog_would_refuse_and_never_repeats_it"
        "Webhook endpoints configured with HTTPS" [WebhookUrl WebhookCertificate]
        "Webhook secrets stored securely" [WebhookSecret]
            given "a webhook that is not signed with the secret is refused" => "tests/webhook/refusals.rs only_what_is_signed_with_our_secret_is_handled"
            given "the secret is changed while two are trusted" => "tests/webhook/verifier.rs a_secret_is_changed_by_trusting_two"
            given "no secret is in its log lines" => "tests/webhook/logs.rs each_kind_of_refusal_is_one_line_an_episode_without_secrets"
            manual "who may read the vault that the secret is in"
    }
    CodeQuality "Code Quality Verification" {
        "All tests passing" []
            given "the library's own" => ".ci/run"
            manual "your service's tests, in its own CI"
        "No hardcoded credentials" [TokenSource]
            manual "a secret scanner over the repository's history"
        "Error handling covers all PostHog error types" []
            given "each answer has one meaning" => "src/api/answer.rs every_answer_has_one_meaning"
            given "each failure of the network too" => "tests/transport.rs failures_on_an_open_connection"
            given "one bad event costs one event" => "tests/dead_letters.rs one_bad_event_costs_one_event_and_few_requests"
        "Rate limiting and backoff implemented" [RateLimit Backoff]
            given "a 429 is waited out" => "tests/delivery/outages.rs a_429_waits_as_long_as_it_says_and_never_opens_the_breaker"
            given "retries grow, with jitter" => "tests/retry.rs waits_grow_with_jitter_within_their_bounds"
        "Logging is production-appropriate" [Logs]
            given "one line an episode" => "tests/logs.rs an_outage_is_one_line_when_it_begins_and_one_when_it_ends"
            given "no secret and no event in it" => "tests/logs.rs no_secret_and_no_event_content_is_ever_shown"
            given "each line is listed" => "docs/logging.md"
            manual "panics, if they are to be reported: posthog_rs::init_global(posthog.sdk_options()…); Rust does not \
                 tell which panic hook is set"
    }
    Infrastructure "Infrastructure Setup" {
        "Health check endpoint includes PostHog connectivity" [HealthRoute]
            given "routes for probes and gates" => "tests/routes.rs degraded_is_ready_and_only_the_strict_route_says_503"
            given "its probe is not billed" => "tests/health.rs a_thousand_calls_cost_one_request_that_is_not_billed"
        "Monitoring and alerting configured" [Alerts]
            given "the numbers" => "docs/metrics.md"
            given "Prometheus rules and a dashboard, tested" => ".ci/monitoring"
            manual "that an alert reaches a person: let one fire"
        "Circuit breaker pattern implemented" [Breaker]
            given "it opens, lets one probe through, and closes" => "tests/circuit_breaker.rs a_probe_closes_it_or_opens_it_for_longer"
            given "an outage makes no storm" => "tests/delivery/outages.rs an_outage_loses_nothing_makes_no_storm_and_ends_by_itself"
        "Graceful degradation configured" [Timeouts Spool Queue]
            given "capture never waits and never fails" => "tests/delivery/arrival.rs capture_works_on_any_thread_whatever_posthog_does"
            given "flags fall back to what was known, or to your default" => "tests/flags.rs whatever_posthog_answers_the_last_known_good_stands_in_and_else_the_default"
            given "what was known of flags survives a restart" => "tests/flags_persisted.rs a_start_in_an_outage_answers_as_the_process_before_did"
    }
    Documentation "Documentation Requirements" {
        "Incident runbook created" [Runbook]
            given "a runbook to start from" => "docs/runbook.md"
            given "a section for each alert, with all its parts" => "tests/docs.rs each_alert_has_a_section_with_all_its_parts"
        "Key rotation procedure documented" [KeyRotation]
            given "the procedure, to start from" => "docs/key-rotation.md"
        "Rollback procedure documented" [Rollback]
            given "the procedure, to start from" => "docs/rollback.md"
        "On-call escalation path defined" [Escalation]
            given "a template to fill in" => "docs/escalation.md"
            manual "call the number once"
    }
    Rollout "Deploy with Gradual Rollout" {
        "Pre-flight checks: health of staging, PostHog status page" [Proxy Dns Tcp Tls Certificate Http Answer Latency Clock CaptureV1 StatusPage TestEvent]
            manual "staging is healthy: curl -f https://STAGING/readyz/strict"
        "Deploy to canary (10 %) first" []
            given "a script that does" => "examples/kubernetes/rollout.sh"
            manual "on another platform, by its means"
        "Monitor canary for 10 minutes" []
            given "it watches each step for 600 s, and goes back by itself" => ".ci/kubernetes"
        "Check error rates and latency before 50 %, then 100 %" []
            given "each pod's own verdict over errors, latency and losses" => "tests/rollout.rs enough_traffic_that_is_well_proceeds_and_less_holds"
        "Rollback ready" []
            given "a verdict turns the rollout back" => "tests/rollout.rs an_outage_rolls_back"
            given "so does a signal, and a failure on the way" => ".ci/kubernetes"
        "Alert: API Down, 5xx > 10/min, P1" []
            given "it fires and resolves" => "tests/alerts.rs an_outage_fires_and_the_recovery_resolves"
        "Alert: High Latency, p99 > 5000 ms, P2" []
            given "at its threshold" => "src/monitor/tests/thresholds.rs high_latency_is_the_99th_percentile_above_five_seconds"
        "Alert: Rate Limited, 429 > 5/min, P2" []
            given "it fires" => "tests/alerts.rs a_refused_token_a_quota_and_a_rate_limit_fire"
        "Alert: Auth Failures, 401/403 > 0, P1" []
            given "it fires" => "tests/alerts.rs a_refused_token_a_quota_and_a_rate_limit_fire"
            given "by a probe too" => "tests/alerts.rs a_probe_that_finds_the_token_unknown_fires"
    }
}
