//! A server that fails for a while, without generated code.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::{Buf, BufMut, Bytes};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http_body_util::{BodyExt, Full};
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Server, server::TcpIncoming};
use tonic::{Code, Status};
use tower::{BoxError, service_fn};

pub(crate) async fn start() -> Result<String, BoxError> {
    let calls = Arc::new(AtomicU32::new(0));
    let answer = service_fn(move |_: http::Request<Body>| {
        let response = match calls.fetch_add(1, Ordering::Relaxed) {
            n @ 10..20 if n % 2 == 0 => Status::unavailable("in headers").into_http(),
            10..20 => with_trailers(b"", Code::Unavailable),
            _ => with_trailers(b"\0\0\0\0\x05hello", Code::Ok),
        };
        async { Ok::<_, BoxError>(response) }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let server = Server::builder().serve_with_incoming(answer, TcpIncoming::from(listener));
    tokio::spawn(server);
    Ok(url)
}

fn with_trailers(message: &'static [u8], status: Code) -> http::Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(status as i32));
    let body = Full::new(Bytes::from_static(message)).with_trailers(async { Some(Ok(trailers)) });
    let mut response = http::Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// Messages as they are. Yours are prost's, by code that tonic-prost generates.
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
