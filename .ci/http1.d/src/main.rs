//! Shows which protocols our client offers to a server (ALPN) when HTTP/2 is switched on in the tree. The server reads a
//! connection's first message and hangs up.

use std::error::Error;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use posthog_health::{Event, FlagOptions, PostHog};
use rustls::server::Acceptor;

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main(worker_threads = 1)]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("https://{}", listener.local_addr()?);
    let (tell, offers) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = offered(stream).map(|offered| tell.send(offered));
        }
    });

    reqwest::Client::builder().no_proxy().build()?.get(&url).send().await.unwrap_err();
    let theirs = offers.recv_timeout(PATIENCE)?;
    println!("reqwest with its default features offers {theirs:?}");
    assert!(theirs.iter().any(|protocol| protocol == "h2"), "HTTP/2 is not switched on, so this shows nothing");

    let posthog = PostHog::builder("phc_abc").host(&url).flush_timeout(Duration::from_millis(100)).build()?;
    posthog.health_check().await;
    assert_offers("health", &offers)?;
    posthog.flags("kim", FlagOptions::default()).await;
    assert_offers("flags", &offers)?;
    posthog.capture(Event::new("e", "kim"));
    let _ = posthog.flush().await;
    assert_offers("delivery", &offers)?;
    Ok(())
}

fn assert_offers(surface: &str, offers: &mpsc::Receiver<Vec<String>>) -> Result<(), Box<dyn Error>> {
    let mut count = 0;
    let mut next = offers.recv_timeout(PATIENCE).map(Some)?;
    while let Some(offered) = next {
        assert_eq!(offered, ["http/1.1"], "{surface}");
        count += 1;
        next = offers.try_recv().ok();
    }
    println!("{surface} offers http/1.1 only, in {count} connections");
    Ok(())
}

/// The protocols that a client offers when it connects.
fn offered(mut stream: TcpStream) -> Result<Vec<String>, Box<dyn Error>> {
    let mut acceptor = Acceptor::default();
    loop {
        acceptor.read_tls(&mut stream)?;
        if let Some(accepted) = acceptor.accept().map_err(|(error, _)| error)? {
            let offered = accepted.client_hello().alpn().into_iter().flatten();
            return Ok(offered.map(|protocol| String::from_utf8_lossy(protocol).into_owned()).collect());
        }
    }
}
