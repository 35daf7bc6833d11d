//! Requests as they come over the wire: framing, limits, the record.

use std::io::{ErrorKind, Read, Write};

use flate2::{Compression, write::GzEncoder};
use posthog_health::testing::{FakePostHog, Reply, Route};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{EVENT, UUID, address, batch, client, connect, post, raw, read_until, soon};

#[tokio::test]
async fn a_good_batch_is_accepted_and_recorded() {
    let posthog = FakePostHog::start();
    let event = format!(r#"{{"event": "e", "distinct_id": "u", "uuid": "{UUID}"}}"#);
    let body = batch(&[&event, EVENT]);

    let response = post(&posthog, "/batch/", body.clone()).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.text().await.unwrap(), r#"{"status":"Ok"}"#);

    let requests = posthog.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].route, Route::Batch);
    assert_eq!(requests[0].method, "POST");
    assert_eq!(requests[0].path, "/batch/");
    assert_eq!(requests[0].query, "");
    assert!(requests[0].header("Content-Length").is_some());
    assert_eq!(requests[0].body, body);
    assert_eq!(requests[0].wire_bytes, body.len());
    assert_eq!(requests[0].status, Some(200));
    assert_eq!(posthog.events()[0]["uuid"], UUID);
    assert_eq!(posthog.events().len(), 2);
    assert_eq!((posthog.accepted(), posthog.distinct()), (2, 1));
}

#[tokio::test]
async fn gzip_is_decoded_and_limited_by_its_size_on_the_wire() {
    let posthog = FakePostHog::start();
    let body = batch(&[EVENT; 100]);
    let zipped = gzip(body.as_bytes());
    posthog.limit_body(zipped.len());

    let by_query = format!("{}/batch/?compression=gzip", posthog.url());
    let by_header = format!("{}/batch/", posthog.url());
    let by_header = client().post(by_header).header("content-encoding", "gzip");
    let unannounced = client().post(format!("{}/batch/", posthog.url()));
    for request in [client().post(by_query), by_header, unannounced] {
        let response = request.body(zipped.clone()).send().await.unwrap();
        assert_eq!(response.status(), 200);
    }
    assert_eq!(posthog.accepted(), 300);
    let request = posthog.requests().remove(0);
    assert_eq!(request.query, "compression=gzip");
    assert_eq!(request.body, body);
    assert_eq!(request.wire_bytes, zipped.len());

    // The first bytes decide, whatever is announced.
    let plain = batch(&[EVENT]);
    posthog.limit_body(plain.len());
    assert_eq!(post(&posthog, "/batch/?compression=gzip", plain).await.status(), 200);
    let response = post(&posthog, "/batch/", zipped[..20].to_vec()).await;
    assert_eq!(response.status(), 400);
    let text = response.text().await.unwrap();
    assert!(text.starts_with("failed to decode request"), "{text}");
}

#[tokio::test]
async fn a_body_over_the_limit_gets_413_while_the_client_still_writes() {
    let posthog = FakePostHog::start();
    posthog.batch().always(Reply::status(503));
    posthog.limit_body(1000);

    let mut client = connect(&posthog).await;
    client.write_all(b"POST /batch/ HTTP/1.1\r\ncontent-length: 1001\r\n\r\n").await.unwrap();
    let answer = soon(read_until(&mut client, "too large")).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let broken = soon(async {
        loop {
            if let Err(error) = client.write_all(b"more").await {
                return error.kind();
            }
            tokio::task::yield_now().await;
        }
    });
    let broken = broken.await;
    assert!(matches!(broken, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{broken}");

    let mut client = connect(&posthog).await;
    let head = b"POST /batch/ HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n";
    client.write_all(head).await.unwrap();
    let answer = soon(read_until(&mut client, "too large")).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    let requests = posthog.requests();
    assert_eq!((requests[0].status, requests[0].wire_bytes), (Some(413), 1001));
    assert!(requests[0].body.is_empty());
    assert_eq!(post(&posthog, "/batch/", "x".repeat(1000)).await.status(), 503);
}

#[tokio::test]
async fn one_connection_carries_many_requests_in_any_framing() {
    let posthog = FakePostHog::start();
    let body = batch(&[EVENT]);
    let (front, back) = body.split_at(10);
    let chunked = format!(
        "POST /batch HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\na\r\n{front}\r\n{:x};ext=1\r\n{back}\r\n0\r\nTrailer: 1\r\n\r\n",
        back.len()
    );
    let mut client = connect(&posthog).await;
    client.write_all(chunked.as_bytes()).await.unwrap();
    soon(read_until(&mut client, r#"{"status":"Ok"}"#)).await;
    let pipelined = [raw("", &body), raw("Connection: close\r\n", &body)].concat();
    for byte in pipelined {
        client.write_all(&[byte]).await.unwrap();
    }
    let mut rest = String::new();
    soon(client.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest.matches("HTTP/1.1 200 ").count(), 2);

    assert_eq!(posthog.accepted(), 3);
    assert_eq!(posthog.requests()[0].wire_bytes, body.len());
    soon(posthog.wait_for_connections_closed()).await;
    assert_eq!(posthog.connections_accepted(), 1);
}

#[tokio::test]
async fn what_is_not_http_is_answered_and_dropped() {
    let posthog = FakePostHog::start();
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(64 * 1024));
    for (sent, status) in [
        ("nonsense\r\n\r\n", 400),
        ("POST /batch/ HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
        ("POST /batch/ HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", 400),
        (&"GET / HTTP/1.1\r\n".chars().chain("x: y\r\n".repeat(200).chars()).collect::<String>(), 431),
        (&long[..64 * 1024], 431),
    ] {
        let mut client = connect(&posthog).await;
        client.write_all(sent.as_bytes()).await.unwrap();
        let answer = soon(read_until(&mut client, "\r\n")).await;
        assert_eq!(answer, format!("HTTP/1.1 {status} \r\n"));
    }
    assert!(posthog.requests().is_empty());
}

#[tokio::test]
async fn without_bodies_every_count_stays_exact() {
    let posthog = FakePostHog::start();
    posthog.keep_bodies(false);
    let event = format!(r#"{{"event": "e", "distinct_id": "u", "uuid": "{UUID}"}}"#);
    let body = batch(&[&event, EVENT]);
    post(&posthog, "/batch/", body.clone()).await;

    assert!(posthog.events().is_empty());
    assert!(posthog.requests()[0].body.is_empty());
    assert_eq!(posthog.requests()[0].wire_bytes, body.len());
    assert_eq!((posthog.accepted(), posthog.distinct()), (2, 1));
}

#[test]
fn it_serves_blocking_callers_and_goes_when_dropped() {
    let posthog = FakePostHog::start();
    let address = address(&posthog);
    let mut client = std::net::TcpStream::connect(&address).unwrap();
    client.write_all(&raw("Connection: close\r\n", &batch(&[EVENT]))).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with(r#"{"status":"Ok"}"#), "{answer}");

    let mut idle = std::net::TcpStream::connect(&address).unwrap();
    drop(posthog);
    // Closed or reset, as far as it had been accepted.
    assert!(matches!(idle.read(&mut [0; 1]), Ok(0) | Err(_)));
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
