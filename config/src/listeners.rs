//! Addresses to listen on: no two of one file may be the same.

use crate::{Config, Problem};
use std::net::SocketAddr;

pub(crate) fn check(config: &Config, problems: &mut Vec<Problem>) {
    let mut listeners: Vec<(&str, SocketAddr)> = Vec::new();
    if let Some(origin) = &config.origin {
        listeners.extend([("origin.rtmp_listen", origin.rtmp_listen), ("origin.http_listen", origin.http_listen)]);
        listeners
            .extend(origin.remote_workers.as_ref().map(|workers| ("origin.remote_workers.listen", workers.listen)));
    }
    if let Some(edge) = &config.edge {
        listeners.push(("edge.listen", edge.listen));
        listeners.extend(edge.admin.listen.map(|address| ("edge.admin.listen", address)));
        listeners.extend(edge.tls.listen.iter().map(|address| ("edge.tls.listen", *address)));
    }
    listeners.extend(config.router.as_ref().map(|router| ("router.listen", router.listen)));
    for (index, (key, address)) in listeners.iter().enumerate() {
        if let Some((other, _)) = listeners[..index].iter().find(|(_, other)| are_one(*address, *other)) {
            let message = format!("{address} is taken by {other} already; give each its own port");
            problems.push(Problem::new(*key, message));
        }
    }
}

/// Port 0 is any that is free. The unspecified address is every one of its kind.
fn are_one(one: SocketAddr, other: SocketAddr) -> bool {
    let every = |address: SocketAddr| address.ip().is_unspecified();
    one.port() != 0
        && one.port() == other.port()
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || every(one) || every(other))
}

#[cfg(test)]
mod tests {
    use crate::Config;

    #[test]
    fn no_two_listeners_of_a_file_have_one_address() {
        for (text, expected) in [
            (
                "[edge]\nlisten = \"127.0.0.1:9083\"\n[edge.admin]\nlisten = \"127.0.0.1:9083\"\n",
                Some("line 4: edge.admin.listen: 127.0.0.1:9083 is taken by edge.listen already"),
            ),
            ("[edge]\n[edge.admin]\nlisten = \"127.0.0.1:8083\"\n", Some("edge.admin.listen: ")),
            (
                "[router]\n[origin]\nhttp_listen = \"0.0.0.0:8080\"\n",
                Some("router.listen: 0.0.0.0:8080 is taken by origin.http_listen"),
            ),
            ("[origin]\nrtmp_listen = \"0.0.0.0:8081\"\n", Some("origin.http_listen: ")),
            (
                "[origin]\n[origin.remote_workers]\nlisten = \"0.0.0.0:8081\"\ntoken = \"0123456789abcdef\"\n",
                Some("line 3: origin.remote_workers.listen: 0.0.0.0:8081 is taken by origin.http_listen"),
            ),
            ("[origin.remote_workers]\nlisten = \"0.0.0.0:8090\"\n", Some("needs origin.remote_workers.token")),
            ("[edge]\nlisten = \"127.0.0.1:0\"\n[edge.admin]\nlisten = \"127.0.0.1:0\"\n", None),
            ("[edge]\nlisten = \"0.0.0.0:8443\"\n[edge.admin]\nlisten = \"[::]:8443\"\n", None),
            ("[edge]\nlisten = \"127.0.0.1:80\"\n[edge.admin]\nlisten = \"127.0.0.2:80\"\n", None),
            ("[origin]\n[edge]\n[router]\n", None),
        ] {
            let told = Config::parse(text, []).err().map(|problems| problems[0].to_string());
            assert_eq!(told.is_some(), expected.is_some(), "{text}: {told:?}");
            assert!(told.unwrap_or_default().contains(expected.unwrap_or_default()), "{text}");
        }
    }
}
