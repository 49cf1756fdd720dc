//! Every reason to refuse a request, and what HTTP says for it: status, one sentence that helps, when to come again.

use crate::access::clients::Limited;
use crate::access::denial::Denial;
use crate::key::TargetError;
use crate::range::Unsatisfiable;
use crate::store::purge::PurgeError;
use http::StatusCode;
use manifest::DirectiveError;

/// Why a viewer does not get what it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the request cannot be read as HTTP/1.1; check the client")]
    Malformed,
    #[error("the request header is larger than this node takes; send fewer or shorter fields")]
    HeaderTooLarge,
    #[error("the request header did not arrive in time; send it at once")]
    HeaderSlow,
    #[error("this node takes no request body; send the request without one")]
    Body,
    #[error("this node answers GET, HEAD and OPTIONS")]
    Method,
    #[error("this method is not known here; use GET, HEAD or OPTIONS")]
    UnknownMethod,
    #[error("there is no such page; try /_vivid/metrics, /_vivid/streams, /_vivid/livez or /_vivid/readyz")]
    NoSuchPage,
    #[error("this page is for those who run the node; ask for it at edge.admin.listen")]
    AdminPage,
    #[error("nobody watches this stream here now; /_vivid/streams lists those that are followed")]
    NoSuchStream,
    #[error("the page must be asked for by numbers: `from`, and `limit` from 1 to 1000")]
    Page,
    #[error("this needs the token of edge.purge.token, sent as `Authorization: Bearer TOKEN`")]
    Unauthorized,
    #[error("{0}")]
    Purge(PurgeError),
    #[error(
        "files on disk that are still being listed may hold what is purged, and are not shown; purge again until this is 200"
    )]
    PurgePending,
    #[error("{0}")]
    Target(TargetError),
    #[error("{0}")]
    Denied(Denial),
    #[error("{0}")]
    Limited(Limited),
    #[error("{0}")]
    Directive(DirectiveError),
    #[error("the position asked for is too far ahead; ask for the next part or segment of the playlist")]
    TooFar,
    #[error("the range begins beyond the end of the object, which has {length} bytes; ask for an earlier one")]
    Range { length: u64 },
    #[error("the stream did not advance in time; ask again")]
    HoldLate,
    #[error("too many requests wait at this node; ask again, or raise edge.holds_max")]
    HoldsFull,
    #[error(
        "this node follows as many renditions as it may; ask again, or raise edge.subscriptions_max or edge.subscriptions_per_path_max"
    )]
    SubscriptionsFull,
    #[error("too many objects are being fetched at this node; ask again")]
    FillsFull,
    #[error(
        "this recording is not where it was looked for first, and others are not asked more often; ask again, or raise edge.shields.looks_per_s"
    )]
    LooksFull,
    #[error("this node is about to stop; ask again, another one will answer")]
    Draining,
    #[error("the request comes round; mend edge.upstream.url, and give each node its own edge.name")]
    Loop,
    #[error("the request has gone through too many nodes; let fewer stand between viewer and origin")]
    TooManyNodes,
    #[error("upstream cannot be reached; check edge.upstream.url and that it runs")]
    UpstreamUnreachable,
    #[error("upstream did not answer in time; ask again")]
    UpstreamTimeout,
    #[error("upstream broke off its answer or sent one that is no HTTP; ask again")]
    UpstreamBroken,
    #[error("the object is larger than this node takes; raise edge.object_bytes_max")]
    ObjectTooLarge,
    #[error("upstream does not answer and the last playlist is too old to be shown; ask again")]
    Stale,
}

impl From<Unsatisfiable> for Refusal {
    fn from(Unsatisfiable { length }: Unsatisfiable) -> Self {
        Self::Range { length }
    }
}

impl Refusal {
    pub fn status(self) -> StatusCode {
        match self {
            Self::Malformed
            | Self::Directive(_)
            | Self::TooFar
            | Self::Page
            | Self::Purge(_)
            | Self::Target(TargetError::NotAPath) => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Target(TargetError::TooLong) => StatusCode::URI_TOO_LONG,
            Self::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::HeaderSlow => StatusCode::REQUEST_TIMEOUT,
            Self::NoSuchPage | Self::AdminPage | Self::NoSuchStream => StatusCode::NOT_FOUND,
            Self::Range { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Body => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnknownMethod => StatusCode::NOT_IMPLEMENTED,
            // RFC 8216bis, 6.2.5.2: a hold that lasts too long ends with 503, never with an unchanged playlist.
            Self::HoldLate
            | Self::HoldsFull
            | Self::SubscriptionsFull
            | Self::FillsFull
            | Self::LooksFull
            | Self::PurgePending
            | Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
            Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::Limited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Loop | Self::TooManyNodes => StatusCode::LOOP_DETECTED,
            Self::UpstreamUnreachable | Self::UpstreamBroken | Self::ObjectTooLarge => StatusCode::BAD_GATEWAY,
            Self::UpstreamTimeout | Self::Stale => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The request was passed on, and nothing that can be shown came of it.
    pub fn is_upstreams(self) -> bool {
        matches!(self, Self::UpstreamUnreachable | Self::UpstreamTimeout | Self::UpstreamBroken | Self::ObjectTooLarge)
    }

    /// A short name of the reason, for `Cache-Status` and logs.
    pub fn token(self) -> &'static str {
        match self {
            Self::Denied(_) => "denied",
            Self::Limited(_) => "limited",
            Self::Malformed => "malformed",
            Self::HeaderTooLarge => "header-too-large",
            Self::HeaderSlow => "header-slow",
            Self::Body => "body",
            Self::Method => "method",
            Self::UnknownMethod => "unknown-method",
            Self::NoSuchPage => "no-such-page",
            Self::AdminPage => "admin-page",
            Self::NoSuchStream => "no-such-stream",
            Self::Page => "page",
            Self::Unauthorized => "unauthorized",
            Self::Purge(_) => "purge",
            Self::PurgePending => "purge-pending",
            Self::Target(_) => "target",
            Self::Directive(_) => "directive",
            Self::TooFar => "too-far",
            Self::Range { .. } => "range",
            Self::HoldLate => "hold-late",
            Self::HoldsFull => "holds-full",
            Self::SubscriptionsFull => "subscriptions-full",
            Self::FillsFull => "fills-full",
            Self::LooksFull => "looks-full",
            Self::Draining => "draining",
            Self::Loop => "loop",
            Self::TooManyNodes => "too-many-nodes",
            Self::UpstreamUnreachable => "upstream-unreachable",
            Self::UpstreamTimeout => "upstream-timeout",
            Self::UpstreamBroken => "upstream-broken",
            Self::ObjectTooLarge => "object-too-large",
            Self::Stale => "stale",
        }
    }

    /// `Retry-After` in seconds, where asking again helps.
    pub fn retry_after(self) -> Option<u32> {
        match self.status() {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Some(1),
            StatusCode::BAD_GATEWAY if self != Self::ObjectTooLarge => Some(1),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_may_come_again_is_told_when() {
        assert_eq!((Refusal::HoldLate.status().as_u16(), Refusal::HoldLate.retry_after()), (503, Some(1)));
        assert_eq!((Refusal::Stale.status().as_u16(), Refusal::Stale.retry_after()), (504, Some(1)));
        assert_eq!((Refusal::TooFar.status().as_u16(), Refusal::TooFar.retry_after()), (400, None));
        assert_eq!(Refusal::ObjectTooLarge.retry_after(), None);
        let limited = Refusal::Limited(Limited::Requests);
        assert_eq!((limited.status().as_u16(), limited.retry_after()), (429, Some(1)));
        let denied = Refusal::Denied(Denial::Expired);
        assert_eq!((denied.status().as_u16(), denied.retry_after()), (403, None));
    }
}
