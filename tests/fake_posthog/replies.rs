//! Scripted replies and outages.

use std::io::ErrorKind;
use std::time::Duration;

use posthog_health::testing::{FakePostHog, Reply, Route};
use reqwest::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{EVENT, address, batch, connect, get_status, post, raw, read_until, soon};

#[tokio::test]
async fn queued_replies_come_first_then_the_standing_one() {
    let posthog = FakePostHog::start();
    posthog.always(Reply::status(500));
    posthog.batch().then(Reply::status(502)).then(Reply::status(504));
    posthog.flags().always(Reply::status(429)).then(Reply::normal());

    let mut statuses = Vec::new();
    for path in ["/batch/", "/batch/", "/batch/", "/flags/", "/flags/", "/other"] {
        statuses.push(get_status(&posthog, path).await);
    }
    assert_eq!(statuses, [502, 504, 500, 200, 429, 500]);

    posthog.flags().recover();
    assert_eq!(get_status(&posthog, "/flags/").await, 200);
    assert_eq!(get_status(&posthog, "/other").await, 500);

    posthog.batch().then(Reply::status(502));
    posthog.recover();
    assert_eq!(get_status(&posthog, "/batch/").await, 400);
    assert_eq!(get_status(&posthog, "/other").await, 404);
}

#[tokio::test]
async fn a_scripted_answer_is_sent_as_scripted_and_accepts_nothing() {
    let posthog = FakePostHog::start();
    let script = posthog.batch();

    script.then(Reply::status(503).retry_after("30").body("transient error"));
    let response = post(&posthog, "/batch/", batch(&[EVENT])).await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "30");
    assert_eq!(response.text().await.unwrap(), "transient error");

    script.then(Reply::html());
    let response = post(&posthog, "/batch/", batch(&[EVENT])).await;
    assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");

    script.then(Reply::oversized_body(1 << 20));
    let response = post(&posthog, "/batch/", batch(&[EVENT])).await;
    assert_eq!(response.bytes().await.unwrap().len(), 1 << 20);

    script.then(Reply::redirect(format!("{}/login", posthog.url())));
    let response = post(&posthog, "/batch/", batch(&[EVENT])).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(posthog.requests()[3].status, Some(302));
    assert_eq!(posthog.requests()[4].path, "/login");
    assert_eq!(posthog.accepted(), 0);

    script.then(Reply::normal().body(r#"{"status":1}"#));
    let response = post(&posthog, "/batch/", batch(&[EVENT])).await;
    assert_eq!(response.text().await.unwrap(), r#"{"status":1}"#);
    assert_eq!(posthog.accepted(), 1);
}

#[tokio::test]
async fn broken_replies_break_where_they_say() {
    let posthog = FakePostHog::start();
    let half = "\r\n\r\n{\"statu";
    for (reply, tail, ending, status) in [
        (Reply::close(), "", None, None),
        (Reply::reset(), "", Some(ErrorKind::ConnectionReset), None),
        (Reply::truncated_body(), half, None, Some(200)),
        (Reply::reset_mid_body(), half, Some(ErrorKind::ConnectionReset), Some(200)),
    ] {
        let name = format!("{reply:?}");
        posthog.batch().then(reply);
        let mut client = connect(&posthog).await;
        client.write_all(&raw("", &batch(&[EVENT]))).await.unwrap();
        let mut seen = Vec::new();
        let end = soon(client.read_to_end(&mut seen)).await;
        assert_eq!(end.err().map(|error| error.kind()), ending, "{name}");
        let seen = String::from_utf8(seen).unwrap();
        assert!(seen.ends_with(tail) && seen.is_empty() == tail.is_empty(), "{name}: {seen}");
        assert_eq!(posthog.requests().pop().unwrap().status, status, "{name}");
    }
    assert_eq!(posthog.accepted(), 0);
}

#[tokio::test]
async fn a_hanging_request_ends_with_its_client() {
    let posthog = FakePostHog::start();
    posthog.batch().then(Reply::hang()).then(Reply::hang_after_headers());
    let mut silent = connect(&posthog).await;
    silent.write_all(&raw("", &batch(&[EVENT]))).await.unwrap();
    soon(posthog.wait_for_requests(Route::Batch, 1)).await;

    let mut headers_only = connect(&posthog).await;
    headers_only.write_all(&raw("", &batch(&[EVENT]))).await.unwrap();
    let head = soon(read_until(&mut headers_only, "\r\n\r\n")).await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("content-length: 15"), "{head}");

    posthog.recover();
    assert_eq!(get_status(&posthog, "/flags/").await, 200);
    let statuses: Vec<_> = posthog.requests().iter().map(|r| r.status).collect();
    assert_eq!(statuses, [None, Some(200), Some(200)]);
    assert!(posthog.open_connections() >= 2);
    drop((silent, headers_only));
    soon(posthog.wait_for_connections_closed()).await;
    assert_eq!(posthog.open_connections(), 0);
}

#[tokio::test]
async fn a_delayed_reply_accepts_at_once_and_answers_later() {
    let posthog = FakePostHog::start();
    posthog.batch().then(Reply::normal().delayed(Duration::from_millis(20)));
    assert_eq!(post(&posthog, "/batch/", batch(&[EVENT])).await.status(), 200);

    posthog.batch().then(Reply::normal().delayed(Duration::from_secs(3600)));
    let mut client = connect(&posthog).await;
    client.write_all(&raw("", &batch(&[EVENT]))).await.unwrap();
    soon(posthog.wait_for_requests(Route::Batch, 2)).await;
    assert_eq!(posthog.accepted(), 2);
    drop(client);
    soon(posthog.wait_for_connections_closed()).await;
}

#[tokio::test]
async fn refuse_closes_everything_and_recover_listens_on_the_same_port() {
    let posthog = FakePostHog::start();
    let mut client = connect(&posthog).await;
    client.write_all(&raw("", &batch(&[EVENT]))).await.unwrap();
    soon(read_until(&mut client, r#"{"status":"Ok"}"#)).await;

    for _ in 0..3 {
        posthog.refuse();
        posthog.refuse();
        assert_eq!(posthog.open_connections(), 0);
        let refused = TcpStream::connect(address(&posthog)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        posthog.recover();
        assert_eq!(get_status(&posthog, "/flags/").await, 200);
    }
    assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);

    posthog.always(Reply::status(503));
    posthog.refuse();
    posthog.accept();
    assert_eq!(get_status(&posthog, "/flags/").await, 503);
}

/// A process that is being started holds all that is open, for a moment: the port, too.
#[test]
fn refuse_waits_for_a_process_that_is_being_started() {
    let posthog = FakePostHog::start();
    let starts = || (0..100).all(|_| std::process::Command::new("true").status().unwrap().success());
    std::thread::scope(|scope| {
        let starting = scope.spawn(starts);
        while !starting.is_finished() {
            posthog.refuse();
            posthog.accept();
        }
        assert!(starting.join().unwrap());
    });
}
