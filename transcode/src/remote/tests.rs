//! Who is let in to work, and for how long they are trusted.

use super::*;
use prometheus::Registry;
use std::net::SocketAddr;

const TOKEN: &str = "0123456789abcdef";

async fn origin(idle_max: usize) -> (Remote, SocketAddr, CancellationToken) {
    let remote = Remote::new(TOKEN.to_owned(), idle_max, &Metrics::register(&Registry::new()).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (addr, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    tokio::spawn(remote.clone().listen(listener, stop.clone()));
    (remote, addr, stop)
}

/// Calls with a line; the answer, and the connection.
async fn call(addr: SocketAddr, line: &str) -> (String, TcpStream) {
    let mut call = TcpStream::connect(addr).await.unwrap();
    call.write_all(line.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    while said.last() != Some(&b'\n') {
        said.push(call.read_u8().await.unwrap());
    }
    (String::from_utf8(said).unwrap(), call)
}

fn greeting() -> String {
    format!("{GREETING} {VERSION} {TOKEN}\n")
}

#[tokio::test]
async fn a_worker_with_the_token_and_of_the_same_release_waits_and_is_taken_once() {
    let (remote, addr, _stop) = origin(4).await;
    let (said, mut worker) = call(addr, &greeting()).await;
    assert_eq!(said, "welcome\n");
    // It is welcomed before it is put with those who wait.
    let mut taken = loop {
        match remote.take() {
            Some(taken) => break taken,
            None => tokio::task::yield_now().await,
        }
    };
    assert!(remote.take().is_none());
    taken.write_all(b"job").await.unwrap();
    let mut job = [0; 3];
    worker.read_exact(&mut job).await.unwrap();
    assert_eq!((&job, remote.0.metrics.remote_jobs.get(), remote.0.metrics.remote_idle.get()), (b"job", 1, 0));
}

#[tokio::test]
async fn whoever_else_calls_is_told_why_not() {
    let (remote, addr, _stop) = origin(1).await;
    for (line, told) in [
        (format!("{GREETING} {VERSION} 0123456789abcdee\n"), "its token is not that of origin.workers.token\n"),
        (format!("{GREETING} 0 {TOKEN}\n"), "it is of another release; run the same on both machines\n"),
        ("GET / HTTP/1.1\r\n".to_owned(), "that is no worker\n"),
        (format!("{}\n", "x".repeat(1000)), "that is no worker\n"),
    ] {
        assert_eq!(call(addr, &line).await.0, told);
    }
    let (_, _first) = call(addr, &greeting()).await;
    while remote.idle() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(call(addr, &greeting()).await.0.starts_with("so many wait here already"));
    assert_eq!(remote.0.metrics.remote_refused.get(), 5);
}

#[tokio::test]
async fn a_worker_that_is_gone_or_speaks_out_of_turn_is_not_given_a_job() {
    let (remote, addr, _stop) = origin(4).await;
    let (_, gone) = call(addr, &greeting()).await;
    let (_, mut loud) = call(addr, &greeting()).await;
    while remote.idle() < 2 {
        tokio::task::yield_now().await;
    }
    drop(gone);
    loud.write_all(b"x").await.unwrap();
    while remote.idle() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(remote.take().is_none());
}

#[tokio::test]
async fn a_relay_says_what_it_is_refused_for() {
    let (_remote, addr, _stop) = origin(4).await;
    let program = crate::WorkerProgram { path: "none".into(), args: Vec::new() };
    let relay = Relay { origin: addr.to_string(), token: "wrong".to_owned(), program };
    let told = relay.once().await.unwrap_err().to_string();
    assert!(told.ends_with("says: \"its token is not that of origin.workers.token\""), "{told}");
    let nobody = Relay { origin: "127.0.0.1:1".to_owned(), ..relay };
    assert!(nobody.once().await.unwrap_err().to_string().contains("origin.workers.listen"));
}

#[tokio::test]
async fn a_relay_without_a_job_calls_anew_before_it_is_not_trusted_any_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut worker = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut origin, _) = listener.accept().await.unwrap();
    // The last byte of the welcome: what was readable is no more.
    origin.write_all(b"\n").await.unwrap();
    worker.read_u8().await.unwrap();
    tokio::time::pause();
    let began = Instant::now();
    assert!(!relay::has_job(&worker).await.unwrap());
    assert!(began.elapsed() < TRUSTED, "{:?}", began.elapsed());
    tokio::time::resume();
    origin.write_all(b"job").await.unwrap();
    assert!(relay::has_job(&worker).await.unwrap());
    drop(origin);
    worker.read_exact(&mut [0; 3]).await.unwrap();
    assert!(relay::has_job(&worker).await.is_err());
}
