//! How a node goes: what it still does, and what it does not do any more, in three steps.

use tokio_util::sync::CancellationToken;

/// The steps, each a token that is cancelled when it is reached.
///
/// RFC 8216bis, 6.2.5.2 forbids to answer a hold before its position is there, except with 503, which players count as
/// a failure. So holds are not ended when a node begins to go: most are released within a part. The 503 is for those
/// that are left at the last step.
#[derive(Debug, Default)]
pub struct Departure {
    /// No connection is taken any more, and each answer is the last of its connection.
    pub begun: CancellationToken,
    /// Connections on which nothing is asked are closed.
    pub closing: CancellationToken,
    /// Whoever still waits is told to ask again, somewhere else.
    pub overdue: CancellationToken,
}
