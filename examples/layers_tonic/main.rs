//! Retry, circuit breaker and rate limit around the calls of a tonic client, through an outage.
//!
//! `cargo run --example layers_tonic`. The server is on this machine. It fails its 11th to 20th call, by turns in headers and in
//! trailers. The HTTP status is 200 in both cases, so layers around the channel would have to read bodies. Around the typed
//! call they see its `Status`.

mod server;

use std::time::Duration;

use bytes::Bytes;
use posthog_health::layers::{
    CircuitBreakerConfig, CircuitBreakerLayer, CircuitOpen, RateLimitConfig, RateLimitExceeded,
    RateLimitLayer, RetryConfig, RetryLayer, Verdict,
};
use server::Raw;
use tokio::time::sleep;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn verdict(result: Result<&Response<Bytes>, &BoxError>) -> Verdict {
    let Err(error) = result else { return Verdict::Success };
    if error.is::<CircuitOpen>() || error.is::<RateLimitExceeded>() {
        return Verdict::NotAttempted;
    }
    match error.downcast_ref::<Status>().map(Status::code) {
        Some(Code::ResourceExhausted) => Verdict::Throttled { retry_after: None },
        Some(Code::Unavailable | Code::DeadlineExceeded | Code::Internal | Code::Unknown) | None => {
            Verdict::Failed { retry_after: None }
        }
        Some(_) => Verdict::Refused,
    }
}

/// What a generated client's method does.
async fn greet(channel: Channel, name: Bytes) -> Result<Response<Bytes>, Status> {
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| Status::from_error(error.into()))?;
    client.unary(Request::new(name), http::uri::PathAndQuery::from_static("/Greeter/Greet"), Raw).await
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let channel = Endpoint::from_shared(server::start().await?)?.connect_lazy();
    let breaker = CircuitBreakerConfig::default().name("greeter").open_time(MS(100), MS(200));
    let breaker = CircuitBreakerLayer::new(breaker, verdict)?;
    let retry = RetryLayer::new(RetryConfig::default().backoff(MS(20), MS(200)), verdict)?;
    let (circuit, retries) = (breaker.handle(), retry.handle());
    let client = ServiceBuilder::new()
        .layer(retry.replay_with(|name: &Bytes| Some(name.clone())))
        .layer(breaker)
        .layer(RateLimitLayer::new(RateLimitConfig::default().rate(200), verdict)?)
        .map_err(BoxError::from)
        .service(service_fn(move |name| greet(channel.clone(), name)));

    let (mut said, mut answered, mut failed) = (String::new(), 0, 0);
    while answered < 30 {
        let result = client.clone().oneshot(Bytes::from_static(b"world")).await;
        let says = match &result {
            Ok(response) => format!("{:?}", response.get_ref()),
            Err(error) if error.is::<CircuitOpen>() => "rejected: the circuit breaker is open".into(),
            Err(error) => error.to_string(),
        };
        answered += u32::from(result.is_ok());
        failed += u32::from(result.is_err_and(|error| error.is::<Status>()));
        if says != said {
            println!("{says}");
            said = says;
        }
        sleep(MS(5)).await;
    }
    println!("retries: {}", retries.count());
    println!(
        "answered={answered} failed={failed} rejected={} circuit={:?}",
        circuit.rejected(),
        circuit.state()
    );
    Ok(())
}
