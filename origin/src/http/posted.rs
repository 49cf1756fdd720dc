//! What is posted: by those who have the token, no longer than it may be, in time.

use super::Refusal;
use super::bearer;
use axum::body::{Body, to_bytes};
use axum::http::HeaderMap;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::time::timeout;

/// Who may post, and how much.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule<'a> {
    /// Nobody where there is none.
    pub(super) token: Option<&'a str>,
    /// Where that is written.
    pub(super) key: &'static str,
    pub(super) bytes_max: usize,
}

/// A client that has not sent the whole by then is let go.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The body of a request, as it may be.
pub(super) async fn posted(rule: Rule<'_>, headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
    let token = rule.token.ok_or(Refusal::NoSuchPath)?;
    if !bearer::is_authorized(headers, token) {
        return Err(Refusal::Unauthorized { key: rule.key });
    }
    whole(body, rule.bytes_max).await
}

/// The body, if it comes in time and is no longer than `bytes_max`.
pub(super) async fn whole(body: Body, bytes_max: usize) -> Result<Bytes, Refusal> {
    match timeout(BODY_TIMEOUT, to_bytes(body, bytes_max)).await {
        Ok(read) => read.map_err(|_| Refusal::TooLong { bytes_max }),
        Err(_) => Err(Refusal::PostLate),
    }
}

/// What is said in a JSON object; why nothing is, in words.
pub(super) fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    // Arrays of the right length would do as well.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err("it is no JSON object".to_owned());
    }
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::header;
    use futures_util::{StreamExt, stream};
    use std::convert::Infallible;

    #[test]
    fn an_object_is_one_and_nothing_else() {
        #[derive(Debug, serde::Deserialize)]
        struct Said {
            id: String,
        }
        assert_eq!(object::<Said>(b" \n{\"id\":\"a\"}").unwrap().id, "a");
        for body in [&b""[..], b"[]", b"[\"a\"]", b"null", b"\"id\"", b"\0", b"id=a", b"\xff"] {
            let why = object::<Said>(body).unwrap_err();
            assert!(why.starts_with("it is no JSON object"), "{why}");
        }
        assert!(object::<Said>(b"{}").unwrap_err().starts_with("missing field `id`"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_posted_comes_whole_from_who_may_in_time_or_not_at_all() {
        let rule = Rule { token: Some("0123456789abcdef"), key: "a.b", bytes_max: 4 };
        let mut headers = HeaderMap::new();
        assert!(matches!(posted(rule, &headers, Body::empty()).await, Err(Refusal::Unauthorized { key: "a.b" })));
        headers.insert(header::AUTHORIZATION, "Bearer 0123456789abcdef".parse().unwrap());
        assert_eq!(posted(rule, &headers, Body::from("abcd")).await.unwrap(), "abcd");
        assert!(matches!(posted(rule, &headers, Body::from("abcde")).await, Err(Refusal::TooLong { bytes_max: 4 })));
        let first = stream::once(async { Ok::<_, Infallible>("a") });
        let never = Body::from_stream(first.chain(stream::pending()));
        assert!(matches!(posted(rule, &headers, never).await, Err(Refusal::PostLate)));
        let nobody = Rule { token: None, ..rule };
        assert!(matches!(posted(nobody, &headers, Body::empty()).await, Err(Refusal::NoSuchPath)));
    }
}
