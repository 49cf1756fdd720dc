//! What a person sees of `vivid`: one table, clear sentences, a clean end.

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;
use tests::{Dev, get, run_vivid};

#[tokio::test]
async fn a_whole_cdn_starts_says_where_it_is_and_ends_cleanly() {
    let dev = Dev::start(&["--no-source"]).await.unwrap();
    for tier in ["router", "origin", "shield", "cdn-a", "cdn-b"] {
        for page in ["livez", "readyz", "metrics"] {
            let answer = get(&format!("{}/_vivid/{page}", dev.url(tier))).await.unwrap();
            assert_eq!(answer.status, 200, "{tier} {page}");
        }
        assert!(tier == "router" || dev.table.contains(&dev.url(tier)), "{tier} stands in the table:\n{}", dev.table);
    }
    assert!(dev.table.contains(&format!("-f flv {}", dev.publish_url("NAME"))), "{}", dev.table);

    let status = get(&format!("{}/_vivid/dev", dev.url("router"))).await.unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status.body).unwrap();
    let processes = status["processes"].as_array().unwrap();
    assert_eq!(processes.len(), 5);
    for process in processes {
        assert_eq!(process["state"], "running");
        assert!(dev.table.contains(&process["pid"].to_string()), "{process}");
    }

    let ended = dev.stop().await.unwrap();
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.after < Duration::from_secs(5), "{ended:?}");
}

#[tokio::test]
async fn tiers_end_with_a_vivid_dev_that_was_killed() {
    let dev = Dev::start(&["--no-source"]).await.unwrap();
    let urls = ["router", "origin", "shield", "cdn-a", "cdn-b"].map(|tier| format!("{}/_vivid/livez", dev.url(tier)));
    drop(dev);
    let gone = async {
        let mut retry = tokio::time::interval(Duration::from_millis(50));
        for url in &urls {
            while get(url).await.is_ok() {
                retry.tick().await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(6), gone).await.expect("every tier has ended");
}

#[tokio::test]
async fn a_cdn_is_broken_and_mended_by_a_switch() {
    let dev = Dev::start(&["--no-source"]).await.unwrap();
    let switch = |what: &str| format!("{}/_vivid/dev/cdn-a/{what}", dev.url("router"));
    let ready = format!("{}/_vivid/readyz", dev.url("cdn-a"));
    assert_eq!(tests::post(&switch("break")).await.unwrap().status, 204);
    assert!(get(&ready).await.is_err(), "a broken CDN refuses connections");
    assert_eq!(tests::post(&switch("mend")).await.unwrap().status, 204);
    dev.wait_live(&ready).await.unwrap();
    let unknown = tests::post(&format!("{}/_vivid/dev/router/break", dev.url("router"))).await.unwrap();
    assert_eq!(unknown.status, 404, "the switches do not break what carries them");
}

#[tokio::test]
async fn what_is_not_live_is_said_by_every_tier() {
    let dev = Dev::start(&["--no-source"]).await.unwrap();
    for tier in ["origin", "shield", "cdn-a", "router"] {
        let answer = get(&format!("{}/live/nothing/index.m3u8", dev.url(tier))).await.unwrap();
        assert_eq!(answer.status, 404, "{tier}");
        assert!(answer.text().contains("nothing") && answer.text().contains("publish"), "{tier}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_used_port_is_one_sentence() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for (tier, key) in [("origin", "http_listen"), ("edge", "listen"), ("router", "listen")] {
        let file = config(&format!("[{tier}]\n{key} = \"{address}\"\n"));
        let ended = run_vivid(&[tier, "--config", file.path().to_str().unwrap()]).await.unwrap();
        assert!(!ended.status.success());
        let errors: Vec<_> = ended.output.lines().filter(|line| line.starts_with("vivid: ")).collect();
        assert_eq!(errors.len(), 1, "{tier}: {}", ended.output);
        assert!(errors[0].contains(&address.to_string()), "{}", errors[0]);
        assert_eq!(errors[0].matches("in use").count(), 1, "{}", errors[0]);
    }
}

#[tokio::test]
async fn a_second_vivid_dev_on_the_same_ports_says_so_and_ends() {
    let dev = Dev::start(&["--no-source"]).await.unwrap();
    let second = run_vivid(&["dev", "--base-port", &dev.base_port.to_string()]).await.unwrap();
    assert!(!second.status.success());
    assert_eq!(second.output.lines().count(), 1, "{}", second.output);
    assert!(second.output.contains("in use") && second.output.contains("--base-port"), "{}", second.output);
}

#[tokio::test]
async fn a_base_port_that_leaves_no_room_is_refused_with_the_bound() {
    for port in ["0", "65531", "70000"] {
        let ended = run_vivid(&["dev", "--base-port", port]).await.unwrap();
        assert!(!ended.status.success());
        assert!(ended.output.contains("is not in 1..=65530"), "{}", ended.output);
    }
}

#[tokio::test]
async fn a_tier_whose_log_reader_is_gone_still_stops() {
    let file = config("[edge]\nlisten = \"127.0.0.1:0\"\n");
    let mut child = tokio::process::Command::new(tests::vivid_binary().unwrap())
        .args(["edge", "--config", file.path().to_str().unwrap()])
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut log = tokio::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    tokio::io::AsyncBufReadExt::read_line(&mut log, &mut line).await.unwrap();
    assert!(line.contains("listens"), "{line}");
    drop(log);
    // SAFETY: kill has no memory effects, and the child was not waited for: the pid is its own.
    unsafe { libc::kill(child.id().unwrap().try_into().unwrap(), libc::SIGTERM) };
    let status = tokio::time::timeout(Duration::from_secs(5), child.wait()).await.expect("it stops").unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_bad_configuration_is_told_by_key_and_line() {
    let file = config("[edge]\nhold_max_ms = 5\n");
    let path = file.path().to_str().unwrap();
    for arguments in
        [&["check-config", path][..], &["edge", "--config", path], &["router", "--config", "/nowhere.toml"]]
    {
        let ended = run_vivid(arguments).await.unwrap();
        assert!(!ended.status.success());
        let told = ended.output.contains("line 2: edge.hold_max_ms: 5 is out of range; write a value from");
        assert!(told || ended.output.contains("/nowhere.toml"), "{}", ended.output);
    }
    let filter = config("[log]\nfilter = \"edge=loud\"\n[edge]\n");
    let ended = run_vivid(&["check-config", filter.path().to_str().unwrap()]).await.unwrap();
    assert!(
        !ended.status.success() && ended.output.contains("log.filter: \"edge=loud\" is no tracing"),
        "{}",
        ended.output
    );
    let misspelt = config("[origin.ladder]\ncodec = \"hevc\"\npreset = \"veryfats\"\n");
    let ended = run_vivid(&["check-config", misspelt.path().to_str().unwrap()]).await.unwrap();
    let told = "line 3: origin.ladder.preset: \"veryfats\" is no preset of x265; write one of ultrafast, ";
    assert!(!ended.status.success() && ended.output.matches(told).count() == 1, "{}", ended.output);
    let empty = config("");
    let ended = run_vivid(&["check-config", empty.path().to_str().unwrap()]).await.unwrap();
    assert!(ended.output.contains("is valid, but runs no tier; add [origin], [edge] or [router]"), "{}", ended.output);
    let absent = config("[edge]\n");
    let ended = run_vivid(&["router", "--config", absent.path().to_str().unwrap()]).await.unwrap();
    assert!(ended.output.contains("has no [router] section; add one"), "{}", ended.output);
}

#[tokio::test]
async fn files_that_cannot_be_used_are_told_with_the_keys_that_name_them() {
    let files = tempfile::tempdir().unwrap();
    let broken = files.path().join("broken");
    std::fs::write(&broken, "nothing of use").unwrap();
    let broken = broken.display();
    let file = config(&format!(
        "[edge]\n[edge.upstream]\nurl = \"https://o\"\nca_file = \"{broken}\"\n[edge.fleet]\nfile = \"/nowhere.toml\"\n[edge.geo]\n\
         country_database = \"{broken}\"\ncity_database = \"/nowhere.mmdb\"\n[edge.tls]\ncertificates = [\n\
         {{ certificate = \"/nowhere.pem\", key = \"{broken}\" }},\n]\n[router.geo]\nasn_database = \"/nowhere.mmdb\"\n"
    ));
    let ended = run_vivid(&["check-config", file.path().to_str().unwrap()]).await.unwrap();
    assert!(!ended.status.success() && ended.output.contains("has 6 things to mend"), "{}", ended.output);
    for told in [
        "line 4: edge.upstream.ca_file: ",
        "line 6: edge.fleet.file: cannot read /nowhere.toml",
        "line 8: edge.geo.country_database: ",
        "line 9: edge.geo.city_database: /nowhere.mmdb is of no use: it cannot be read",
        "line 11: edge.tls.certificates[0]: cannot read /nowhere.pem",
        "line 15: router.geo.asn_database: /nowhere.mmdb",
    ] {
        assert!(ended.output.contains(told), "{told}: {}", ended.output);
    }
}

#[tokio::test]
async fn the_reference_configuration_is_valid() {
    let reference = run_vivid(&["reference-config"]).await.unwrap();
    let file = config(&reference.output);
    let ended = run_vivid(&["check-config", file.path().to_str().unwrap()]).await.unwrap();
    assert!(ended.status.success(), "{}", ended.output);
}

fn config(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::with_suffix(".toml").expect("a temporary file");
    file.write_all(text.as_bytes()).expect("written");
    file
}
