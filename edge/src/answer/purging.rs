//! The page that takes objects out of this node: `POST /_vivid/purge`.

use super::Node;
use crate::metrics::PurgeEnd;
use crate::refusal::Refusal;
use crate::reply::{Body, Reply};
use crate::request::Request;
use crate::store::purge::Purge;
use std::sync::Arc;
use subtle::ConstantTimeEq;

impl Node {
    /// Does what the request says, if it may, and says how many objects that were.
    pub(super) async fn purge(&self, request: &Request) -> Reply {
        let body = match self.purged(request).await {
            Ok(purged) => Body::Text("application/json", format!("{{\"purged\":{purged}}}\n")),
            Err(refusal) => Body::Refusal(refusal),
        };
        Reply::own(body)
    }

    async fn purged(&self, request: &Request) -> Result<usize, Refusal> {
        let refuse = |end, refusal| {
            self.metrics.purge_ended(end);
            refusal
        };
        let token = self.purge_token.as_deref().ok_or(Refusal::NoSuchPage)?;
        if !is_authorized(request, token) {
            return Err(refuse(PurgeEnd::Unauthorized, Refusal::Unauthorized));
        }
        let purge = Purge::read(&request.body).map_err(|error| refuse(PurgeEnd::Malformed, Refusal::Purge(error)))?;
        // Begun, it goes on to its end, whether or not anybody waits for the number.
        let (store, purge) = (self.store.clone(), Arc::new(purge));
        let purging = self.store.tasks.spawn(async move { store.purge(&purge).await });
        let purged = purging.await.map_err(|_| Refusal::Draining)??;
        tracing::info!(purged, "purged");
        self.metrics.purge_ended(PurgeEnd::Done);
        self.metrics.purged.inc_by(purged as u64);
        Ok(purged)
    }
}

/// RFC 6750, 2.1. How long the comparison takes says nothing of where the token is wrong.
fn is_authorized(request: &Request, token: &str) -> bool {
    let given = request.authorization.as_deref().unwrap_or_default();
    let Some((scheme, given)) = given.split_at_checked("Bearer ".len()) else { return false };
    scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(given.trim_ascii().ct_eq(token.as_bytes()))
}
