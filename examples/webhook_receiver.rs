//! A receiver of PostHog's webhooks in axum, and what it answers to whoever knocks.
//!
//! `cargo run --features webhook --example webhook_receiver`. It plays PostHog itself, on this machine; `docs/webhooks.md`
//! has how to set up the real one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Extension, Router};
use posthog_health::webhook::{Verified, WebhookLayer, WebhookSecret, WebhookVerifier};
use tokio::net::TcpListener;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// In a service these come from where its other secrets do.
const SECRET: &str = "whsec_bm90IGEgc2VjcmV0LCBhbiBleGFtcGxlIG9mIG9uZQ==";
const OLD_SECRET: &str = "whsec_d2FzIGEgc2VjcmV0IHVudGlsIHRoZSByb3RhdGlvbg==";
const BODY: &str = r#"{"event":{"event":"order placed"}}"#;

#[tokio::main]
async fn main() -> Outcome {
    let handled = Arc::new(AtomicUsize::new(0));
    let verifier = WebhookVerifier::builder().secret(SECRET).secret(OLD_SECRET).build()?;
    let app = Router::new()
        .route("/posthog", post(receive))
        .with_state(Arc::clone(&handled))
        .layer(WebhookLayer::new(verifier));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let posthog = FakePostHog { url: format!("http://{}/posthog", listener.local_addr()?) };
    let server = tokio::spawn(async move { axum::serve(listener, app).await });

    let (secret, old) = (WebhookSecret::parse(SECRET)?, WebhookSecret::parse(OLD_SECRET)?);
    let now = SystemTime::UNIX_EPOCH.elapsed()?.as_secs();
    let early = now - 3600;
    let sign = |secret: &WebhookSecret, id, at| Some(secret.sign(id, at, BODY.as_bytes()));
    let mut accepted = 0;
    for (what, id, at, signature, body) in [
        ("signed", "msg_1", now, sign(&secret, "msg_1", now), BODY),
        ("the same again", "msg_1", now, sign(&secret, "msg_1", now), BODY),
        ("another body", "msg_2", now, sign(&secret, "msg_2", now), "{}"),
        ("another id", "msg_3", now, sign(&secret, "msg_2", now), BODY),
        ("an hour old", "msg_4", early, sign(&secret, "msg_4", early), BODY),
        ("unsigned", "msg_5", now, None, BODY),
        ("the old secret", "msg_6", now, sign(&old, "msg_6", now), BODY),
    ] {
        let status = posthog.sends(what, id, at, signature, body).await?;
        accepted += usize::from(status.is_success());
    }
    server.abort();
    println!("\nsent=7 accepted={accepted} handled={}", handled.load(Ordering::Relaxed));
    Ok(())
}

async fn receive(
    State(handled): State<Arc<AtomicUsize>>,
    Extension(webhook): Extension<Verified>,
    body: String,
) {
    handled.fetch_add(1, Ordering::Relaxed);
    println!("  handler: {} with {} bytes", webhook.id(), body.len());
}

struct FakePostHog {
    url: String,
}

impl FakePostHog {
    async fn sends(
        &self,
        what: &str,
        id: &str,
        timestamp: u64,
        signature: Option<String>,
        body: &str,
    ) -> Outcome<StatusCode> {
        let mut request = reqwest::Client::builder().no_proxy().build()?.post(&self.url);
        request = request.header("webhook-id", id).header("webhook-timestamp", timestamp);
        if let Some(signature) = signature {
            request = request.header("webhook-signature", signature);
        }
        let response = request.body(body.to_owned()).send().await?;
        let status = response.status();
        println!("{what:14} {} {}", status.as_u16(), response.text().await?);
        Ok(status)
    }
}
