//! What viewers are told of their connection, what is left in it when they give up, what players say of
//! themselves, and the pace that they get by it.

use crate::http2::Http2;
use crate::secure::{ALL, Authority, Files, HOST, connect, node};
use crate::support::{Fake, Got, Node, Origin, RENDITION, Said, Viewer, config, in_time, until};
use pingora::protocols::l4::ext::{TCP_INFO, get_tcp_info};
use sfv::{ListEntry, Parser};
use socket2::SockRef;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, RawFd};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// More than any socket takes.
const HUGE: usize = 30_000_000;

/// Media of so many bytes as the path says, from a node that speaks CMSD itself.
async fn upstream() -> Fake {
    Fake::start(|asked| {
        let bytes = asked.target.rsplit('/').next().and_then(|name| name.parse().ok()).unwrap_or(HUGE);
        let fields = vec![
            ("Content-Type", "video/mp4".to_owned()),
            ("Cache-Control", "public, max-age=60".to_owned()),
            ("CMSD-Dynamic", "\"origin\";etp=7".to_owned()),
            ("CMSD-Dynamic", "\"shield\";rtt=3".to_owned()),
            ("Access-Control-Expose-Headers", "Date".to_owned()),
        ];
        Box::pin(std::future::ready(Said::Whole(200, fields, vec![b'x'; bytes])))
    })
    .await
}

/// The entries of `CMSD-Dynamic`: who said them, and their keys.
fn entries(got: &Got) -> Vec<(String, Vec<String>)> {
    let value = got.field("cmsd-dynamic");
    let list: sfv::List = Parser::new(value).parse().unwrap_or_else(|_| panic!("{value}"));
    let entry = |entry: ListEntry| {
        let ListEntry::Item(item) = entry else { panic!("{value}") };
        let keys = item.params.keys().map(|key| key.as_str().to_owned());
        (item.bare_item.as_string().unwrap().as_str().to_owned(), keys.collect())
    };
    list.into_iter().map(entry).collect()
}

fn entry(name: &str, keys: &[&str]) -> (String, Vec<String>) {
    (name.to_owned(), keys.iter().map(|key| (*key).to_owned()).collect())
}

#[tokio::test]
async fn media_says_what_its_viewers_connection_gives() {
    let edge = Node::start("edge", upstream().await.addr);
    let mut first = Viewer::connect(edge.addr).await;
    let got = first.get("/film/100000").await;
    let hops = [entry("origin", &["etp"]), entry("shield", &["rtt"]), entry("edge", &["rtt"])];
    assert_eq!(entries(&got), hops, "{}", got.head);
    let exposed: Vec<_> = got.field("access-control-expose-headers").split(", ").collect();
    assert!(exposed.contains(&"Date") && exposed.contains(&"CMSD-Dynamic"), "{exposed:?}");
    for (target, field) in [("/film/100000", ""), ("/film/100000", "Range: bytes=100-50000\r\n")] {
        let got = first.get_with(target, field).await;
        assert_eq!(entries(&got), [entry("edge", &["etp", "rtt"])], "what upstream said was not about this viewer");
    }
    for (target, field) in [("/film/1000", ""), ("/film/100000", "Range: bytes=0-999\r\n"), ("/_vivid/metrics", "")] {
        let got = edge_get(&edge, target, field).await;
        assert_eq!(got.field("cmsd-dynamic"), "", "{target} {field} is not worth a look");
    }
}

async fn edge_get(edge: &Node, target: &str, field: &str) -> Got {
    Viewer::connect(edge.addr).await.get_with(target, field).await
}

#[tokio::test]
async fn every_transport_says_it_and_playlists_do_not() {
    let (origin, authority, files) = (Origin::at(100, 1), Authority::new(), Files::new());
    let edge = node(origin.start().await.addr, &authority, &files);
    let part = "/live/test/720p/e1/100.0.m4s";
    let h2c = Http2::over(TcpStream::connect(edge.addr).await.unwrap()).await;
    let tls = connect(edge.tls_addrs[0], &authority.client(ALL, &["h2"]), HOST).await.unwrap();
    let h2 = Http2::over(tls).await;
    let mut tls = Viewer::over(connect(edge.tls_addrs[0], &authority.client(ALL, &["http/1.1"]), HOST).await.unwrap());
    assert_eq!(edge.get(RENDITION).await.field("cmsd-dynamic"), "");
    let mut plain = Viewer::connect(edge.addr).await;
    // The first answer tells the kernel what the connection gives, and later ones the viewer.
    for keys in [&["rtt"][..], &["etp", "rtt"]] {
        let all =
            [h2c.get(part).await.unwrap(), h2.get(part).await.unwrap(), tls.get(part).await, plain.get(part).await];
        for got in all {
            let (name, said) = &entries(&got)[0];
            assert_eq!(name, "edge");
            assert!(said.iter().any(|key| key == keys[0]), "{}", got.head);
        }
    }
}

#[tokio::test]
async fn a_node_says_what_it_is_told_to() {
    let upstream = upstream().await;
    let mut capped = config("edge", upstream.addr);
    capped.qoe.suggested_bitrate_max = 2_500_000;
    let edge = Node::with(capped);
    let mut viewer = Viewer::connect(edge.addr).await;
    viewer.get("/film/100000").await;
    let got = viewer.get("/film/100000").await;
    assert!(got.field("cmsd-dynamic").ends_with(";mb=2500"), "{}", got.head);
    edge.hand_over();
    let leaving = viewer.get("/film/100000").await;
    assert!(leaving.field("cmsd-dynamic").ends_with(";mb=2500;du"), "viewers are better off elsewhere: {leaving:?}");

    let mut silent = config("edge", upstream.addr);
    silent.qoe.cmsd = false;
    let edge = Node::with(silent);
    assert_eq!(edge.get("/film/100000").await.field("cmsd-dynamic"), "");
}

#[tokio::test]
async fn a_node_that_has_more_to_do_than_it_can_says_so() {
    let (origin, part) = (Origin::at(100, 1), "/live/test/720p/e1/100.0.m4s");
    let upstream = origin.start().await.addr;
    let says_so = async |viewer: &mut Viewer| viewer.get(part).await.field("cmsd-dynamic").ends_with(";du");
    let edge = Node::with(config::Edge { holds_max: 1, ..config("edge", upstream) });
    let (mut viewer, mut held) = (Viewer::connect(edge.addr).await, Viewer::connect(edge.addr).await);
    viewer.get(RENDITION).await;
    assert!(!says_so(&mut viewer).await);
    held.ask(&format!("{RENDITION}?_HLS_msn=100&_HLS_part=1"), "").await;
    edge.until("vivid_edge_holds", &[], 1.0).await;
    assert!(says_so(&mut viewer).await, "it can hold nobody more");
    origin.advance();
    held.read().await.unwrap();
    edge.until("vivid_edge_holds", &[], 0.0).await;
    assert!(!says_so(&mut viewer).await);

    // Every task runs a little after it was due.
    let mut late = config("edge", upstream);
    late.qoe.duress_lag = Duration::ZERO;
    let edge = Node::with(late);
    let mut viewer = Viewer::connect(edge.addr).await;
    viewer.get(RENDITION).await;
    in_time(async { while !says_so(&mut viewer).await {} }).await;
}

/// Bytes that the kernel holds for this viewer and has not begun to send, at the node's end of the connection.
fn unsent(viewer: SocketAddr) -> Option<u32> {
    nodes_end(viewer).map(|info| info.tcpi_notsent_bytes)
}

/// What the kernel says of the node's end of a viewer's connection.
pub(crate) fn nodes_end(viewer: SocketAddr) -> Option<TCP_INFO> {
    let is_nodes = |fd: RawFd| {
        // SAFETY: the descriptor is only asked a question; one that was closed meanwhile gives an error.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        SockRef::from(&fd).peer_addr().is_ok_and(|peer| peer.as_socket() == Some(viewer))
    };
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let fd = descriptors.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|fd| is_nodes(*fd))?;
    get_tcp_info(fd).ok()
}

/// A viewer whose machine buffers little and who has asked for something long.
async fn slow_viewer(addr: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let mut viewer = in_time(socket.connect(addr)).await.unwrap();
    viewer.write_all(b"GET /huge HTTP/1.1\r\nHost: edge\r\n\r\n").await.unwrap();
    viewer
}

#[tokio::test]
async fn a_viewer_that_gives_up_leaves_little_in_the_queue() {
    let upstream = upstream().await;
    // A segment of the kernel's, begun below a bound, may go beyond it.
    let (at_first, most) = ((1 << 20) + (64 << 10), (128 << 10) + (64 << 10));
    let mut unbounded = config("edge", upstream.addr);
    unbounded.qoe.unsent_bytes_max = 0;
    let edge = Node::with(unbounded);
    let viewer = slow_viewer(edge.addr).await;
    let at = viewer.local_addr().unwrap();
    until(|| unsent(at).is_some_and(|unsent| unsent > at_first), "the kernel takes far more by itself").await;

    let edge = Node::start("edge", upstream.addr);
    let mut viewer = slow_viewer(edge.addr).await;
    let at = viewer.local_addr().unwrap();
    for (bytes, bound) in [(4 << 20, at_first), (4 << 20, most)] {
        let (mut read, mut waiting, mut buffer) = (0, 0, vec![0; 32 << 10]);
        while read < bytes {
            read += in_time(viewer.read(&mut buffer)).await.unwrap();
            waiting = waiting.max(unsent(at).unwrap());
        }
        assert!((1..=bound).contains(&waiting), "{waiting} bytes wait for a slow viewer");
    }
    drop(viewer);
    until(|| unsent(at).is_none(), "nothing is left of it").await;
}

#[tokio::test]
async fn what_players_say_beside_a_request_is_counted_under_bounded_labels() {
    let edge = Node::start("edge", upstream().await.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    viewer.get("/film/10?CMCD=bs%2Cot%3Dv%2Cst%3Dll%2Cbl%3D900").await;
    viewer.get_with("/film/10", "CMCD-Status: bs\r\nCMCD-Object: ot=a,br=(128;a)\r\nCMCD-Session: v=2\r\n").await;
    viewer.get("/film/10?CMCD=ot%3Dwhatever%20i%20like%2Cbr%3D99999999999").await;
    for (name, labels, value) in [
        ("reports_total", &["query", "1"][..], 2.0),
        ("reports_total", &["headers", "2"], 1.0),
        ("starved_total", &["video", "low_latency"], 1.0),
        ("starved_total", &["audio", "none"], 1.0),
        ("objects_total", &["none"], 2.0),
        ("buffer_seconds", &["low_latency"], 1.0),
        ("malformed_total", &[], 2.0),
    ] {
        assert_eq!(edge.metric(&format!("vivid_edge_cmcd_{name}"), labels), value, "{name} {labels:?}");
    }
}

#[tokio::test]
async fn reports_of_players_are_taken_whatever_they_are() {
    let edge = Node::start("edge", upstream().await.addr);
    let mut viewer = Viewer::connect(edge.addr).await;
    let post = |length: usize| {
        format!(
            "POST /_vivid/cmcd HTTP/1.1\r\nHost: x\r\nContent-Type: application/cmcd\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    for body in [
        &b"e=ps,sta=r,bsd=(400;v),ot=v,st=ll,ts=1700000000000,v=2\ne=t,ltc=1900,st=ll,v=2\n"[..],
        b"\xff\xfe\0",
        b"{\"e\":\"ps\"}\nbl=-1\n",
        b"",
    ] {
        viewer.send(&[post(body.len()).as_bytes(), body].concat()).await;
        let got = viewer.read().await.unwrap();
        assert_eq!((got.status, got.field("access-control-allow-origin")), (204, "*"), "{}", got.head);
    }
    for (name, labels, value) in [
        ("reports_total", &["event", "2"][..], 2.0),
        ("events_total", &["play_state"], 1.0),
        ("states_total", &["rebuffering"], 1.0),
        ("stalled_milliseconds_total", &["low_latency"], 400.0),
        ("latency_seconds", &["low_latency"], 1.0),
        ("malformed_total", &[], 4.0),
    ] {
        assert_eq!(edge.metric(&format!("vivid_edge_cmcd_{name}"), labels), value, "{name} {labels:?}");
    }
    assert_eq!(edge.get("/_vivid/cmcd").await.status, 404);
    viewer.send(post(65 << 10).as_bytes()).await;
    assert_eq!(viewer.read().await.unwrap().status, 413, "more than a player has to say");
}

fn pacing(upstream: SocketAddr) -> config::Edge {
    let mut config = config("edge", upstream);
    config.pacing.enabled = true;
    config.pacing.burst_bytes = 0;
    config
}

#[tokio::test]
async fn media_is_sent_at_the_pace_that_its_player_needs() {
    let upstream = upstream().await;
    let edge = Node::with(pacing(upstream.addr));
    let stream = TcpStream::connect(edge.addr).await.unwrap();
    let at = stream.local_addr().unwrap();
    let mut viewer = Viewer::over(stream);
    let paced = || nodes_end(at).unwrap().tcpi_max_pacing_rate;
    viewer.get("/film/3000000").await;
    assert_eq!(paced(), u64::MAX, "who says nothing is not paced");
    let began = Instant::now();
    let got = viewer.get("/film/3000000?CMCD=br%3D1000%2Crtp%3D16000%2Ctb%3D20000").await;
    let taken = began.elapsed();
    assert_eq!((got.body.len(), paced()), (3_000_000, 2_000_000), "rtp is in kbit/s, the kernel's rate in bytes");
    // The kernel lets some of it out before it begins to pace, and nothing makes it go faster than that afterwards.
    assert!(taken > Duration::from_millis(700), "3 MB at 2 MB/s took {taken:?}");
    viewer.get_with("/film/100000", "CMCD-Object: br=1000\r\n").await;
    assert_eq!(paced(), 250_000, "twice its bitrate");
    assert_eq!(edge.metric("vivid_edge_bounds_total", &["pacing"]), 2.0);
    viewer.get("/film/10?CMCD=su").await;
    assert_eq!(paced(), u64::MAX, "who is in a hurry is not paced");

    let mut beginning = pacing(upstream.addr);
    (beginning.pacing.burst_bytes, beginning.pacing.rate_max) = (1 << 20, 8_000_000);
    let edge = Node::with(beginning);
    let stream = TcpStream::connect(edge.addr).await.unwrap();
    let at = stream.local_addr().unwrap();
    let mut viewer = Viewer::over(stream);
    let paced = || nodes_end(at).unwrap().tcpi_max_pacing_rate;
    let got = viewer.get("/film/2000000").await;
    assert_eq!(paced(), u64::MAX, "what a player begins with is not held back");
    assert!(got.field("cmsd-dynamic").ends_with(";mb=8000"), "{}", got.head);
    viewer.get("/film/100000").await;
    assert_eq!(paced(), 1_000_000);
    assert!(!config("edge", upstream.addr).pacing.enabled, "nobody is paced who is not asked to be");
}

#[tokio::test]
async fn streams_of_one_connection_are_paced_together() {
    let edge = Node::with(pacing(upstream().await.addr));
    let stream = TcpStream::connect(edge.addr).await.unwrap();
    let at = stream.local_addr().unwrap();
    // Bodies that nobody takes stay under way.
    let viewer = Http2::with_window(stream, 1000).await;
    let mut bodies = Vec::new();
    for (rate, sum) in [(8000, 1_000_000), (4000, 1_500_000)] {
        bodies.push(viewer.begin("GET", &format!("/film/5000000?CMCD=rtp%3D{rate}"), "").await.unwrap());
        assert_eq!(nodes_end(at).unwrap().tcpi_max_pacing_rate, sum);
    }
    drop(bodies.remove(0));
    let turn = || async {
        let got = viewer.begin("GET", "/film/5000000?CMCD=rtp%3D800", "").await.unwrap();
        let paced = nodes_end(at).unwrap().tcpi_max_pacing_rate;
        drop(got);
        paced
    };
    let settling = async { while turn().await != 600_000 {} };
    in_time(settling).await;
}
