//! Connections: which are made, which are reused, and what becomes of a request on one that dies. Failures as users see
//! them are in `tests/transport.rs`.

use std::future::ready;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::{Certificate, Method};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::*;

fn loopback(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, last], port))
}

async fn get(http: &Http, url: &str) -> Result<u16, Error> {
    let request = || ready(Ok(Request::new(Method::GET, url.parse().unwrap())));
    http.send(request, LONGEST_ANSWER).await.map(|answer| answer.status)
}

/// The head of the next request. `None` when the client has closed.
async fn next_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

async fn answer(stream: &mut (impl AsyncWrite + Unpin)) {
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    stream.flush().await.unwrap();
}

/// Answers the first request of each connection, and drops the connection when it has read the second one. TLS is not
/// closed as the protocol wants it, because load balancers do not either.
#[tokio::test]
async fn a_reused_connection_that_dies_under_tls_is_replaced() {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(loopback(1, 0)).await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await.unwrap();
                next_request(&mut stream).await.unwrap();
                answer(&mut stream).await;
                next_request(&mut stream).await;
            });
        }
    });
    let host = url.parse().unwrap();
    let root = || Certificate::from_der(cert.der()).unwrap();
    let http = Http::build(|| builder(&host, Duration::from_secs(10)).tls_certs_only([root()])).unwrap();
    for _ in 0..4 {
        assert_eq!(get(&http, &url).await.unwrap(), 200);
    }
    assert_eq!(
        connections.load(Ordering::SeqCst),
        4,
        "the second and the fourth request met a dead connection"
    );
}

/// Another request that connects meanwhile does not make this one's connection a new one.
#[tokio::test]
async fn each_request_knows_its_own_connection() {
    let listener = TcpListener::bind(loopback(1, 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (held, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (is_held, wait_for_release) = (Arc::clone(&held), Arc::clone(&release));
    tokio::spawn(async move {
        let mut first = None;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let is_first = first.replace(()).is_none();
            let (is_held, wait_for_release) = (Arc::clone(&is_held), Arc::clone(&wait_for_release));
            tokio::spawn(async move {
                while let Some(head) = next_request(&mut stream).await {
                    if is_first && head.contains("dies") {
                        is_held.notify_one();
                        wait_for_release.notified().await;
                        return;
                    }
                    answer(&mut stream).await;
                }
            });
        }
    });
    let http = Http::new(&url.parse().unwrap(), Duration::from_secs(10)).unwrap();
    assert_eq!(get(&http, &url).await.unwrap(), 200);
    let dying_url = format!("{url}dies");
    let dying = get(&http, &dying_url);
    let meanwhile = async {
        held.notified().await;
        assert_eq!(get(&http, &url).await.unwrap(), 200);
        release.notify_one();
    };
    assert_eq!(tokio::join!(dying, meanwhile).0.unwrap(), 200);
}

/// Elsewhere there is no 127.0.0.2, and a full backlog may refuse.
#[cfg(target_os = "linux")]
mod silent {
    use tokio::net::{TcpSocket, TcpStream};

    use super::*;

    /// An address that completes no connection and refuses none: its backlog is full.
    async fn black_hole(address: SocketAddr) -> (TcpListener, TcpStream) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(0).unwrap();
        let fills_it = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (listener, fills_it)
    }

    #[tokio::test]
    async fn a_silent_address_leaves_time_for_the_next_one() {
        let healthy = TcpListener::bind(loopback(1, 0)).await.unwrap();
        let port = healthy.local_addr().unwrap().port();
        let _silent = black_hole(loopback(2, port)).await;
        tokio::spawn(async move {
            let (mut stream, _) = healthy.accept().await.unwrap();
            while next_request(&mut stream).await.is_some() {
                answer(&mut stream).await;
            }
        });
        let (url, request_timeout) = (format!("http://two.test:{port}/"), Duration::from_secs(2));
        let host = url.parse().unwrap();
        let addresses = [loopback(2, port), loopback(1, port)];
        let http = Http::build(|| {
            builder(&host, request_timeout)
                .tls_certs_only([])
                .no_proxy()
                .resolve_to_addrs("two.test", &addresses)
        });
        let answered = tokio::time::timeout(request_timeout, get(&http.unwrap(), &url)).await;
        assert_eq!(answered.expect("an answer in time").unwrap(), 200);
    }

    #[tokio::test]
    async fn no_connection_in_time_is_a_failure_to_connect() {
        let silent = black_hole(loopback(1, 0)).await;
        let url = format!("http://{}/", silent.0.local_addr().unwrap());
        let http = Http::new(&url.parse().unwrap(), Duration::from_millis(200)).unwrap();
        assert_eq!(get(&http, &url).await.unwrap_err().kind(), ErrorKind::Connect);
    }
}

#[test]
fn connecting_leaves_time_for_the_request() {
    let seconds = |request| connect_timeout(Duration::from_millis(request)).as_secs_f64();
    assert_eq!((seconds(10_000), seconds(60_000), seconds(1_000)), (6.0, 6.0, 0.6));
}
