//! With axum, over real sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Extension, Router};
use http::StatusCode;
use posthog_health::webhook::Verified;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::layer::layer;
use super::{BODY, now, secret};

#[derive(Clone, Default)]
struct Shop {
    calls: Arc<AtomicUsize>,
    begun: Arc<Notify>,
    cancelled: Arc<Notify>,
}

struct TellWhenDropped(Arc<Notify>);

impl Drop for TellWhenDropped {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// The first call hangs.
async fn received(State(shop): State<Shop>, Extension(webhook): Extension<Verified>, body: String) -> String {
    if shop.calls.fetch_add(1, Ordering::SeqCst) == 0 {
        let _tell = TellWhenDropped(Arc::clone(&shop.cancelled));
        shop.begun.notify_one();
        std::future::pending::<()>().await;
    }
    format!("{} {body}", webhook.id())
}

async fn connect(shop: Shop) -> impl AsyncFn(String) -> TcpStream {
    let app = Router::new()
        .route("/posthog", post(received))
        .layer(layer())
        .route("/livez", get(async || StatusCode::NO_CONTENT))
        .with_state(shop);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    async move |request: String| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }
}

/// In two chunks.
fn webhook(id: &str) -> String {
    let (time, body) = (now(), str::from_utf8(BODY).unwrap());
    let (signature, (one, two)) = (secret().sign(id, time, BODY), body.split_at(10));
    format!(
        "POST /posthog HTTP/1.1\r\nhost: shop\r\nconnection: close\r\nwebhook-id: {id}\r\nwebhook-timestamp: {time}\r\n\
         webhook-signature: {signature}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n",
        one.len(),
        two.len()
    )
}

async fn answer(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// As PostHog does after 10 s.
#[tokio::test]
async fn a_webhook_whose_sender_hung_up_is_handled_at_its_next_attempt() {
    let shop = Shop::default();
    let send = connect(shop.clone()).await;
    let first = send(webhook("a")).await;
    shop.begun.notified().await;
    drop(first);
    shop.cancelled.notified().await;
    let second = answer(send(webhook("a")).await).await;
    assert!(second.starts_with("HTTP/1.1 200 ") && second.contains("order placed"), "{second}");
    let third = answer(send(webhook("a")).await).await;
    assert!(third.starts_with("HTTP/1.1 200 ") && !third.contains("order placed"), "{third}");
    assert_eq!(shop.calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn only_the_routes_inside_are_guarded() {
    let send = connect(Shop::default()).await;
    let refused = answer(
        send(
            "POST /posthog HTTP/1.1\r\nhost: shop\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}".into(),
        )
        .await,
    )
    .await;
    assert!(refused.starts_with("HTTP/1.1 401 ") && refused.ends_with("\r\n\r\nmissing_header"), "{refused}");
    let open =
        answer(send("GET /livez HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n".into()).await).await;
    assert!(open.starts_with("HTTP/1.1 204 "), "{open}");
}
