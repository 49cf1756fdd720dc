//! Who is let in to work, and for how long they are trusted.

use super::*;
use crate::wire::VERSION;
use prometheus::Registry;
use std::net::SocketAddr;

const TOKEN: &str = "0123456789abcdef";
const GREETING: &str = "vivid-worker";

async fn origin(idle_max: usize) -> (Remote, SocketAddr, CancellationToken) {
    let remote = Remote::new(TOKEN.into(), idle_max, &Metrics::register(&Registry::new()).unwrap());
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
        (format!("{GREETING} {VERSION} 0123456789abcdee\n"), "its token is not that of origin.remote_workers.token\n"),
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
    let relay = Relay { origin: addr.to_string(), token: "wrong".into(), program };
    let told = relay.once(&[]).await.unwrap_err().to_string();
    assert!(told.ends_with("says: \"its token is not that of origin.remote_workers.token\""), "{told}");
    let nobody = Relay { origin: "127.0.0.1:1".to_owned(), ..relay };
    assert!(nobody.once(&[]).await.unwrap_err().to_string().contains("origin.remote_workers.listen"));
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

#[tokio::test]
async fn callers_that_say_nothing_keep_no_worker_out() {
    let (remote, addr, _stop) = origin(4).await;
    let mut silent = Vec::new();
    for _ in 0..=GREETED_AT_ONCE {
        silent.push(TcpStream::connect(addr).await.unwrap());
    }
    // Well before any of them is given up.
    let (said, _worker) = timeout(GREETING_MAX / 2, call(addr, &greeting())).await.unwrap();
    assert_eq!((said.as_str(), remote.0.metrics.remote_refused.get() >= 2), ("welcome\n", true));
}

/// With frames in its buffer that nobody reads, a socket which is closed is reset, and what it said last is thrown away.
#[tokio::test]
async fn the_last_words_of_a_worker_arrive_whatever_is_being_sent_to_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let worker = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut origin, _) = listener.accept().await.unwrap();
    origin.write_all(&[0; 100_000]).await.unwrap();
    let (from, mut to) = worker.into_split();
    to.write_all(b"why").await.unwrap();
    let seen_off = tokio::spawn(relay::see_off(from, to));
    // More comes, as the origin has not read yet that it is over.
    origin.write_all(&[0; 100_000]).await.unwrap();
    let mut words = Vec::new();
    origin.read_to_end(&mut words).await.unwrap();
    assert_eq!(words, b"why");
    drop(origin);
    seen_off.await.unwrap().unwrap();
}

#[test]
fn nobody_s_token_is_printed() {
    let metrics = Metrics::register(&Registry::new()).unwrap();
    let program = crate::WorkerProgram { path: "none".into(), args: Vec::new() };
    let relay = Relay { origin: "a:1".to_owned(), token: TOKEN.into(), program };
    let printed = format!("{:?} {relay:?}", Remote::new(TOKEN.into(), 1, &metrics));
    assert!(printed.contains("token: Token") && !printed.contains(TOKEN), "{printed}");
}
