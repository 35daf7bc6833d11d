//! Hosts without V1, and proxies in front.

use posthog_health::testing::{FakePostHog, Host, Reply, Route};

use super::{EVENT, batch, client, get_status, post, soon, v1_batch, v1_event, v1_post, v1_request};

#[tokio::test]
async fn a_host_without_v1_has_v0_alone() {
    let posthog = FakePostHog::start();
    for status in [404, 405] {
        posthog.set_host(Host::WithoutV1(status));
        let response = soon(v1_request(&posthog).body(v1_batch(&[v1_event(1)])).send()).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.text().await.unwrap(), "");
        assert_eq!(post(&posthog, "/batch/", batch(&[EVENT])).await.status(), 200);
    }
    assert_eq!(posthog.request_count(Route::CaptureV1), 2);

    posthog.recover();
    assert_eq!(posthog.accepted(), 2);
    assert_eq!(soon(v1_request(&posthog).send()).await.unwrap().status(), 405, "it is no outage");
    posthog.set_host(Host::Cloud);
    assert_eq!(v1_post(&posthog, &[v1_event(1)]).await.0, 200);
}

#[tokio::test]
async fn a_proxy_that_strips_headers_leaves_v1_without_them() {
    let posthog = FakePostHog::start();
    for (host, status, tag) in [
        (Host::StripsAuthorization, 401, "missing_authorization"),
        (Host::StripsPostHogHeaders, 400, "missing_required_headers"),
    ] {
        posthog.set_host(host);
        let (seen, answer) = v1_post(&posthog, &[v1_event(1)]).await;
        assert_eq!((seen, answer["error"].as_str()), (status, Some(tag)));
        assert_eq!(post(&posthog, "/batch/", batch(&[EVENT])).await.status(), 200);
        // The record has what the client sent.
        let request = posthog.requests().into_iter().rev().find(|request| request.route == Route::CaptureV1);
        let request = request.unwrap();
        assert!(request.header("authorization").is_some() && request.header("posthog-attempt").is_some());
    }

    posthog.set_host(Host::StripsAuthorization);
    let definitions = format!("{}/flags/definitions/", posthog.url());
    let asked = client().get(definitions).bearer_auth(FakePostHog::SECRET_KEY);
    assert_eq!(soon(asked.send()).await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_proxy_that_knows_the_old_paths_alone_answers_the_rest_itself() {
    let posthog = FakePostHog::start();
    for status in [404, 403] {
        posthog.set_host(Host::PassesOldPaths(status));
        let response = soon(v1_request(&posthog).body(v1_batch(&[v1_event(1)])).send()).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["content-type"], "text/html");
        assert!(response.text().await.unwrap().starts_with("<!doctype html>"));
        assert_eq!(get_status(&posthog, "/e/").await, status);
        assert_eq!(get_status(&posthog, "/flags/").await, 200);
        assert_eq!(get_status(&posthog, "/flags/definitions/").await, 401);
        assert_eq!(post(&posthog, "/batch/", batch(&[EVENT])).await.status(), 200);
    }
    posthog.capture_v1().then(Reply::error(503, "service_unavailable"));
    assert_eq!(v1_post(&posthog, &[v1_event(1)]).await.0, 503, "a script goes first");
}

#[tokio::test]
async fn an_old_server_takes_two_mebibytes() {
    let posthog = FakePostHog::start();
    posthog.limit_body(FakePostHog::OLD_BODY_LIMIT);
    let large = "x".repeat((2 << 20) + 1);
    let answer = client().post(format!("{}/batch/", posthog.url())).body(large[1..].to_owned());
    assert_eq!(soon(answer.send()).await.unwrap().status(), 400);
    // The server answers while the client writes, so the client may see a reset instead.
    let refused = client().post(format!("{}/batch/", posthog.url())).body(large);
    if let Ok(answer) = soon(refused.send()).await {
        assert_eq!(answer.status(), 413);
    }
    assert_eq!(posthog.requests()[1].status, Some(413));
}
