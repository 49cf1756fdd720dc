//! Whether a request brings the token that it needs (RFC 6750, 2.1).

use axum::http::{HeaderMap, header};
use subtle::ConstantTimeEq;

/// Compared in constant time.
pub(super) fn is_authorized(headers: &HeaderMap, token: &str) -> bool {
    let given = headers.get(header::AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
    let Some((scheme, given)) = given.split_at_checked("Bearer ".len()) else { return false };
    scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(given.trim_ascii().ct_eq(token.as_bytes()))
}
